//! A source and its callback, without their types.

use std::fmt;
use std::panic::Location;

use crate::reactor::callback::Caller;
use crate::reactor::readiness::Events;
use crate::system::{AsFd, BorrowedFd};

/// A source with the callback that is called when it is ready, whatever their types.
///
/// The loop that holds it calls [`as_fd`](AsFd::as_fd) once, when it registers the descriptor.
#[doc(alias = "Source")]
#[doc(alias = "EventSource")]
#[must_use = "a watcher is called by a reactor that it is given to"]
pub struct Watcher(Box<dyn Ready>);

impl Watcher {
    /// Erases the types of a source and its callback.
    #[track_caller]
    pub fn new<S, F>(source: S, mut callback: F) -> Self
    where
        S: AsFd + 'static,
        F: FnMut(&S) + 'static,
    {
        Watcher::with_events(source, move |source, _| callback(source))
    }

    /// Erases the types of a source and a callback that is told what came.
    #[track_caller]
    pub fn with_events<S, F>(source: S, callback: F) -> Self
    where
        S: AsFd + 'static,
        F: FnMut(&S, Events) + 'static,
    {
        Watcher::of(Watched::<S, F, true> { source, callback, location: Location::caller() })
    }

    /// As [`new`](Self::new), for what comes from outside of the program, or from other threads of
    /// it: a loop that [runs until nothing is left](crate::IOLoop::start_until_empty) does not go
    /// on for it. Signals and triggers are watched so.
    ///
    /// ```
    /// use std::os::unix::net::UnixDatagram;
    /// use ioloop::{IOLoop, Reactor};
    /// use ioloop::reactor::{Direction, Watcher};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (commands, _operator) = UnixDatagram::pair()?;
    /// let watcher = Watcher::uncounted(commands, |_| println!("a command of the operator"));
    /// io_loop.watch(Direction::Read, watcher)?;
    /// io_loop.call_soon(|| println!("the work"));
    /// io_loop.start_until_empty()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "unref")]
    #[doc(alias = "uv_unref")]
    #[track_caller]
    pub fn uncounted<S, F>(source: S, mut callback: F) -> Self
    where
        S: AsFd + 'static,
        F: FnMut(&S) + 'static,
    {
        let (callback, location) = (move |source: &S, _| callback(source), Location::caller());
        Watcher::of(Watched::<S, _, false> { source, callback, location })
    }

    pub(crate) fn of(ready: impl Ready + 'static) -> Self {
        Watcher(Box::new(ready))
    }

    /// Where it was made: for the methods of [`Reactor`](crate::Reactor), where they were called.
    #[doc(alias = "place")]
    pub fn location(&self) -> Caller {
        self.0.location()
    }

    /// Calls the callback with its source.
    pub fn ready(&mut self) {
        self.0.ready(Events::empty());
    }

    /// Calls the callback with its source and the events that arrived. Call this where your loop
    /// knows them, so an [`Async`](crate::Async) wakes only those who wait for them; otherwise call
    /// [`ready`](Self::ready).
    pub fn ready_for(&mut self, events: Events) {
        self.0.ready(events);
    }

    /// Whether a loop that runs until nothing is left goes on for it.
    pub fn is_counted(&self) -> bool {
        self.0.is_counted()
    }

    /// How its watch begins: a loop that asks does so. Any other calls it from the beginning.
    pub(crate) fn begin(&mut self) -> Start {
        self.0.begin()
    }

    /// Says why it is about to be dropped.
    pub(crate) fn end(&mut self, why: Ended) {
        self.0.end(why);
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("location", &self.location()).finish_non_exhaustive()
    }
}

/// What a [`Watcher`] is made of.
pub(crate) trait Ready {
    fn fd(&self) -> BorrowedFd<'_>;
    fn ready(&mut self, events: Events);
    fn location(&self) -> Caller;
    fn is_counted(&self) -> bool {
        true
    }
    fn begin(&mut self) -> Start {
        if self.is_counted() { Start::Called } else { Start::Uncounted }
    }
    /// Must not call the user's code: the loop's table is borrowed.
    fn end(&mut self, _why: Ended) {}
}

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Called,
    /// As `Called`, and not [counted](Watcher::is_counted).
    Uncounted,
    /// Paused, once the kernel has accepted the descriptor.
    Paused,
    /// Paused, and the kernel is not asked: a watch has just begun that asked it, or the descriptor
    /// is of a kind that it always accepts.
    Known,
}

/// Why a watch ended without being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another watch of the same descriptor and direction replaced it.
    Replaced,
    /// Its number was closed behind the loop's back.
    Gone,
    /// The loop was closed.
    Closed,
}

struct Watched<S, F, const COUNTED: bool> {
    source: S,
    callback: F,
    location: Caller,
}

impl<S: AsFd, F: FnMut(&S, Events), const COUNTED: bool> Ready for Watched<S, F, COUNTED> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    fn ready(&mut self, events: Events) {
        (self.callback)(&self.source, events);
    }

    fn location(&self) -> Caller {
        self.location
    }

    fn is_counted(&self) -> bool {
        COUNTED
    }
}
