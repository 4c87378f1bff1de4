//! Posting to a loop from other threads.

use std::fmt;
use std::sync::Arc;

use crate::error::Closed;
use crate::reactor::callback::Posted;

/// Posts callbacks to a loop from any thread; what [`Reactor::poster`](crate::Reactor::poster)
/// gives.
///
/// Not from the handler of a signal that was set with `sigaction`: see
/// [`Handle::add_callback`](crate::Handle::add_callback).
///
/// ```
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let poster = io_loop.poster();
/// std::thread::spawn(move || {
///     poster.post(|| IOLoop::current().unwrap().stop()).unwrap();
/// });
/// io_loop.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Poster(Arc<dyn Post + Send + Sync>);

impl Poster {
    /// Makes a poster of what a loop shares with other threads.
    pub fn new(post: Arc<dyn Post + Send + Sync>) -> Self {
        Poster(post)
    }

    /// Queues `callback` on the loop's own thread and wakes the loop.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the loop was closed; the callback is dropped then.
    #[track_caller]
    pub fn post(&self, callback: impl FnOnce() + Send + 'static) -> Result<(), Closed> {
        self.0.post(Posted::new(callback))
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").finish_non_exhaustive()
    }
}

/// The thread-safe side of a loop, for [`Poster::new`].
///
/// ```
/// use std::sync::{Arc, Mutex, mpsc::Sender};
/// use ioloop::reactor::{Post, Posted, Poster};
/// use ioloop::Closed;
///
/// /// What a loop that was written elsewhere shares with other threads, until it is closed.
/// struct Inbox(Mutex<Option<Sender<Posted>>>);
///
/// impl Post for Inbox {
///     fn post(&self, callback: Posted) -> Result<(), Closed> {
///         let inbox = self.0.lock().unwrap();
///         inbox.as_ref().ok_or(Closed)?.send(callback).map_err(|_| Closed)
///     }
/// }
///
/// assert_eq!(Poster::new(Arc::new(Inbox(Mutex::new(None)))).post(|| ()), Err(Closed));
/// ```
pub trait Post {
    /// Queues `callback` on the loop's thread and wakes the loop.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the loop was closed; the callback is dropped then.
    fn post(&self, callback: Posted) -> Result<(), Closed>;
}
