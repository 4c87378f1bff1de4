//! Testing what takes an hour in a millisecond, and without a flaky sleep.
//!
//! A [`ManualClock`](crate::ManualClock) stands still while there is anything to do, and jumps to
//! the next deadline when there is not. Everything that goes by the loop's
//! [`now`](crate::Reactor::now) follows: timers, periodic callbacks, `sleep`, `timeout`,
//! `interval`. So a test says *what happens when*, to the nanosecond, and waits for nothing.
//!
//! The clock does not know of work outside the loop, and jumps past it: a thread, a peer that is
//! about to write, the bytes of a pty, which a worker of the kernel delivers later. Around such
//! work switch the jumps [off](crate::ManualClock::set_auto_advance).
//!
//! ```
//! use std::{cell::Cell, rc::Rc, time::Duration};
//! use ioloop::{IOLoop, ManualClock, Reactor, sleep};
//!
//! /// What is to be tested: tries again, each time after twice as long, and gives up after an hour.
//! async fn persist<R: Reactor>(reactor: &R, mut attempt: impl FnMut() -> bool) -> bool {
//!     let give_up = reactor.now() + Duration::from_secs(3600);
//!     let mut pause = Duration::from_secs(1);
//!     while reactor.now() < give_up {
//!         if attempt() {
//!             return true;
//!         }
//!         if sleep(reactor, pause).await.is_err() {
//!             return false;
//!         }
//!         pause *= 2;
//!     }
//!     false
//! }
//!
//! let clock = ManualClock::new();
//! let io_loop = IOLoop::builder().clock(&clock).build()?;
//! let start = clock.now();
//! let attempts = Rc::new(Cell::new(0));
//! let count = Rc::clone(&attempts);
//! let held = io_loop.run_sync(persist(&io_loop, move || {
//!     count.set(count.get() + 1);
//!     false
//! }))?;
//! assert!(!held);
//! assert_eq!(attempts.get(), 12);
//! assert_eq!((clock.now() - start).as_secs(), 4095);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A fake reactor
//!
//! Since a library takes a [`Reactor`](crate::Reactor), a test may bring its own: five methods.
//! `poll_loop.rs` in `conformance/tests/third_party` of the repository is one on poll(2). The crate
//! `ioloop-conformance` says whether it keeps the promises: its `reactor_suite!` takes a
//! `ReactorRig`, which is the reactor and how it is run, stopped and closed.
//!
//! # Counting instead of timing
//!
//! [`metrics`](crate::IOLoop::metrics) counts turns, polls, callbacks, events and timers, always;
//! and says what is still registered. "Nothing left behind" is an assertion:
//!
//! ```
//! use ioloop::IOLoop;
//!
//! let io_loop = IOLoop::new()?;
//! // ... what is tested ...
//! let left = io_loop.metrics();
//! assert_eq!((left.watches, left.timers, left.tasks, left.jobs), (0, 0, 0, 0), "{}", io_loop.listing());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
