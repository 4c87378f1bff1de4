//! Sleeping, time-outs and intervals, for anything that implements `Reactor`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use std::{error, fmt, io};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::error::Closed;
use crate::reactor::callback::{Callback, Caller};
use crate::reactor::contract::{Reactor, deadline_after};
use crate::reactor::grid::next_tick;
use crate::reactor::guard::Guard;
use crate::reactor::handles::{Owner, TimerHandle, now_of};

/// Waits until `delay` has passed, counted from this call.
///
/// ```
/// use std::time::Duration;
/// use ioloop::IOLoop;
///
/// let io_loop = IOLoop::new()?;
/// io_loop.run_sync(ioloop::sleep(&io_loop, Duration::from_millis(2)))??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The future does not hold the reactor. A task of the loop passes a
/// [`WeakIOLoop`](crate::WeakIOLoop), since the task holds what it passes while it waits.
///
/// # Errors
///
/// [`Closed`] if the reactor was closed first: it will not wake the task any more.
///
/// # Cancel safety
///
/// Dropping the future removes its timer.
#[track_caller]
pub fn sleep<R: Reactor>(reactor: &R, delay: Duration) -> Sleep {
    sleep_at(reactor, delay, Location::caller())
}

/// As [`sleep`], for a future, whose caller is not known while it is polled.
pub(crate) fn sleep_at<R: Reactor>(reactor: &R, delay: Duration, location: Caller) -> Sleep {
    let deadline = deadline_after(reactor.now(), delay);
    Sleep::by(location, |callback| reactor.schedule(deadline, callback))
}

/// Waits until the reactor's clock has reached `deadline`.
///
/// # Errors
///
/// As for [`sleep`].
///
/// # Cancel safety
///
/// Dropping the future removes its timer.
#[track_caller]
pub fn sleep_until<R: Reactor>(reactor: &R, deadline: Instant) -> Sleep {
    Sleep::by(Location::caller(), |callback| reactor.schedule(deadline, callback))
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    alarm: Rc<Alarm>,
    timer: Guard<TimerHandle>,
}

impl Sleep {
    /// One that ends with the timer that `set` sets.
    #[inline]
    fn by(location: Caller, set: impl FnOnce(Callback) -> TimerHandle) -> Sleep {
        let alarm = Rc::new(Alarm { state: Cell::new(State::Set), waker: RefCell::new(None) });
        let trigger = Trigger(Rc::clone(&alarm));
        let timer = set(Callback::at(location, move || trigger.0.end(State::Fired)));
        Sleep { alarm, timer: timer.cancel_on_drop() }
    }

    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.timer.deadline()
    }
}

impl Future for Sleep {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.alarm.state.get() {
            State::Fired => Poll::Ready(Ok(())),
            State::Closed => Poll::Ready(Err(Closed)),
            State::Set => {
                let waker = Some(cx.waker().clone());
                let before = self.alarm.waker.replace(waker);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // The task does not wait any more; the end of the timer, which follows, must not wake it.
        let waker = self.alarm.waker.take();
        drop(waker);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline()).finish_non_exhaustive()
    }
}

/// What a sleeper and its timer share.
struct Alarm {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Set,
    Fired,
    Closed,
}

impl Alarm {
    fn end(&self, state: State) {
        if self.state.get() == State::Set {
            self.state.set(state);
            let waker = self.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Held by the timer; dropped with it where the reactor is closed.
struct Trigger(Rc<Alarm>);

impl Drop for Trigger {
    fn drop(&mut self) {
        self.0.end(State::Closed);
    }
}

/// Gives `future` at most `limit` of time, counted from this call.
///
/// A future that is ready in the poll in which the time is over wins. On a time-out it is dropped
/// with the future that this returns, which does not hold the reactor.
///
/// ```
/// use std::time::Duration;
/// use ioloop::IOLoop;
///
/// let io_loop = IOLoop::new()?;
/// let slow = ioloop::timeout(&io_loop, Duration::from_millis(1), std::future::pending::<()>());
/// let error = io_loop.run_sync(slow)?.unwrap_err();
/// assert!(error.is_elapsed());
/// assert_eq!(error.to_string(), "timed out: the future was not done after 1ms");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`TimeoutError`]: the time is over, or the reactor was closed.
///
/// # Cancel safety
///
/// Dropping it drops the inner future and removes the timer.
#[doc(alias = "with_timeout")]
#[doc(alias = "wait_for")]
#[doc(alias = "run_sync_timeout")]
#[track_caller]
pub fn timeout<R: Reactor, F: Future>(
    reactor: &R,
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, TimeoutError>> + use<R, F> {
    Limited { sleep: Some(sleep(reactor, limit)), future: Some(future), limit }
}

pin_project! {
    /// A future and its limit. Both are dropped as soon as one of them is over.
    ///
    /// An `async` block that pins what it has captured has room for it twice.
    struct Limited<F> {
        sleep: Option<Sleep>,
        #[pin]
        future: Option<F>,
        limit: Duration,
    }
}

impl<F: Future> Future for Limited<F> {
    type Output = Result<F::Output, TimeoutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(future), Some(sleep)) = (this.future.as_mut().as_pin_mut(), this.sleep.as_mut())
        else {
            panic!("a time-out was polled again after it had returned");
        };
        let result = match future.poll(cx) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(TimeoutError(match ready!(Pin::new(sleep).poll(cx)) {
                Ok(()) => Reason::Elapsed(*this.limit),
                Err(Closed) => Reason::Closed,
            })),
        };
        *this.sleep = None;
        this.future.set(None);
        Poll::Ready(result)
    }
}

/// Why a [`timeout`] has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Elapsed(Duration),
    Closed,
}

impl TimeoutError {
    /// Whether the time was over.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.0, Reason::Elapsed(_))
    }

    /// Whether the reactor was closed.
    pub fn is_closed(&self) -> bool {
        self.0 == Reason::Closed
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::Elapsed(limit) => {
                write!(f, "timed out: the future was not done after {limit:?}")
            }
            Reason::Closed => f.write_str("the loop was closed before the future was done"),
        }
    }
}

impl error::Error for TimeoutError {}

impl From<TimeoutError> for io::Error {
    fn from(error: TimeoutError) -> io::Error {
        match error.0 {
            Reason::Elapsed(_) => io::Error::new(io::ErrorKind::TimedOut, error),
            Reason::Closed => Closed.into(),
        }
    }
}

/// Ticks every `period`, the first time one period after this call.
///
/// ```
/// use std::time::Duration;
/// use ioloop::IOLoop;
///
/// let io_loop = IOLoop::new()?;
/// let mut ticks = ioloop::interval(&io_loop, Duration::from_millis(1))?;
/// io_loop.run_sync(async {
///     let first = ticks.tick().await?;
///     let second = ticks.tick().await?;
///     assert!(second - first >= Duration::from_millis(1));
///     Ok::<(), ioloop::Closed>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It does not hold the reactor.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a period of zero.
#[track_caller]
pub fn interval<R: Reactor + ?Sized>(reactor: &R, period: Duration) -> io::Result<Interval> {
    if period.is_zero() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an interval of zero would never end; use a task that yields, or a longer one",
        ));
    }
    let next = deadline_after(reactor.now(), period);
    let (owner, location) = (reactor.owner(), Location::caller());
    Ok(Interval { owner, location, period, next, nap: None })
}

/// Ticks on a grid of time; made by [`interval`].
///
/// Ticks that pass while no task waits are skipped: the next one is on the grid again.
///
/// It is a stream of its ticks, which ends when the reactor is closed.
#[must_use = "an interval ticks only for who waits for it"]
pub struct Interval {
    owner: Weak<dyn Owner>,
    location: Caller,
    period: Duration,
    next: Instant,
    /// Until the next tick, while a task waits for it.
    nap: Option<Sleep>,
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        let this = &mut *self;
        let nap = this.nap.take().unwrap_or_else(|| this.until_next());
        let nap = this.nap.insert(nap);
        let slept = ready!(Pin::new(nap).poll(cx));
        this.nap = None;
        Poll::Ready(slept.ok().map(|()| this.ticked()))
    }
}

impl Interval {
    /// Waits for the next tick, and returns when it was due.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the reactor was closed.
    ///
    /// # Cancel safety
    ///
    /// Giving up loses no tick: the same one is waited for again.
    pub async fn tick(&mut self) -> Result<Instant, Closed> {
        // Given up, it takes its timer along; a stream's stays for the next poll.
        self.until_next().await?;
        Ok(self.ticked())
    }

    fn until_next(&self) -> Sleep {
        let owner = Weak::clone(&self.owner);
        Sleep::by(self.location, |callback| TimerHandle::set(owner, self.next, callback))
    }

    fn ticked(&mut self) -> Instant {
        let due = self.next;
        self.next = next_tick(due, self.period, now_of(&self.owner));
        due
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("period", &self.period)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
