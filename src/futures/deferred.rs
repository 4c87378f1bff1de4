//! A promise and its future: resolved on any thread, awaited on any executor.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::io_loop::IOLoop;
use crate::task::{Completer, JoinError, Task};

/// A future without a value yet, and the side that gives it one.
///
/// It belongs to no loop and no runtime, and costs one allocation.
///
/// | what happens | the answer |
/// |---|---|
/// | resolved | the future gives the value, once; polled again, an error that is [closed](JoinError::is_closed) |
/// | resolved twice | does not compile: [`resolve`](Resolver::resolve) takes the resolver |
/// | the resolver is dropped | the future gives an error that is [closed](JoinError::is_closed) |
/// | resolved after the future was dropped | `resolve` gives the value back |
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
pub fn deferred<T>() -> (Resolver<T>, Deferred<T>) {
    let (task, completer) = Task::new();
    (Resolver(completer), Deferred(task))
}

/// Gives a [`Deferred`] its value; made by [`deferred`].
///
/// ```compile_fail,E0382
/// let (resolver, _answer) = ioloop::deferred();
/// resolver.resolve(1);
/// resolver.resolve(2);
/// ```
#[must_use = "a resolver that is dropped ends its future with an error"]
pub struct Resolver<T>(Completer<T>);

impl<T> Resolver<T> {
    /// Gives the future its value, and wakes whoever awaits it.
    ///
    /// # Errors
    ///
    /// The value, if the future is gone.
    #[doc(alias = "set_result")]
    pub fn resolve(self, value: T) -> Result<(), T> {
        match self.0.complete(Ok(value)) {
            Some(Ok(value)) => Err(value),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Whether the future is gone: then [`resolve`](Self::resolve) returns the value.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_detached()
    }
}

impl<T> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("abandoned", &self.is_abandoned()).finish_non_exhaustive()
    }
}

/// The future of what a [`Resolver`] will be given; made by [`deferred`].
///
/// # Cancel safety
///
/// Awaiting `&mut deferred` may be given up and begun again: the value waits in it.
#[must_use = "the value is lost if it is not awaited"]
pub struct Deferred<T>(Task<T>);

impl<T> Deferred<T> {
    /// Whether the value, or an error, is there to be taken.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Calls `callback` with the result on `io_loop`, before whoever awaits this gets it.
    ///
    /// Callbacks are called in the order added, one per turn, never inside this call. The first is called in the
    /// turn after the result has arrived. A callback that panics is reported, and the next one gets the result.
    /// The callbacks are called even if this is dropped meanwhile. If `io_loop` is closed before, the rest are
    /// dropped, and this gives an error that is [closed](JoinError::is_closed).
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
    pub fn add_done_callback<C>(&mut self, io_loop: &IOLoop, callback: C)
    where
        T: 'static,
        C: FnOnce(&Result<T, JoinError>) + 'static,
    {
        let (next, deferred) = deferred();
        let this = mem::replace(self, deferred);
        io_loop.add_future(this, move |result| {
            let called = catch_unwind(AssertUnwindSafe(|| callback(&result)));
            // If nobody wants it, it is dropped here.
            let _unclaimed = next.0.complete(result);
            if let Err(panic) = called {
                resume_unwind(panic);
            }
        });
    }
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}
