//! Running a loop inside another event loop: GLib, Qt, winit, calloop, Python's asyncio, or a plain
//! `poll`.
//!
//! A bare loop, or one on async-io or smol, is [`descriptor`](crate::IOLoop::descriptor) and
//! [`turn`](crate::IOLoop::turn): watch the descriptor for reading, level-triggered, and call
//! `turn(Some(Duration::ZERO))` when it is readable. Its timers are in the descriptor as well (on
//! Linux), so there is no time-out to compute.
//!
//! A few of Linux's files, such as the table of mounts, are not for an embedded loop: see
//! [files that tell a change once](super::threads#files-that-tell-a-change-once).
//!
//! ```
//! use std::{cell::Cell, rc::Rc, time::Duration};
//! use ioloop::{IOLoop, Reactor, backends::BackendKind};
//! use rustix::event::{PollFd, PollFlags, poll};
//!
//! let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
//! let ticks = Rc::new(Cell::new(0));
//! for n in 1..=3 {
//!     let ticks = Rc::clone(&ticks);
//!     io_loop.call_later(Duration::from_millis(n), move || ticks.set(ticks.get() + 1));
//! }
//! // A post from another thread makes the descriptor readable as well.
//! let handle = io_loop.handle();
//! std::thread::spawn(move || handle.add_callback(|| println!("posted")));
//!
//! while ticks.get() < 3 {
//!     // The foreign loop. It has descriptors of its own beside this one.
//!     let descriptor = io_loop.descriptor()?;
//!     poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)?;
//!     let turn = io_loop.turn(Some(Duration::ZERO))?;
//!     // While work is left the descriptor stays readable: nothing need be remembered.
//!     let descriptor = io_loop.descriptor()?;
//!     assert!(!turn.work_left || poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)? == 1);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to look out for
//!
//! - *Another descriptor.* When [`Turn::renewed`](crate::embed::Turn::renewed) says so the loop has
//!   a new one: the foreign loop takes the old one out and watches what
//!   [`descriptor`](crate::IOLoop::descriptor) gives now. That happens only after a watched
//!   descriptor was closed while a duplicate of it lives on. A foreign loop on poll(2), as above,
//!   asks before each wait and need not check `renewed`.
//! - *Elsewhere than on Linux* the deadline is not in the descriptor: let the foreign loop wait no
//!   longer than until [`host_deadline`](crate::IOLoop::host_deadline).
//! - *[`stop`](crate::IOLoop::stop)* comes out of `turn` as
//!   [`Turn::stopped`](crate::embed::Turn::stopped), for the foreign loop to act upon.
//! - *A loop on a tokio of its own* cannot be embedded: tokio makes progress only in its own
//!   `block_on`, and has no means yet to be driven from outside. Attach a loop to the running
//!   runtime instead. A loop [in the context](super::hosts) of a multi-thread runtime can be
//!   embedded.
//! - *Code of the foreign loop that calls a library of yours* runs between the
//!   [`before_sleep`](crate::IOLoop::before_sleep) hooks and the sleep. If it leaves work that only
//!   a hook would find, wake the loop: [`call_soon`](crate::Reactor::call_soon)`(|| ())`. See the
//!   page on [C libraries](super::c_libraries).
//!
//! # A callback that runs the foreign loop again
//!
//! A modal dialogue in a callback of this loop runs the foreign loop inside
//! [`turn`](crate::IOLoop::turn). There `turn` returns
//! [`AlreadyRunning`](crate::RunError::AlreadyRunning), and the descriptor may be readable all the
//! time, since the events are not taken. Take it out of the foreign loop until the outer `turn` has
//! returned; this loop's callbacks wait until then.
//!
//! ```
//! use std::time::Duration;
//! use ioloop::{IOLoop, RunError};
//!
//! /// The foreign loop's side: Qt's `QSocketNotifier::setEnabled`, GLib's poll record, an entry of a table.
//! trait Notifier {
//!     fn set_enabled(&self, enabled: bool);
//! }
//!
//! /// What the foreign loop calls when the descriptor is readable.
//! fn readable(io_loop: &IOLoop, notifier: &impl Notifier) -> Result<(), RunError> {
//!     match io_loop.turn(Some(Duration::ZERO)) {
//!         // Called inside a callback of this very loop.
//!         Err(RunError::AlreadyRunning) => notifier.set_enabled(false),
//!         turned => {
//!             turned?;
//!             notifier.set_enabled(true);
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! GLib does so by itself: a source that is being dispatched is left out of the loops that its
//! callback runs.
//!
//! # A foreign loop inside this one
//!
//! Watch its descriptor with [`add_reader`](crate::Reactor::add_reader), and dispatch without
//! waiting in the callback. That is enough for a loop that keeps all it waits for in its
//! descriptor, as an [`IOLoop`](crate::IOLoop) does on Linux.
//!
//! libuv does not: it tells the kernel of a new descriptor only when it is run, and its timers are
//! a time-out of its wait. So run it before each sleep as well, and set a timer for its time-out.
//! It works in every mode:
//!
//! ```
//! use std::cell::RefCell;
//! use std::io;
//! use std::os::fd::AsFd;
//! use std::rc::Rc;
//! use std::time::Duration;
//! use ioloop::hooks::{BeforeSleep, Hook};
//! use ioloop::{Guard, IOLoop, Reactor, TimerHandle, Watch, WeakIOLoop};
//!
//! /// What libuv offers.
//! trait Uv {
//!     /// `uv_backend_fd`; lent, or a duplicate.
//!     fn descriptor(&self) -> impl AsFd + 'static;
//!     /// `uv_run` with `UV_RUN_NOWAIT`, then `uv_update_time`.
//!     fn run_nowait(&self);
//!     /// `uv_backend_timeout`, where `uv_loop_alive`; none if there is no timer.
//!     fn timeout(&self) -> Option<Duration>;
//! }
//!
//! struct Guest<U> {
//!     uv: U,
//!     io_loop: WeakIOLoop,
//!     timer: RefCell<Option<Guard<TimerHandle>>>,
//! }
//!
//! impl<U: Uv + 'static> Guest<U> {
//!     fn new(io_loop: &IOLoop, uv: U) -> io::Result<(Rc<Self>, Guard<Watch>, Guard<Hook>)> {
//!         let guest = Guest { uv, io_loop: io_loop.downgrade(), timer: RefCell::default() };
//!         let guest = Rc::new(guest);
//!         let (reads, sleeps) = (Rc::downgrade(&guest), Rc::downgrade(&guest));
//!         let watch = io_loop.add_reader(guest.uv.descriptor(), move |_| {
//!             reads.upgrade().inspect(|guest| guest.uv.run_nowait());
//!         })?;
//!         let hook = io_loop.before_sleep(move || {
//!             sleeps.upgrade().map_or(BeforeSleep::Sleep, |guest| guest.before_sleep())
//!         });
//!         Ok((guest, watch.remove_on_drop(), hook.remove_on_drop()))
//!     }
//!
//!     fn before_sleep(&self) -> BeforeSleep {
//!         self.uv.run_nowait();
//!         let timer = match self.uv.timeout() {
//!             Some(Duration::ZERO) => return BeforeSleep::StayAwake,
//!             // It need do no more than end the sleep: the hook comes before the next.
//!             Some(timeout) => Some(self.io_loop.call_later(timeout, || ()).cancel_on_drop()),
//!             None => None,
//!         };
//!         self.timer.replace(timer);
//!         BeforeSleep::Sleep
//!     }
//! }
//! ```
//!
//! `integration/libuv` is this with the real one.
//!
//! The crates `drivers/glib`, `drivers/calloop` and `integration/asyncio` of the repository
//! do each with the real thing.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"the loop's runtime has to drive it: call `start()` or `run_sync()`, or name the backend of a
//!   loop that is to be embedded: IOLoop::builder().backend(BackendKind::Bare)"*: the loop is on
//!   tokio, perhaps since another package turned that feature on. Name the backend.
//! - *The foreign loop reports `POLLNVAL`, or hears nothing of this one any more*: it watches a
//!   descriptor that the loop has given up. See [`Turn::renewed`](crate::embed::Turn::renewed).
//! - *The foreign loop is at 100 %, and no callback runs*: `turn` returns *"the loop is running
//!   already: inside of it `spawn` the future, or `stop` the loop and wait until it has returned"*,
//!   since a callback runs the foreign loop again. See above.
//! - *Callbacks run one turn late, or only when something else happens*: the descriptor is watched
//!   for edges. It is level-triggered: readable for as long as there is work.
//!
//!   ```
//!   use std::time::Duration;
//!   use ioloop::backends::BackendKind;
//!   use ioloop::{IOLoop, Reactor};
//!   use rustix::event::{PollFd, PollFlags, Timespec, poll};
//!
//!   let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
//!   let is_readable = || -> std::io::Result<bool> {
//!       let descriptor = io_loop.descriptor()?;
//!       let now = Timespec { tv_sec: 0, tv_nsec: 0 };
//!       Ok(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now))? == 1)
//!   };
//!   assert!(!is_readable()?); // idle
//!   io_loop.call_soon(|| drop(IOLoop::current().unwrap().call_soon(|| ())));
//!   assert!(is_readable()?);
//!   assert!(io_loop.turn(Some(Duration::ZERO))?.work_left); // what the callback has queued
//!   assert!(is_readable()?);
//!   assert!(!io_loop.turn(Some(Duration::ZERO))?.work_left);
//!   assert!(!is_readable()?);
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *Timers fire only when something else happens*, elsewhere than on Linux: the foreign loop does
//!   not know of [`host_deadline`](crate::IOLoop::host_deadline).
//! - *"cannot watch descriptor 7: it waits for this loop, or is nested too deep to be waited for"*:
//!   two loops in each other, or more of them inside each other than the kernel allows.
//! - *"the loop watches a descriptor that waits for others (an epoll, or another loop), and these
//!   are nested too deep for a host to watch the loop; nest fewer, or use a loop on
//!   `BackendKind::Bare`, which has no host"*: the same, seen by the host.
//! - *"the loop is that of the process which this one was forked from: make a new loop here, or
//!   execute another program"*: the program forks after it has made the loop.
