//! Callbacks without the types of their closures: for the loop's thread, and on their way to it.

use std::fmt;
use std::panic::Location;

use crate::reactor::once::{Once, SendOnce};

/// Where something was handed to a loop, as `Location::caller` tells it.
pub(crate) type Caller = &'static Location<'static>;

/// A callback that a loop runs once, whatever closure it was made of.
///
/// A closure that captures no more than two pointers is kept in the callback itself, a larger one in a box.
/// ([`call_soon`](crate::Reactor::call_soon) of an [`IOLoop`](crate::IOLoop) makes no `Callback`: there up to eight need no box.)
#[must_use = "a callback that is dropped is not called"]
pub struct Callback {
    once: Once,
    location: Caller,
}

impl Callback {
    /// Erases the type of a closure.
    #[track_caller]
    pub fn new(callback: impl FnOnce() + 'static) -> Self {
        Callback::at(Location::caller(), callback)
    }

    #[inline]
    pub(crate) fn at(location: Caller, callback: impl FnOnce() + 'static) -> Self {
        Callback { once: Once::new(callback), location }
    }

    /// Runs it.
    ///
    /// # Panics
    ///
    /// With the closure's own panic.
    #[inline]
    pub fn call(self) {
        self.once.call();
    }

    /// Where it was made: for the methods of [`Reactor`](crate::Reactor), where they were called.
    #[doc(alias = "place")]
    pub fn location(&self) -> Caller {
        self.location
    }

    pub(crate) fn into_parts(self) -> (Caller, Once) {
        (self.location, self.once)
    }
}

impl From<Posted> for Callback {
    fn from(posted: Posted) -> Self {
        Callback { once: posted.once.into_inner(), location: posted.location }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("location", &self.location()).finish_non_exhaustive()
    }
}

/// A callback that goes to another thread; there it becomes a [`Callback`].
#[must_use = "a callback that is dropped is not called"]
pub struct Posted {
    once: SendOnce,
    location: Caller,
}

impl Posted {
    /// Erases the type of a closure.
    #[track_caller]
    pub fn new(callback: impl FnOnce() + Send + 'static) -> Self {
        Posted { once: SendOnce::new(callback), location: Location::caller() }
    }
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").field("location", &self.location).finish_non_exhaustive()
    }
}
