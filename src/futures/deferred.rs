//! A promise and its task: resolved on any thread, awaited on any executor.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;

use crate::io_loop::IOLoop;
use crate::observe::origin::Origin;
use crate::task::{Completer, JoinError, Task};

/// A task that nothing runs, and the side that gives it its value.
///
/// The task belongs to no loop and no runtime, and costs one allocation.
///
/// | what happens | the answer |
/// |---|---|
/// | resolved | the task gives the value, once; polled again, an error that is [closed](JoinError::is_closed) |
/// | resolved twice | does not compile: [`resolve`](Resolver::resolve) takes the resolver |
/// | the resolver is dropped | the task gives an error that is [closed](JoinError::is_closed) |
/// | the task is cancelled | the task gives an error that is [cancelled](JoinError::is_cancelled), at once; `resolve` gives the value back |
/// | resolved after the task was dropped | `resolve` gives the value back |
/// | resolved after the loop that awaits it was closed | the same: closing drops what the loop awaits |
///
/// ```
/// use ioloop::{IOLoop, deferred};
///
/// let (resolver, answer) = deferred();
/// std::thread::spawn(move || resolver.resolve(42));
/// assert_eq!(IOLoop::new()?.run_sync(answer)??, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Future")]
#[doc(alias = "oneshot")]
#[doc(alias = "Deferred")]
#[must_use = "the value is lost if the task is not awaited"]
pub fn deferred<T>() -> (Resolver<T>, Task<T>) {
    let (task, completer) = Task::promised();
    (Resolver(completer), task)
}

/// Gives a task its value; made by [`deferred`].
///
/// ```compile_fail,E0382
/// let (resolver, _answer) = ioloop::deferred();
/// resolver.resolve(1);
/// resolver.resolve(2);
/// ```
#[doc(alias = "Promise")]
#[must_use = "a resolver that is dropped ends its task with an error"]
pub struct Resolver<T>(Completer<T>);

impl<T> Resolver<T> {
    /// Gives the task its value, and wakes the future that awaits it.
    ///
    /// # Errors
    ///
    /// The value, if the task was dropped or cancelled.
    #[doc(alias = "set_result")]
    pub fn resolve(self, value: T) -> Result<(), T> {
        match self.0.complete(Ok(value)) {
            Some(Ok(value)) => Err(value),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Whether the task was dropped or cancelled: then [`resolve`](Self::resolve) returns the
    /// value.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl<T> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("abandoned", &self.is_abandoned()).finish_non_exhaustive()
    }
}

impl<T: 'static> Task<T> {
    /// Calls `callback` with the result on `io_loop`, before the future that awaits the task gets
    /// it.
    ///
    /// Callbacks are called in the order added, one per turn, never inside this call. The first is
    /// called in the turn after the result has arrived. A callback that panics is reported, and the
    /// next one gets the result. The callbacks are called even if the task is dropped meanwhile.
    /// Cancelling the task cancels what it stands for, and the callbacks are called with that. If
    /// `io_loop` is closed before, the rest are dropped, and the task returns an error that is
    /// [closed](JoinError::is_closed).
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use ioloop::{IOLoop, deferred};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let log = Rc::new(RefCell::new(Vec::new()));
    /// let (resolver, mut answer) = deferred();
    /// for name in ["one", "two"] {
    ///     let log = Rc::clone(&log);
    ///     answer.add_done_callback(&io_loop, move |result| {
    ///         log.borrow_mut().push((name, *result.as_ref().unwrap()));
    ///     });
    /// }
    /// std::thread::spawn(move || resolver.resolve(42));
    /// assert_eq!(io_loop.run_sync(answer)??, 42);
    /// assert_eq!(*log.borrow(), [("one", 42), ("two", 42)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn add_done_callback<C>(&mut self, io_loop: &IOLoop, callback: C)
    where
        C: FnOnce(&Result<T, JoinError>) + 'static,
    {
        let (task, mut completer) = Task::new();
        let mut this = mem::replace(self, task);
        let (engine, location) = (Rc::downgrade(&io_loop.inner.engine), Location::caller());
        // Detached: what it gives is given to the completer.
        io_loop.spawn(async move {
            let result = poll_fn(|cx| {
                completer.listen(cx.waker());
                if completer.is_cancelled() {
                    this.cancel();
                }
                Pin::new(&mut this).poll(cx)
            })
            .await;
            if let Some(engine) = engine.upgrade() {
                let call = || callback(&result);
                engine.exceptions.guard_at(Origin::Callback, Some(location), call);
            }
            completer.finish(result);
        });
    }
}
