//! The one task type: the handle of something that runs elsewhere, awaited here.

mod home;
mod join_error;
mod place;
mod shared;
mod sync;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::{fmt, ptr};

use pin_project_lite::pin_project;

pub(crate) use self::home::Home;
use self::home::destroy;
pub use self::join_error::JoinError;
use self::shared::{Far, Near, pair};
use crate::engine::inbox::Inbox;
use crate::engine::{Engine, local};
use crate::reactor::callback::Caller;
use crate::reactor::guard::{Guard, Release};

/// A future, or a call, that runs on a loop or [a runtime](crate::bridge), or what was
/// [promised](crate::deferred()); awaiting it gives what came of it.
///
/// It can be awaited on any executor, and sent to other threads if its value can.
///
/// - Dropping it *detaches*: what it stands for goes on. A panic that is not taken, also one from
///   before the drop, goes to the [exception handler](crate::IOLoop::set_exception_handler) of the
///   loop that ran the task, or its job.
/// - [`cancel`](Self::cancel) has its future dropped without another poll, on a loop in the next
///   turn.
/// - [`cancel_on_drop`](Self::cancel_on_drop) gives the guard that cancels when dropped.
///
/// ```
/// use ioloop::IOLoop;
///
/// let io_loop = IOLoop::new()?;
/// let task = io_loop.spawn(async { 6 * 7 });
/// assert_eq!(io_loop.run_sync(task)?.unwrap(), 42);
///
/// let task = io_loop.spawn(std::future::pending::<()>());
/// task.cancel();
/// assert!(io_loop.run_sync(task)?.unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Awaiting `&mut task` may be given up and begun again: the value waits in it. Once the value was
/// taken, polling again returns an error that is [closed](JoinError::is_closed).
#[doc(alias = "JoinHandle")]
#[doc(alias = "Future")]
pub struct Task<T> {
    /// None once the result was taken: nothing that follows needs the other side.
    near: Option<Near<Result<T, JoinError>>>,
}

/// The loop that was never driven when a task was given to it, if so.
type Undriven = OnceLock<Arc<Inbox>>;

impl<T> Task<T> {
    /// Has the future dropped without another poll, unless it is done; the task then returns
    /// [cancelled](JoinError::is_cancelled). A call or a poll that has begun runs to its end, and a
    /// future that is cancelled in its own poll is dropped there. What was only
    /// [promised](crate::deferred()) is cancelled at once.
    pub fn cancel(&self) {
        if let Some(near) = &self.near {
            near.cancel();
        }
    }

    /// Whether the value, or an error, is there to be taken.
    pub fn is_finished(&self) -> bool {
        self.near.as_ref().is_none_or(Near::is_over)
    }

    /// Lets it run on; the same as dropping the task.
    pub fn detach(self) {}

    /// A guard that cancels the task when it is dropped; it can be awaited like the task.
    pub fn cancel_on_drop(self) -> Guard<Task<T>> {
        Guard::new(self)
    }

    /// A task and the side that completes it.
    pub(crate) fn new() -> (Task<T>, Completer<T>) {
        Task::with(false)
    }

    /// A task that nothing runs, and the side that completes it.
    pub(crate) fn promised() -> (Task<T>, Completer<T>) {
        Task::with(true)
    }

    fn with(promised: bool) -> (Task<T>, Completer<T>) {
        let (near, far) = pair(promised);
        (Task { near: Some(near) }, Completer(Some(far)))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(near) = &mut self.near else { return Poll::Ready(Err(JoinError::closed())) };
        let was_awaited = near.is_waited();
        if !near.is_over() && near.wait(cx.waker()) {
            if let Some(inbox) = near.undriven().get() {
                await_undriven(inbox, was_awaited, cx);
            }
            return Poll::Pending;
        }
        let result = self.near.take().and_then(Near::take);
        Poll::Ready(result.unwrap_or_else(|| Err(JoinError::cancelled())))
    }
}

/// Reports the loop, if the task is awaited in vain on the thread of a loop that is never driven.
///
/// Not in the first poll: the loop may be about to be driven beside this, by `join` or in another
/// task. Then it is driven before this is polled again.
fn await_undriven(inbox: &Arc<Inbox>, was_awaited: bool, cx: &Context<'_>) {
    let here = local::here(inbox).filter(|engine| !engine.life.was_driven());
    match here {
        Some(engine) if was_awaited => engine.report_never_driven(false),
        Some(_) => cx.waker().wake_by_ref(),
        None => {}
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.near.take().and_then(Near::detach) {
            error.report();
        }
    }
}

impl<T> Release for Task<T> {
    fn release(&self) {
        self.cancel();
    }
}

impl<T> Future for Guard<Task<T>> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match Guard::get_mut(&mut self) {
            Some(task) => Pin::new(task).poll(cx),
            None => Poll::Ready(Err(JoinError::closed())),
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// The side of a task that sets its result. If it is dropped unused, the task returns cancelled or
/// closed.
pub(crate) struct Completer<T>(Option<Far<Result<T, JoinError>>>);

impl<T> Completer<T> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(Far::is_cancelled)
    }

    /// Whether the task was dropped.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(Far::is_abandoned)
    }

    /// Makes a task of a future on an engine, which must be this thread's.
    pub(crate) fn spawn(
        self,
        engine: &Engine,
        location: Caller,
        future: impl Future<Output = T> + 'static,
    ) where
        T: 'static,
    {
        // One that was cancelled on its way here need not wait for a turn to be dropped.
        if !self.is_cancelled() {
            if let Some(far) = self.0.as_ref().filter(|_| !engine.life.was_driven()) {
                far.undriven().get_or_init(|| Arc::clone(engine.inbox()));
            }
            engine.spawn(location, Box::pin(Run::new(future, self)));
        }
    }

    /// Sets the result; gives it back if it will not be taken.
    pub(crate) fn complete(mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        self.0.take()?.complete(result)
    }

    /// Sets the result. A panic that will not be taken is reported.
    pub(crate) fn finish(self, result: Result<T, JoinError>) {
        if let Some(Err(error)) = self.complete(result) {
            error.report();
        }
    }

    /// Runs a closure, unless it was cancelled, and sets its result. `home` is whom a panic is
    /// reported to if it is not taken.
    pub(crate) fn call(self, home: Home, call: impl FnOnce() -> T) {
        if self.is_cancelled() {
            return destroy(|| Some(home), || drop(call));
        }
        let called = catch_unwind(AssertUnwindSafe(call));
        self.finish(called.map_err(|payload| JoinError::panicked(payload, Some(home))));
    }

    /// Has a cancellation wake the future. Returns which waker it keeps for that.
    pub(crate) fn listen(&mut self, runner: &Waker) -> Known {
        let runner = runner.clone();
        let known = Known::of(&runner);
        if let Some(far) = &mut self.0 {
            far.listen(runner);
        }
        known
    }
}

/// Which waker it was, without a share of it: the addresses that
/// [`will_wake`](Waker::will_wake) compares. They are those of no other waker while that one lives.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Known {
    data: usize,
    vtable: usize,
}

impl Known {
    fn of(waker: &Waker) -> Self {
        Known { data: waker.data().addr(), vtable: ptr::from_ref(waker.vtable()).addr() }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(far) = self.0.take() {
            let cancelled = far.is_cancelled();
            far.complete(Err(if cancelled { JoinError::cancelled() } else { JoinError::closed() }));
        }
    }
}

pin_project! {
    /// Runs a future until it is done or cancelled, on whatever executor polls this; sets its
    /// result.
    ///
    /// An executor that is shut down drops this instead: first the future, then, in the order of
    /// the fields, the completer, which returns closed.
    ///
    /// Not an async function, which would have room for the future twice: as it was given, and
    /// pinned.
    pub(crate) struct Run<F: Future> {
        #[pin]
        future: Option<F>,
        completer: Completer<F::Output>,
        // The waker that a cancellation wakes, so a poll by the same waker hands none over. It lives
        // until the task is dropped, which cancels nothing any more, or is cancelled, which each
        // poll asks for first.
        runner: Known,
    }
}

impl<F: Future> Run<F> {
    pub(crate) fn new(future: F, completer: Completer<F::Output>) -> Self {
        Run { future: Some(future), completer, runner: Known::default() }
    }

    /// Drops the future, unless it is done, and reports its destructor's panic.
    pub(crate) fn destroy(self: Pin<&mut Self>) {
        let mut future = self.project().future;
        if future.is_some() {
            destroy(Home::here, || future.set(None));
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let completer = this.completer;
        let polled = if completer.is_cancelled() {
            Ok(Poll::Pending)
        } else {
            catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
        };
        let result = match polled {
            Ok(Poll::Ready(value)) => Ok(value),
            Ok(Poll::Pending) => {
                // A task that is done or cancelled at its first poll needs no waker: a cancellation by
                // the future's destructor would wake it for nothing.
                if *this.runner != Known::of(cx.waker()) && !completer.is_cancelled() {
                    *this.runner = completer.listen(cx.waker());
                }
                // Asked last: a cancellation before the waker was there has woken nobody.
                if !completer.is_cancelled() {
                    return Poll::Pending;
                }
                Err(JoinError::cancelled())
            }
            Err(payload) => Err(JoinError::panicked(payload, Home::here())),
        };
        // A destructor that panics must not take the result along.
        destroy(Home::here, || this.future.set(None));
        Completer(completer.0.take()).finish(result);
        Poll::Ready(())
    }
}
