//! Driving a C library that owns its descriptors: libcurl, c-ares, libpq, hiredis, libdbus,
//! Wayland.
//!
//! Such a library says two things: *watch this descriptor for reading, or writing, and call me
//! while it is ready*, and *call me after so long*. Both are what a [`Reactor`](crate::Reactor)
//! does, level-triggered as the library expects. So a driver is three functions, generic over the
//! reactor:
//!
//! | the library says | the driver calls |
//! |---|---|
//! | watch descriptor 7 for reading | [`watch`](crate::Reactor::watch), and keeps the [`Watch`](crate::Watch) |
//! | stop watching it | [`Watch::remove`](crate::Watch::remove), or drops a guard |
//! | call me on your thread, from this thread of mine | [`Trigger::new`](crate::Trigger::new); the library gets the trigger |
//! | watch descriptor 7 for reading and for writing, in one call, as a bit mask | [`add_handler`](crate::Reactor::add_handler) once, then [`Watch::set_interest`](crate::Watch::set_interest) |
//! | stop watching it for now, and again | [`Watch::pause`](crate::Watch::pause), [`Watch::resume_or_remove`](crate::Watch::resume_or_remove) |
//! | call me in 30 ms; in 20; forget it | [`Timer::set`](crate::Timer::set), [`Timer::stop`](crate::Timer::stop) of one [`Timer`](crate::Timer) |
//! | call me at this time of the wall clock | [`Timer::set_at`](crate::Timer::set_at) with [`instant_at`](crate::Reactor::instant_at) |
//!
//! [Which loop is the fastest](super::hosts) inside a runtime that is there depends on the runtime:
//! on a multi-thread tokio it is one of its own, on a thread of its own.
//!
//! # The descriptor is the library's
//!
//! A loop owns what it watches. What a C library owns is [lent](crate::Lent) instead, and that is
//! the one `unsafe` line of a driver: the promise that the library tells before it closes the
//! descriptor, and that the watch is removed then.
//!
//! Some libraries tell too late: they close their socket inside of a call of their own, and it is
//! found closed when that returns. Remove the watch then, in the same callback: that is fine. A
//! number that was closed and used again never reaches the old callback, and
//! [`resume`](crate::Watch::resume) of its watch is false, for one that was never paused too. So a
//! driver that is told of a socket which it knows already calls `resume`, and adds a watch where
//! that is false.
//!
//! # A small one, whole
//!
//! A "library" that answers one request by a pipe, in the manner of libcurl's multi interface:
//!
//! ```
//! use std::cell::{Cell, RefCell};
//! use std::io::{self, Read, Write};
//! use std::os::fd::{AsRawFd, RawFd};
//! use std::os::unix::net::UnixStream;
//! use std::rc::Rc;
//! use ioloop::reactor::{Direction, Watcher};
//! use ioloop::{Guard, IOLoop, Lent, Reactor, Watch};
//!
//! /// The C library: it owns its socket, and is told when that is readable.
//! struct Library {
//!     socket: RefCell<Option<UnixStream>>,
//!     answer: Cell<Option<u8>>,
//! }
//!
//! impl Library {
//!     /// As `curl_multi_socket_action`; true once it is done with its socket, which it closes then.
//!     fn socket_action(&self) -> bool {
//!         let mut byte = [0];
//!         let read = self.socket.borrow().as_ref().map(|mut socket| socket.read(&mut byte));
//!         match read {
//!             Some(Ok(1)) => self.answer.set(Some(byte[0])),
//!             _ => return false,
//!         }
//!         true
//!     }
//! }
//!
//! /// The driver: what it holds, it holds for as long as the library wants it watched.
//! struct Driver {
//!     library: Library,
//!     watch: RefCell<Option<Guard<Watch>>>,
//! }
//!
//! impl Driver {
//!     fn socket_callback<R: Reactor>(self: &Rc<Self>, reactor: &R, fd: RawFd) -> io::Result<()> {
//!         // A `Weak`: the loop holds the closure, and the closure must not hold the driver.
//!         let driver = Rc::downgrade(self);
//!         // SAFETY: the library closes its socket only after `over`, which has removed the watch.
//!         let watcher = Watcher::new(unsafe { Lent::new(fd) }, move |_| {
//!             if let Some(driver) = driver.upgrade() {
//!                 if driver.library.socket_action() {
//!                     driver.over();
//!                 }
//!             }
//!         });
//!         let watch = reactor.watch(Direction::Read, watcher)?;
//!         self.watch.replace(Some(watch.remove_on_drop()));
//!         Ok(())
//!     }
//!
//!     fn over(&self) {
//!         drop(self.watch.take()); // out of the kernel's set at once, also inside its own callback
//!         drop(self.library.socket.take());
//!         IOLoop::current().unwrap().stop();
//!     }
//! }
//!
//! let io_loop = IOLoop::new()?;
//! let (ours, mut theirs) = UnixStream::pair()?;
//! let fd = ours.as_raw_fd();
//! let library = Library { socket: RefCell::new(Some(ours)), answer: Cell::new(None) };
//! let driver = Rc::new(Driver { library, watch: RefCell::new(None) });
//! driver.socket_callback(&io_loop, fd)?;
//! theirs.write_all(b"7")?;
//! io_loop.start()?;
//! assert_eq!(driver.library.answer.get(), Some(b'7'));
//! assert_eq!(io_loop.metrics().watches, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crates under `drivers/` are the real thing: `ioloop-curl`, whose `sockets.rs` and `driver.rs`
//! do this for libcurl, and those for hiredis, libpq, c-ares and libdbus; and `integration/wayland`
//! is that for Wayland.
//!
//! # The `void *` and the panic
//!
//! A C library hands its callbacks one pointer. Three rules make that safe. The crates under `drivers/`
//! keep the second and the third; where they have a pointer of their own, in the bindings of
//! `ioloop-c-ares` and `ioloop-glib`, they keep the first:
//!
//! - *The pointer is that of an `Rc`, or of a `Box` for one call back.* Give the library [`Rc::into_raw`](std::rc::Rc::into_raw) of what its
//!   callbacks need, and take it back by `Rc::from_raw` once, in the callback that the library calls
//!   last, or where you free the library's handle. It is shared, so what changes in it is in a
//!   `Cell` or a `RefCell`.
//! - *Nobody's code runs inside of a C call.* The callback notes what it was told; the driver acts
//!   on that when the C function has returned. So users may drop the client, or call it again, from
//!   any callback of theirs, and the library is never entered twice.
//! - *No panic crosses.* One that leaves an `extern "C"` function aborts the process. What a callback
//!   has to run on the spot (a body that is written to a user's sink) it runs under
//!   [`catch_unwind`](std::panic::catch_unwind), keeps the payload, and tells the library of a failure.
//!   The driver passes the payload to [`resume_unwind`](std::panic::resume_unwind) when the C
//!   function has returned, in a callback of the loop, which reports it.
//!
//! ```
//! use std::any::Any;
//! use std::cell::{Cell, RefCell};
//! use std::ffi::{c_int, c_void};
//! use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
//! use std::rc::Rc;
//! use ioloop::{IOLoop, Reactor};
//!
//! /// The C library.
//! unsafe fn perform(on_data: extern "C" fn(*mut c_void, c_int) -> c_int, data: *mut c_void) -> bool {
//!     (1..=3).all(|byte| on_data(data, byte) == 0)
//! }
//!
//! /// What its callbacks need.
//! struct Shared {
//!     sink: RefCell<Box<dyn FnMut(c_int)>>,
//!     panic: Cell<Option<Box<dyn Any + Send>>>,
//! }
//!
//! extern "C" fn on_data(data: *mut c_void, byte: c_int) -> c_int {
//!     // SAFETY: `transfer` holds it during each call of the library.
//!     let shared = unsafe { &*data.cast::<Shared>() };
//!     let written = catch_unwind(AssertUnwindSafe(|| shared.sink.borrow_mut()(byte)));
//!     let failed = c_int::from(written.is_err());
//!     shared.panic.set(written.err());
//!     failed
//! }
//!
//! fn transfer(sink: impl FnMut(c_int) + 'static) -> bool {
//!     let shared = Rc::new(Shared { sink: RefCell::new(Box::new(sink)), panic: Cell::new(None) });
//!     let data = Rc::into_raw(shared);
//!     // SAFETY: the library keeps the pointer no longer than the call.
//!     let done = unsafe { perform(on_data, data.cast_mut().cast()) };
//!     // SAFETY: it is that of `into_raw`, taken back once.
//!     let shared = unsafe { Rc::from_raw(data) };
//!     if let Some(panic) = shared.panic.take() {
//!         resume_unwind(panic);
//!     }
//!     done
//! }
//!
//! let io_loop = IOLoop::new()?;
//! let reported = Rc::new(RefCell::new(Vec::new()));
//! let log = Rc::clone(&reported);
//! io_loop.set_exception_handler(move |exception| log.borrow_mut().push(exception.to_string()));
//! io_loop.call_soon(|| assert!(transfer(|_| ())));
//! io_loop.call_soon(|| _ = transfer(|byte| assert_ne!(byte, 2, "the sink is full")));
//! io_loop.call_soon(|| IOLoop::current().unwrap().stop());
//! io_loop.start()?;
//! assert!(reported.borrow()[0].contains("the sink is full"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to look out for
//!
//! - *A request that is done* completes a future by [`deferred`](crate::deferred()): the library's
//!   callback resolves the [`Resolver`](crate::Resolver), and whoever has asked awaits the task.
//! - *Do not run your users' callbacks inside a reader.* One that panics is removed. Queue them
//!   with [`call_soon`](crate::Reactor::call_soon).
//! - *A library that must be asked before each sleep* (OpenSSL's pending bytes, Wayland's queue)
//!   wants [`before_sleep`](crate::IOLoop::before_sleep), whose hook may say "do not sleep". It is
//!   called around each poll of a busy loop too, so output which is flushed there does not wait for
//!   the loop to come to rest.
//! - *Wayland*: in the reader, dispatch what is pending, `wl_display_prepare_read`,
//!   `wl_display_read_events` and dispatch again; in the hook, dispatch what is pending and flush.
//!   Do not prepare in one hook and read in the other: a read that is prepared while the loop
//!   sleeps makes any round trip of other code on the thread wait for ever. `integration/wayland`
//!   is the whole of it.
//! - *A descriptor that is closed already* cannot be borrowed: [`unwatch`](crate::Reactor::unwatch)
//!   takes its number.
//! - *The host runs between the hook and the sleep* of an attached or an embedded loop. A task of
//!   the host, or a callback of the foreign loop, that calls the library and makes it read ahead is
//!   not followed by the hook. Call the library in callbacks and tasks of the loop, or follow the
//!   call by [`call_soon`](crate::Reactor::call_soon)`(|| ())`: the loop then makes another turn,
//!   and asks the hook again.
//! - *A descriptor that the library never takes back* makes any level-triggered loop spin, as one
//!   of libcurl's did: [`set_spin_limit`](crate::IOLoop::set_spin_limit) names it and the line that
//!   added it.
//! - *A device that epoll refuses*, such as the `/dev/null` behind ALSA's `null` device, is ready
//!   all the time, and poll(2) says so. What is to be done while it is ready is done in each turn:
//!   by a callback that queues itself with [`call_soon`](crate::Reactor::call_soon) for as long as
//!   the library wants it, or by [`on_idle`](crate::IOLoop::on_idle).
//! - *A timer that the library moves often* is one [`Timer`](crate::Timer): to set it again costs a
//!   few nanoseconds.
//!
//! # What goes wrong, and how one sees it
//!
//! - *One thread is at 100 %*: the library does not take what its descriptor offers, or has not
//!   said that it is done with it. The report of [`set_spin_limit`](crate::IOLoop::set_spin_limit)
//!   names descriptor and line:
//!
//!   ```
//!   use std::{cell::RefCell, io::Write, os::unix::net::UnixStream, rc::Rc};
//!   use ioloop::{IOLoop, Reactor};
//!
//!   let io_loop = IOLoop::new()?;
//!   let (ours, mut theirs) = UnixStream::pair()?;
//!   theirs.write_all(b"never read")?;
//!   io_loop.add_reader(ours, |_| ())?;
//!
//!   io_loop.set_spin_limit(Some(100));
//!   let reports = Rc::new(RefCell::new(Vec::new()));
//!   let log = Rc::clone(&reports);
//!   io_loop.set_report_handler(move |report| {
//!       log.borrow_mut().push(report.to_string());
//!       IOLoop::current().unwrap().stop();
//!   });
//!   io_loop.start()?;
//!   assert!(reports.borrow()[0].contains("was called in 100 turns in a row without progress"));
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *A connection is silent after the library has connected anew*: its old socket was closed while
//!   it was watched, and the new one has the same number. Nothing is said, as nothing is wrong with
//!   it; [`resume`](crate::Watch::resume) returns false. Watch the new one then.
//! - *"cannot watch descriptor -1: it is not open"*: the library has no socket yet, or none any
//!   more. Ask for it after the call that connects.
//! - *"cannot watch descriptor 7: regular files, directories and devices like /dev/null are always
//!   ready, and epoll refuses them; use a blocking thread"*: see the devices above; for files there
//!   is [`run_in_executor`](crate::IOLoop::run_in_executor).
//! - *"cannot watch descriptor 7: it is watched already, and a handler shares its descriptor with
//!   nobody; remove the one there first"*: two drivers, or a driver and you, for one descriptor.
//! - *"this loop calls no hooks before it sleeps, or after it woke"*: the driver wants hooks, and
//!   the [`Reactor`](crate::Reactor) that it was given is a foreign loop without them.
//! - *"panic in a function that cannot unwind"*, and the process aborts: a panic was about to cross
//!   `extern "C"`. See [the panic](#the-void--and-the-panic).
//! - *"RefCell already borrowed"*, a panic now and then: a user's code was called inside of a C
//!   call, and called the driver. Queue it with [`call_soon`](crate::Reactor::call_soon).
//! - *A client that was dropped is still there*: its callbacks hold it, and the loop holds them.
//!   [`metrics`](crate::IOLoop::metrics) still counts its `watches`, and
//!   [`listing`](crate::IOLoop::listing) says which line added them. Give callbacks a `Weak`.
