//! The one task type: the handle of something that runs elsewhere, awaited here.

mod home;
mod join_error;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem, ptr};

use pin_project_lite::pin_project;

pub(crate) use self::home::Home;
use self::home::destroy;
pub use self::join_error::JoinError;
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
    shared: Option<Arc<Shared<T>>>,
}

impl<T> Task<T> {
    /// Has the future dropped without another poll, unless it is done; the task then returns
    /// [cancelled](JoinError::is_cancelled). A call or a poll that has begun runs to its end, and a
    /// future that is cancelled in its own poll is dropped there. What was only
    /// [promised](crate::deferred()) is cancelled at once.
    pub fn cancel(&self) {
        let Some(shared) = &self.shared else { return };
        let waker = {
            let mut progress = shared.lock();
            match progress.outcome {
                Outcome::Pending(_) => {
                    // Seen by the next poll, since the wake comes after it.
                    shared.cancelled.store(true, Ordering::Release);
                    progress.runner.take()
                }
                Outcome::Promised => {
                    shared.end(&mut progress, Err(JoinError::cancelled()));
                    progress.waker.take()
                }
                Outcome::Done(_) | Outcome::Taken => return,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the value, or an error, is there to be taken.
    pub fn is_finished(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.is_over())
    }

    /// Lets it run on; the same as dropping the task.
    pub fn detach(self) {}

    /// A guard that cancels the task when it is dropped; it can be awaited like the task.
    pub fn cancel_on_drop(self) -> Guard<Task<T>> {
        Guard::new(self)
    }

    /// A task and the side that completes it.
    pub(crate) fn new() -> (Task<T>, Completer<T>) {
        Task::with(Outcome::Pending(None))
    }

    /// A task that nothing runs, and the side that completes it.
    pub(crate) fn promised() -> (Task<T>, Completer<T>) {
        Task::with(Outcome::Promised)
    }

    fn with(outcome: Outcome<T>) -> (Task<T>, Completer<T>) {
        let progress = Progress { outcome, detached: false, waker: None, runner: None };
        let [cancelled, over] = [false; 2].map(AtomicBool::new);
        let shared = Arc::new(Shared { progress: Mutex::new(progress), cancelled, over });
        (Task { shared: Some(Arc::clone(&shared)) }, Completer(Some(shared)))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_pending = |shared: &Arc<Shared<T>>| !shared.is_over() && shared.wait(cx);
        if self.shared.as_ref().is_some_and(is_pending) {
            return Poll::Pending;
        }
        let result = self.shared.take().map(Shared::take);
        Poll::Ready(result.unwrap_or_else(|| Err(JoinError::closed())))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let (outcome, _waker, _runner) = {
            let mut progress = shared.lock();
            progress.detached = true;
            let outcome = match progress.outcome {
                Outcome::Done(_) => Some(mem::replace(&mut progress.outcome, Outcome::Taken)),
                _ => None,
            };
            (outcome, progress.waker.take(), progress.runner.take())
        };
        if let Some(Outcome::Done(Err(error))) = outcome {
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

struct Shared<T> {
    progress: Mutex<Progress<T>>,
    /// The future is to be dropped instead of polled. Beside the lock, since every poll asks.
    cancelled: AtomicBool,
    /// The outcome is there. Beside the lock, so that a poll that takes it makes no waker.
    over: AtomicBool,
}

struct Progress<T> {
    outcome: Outcome<T>,
    /// The task was dropped: its result is not wanted.
    detached: bool,
    /// Wakes the future that awaits the task.
    waker: Option<Waker>,
    /// Wakes the task's future on its executor, so a cancellation is noticed.
    runner: Option<Waker>,
}

impl<T> Progress<T> {
    fn is_over(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Taken)
    }
}

enum Outcome<T> {
    /// With the loop, if that was never driven when the task was given to it.
    Pending(Option<Undriven>),
    /// Nothing runs for it that a cancellation would have to reach.
    Promised,
    Done(Result<T, JoinError>),
    Taken,
}

/// A loop that was never driven when a task was given to it.
struct Undriven {
    inbox: Arc<Inbox>,
    /// The task was awaited once.
    awaited: bool,
}

impl<T> Shared<T> {
    /// Reports the loop, if the task is awaited in vain on the thread of a loop that is never
    /// driven.
    ///
    /// Not in the first poll: the loop may be about to be driven beside this, by `join` or in
    /// another task. Then it is driven before this is polled again.
    fn await_undriven(&self, undriven: Undriven, cx: &Context<'_>) {
        let here = local::here(&undriven.inbox).filter(|engine| !engine.life.was_driven());
        let Some(engine) = here else { return };
        if undriven.awaited {
            return engine.report_never_driven(false);
        }
        if let Outcome::Pending(none) = &mut self.lock().outcome {
            *none = Some(Undriven { awaited: true, ..undriven });
        }
        cx.waker().wake_by_ref();
    }

    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Leaves a waker for the end; false if it has come.
    fn wait(&self, cx: &Context<'_>) -> bool {
        // Made before the lock: cloning and dropping a waker is the executor's code.
        let mut waker = Some(cx.waker().clone());
        let mut progress = self.lock();
        if progress.is_over() {
            return false;
        }
        let undriven = match &mut progress.outcome {
            Outcome::Pending(undriven) => undriven.take(),
            _ => None,
        };
        mem::swap(&mut progress.waker, &mut waker);
        drop(progress);
        if let Some(undriven) = undriven {
            self.await_undriven(undriven, cx);
        }
        true
    }

    fn end(&self, progress: &mut Progress<T>, result: Result<T, JoinError>) {
        progress.outcome = Outcome::Done(result);
        self.over.store(true, Ordering::Release);
    }

    /// Takes the result, which is there.
    fn take(self: Arc<Self>) -> Result<T, JoinError> {
        // Whoever has set the result has let go of it already, or is about to.
        let outcome = match Arc::try_unwrap(self) {
            Ok(Shared { progress, .. }) => {
                progress.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
            }
            Err(shared) => mem::replace(&mut shared.lock().outcome, Outcome::Taken),
        };
        match outcome {
            Outcome::Done(result) => result,
            _ => Err(JoinError::closed()),
        }
    }

    /// Sets the result. Returns it if the task was dropped.
    fn complete(self: Arc<Self>, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        let (unclaimed, waker, _runner) = {
            let mut progress = self.lock();
            let unclaimed = if progress.detached || progress.is_over() {
                Some(result)
            } else {
                self.end(&mut progress, result);
                None
            };
            (unclaimed, progress.waker.take(), progress.runner.take())
        };
        // Before the wake: who takes the result then has it alone.
        drop(self);
        if let Some(waker) = waker {
            waker.wake();
        }
        unclaimed
    }
}

/// The side of a task that sets its result. If it is dropped unused, the task returns cancelled or
/// closed.
pub(crate) struct Completer<T>(Option<Arc<Shared<T>>>);

impl<T> Completer<T> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.is_cancelled())
    }

    /// Whether the task was dropped.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let progress = shared.lock();
            progress.detached || progress.is_over()
        })
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
            if let Some(shared) = self.0.as_ref().filter(|_| !engine.life.was_driven()) {
                let inbox = Arc::clone(engine.inbox());
                shared.lock().outcome = Outcome::Pending(Some(Undriven { inbox, awaited: false }));
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
    pub(crate) fn listen(&self, runner: &Waker) -> Known {
        let runner = runner.clone();
        let known = Known::of(&runner);
        let mut runner = Some(runner);
        if let Some(shared) = &self.0 {
            let mut progress = shared.lock();
            if !progress.detached {
                mem::swap(&mut progress.runner, &mut runner);
            }
        }
        // The waker before is dropped here, after the lock.
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
        if let Some(shared) = self.0.take() {
            let cancelled = shared.is_cancelled();
            shared.complete(Err(if cancelled {
                JoinError::cancelled()
            } else {
                JoinError::closed()
            }));
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
        completer: Option<Completer<F::Output>>,
        // The waker that a cancellation wakes, so a poll by the same waker takes no lock. It lives
        // until the task is dropped, which cancels nothing any more, or is cancelled, which each
        // poll asks for first.
        runner: Known,
    }
}

impl<F: Future> Run<F> {
    pub(crate) fn new(future: F, completer: Completer<F::Output>) -> Self {
        Run { future: Some(future), completer: Some(completer), runner: Known::default() }
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
        let (Some(future), Some(completer)) = (this.future.as_mut().as_pin_mut(), &this.completer)
        else {
            return Poll::Ready(());
        };
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
        if let Some(completer) = this.completer.take() {
            completer.finish(result);
        }
        Poll::Ready(())
    }
}
