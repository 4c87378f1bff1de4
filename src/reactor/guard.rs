//! The guard that gives a handle its drop: remove for a watch, cancel for a timer, callback or
//! task.

use std::fmt;
use std::ops::Deref;

mod sealed {
    /// A handle that a [`Guard`](super::Guard) can hold.
    pub trait Release {
        /// Ends what the handle stands for.
        fn release(&self);
    }
}

pub(crate) use sealed::Release;

/// Holds a handle, and ends what it stands for when dropped.
///
/// Made by `remove_on_drop` of watches and hooks, and by `cancel_on_drop` of timers, callbacks and
/// tasks.
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let captured = Rc::new(());
/// let held = Rc::clone(&captured);
/// let guard = io_loop.call_later(Duration::from_secs(60), move || drop(held)).cancel_on_drop();
/// drop(guard);
/// assert_eq!(Rc::strong_count(&captured), 1, "the timer's closure is gone");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a guard that is dropped ends what it holds"]
pub struct Guard<H: Release>(Option<H>);

impl<H: Release> Guard<H> {
    pub(crate) fn new(handle: H) -> Self {
        Guard(Some(handle))
    }

    /// The handle, which changes nothing when dropped.
    #[expect(clippy::missing_panics_doc, reason = "only `keep` and `drop` empty a guard")]
    pub fn keep(mut self) -> H {
        self.0.take().expect("a guard holds its handle until it is gone")
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut H> {
        self.0.as_mut()
    }
}

impl<H: Release> Deref for Guard<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.0.as_ref().expect("a guard holds its handle until it is gone")
    }
}

impl<H: Release> Drop for Guard<H> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.release();
        }
    }
}

impl<H: Release + fmt::Debug> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.0).finish()
    }
}

/// A value that stops working when it is dropped warns where it is dropped at once.
///
/// ```
/// #![deny(unused_must_use)]
/// # use {std::time::Duration, ioloop::{Async, IOLoop, PeriodicCallback, interval}};
/// # let io_loop = IOLoop::new()?;
/// # let (one, _other) = std::os::unix::net::UnixStream::pair()?;
/// let _kept = PeriodicCallback::new(&io_loop, Duration::from_secs(1), || ())?;
/// let _kept = interval(&io_loop, Duration::from_secs(1))?;
/// let _kept = Async::new(&io_loop, one)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use {std::time::Duration, ioloop::{IOLoop, PeriodicCallback}};
/// # let io_loop = IOLoop::new()?;
/// PeriodicCallback::new(&io_loop, Duration::from_secs(1), || ())?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use {std::time::Duration, ioloop::{IOLoop, interval}};
/// # let io_loop = IOLoop::new()?;
/// interval(&io_loop, Duration::from_secs(1))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use ioloop::{Async, IOLoop};
/// # let io_loop = IOLoop::new()?;
/// # let (one, _other) = std::os::unix::net::UnixStream::pair()?;
/// Async::new(&io_loop, one)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(doctest)]
struct DroppedAtOnce;
