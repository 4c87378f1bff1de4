//! Where hyper's own tasks run.

use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use ioloop::{Reactor, Trigger, spawn};

/// Runs hyper's futures as tasks of a loop, on this thread: also those that are not `Send`.
///
/// For HTTP/2, whose connections start a task each stream. The tasks are detached, and end with the
/// loop. Use a reactor that does not keep the loop alive, such as a
/// [`WeakIOLoop`](ioloop::WeakIOLoop), where the loop's own tasks hold this.
#[derive(Clone, Debug)]
pub struct LoopExecutor<R>(R);

impl<R: Reactor> LoopExecutor<R> {
    /// An executor of this reactor.
    pub fn new(reactor: R) -> Self {
        LoopExecutor(reactor)
    }
}

impl<R, F> Executor<F> for LoopExecutor<R>
where
    R: Reactor,
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn(&self.0, future).detach();
    }
}

/// Runs futures that are `Send` as tasks of a loop, from any thread.
///
/// For code that wants an executor which is `Send` and `Sync`, such as the client of hyper-util. A
/// clone is a share. On a loop that is closed, futures are dropped.
#[derive(Clone)]
pub struct SendExecutor {
    waiting: Arc<Waiting>,
    trigger: Trigger,
}

type Waiting = Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>;

impl SendExecutor {
    /// An executor of this reactor, which keeps the reactor until its last share is dropped: pass a
    /// [`WeakIOLoop`](ioloop::WeakIOLoop).
    ///
    /// # Errors
    ///
    /// As for [`Trigger::new`]: the loop is closed, or there is no descriptor left.
    pub fn new<R: Reactor + 'static>(reactor: R) -> io::Result<Self> {
        let reactor = std::rc::Rc::new(reactor);
        let waiting = Arc::<Waiting>::default();
        let (here, tasks) = (std::rc::Rc::clone(&reactor), Arc::clone(&waiting));
        let trigger = Trigger::new(&*reactor, move || {
            let futures = mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner));
            for future in futures {
                spawn(&*here, future).detach();
            }
        })?;
        Ok(SendExecutor { waiting, trigger })
    }
}

impl<F> Executor<F> for SendExecutor
where
    F: Future + Send + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let future = Box::pin(async { drop(future.await) });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(future);
        if self.trigger.fire().is_err() {
            // Not under the lock: a future may execute others when it is dropped.
            let futures =
                mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            drop(futures);
        }
    }
}

impl fmt::Debug for SendExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendExecutor").finish_non_exhaustive()
    }
}
