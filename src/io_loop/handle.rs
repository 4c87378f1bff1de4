//! The side of a loop that other threads hold.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::inbox::{Inbox, Message};
use crate::engine::local;
use crate::engine::queue::Other;
use crate::error::Closed;
use crate::io_loop::IOLoop;
use crate::reactor::callback::Posted;
use crate::reactor::post::Post;
use crate::task::{Home, Task};

/// For other threads.
impl IOLoop {
    /// The side of this loop that other threads hold.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(self.inner.engine.inbox()))
    }
}

/// Reaches a loop from any thread: posts callbacks, calls closures, spawns futures, stops it.
///
/// What is posted is `Send`. It finds the loop's `!Send` state on the loop's thread: in a
/// thread-local there, or through a channel that a task of the loop reads.
///
/// It is `Send`, `Sync` and cheap to clone, and keeps the loop's wake-up descriptor open but not
/// the loop alive. After the loop was closed, or dropped, every method returns closed.
///
/// ```
/// use ioloop::IOLoop;
///
/// let network = IOLoop::spawn_thread("network", IOLoop::new)?;
/// let handle = network.handle();
/// // `call` runs the closure on the loop's thread; its value can be awaited anywhere.
/// let name = handle.call(|| std::thread::current().name().map(str::to_owned));
/// assert_eq!(IOLoop::new()?.run_sync(name)??.as_deref(), Some("network"));
/// handle.stop()?;
/// network.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
}

impl Handle {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Handle { inbox }
    }

    /// Queues `callback` on the loop's thread, and wakes the loop if it sleeps.
    ///
    /// Posts from the loop's own thread and its `call_soon` share one queue.
    ///
    /// Do not call it in the handler of a signal that was set with `sigaction`: it takes a lock and
    /// memory, which the interrupted code may be holding, so it deadlocks or aborts. Listen with
    /// `signal::add_handler` (feature `signal`), or have the handler write to a socket or an
    /// eventfd that the loop reads.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the loop was closed; the callback is dropped then. A callback that was
    /// accepted runs, or is dropped when the loop is closed.
    #[doc(alias = "call_soon_threadsafe")]
    #[track_caller]
    #[inline]
    pub fn add_callback(&self, callback: impl FnOnce() + Send + 'static) -> Result<(), Closed> {
        match local::driven_here(&self.inbox) {
            Some(engine) => {
                let location = Location::caller();
                engine.push(|queue| queue.push(location, callback));
                Ok(())
            }
            None => self.inbox.post_callback(Posted::new(callback)),
        }
    }

    /// Runs `call` on the loop's thread; the task gives its value.
    ///
    /// Waiting for the task by blocking the loop's own thread deadlocks: await it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the task does not stop the call. A call that is cancelled before it ran does not
    /// run.
    #[track_caller]
    pub fn call<T, F>(&self, call: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (task, completer) = Task::new();
        // Dropped instead of run, the completer returns closed.
        let home = Home::new(&self.inbox, Location::caller());
        let _ = self.add_callback(move || completer.call(home, call));
        task
    }

    /// Spawns the future that `make` makes on the loop's thread, where it may be `!Send`.
    ///
    /// In the loop's own callbacks it is polled first in the next turn, as
    /// [`IOLoop::spawn`](crate::IOLoop::spawn) has it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the task detaches it.
    #[doc(alias = "run_coroutine_threadsafe")]
    #[track_caller]
    pub fn spawn<F, M>(&self, make: M) -> Task<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (task, completer) = Task::new();
        if let Some(engine) = local::driven_here(&self.inbox) {
            completer.spawn(&engine, Location::caller(), made(make));
            return task;
        }
        let location = Location::caller();
        let _ = self.add_callback(move || {
            let future = made(make);
            if let Some(engine) = local::current() {
                completer.spawn(&engine, location, future);
            }
        });
        task
    }

    /// Stops the loop at the end of the turn that reaches this in the queue of callbacks, after what
    /// was queued and posted before.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the loop was closed.
    pub fn stop(&self) -> Result<(), Closed> {
        if let Some(engine) = local::driven_here(&self.inbox) {
            engine.push_other(Other::Stop);
            return Ok(());
        }
        self.inbox.post(Message::Stop).map_err(|(closed, _)| closed)
    }

    /// Has the loop refuse callbacks from now on, but for its own.
    pub(crate) fn refuse(&self) {
        self.inbox.refuse();
    }

    /// Whether the loop was closed, or dropped.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Makes this the handle that [`installed`](Self::installed) gives, process-wide.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is one; it stays.
    pub fn install(self) -> io::Result<()> {
        let mut installed = installed();
        if installed.is_some() {
            let text = "a process-wide handle is installed already; uninstall it first";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        *installed = Some(self);
        Ok(())
    }

    /// The process-wide handle, the same from every thread.
    ///
    /// It is never made by itself: without [`install`](Self::install) there is none.
    #[doc(alias = "instance")]
    pub fn installed() -> Option<Handle> {
        installed().clone()
    }

    /// Takes the process-wide handle away, and returns it; none if there is none.
    #[doc(alias = "clear_instance")]
    pub fn uninstall() -> Option<Handle> {
        installed().take()
    }
}

/// The future of `make`, which is called in the first poll: a panic of `make` arrives like one of
/// the future.
async fn made<F: Future>(make: impl FnOnce() -> F) -> F::Output {
    make().await
}

impl Post for Handle {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        Post::post(&*self.inbox, callback)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

static INSTALLED: Mutex<Option<Handle>> = Mutex::new(None);

fn installed() -> MutexGuard<'static, Option<Handle>> {
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner)
}
