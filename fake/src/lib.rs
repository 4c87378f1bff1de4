#![doc = include_str!("../README.md")]
//!
//! # What it does not do
//!
//! It waits for nobody: another thread has to be joined before the turn that is to see what it
//! posted, or woke. A peer's bytes are there when `write` has returned, for pipes and Unix sockets,
//! and on the loopback interface in practice; for anything slower use
//! [`scripted`](FakeReactor::scripted), and say what is ready.
//!
//! [`IOLoop::current`](ioloop::IOLoop::current) is none in its callbacks, as it is on every loop
//! that is no `IOLoop`. A [`ManualClock`](ioloop::ManualClock) gives time that moves by hand to a
//! real loop: for tests of a program on it, where this is for tests of a library that knows a
//! `Reactor`.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod inner;
mod left;
mod reactor;
mod shared;
mod watches;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ioloop::{Events, Reactor};

use crate::inner::{Inner, Kind, Turned};
pub use crate::left::{Entry, Left, Stalled, What};

/// After so many turns nothing gets done any more.
const TURNS: u32 = 100_000;

/// A [`Reactor`] that the test drives.
///
/// A clone is the same reactor. What a callback or a task of it holds keeps it, as with any loop,
/// until that is dropped, or the reactor [closed](Self::close).
///
/// A panic in a callback, as of an assertion, comes out of the call that has run it, once its turn
/// is over: [`turn`](Self::turn), [`run_ready`](Self::run_ready), [`advance`](Self::advance),
/// [`block_on`](Self::block_on) or [`run`](Self::run). A reader that panics is removed, as on every
/// loop. [`catch_panics`](Self::catch_panics) takes them instead.
#[derive(Clone)]
pub struct FakeReactor(Rc<Inner>);

/// Making one.
impl FakeReactor {
    /// A reactor on a clock that stands still, which asks the kernel what is ready, and never
    /// waits.
    #[expect(clippy::new_without_default, reason = "two reactors are never the same")]
    pub fn new() -> Self {
        FakeReactor(Inner::new(Kind::Manual))
    }

    /// A reactor on a clock that stands still, where descriptors are ready when the test
    /// [says so](Self::ready), and at no other time. Nothing is refused, a regular file neither.
    ///
    /// ```
    /// use std::{cell::Cell, fs::File, os::fd::AsRawFd, rc::Rc};
    /// use ioloop::{Events, Reactor};
    /// use ioloop_fake::FakeReactor;
    ///
    /// let fake = FakeReactor::scripted();
    /// let calls = Rc::new(Cell::new(0));
    /// let (device, count) = (File::open("/dev/null")?, Rc::clone(&calls));
    /// let number = device.as_raw_fd();
    /// fake.add_reader(device, move |_| count.set(count.get() + 1))?;
    /// fake.run_ready();
    /// assert_eq!(calls.get(), 0);
    /// fake.ready(number, Events::READ);
    /// fake.run_ready();
    /// assert_eq!(calls.get(), 1, "once for each time");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn scripted() -> Self {
        FakeReactor(Inner::new(Kind::Scripted))
    }

    /// A reactor on the system's clock, whose [`run`](Self::run) and [`block_on`](Self::block_on)
    /// wait in poll(2): a loop like any other, and slow.
    ///
    /// # Panics
    ///
    /// There is no descriptor left for what wakes it.
    pub fn real_time() -> Self {
        FakeReactor(Inner::new(Kind::RealTime))
    }
}

/// What the test makes happen.
impl FakeReactor {
    /// Moves the clock on by `by`. On the way it stops at each deadline, fires what is due there,
    /// and [runs](Self::run_ready) what that leads to.
    ///
    /// # Panics
    ///
    /// As [`run_ready`](Self::run_ready), and on a reactor in [real time](Self::real_time).
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc, time::Duration};
    /// use ioloop::{PeriodicCallback, Reactor};
    /// use ioloop_fake::FakeReactor;
    ///
    /// let (fake, second) = (FakeReactor::new(), Duration::from_secs(1));
    /// let (start, log) = (fake.now(), Rc::new(RefCell::new(Vec::new())));
    /// let (clock, times) = (fake.clone(), Rc::clone(&log));
    /// let tick = move || times.borrow_mut().push(clock.now() - start);
    /// let ticking = PeriodicCallback::new(&fake, 2 * second, tick)?;
    /// ticking.start();
    /// fake.advance(5 * second);
    /// assert_eq!(*log.borrow(), [2 * second, 4 * second]);
    /// assert_eq!(fake.now() - start, 5 * second);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn advance(&self, by: Duration) {
        let target = self.now() + by;
        self.run_ready();
        while let Some(next) = self.next_deadline().filter(|next| *next <= target) {
            self.0.move_clock(next);
            self.run_ready();
        }
        self.0.move_clock(target);
    }

    /// Makes the watches of a descriptor number ready for `events`, once: in the next turn in which
    /// one of them waits for that. The kernel is not asked.
    ///
    /// So a wake-up comes for nothing, as on any kernel it may; an error or a hang-up arrives that
    /// no peer in the test can cause; and on a [scripted](Self::scripted) reactor, anything at all.
    /// Returns whether something watches the number, paused or not; it may be added later.
    pub fn ready(&self, number: RawFd, events: Events) -> bool {
        self.0.force(number, events)
    }

    /// Has the next `add_reader`, `add_writer` or `add_handler` fail with `error`. Called more than
    /// once, the errors are for as many of them.
    pub fn fail_next_add(&self, error: io::Error) {
        self.0.fail_next(error, true);
    }

    /// Has the next [`Watch::resume`](ioloop::Watch::resume) fail with `error`, or another method
    /// that puts a paused watch back. An [`Async`](ioloop::Async) does so when it begins to wait.
    pub fn fail_next_resume(&self, error: io::Error) {
        self.0.fail_next(error, false);
    }

    /// Drops everything that the reactor holds, without calling it. From here on it takes nothing:
    /// adding is an error, handles say cancelled, posts are refused.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Running.
impl FakeReactor {
    /// Makes one turn, without waiting: what is queued, what is ready, the timers that are due.
    /// What these queue waits for the next. Returns whether it called anything, or something is
    /// queued.
    pub fn turn(&self) -> bool {
        let turned = self.0.turn(|| false);
        self.0.resume_panic();
        turned == Turned::Busy
    }

    /// Makes turns until nothing is queued, ready or due. The clock stands still.
    ///
    /// # Panics
    ///
    /// If that has no end: a reader that leaves its descriptor unread, or stays at the end of a
    /// file; a writer that has nothing to write, and stays; a callback that queues itself. The text
    /// lists what is registered. [`turn`](Self::turn) is for tests of such things.
    #[track_caller]
    pub fn run_ready(&self) {
        let is_done = (0..TURNS).any(|_| !self.turn());
        assert!(
            is_done,
            "something keeps the reactor busy for ever, one of these:\n{}",
            self.left()
        );
    }

    /// Runs until `future` is done, and returns its value.
    ///
    /// Where nothing is queued or ready, the clock jumps to the next deadline. (In
    /// [real time](Self::real_time) this waits.)
    ///
    /// # Errors
    ///
    /// [`Stalled`]: nothing is left that could wake the future. No watch is ready, and nobody makes
    /// one ready; there is no timer. Or it is not done after a hundred thousand turns, as beside a
    /// periodic callback that it does not wait for. The future is dropped.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::Async;
    /// use ioloop_fake::FakeReactor;
    ///
    /// let fake = FakeReactor::new();
    /// let (ours, _peer) = UnixStream::pair()?;
    /// let stream = Async::new(&fake, ours)?;
    /// // Nobody will write.
    /// let stalled = fake.block_on(stream.readable()).unwrap_err();
    /// assert!(stalled.to_string().contains("nothing is left that could wake it"));
    /// assert_eq!(stalled.left().watches(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// With the future's own panic, and that of a callback.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let mut future = pin!(future);
        let main = self.0.main();
        let waker = Waker::from(Arc::clone(&main));
        let mut turns = 0;
        loop {
            if main.take() {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(value);
                }
            }
            let turned = self.0.turn(|| !main.is_woken());
            self.0.resume_panic();
            turns += u32::from(!self.0.is_real());
            let is_stalled = turned == Turned::Stalled && !main.is_woken();
            if is_stalled || turns > TURNS {
                return Err(Stalled { future: true, forever: !is_stalled, left: self.left() });
            }
        }
    }

    /// Runs until [`stop`](Self::stop), as a loop that its user starts. Where nothing is queued or
    /// ready, the clock jumps to the next deadline. (In [real time](Self::real_time) this waits.)
    ///
    /// # Errors
    ///
    /// [`Stalled`]: it was not stopped, and nothing is left to run; or it was not stopped in a
    /// hundred thousand turns.
    ///
    /// # Panics
    ///
    /// With the panic of a callback.
    pub fn run(&self) -> Result<(), Stalled> {
        let mut turns = 0;
        while !self.0.take_stop() {
            let turned = self.0.turn(|| true);
            self.0.resume_panic();
            turns += u32::from(!self.0.is_real());
            let is_stalled = turned == Turned::Stalled;
            if is_stalled || turns > TURNS {
                return Err(Stalled { future: false, forever: !is_stalled, left: self.left() });
            }
        }
        Ok(())
    }

    /// Has [`run`](Self::run) return after the present turn, or the next one return at once.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Hands the panics of callbacks to `handler`, and has nothing panic for them.
    pub fn catch_panics(&self, handler: impl Fn(Box<dyn Any + Send>) + 'static) {
        self.0.set_panic_handler(Rc::new(handler));
    }
}

/// What is registered.
impl FakeReactor {
    /// Everything that the reactor waits for, or has queued, and where that was handed to it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::Reactor;
    /// use ioloop_fake::FakeReactor;
    ///
    /// let fake = FakeReactor::new();
    /// let timer = fake.call_later(Duration::from_secs(5), || ());
    /// assert_eq!(fake.left().timers(), 1);
    /// assert!(fake.left().to_string().starts_with("a timer, due in 5s, from "));
    /// timer.cancel();
    /// assert!(fake.left().is_empty());
    /// ```
    pub fn left(&self) -> Left {
        self.0.left()
    }

    /// # Panics
    ///
    /// If there is a watch, a timer, a hook, a task or a queued callback. The text lists them.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.left();
        assert!(left.is_empty(), "left behind:\n{left}");
    }

    /// When the next timer is due; none if there is none, but such as never fire.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }
}

impl fmt::Debug for FakeReactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeReactor").field("left", &self.left()).finish_non_exhaustive()
    }
}
