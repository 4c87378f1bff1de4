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
//! A library that takes a [`Reactor`](crate::Reactor) is tested on one that the test drives, turn
//! by turn: the crate `ioloop-fake`. Its clock stands still until the test moves it, it never
//! waits, a future that nobody can wake is an error, and an assertion in a callback fails the test.
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::os::unix::net::UnixStream;
//! use std::{cell::RefCell, rc::Rc, time::Duration};
//! use ioloop::{Reactor, Timer, Watch};
//! use ioloop_fake::FakeReactor;
//!
//! /// What is to be tested: notes what arrives, and a silence of ten seconds.
//! fn listen<R: Reactor>(
//!     reactor: &R,
//!     stream: UnixStream,
//!     note: impl Fn(&str) + Clone + 'static,
//! ) -> io::Result<Watch> {
//!     let silent = note.clone();
//!     let silence = Timer::new(reactor, move || silent("silence"));
//!     silence.set(Duration::from_secs(10));
//!     reactor.add_reader(stream, move |mut stream| {
//!         silence.set(Duration::from_secs(10));
//!         let mut chunk = [0; 64];
//!         let read = stream.read(&mut chunk).unwrap_or(0);
//!         note(std::str::from_utf8(&chunk[..read]).unwrap_or("no text"));
//!     })
//! }
//!
//! let fake = FakeReactor::new();
//! let (ours, mut peer) = UnixStream::pair()?;
//! let noted = Rc::new(RefCell::new(Vec::new()));
//! let log = Rc::clone(&noted);
//! let watch = listen(&fake, ours, move |what| log.borrow_mut().push(what.to_owned()))?;
//! fake.advance(Duration::from_secs(9));
//! peer.write_all(b"hello")?;
//! fake.run_ready();
//! fake.advance(Duration::from_secs(9));
//! assert_eq!(*noted.borrow(), ["hello"]);
//! fake.advance(Duration::from_secs(1));
//! assert_eq!(*noted.borrow(), ["hello", "silence"]);
//! watch.remove();
//! fake.assert_nothing_left();
//! // What a loop refuses:
//! fake.fail_next_add(io::ErrorKind::QuotaExceeded.into());
//! assert!(listen(&fake, UnixStream::pair()?.0, |_| ()).is_err());
//! # Ok::<(), io::Error>(())
//! ```
//!
//! A reactor of one's own is five methods of the trait, eight of [`Owner`](crate::reactor::Owner),
//! which the handles that it returns ask, and one of [`Post`](crate::reactor::Post), for other
//! threads. The source of `ioloop-fake` is one to read. The crate `ioloop-conformance` says whether
//! a reactor keeps the promises: its `reactor_suite!` takes a `ReactorRig`, which is the reactor
//! and how it is run, stopped and closed.
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
//!
//! # What goes wrong, and how one sees it
//!
//! - *A test passes, whatever its callback asserts*: the panic of a callback is caught, and
//!   reported on standard error as *"a callback panicked: assertion `left == right` failed"*. Compare
//!   outside of callbacks, or have the handler collect what was reported:
//!
//!   ```
//!   use std::{cell::RefCell, rc::Rc, time::Duration};
//!   use ioloop::{IOLoop, Reactor, sleep};
//!
//!   let io_loop = IOLoop::new()?;
//!   let reported = Rc::new(RefCell::new(Vec::new()));
//!   let log = Rc::clone(&reported);
//!   io_loop.set_exception_handler(move |exception| log.borrow_mut().push(exception.to_string()));
//!   io_loop.call_soon(|| assert_eq!(1 + 1, 3));
//!   io_loop.run_sync(sleep(&io_loop, Duration::from_millis(1)))??;
//!   // At the end of a test: assert!(reported.borrow().is_empty(), "{reported:?}");
//!   let words = "a callback panicked: assertion `left == right` failed";
//!   assert!(reported.borrow()[0].starts_with(words));
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *"timed out: the future was not done after 5s"*, at once, with a
//!   [`ManualClock`](crate::ManualClock): the clock jumped past work of a thread or a peer, of
//!   which it does not know. Switch its jumps [off](crate::ManualClock::set_auto_advance)
//!   meanwhile.
//! - *A test hangs with a `ManualClock`*: its jumps are off, and nobody advances it. One that
//!   *takes its time* sleeps by another clock, such as `tokio::time`; and `tokio::time::pause` does
//!   not move this one.
//! - *"1 task from src/client.rs:40:17"* in the failure of "nothing left behind": that is the
//!   [`listing`](crate::IOLoop::listing), and the line where it was handed in.
//! - *A test that passes alone fails beside others*: it assumes that 2 ms are over, or are not over
//!   yet. Count turns or calls, or wait for what is to happen. Nobody promises the processor in
//!   time.
//! - *"this thread is inside an async context, which must not be blocked: use `IOLoop::attach()`,
//!   or a thread of its own"*, in a `#[tokio::test]`: use a plain `#[test]` with
//!   [`run_sync`](crate::IOLoop::run_sync), or attach and await.
