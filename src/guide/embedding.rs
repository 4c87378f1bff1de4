//! Running a loop inside another event loop: GLib, Qt, winit, calloop, Python's asyncio, or a plain `poll`.
//!
//! A bare loop, or one on async-io or smol, is [`descriptor`](crate::IOLoop::descriptor) and [`turn`](crate::IOLoop::turn): watch the
//! descriptor for reading, level-triggered, and call `turn(Some(Duration::ZERO))` when it is readable. Its timers are in the
//! descriptor as well (on Linux), so that there is no time-out to compute.
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
//! let descriptor = io_loop.descriptor()?;
//! while ticks.get() < 3 {
//!     // The foreign loop. It has descriptors of its own beside this one.
//!     poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)?;
//!     let turn = io_loop.turn(Some(Duration::ZERO))?;
//!     // While work is left the descriptor stays readable: nothing need be remembered.
//!     assert!(!turn.work_left || poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)? == 1);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to look out for
//!
//! - *A foreign loop on epoll* registers the descriptor again when [`Turn::renewed`](crate::Turn::renewed) says so: its number
//!   stays, but another file is behind it. That happens only after somebody closed a watched descriptor while a duplicate
//!   of it lives on. A foreign loop on poll(2) sees no difference.
//! - *Elsewhere than on Linux* the deadline is not in the descriptor: let the foreign loop wait no longer than until
//!   [`host_deadline`](crate::IOLoop::host_deadline).
//! - *[`stop`](crate::IOLoop::stop)* comes out of `turn` as [`Turn::stopped`](crate::Turn::stopped), for the foreign loop to act upon.
//! - *A loop on tokio* cannot be embedded: tokio makes progress only in its own `block_on`, and has no means yet to be
//!   driven from outside. Attach a loop to the running runtime instead.
//! - *The other way round*, a foreign loop inside this one, works for every loop that has a descriptor of its own: watch it
//!   with [`add_reader`](crate::Reactor::add_reader), and dispatch without waiting in the callback.
//!
//! The crates `integration/glib`, `integration/calloop` and `integration/asyncio` of the repository do each with the real thing.
