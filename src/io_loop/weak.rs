//! A link to a loop that does not keep it alive, and is a reactor all the same.

use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use crate::contain::contain;
use crate::engine::Engine;
use crate::engine::clock::ManualClock;
use crate::error::Closed;
use crate::io_loop::{BoundToItsThread, IOLoop};
use crate::reactor::callback::{Callback, Posted};
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::coroutine::Coroutine;
use crate::reactor::handles::{CallbackHandle, Owner, Watch};
use crate::reactor::hook::{Hook, SleepHook};
use crate::reactor::post::{Post, Poster};
use crate::reactor::readiness::Interest;
use crate::reactor::refused::{Known, cannot_watch};
use crate::reactor::watcher::Watcher;
use crate::system::{AsFd, AsRawFd, RawFd};

/// A loop that may have gone; the form of a loop for tasks and callbacks to hold.
///
/// The loop holds its tasks and callbacks, so an [`IOLoop`] in one of them keeps the loop, and all
/// its descriptors, until it is closed. A `WeakIOLoop` does not. It is a [`Reactor`], so everything
/// that takes one ([`sleep`](crate::sleep), [`timeout`](crate::timeout()), [`Async`](crate::Async),
/// a library that is generic) takes it as well. Once the loop has gone, it behaves as a closed loop
/// does.
///
/// ```
/// use std::net::TcpListener;
/// use ioloop::{Async, IOLoop};
///
/// let io_loop = IOLoop::new()?;
/// let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0")?;
/// let weak = io_loop.downgrade();
/// let server = io_loop.spawn(async move {
///     while let Ok((_stream, peer)) = listener.accept(&weak).await {
///         println!("{peer}");
///     }
/// });
/// // With the last `IOLoop` the loop goes, and takes its pending task and the listener along.
/// drop(io_loop);
/// assert!(server.is_finished());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WeakIOLoop {
    inner: Weak<BoundToItsThread>,
    /// A test's clock, which goes on when the loop has gone.
    clock: Option<ManualClock>,
}

/// For tasks and callbacks of the loop to hold.
impl IOLoop {
    /// A link that does not keep the loop alive, for its own tasks and callbacks to hold.
    pub fn downgrade(&self) -> WeakIOLoop {
        WeakIOLoop::new(&self.inner)
    }
}

impl WeakIOLoop {
    pub(crate) fn new(inner: &Rc<BoundToItsThread>) -> Self {
        WeakIOLoop { inner: Rc::downgrade(inner), clock: inner.engine.timers.clock().cloned() }
    }

    /// [`IOLoop::current`], in the form for a task to hold while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, WeakIOLoop, sleep};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let task = io_loop.spawn(async {
    ///     sleep(&WeakIOLoop::current().unwrap(), Duration::from_millis(1)).await
    /// });
    /// io_loop.run_sync(task)???;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current() -> Option<WeakIOLoop> {
        IOLoop::current().map(|io_loop| io_loop.downgrade())
    }

    /// The loop, if some clone of it is alive.
    pub fn upgrade(&self) -> Option<IOLoop> {
        Some(IOLoop { inner: self.inner.upgrade()? })
    }
}

impl Reactor for WeakIOLoop {
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        match self.upgrade() {
            Some(io_loop) => io_loop.watch(direction, watcher),
            None => Err(refuse(watcher)),
        }
    }

    fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
        match self.upgrade() {
            Some(io_loop) => io_loop.watch_for(interest, watcher),
            None => Err(refuse(watcher)),
        }
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        self.upgrade().is_some_and(|io_loop| io_loop.unwatch(direction, fd))
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        if let Some(io_loop) = self.upgrade() {
            return io_loop.queue(callback);
        }
        contain(|| drop(callback));
        CallbackHandle::cancelled(nobody())
    }

    fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
        if let Some(io_loop) = self.upgrade() {
            return io_loop.add_hook(hook);
        }
        contain(|| drop(hook));
        Ok(Hook::new(nobody(), u64::MAX))
    }

    fn run_coroutine(&self, coroutine: Coroutine) {
        match self.upgrade() {
            Some(io_loop) => io_loop.run_coroutine(coroutine),
            None => contain(|| drop(coroutine)),
        }
    }

    fn now(&self) -> Instant {
        self.clock.as_ref().map_or_else(Instant::now, ManualClock::now)
    }

    fn owner(&self) -> Weak<dyn Owner> {
        self.upgrade().map_or_else(nobody, |io_loop| io_loop.owner())
    }

    fn poster(&self) -> Poster {
        self.upgrade().map_or_else(|| Poster::new(Arc::new(Gone)), |io_loop| io_loop.poster())
    }
}

fn refuse(watcher: Watcher) -> io::Error {
    let fd = watcher.as_fd().as_raw_fd();
    contain(|| drop(watcher));
    cannot_watch(fd, Known::Nothing, Closed.into())
}

/// An owner that knows no id.
fn nobody() -> Weak<dyn Owner> {
    Weak::<Engine>::new()
}

/// What other threads share with a loop that has gone.
struct Gone;

impl Post for Gone {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        contain(|| drop(callback));
        Err(Closed)
    }
}

impl fmt::Debug for WeakIOLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakIOLoop").field("loop", &self.upgrade()).finish_non_exhaustive()
    }
}
