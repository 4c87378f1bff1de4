//! What a loop hands out for a watch, a timer or a queued callback.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::rc::Weak;
use std::time::Instant;

use crate::contain::contain;
use crate::reactor::callback::{Callback, Caller};
use crate::reactor::guard::{Guard, Release};
use crate::reactor::readiness::Interest;
use crate::system::RawFd;

/// The loop that handles were handed out by, as they know it.
///
/// A handle is an id and a weak link to its owner, so any loop can hand them out, and a handle that
/// is kept in a callback makes no cycle. An id is the loop's own number. Include a generation
/// counter, so an old id is rejected and never matches a newer watch. Generations run out: here a
/// slot that has had four billion is not used again.
#[doc(alias = "Registry")]
pub trait Owner {
    /// Ends a watch; false if it had ended.
    fn remove_watch(&self, id: u64) -> bool;

    /// Takes a watch out of the set that is waited for; false if it had ended.
    fn pause_watch(&self, id: u64) -> bool;

    /// Puts a paused watch back; false if it had ended.
    ///
    /// The number of a watch that is not paused may have been closed, and be another file's by now.
    /// The loop notices here that the watch has ended, or serves that file from now on.
    ///
    /// # Errors
    ///
    /// Those of registering a descriptor; the watch stays paused then.
    fn resume_watch(&self, id: u64) -> io::Result<bool>;

    /// Changes what a watch waits for, and starts its callbacks again; an empty interest pauses it.
    /// False if it had ended. An [`Async`](crate::Async) calls this, also for more than its
    /// direction. Bits of the interest that have no name are to be ignored.
    ///
    /// By default a loop reports reading and writing alone.
    ///
    /// # Errors
    ///
    /// Those of registering a descriptor, [`Unsupported`](io::ErrorKind::Unsupported) among them;
    /// the watch is as it was then.
    fn set_watch_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        match interest & Interest::all() {
            nothing if nothing.is_empty() => Ok(self.pause_watch(id)),
            Interest::READ | Interest::WRITE => self.resume_watch(id),
            _ => {
                let text = "this loop tells of reading and writing alone";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    /// Sets a timer, and returns its id; none if the loop is closed, and the callback is dropped.
    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64>;

    /// The time on the loop's clock.
    fn now(&self) -> Instant;

    /// Drops a timer's callback; false if it had fired or was cancelled.
    fn cancel_timer(&self, id: u64) -> bool;

    /// Moves a timer's deadline; false if it had fired or was cancelled.
    fn reset_timer(&self, id: u64, deadline: Instant) -> bool;

    /// Ends a watch that could not be resumed, and reports why; false if it had ended.
    ///
    /// By default that is a line on standard error.
    fn abandon_watch(&self, id: u64, error: io::Error) -> bool {
        let _ = writeln!(io::stderr(), "a watch that could not be resumed was removed: {error}");
        self.remove_watch(id)
    }

    /// Drops a queued callback; false if it had run or was cancelled.
    fn cancel_callback(&self, id: u64) -> bool;

    /// Removes a hook; false if it had been removed, or, as by default, the loop has none.
    fn remove_hook(&self, _id: u64) -> bool {
        false
    }

    /// The number of a watch's descriptor; none, as by default, where that is not known, or if it
    /// had ended.
    fn watch_descriptor(&self, _id: u64) -> Option<RawFd> {
        None
    }

    /// Where a watch was added, for the debug form of its handle; none, as by default, where that
    /// is not known.
    fn watch_location(&self, _id: u64) -> Option<Caller> {
        None
    }

    /// Where a timer was set; otherwise as for a watch.
    fn timer_location(&self, _id: u64) -> Option<Caller> {
        None
    }

    /// Where a callback was queued; otherwise as for a watch.
    fn callback_location(&self, _id: u64) -> Option<Caller> {
        None
    }
}

/// The time on the clock of a loop that may have gone, and has the system's then.
pub(crate) fn now_of(owner: &Weak<dyn Owner>) -> Instant {
    owner.upgrade().map_or_else(Instant::now, |owner| owner.now())
}

/// A reader or a writer of a loop.
///
/// Dropping it changes nothing: the loop owns the source and goes on.
/// [`remove_on_drop`](Self::remove_on_drop) gives the guard that removes. A watch that has ended,
/// in whatever way, returns false.
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let (a, _b) = UnixStream::pair()?;
/// let watch = io_loop.add_writer(a, |_| ())?;
/// assert!(watch.pause());
/// assert!(watch.resume()?);
/// assert!(watch.remove());
/// assert!(!watch.remove());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Watch {
    owner: Weak<dyn Owner>,
    id: u64,
}

impl Watch {
    /// A handle for the watch that `owner` knows as `id`.
    pub fn new(owner: Weak<dyn Owner>, id: u64) -> Self {
        Watch { owner, id }
    }

    /// Another handle of the same watch.
    pub(crate) fn another(&self) -> Watch {
        Watch { owner: Weak::clone(&self.owner), id: self.id }
    }

    /// Ends the watch; false if it had ended.
    ///
    /// The descriptor leaves the kernel's set at once. Its source and closure are dropped before
    /// this returns, or, inside the watch's own callback, when that returns.
    pub fn remove(&self) -> bool {
        self.owner.upgrade().is_some_and(|owner| owner.remove_watch(self.id))
    }

    /// Stops the callbacks until [`resume`](Self::resume), keeping the source; false if it had
    /// ended.
    pub fn pause(&self) -> bool {
        self.owner.upgrade().is_some_and(|owner| owner.pause_watch(self.id))
    }

    /// Starts the callbacks again, with whatever is still pending; false if it had ended.
    ///
    /// A [file that tells a change once](crate::guide::threads#files-that-tell-a-change-once) does
    /// not repeat what it has told meanwhile.
    ///
    /// The watch has ended, paused or not, if its number was closed without the loop's knowledge
    /// and is another file's by now. A driver of a C library that may do so then adds a new watch.
    /// (A watch that was paused, alone on its number, is unknown to the kernel, and serves the new
    /// file.)
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::add_reader`](crate::Reactor::add_reader), since the descriptor goes back
    /// into the kernel's set; the watch stays paused then.
    pub fn resume(&self) -> io::Result<bool> {
        match self.owner.upgrade() {
            Some(owner) => owner.resume_watch(self.id),
            None => Ok(false),
        }
    }

    /// As [`resume`](Self::resume), for a C callback that has nobody to hand an error to: the watch
    /// is removed then, and the error reported to the loop's exception handler. False if it had
    /// ended, or has now.
    ///
    /// A driver tells its library of an error on that descriptor where this is false, or adds a new
    /// watch.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let watch = io_loop.add_reader(ours, |_| ())?;
    /// watch.pause();
    /// assert!(watch.resume_or_remove());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume_or_remove(&self) -> bool {
        let Some(owner) = self.owner.upgrade() else { return false };
        owner.resume_watch(self.id).unwrap_or_else(|error| {
            owner.abandon_watch(self.id, error);
            false
        })
    }

    /// Changes what the watch waits for, and resumes it; nothing pauses it. False if it had ended.
    ///
    /// For a [handler](crate::Reactor::add_handler) of a C library that says "for reading and for
    /// writing" in one call. A reader or a writer may wait for more beside its direction, such as
    /// [`READ_CLOSED`](Interest::READ_CLOSED), but not for the other direction.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for the other direction of a reader or writer of
    /// an [`IOLoop`](crate::IOLoop); a loop from outside may take it for the watch's own.
    /// As for [`resume`](Self::resume); [`Unsupported`](io::ErrorKind::Unsupported) where a loop
    /// from outside cannot tell of it. The watch is as it was then.
    pub fn set_interest(&self, interest: Interest) -> io::Result<bool> {
        match self.owner.upgrade() {
            Some(owner) => owner.set_watch_interest(self.id, interest),
            None => Ok(false),
        }
    }

    /// The number of the descriptor that is watched; none if the watch has ended, or its loop, one
    /// from outside, does not tell.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.owner.upgrade()?.watch_descriptor(self.id)
    }

    /// Whether its loop has gone, as far as this handle knows.
    pub(crate) fn is_orphan(&self) -> bool {
        self.owner.strong_count() == 0
    }

    /// A guard that removes the watch when it is dropped.
    pub fn remove_on_drop(self) -> Guard<Watch> {
        Guard::new(self)
    }
}

impl Release for Watch {
    fn release(&self) {
        self.remove();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.owner.upgrade().and_then(|owner| owner.watch_location(self.id));
        f.debug_struct("Watch")
            .field("id", &self.id)
            .field("location", &location.map(|location| location.to_string()))
            .finish_non_exhaustive()
    }
}

/// A timer of a loop.
///
/// Dropping it does not cancel the timer, as in asyncio and Tornado;
/// [`cancel_on_drop`](Self::cancel_on_drop) gives the guard that does.
///
/// ```
/// use std::time::Duration;
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let timer = io_loop.call_later(Duration::from_secs(60), || println!("tick"));
/// assert!(timer.reset(io_loop.now() + Duration::from_secs(5)));
/// assert!(timer.cancel());
/// assert!(timer.is_cancelled());
/// assert!(!timer.cancel(), "it was cancelled already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TimerHandle {
    owner: Weak<dyn Owner>,
    id: u64,
    deadline: Cell<Instant>,
    cancelled: Cell<bool>,
}

impl TimerHandle {
    /// A handle for the timer that `owner` knows as `id`.
    pub fn new(owner: Weak<dyn Owner>, id: u64, deadline: Instant) -> Self {
        let (deadline, cancelled) = (Cell::new(deadline), Cell::new(false));
        TimerHandle { owner, id, deadline, cancelled }
    }

    /// A handle for a timer that will not fire, because its loop is closed.
    pub fn cancelled(owner: Weak<dyn Owner>, deadline: Instant) -> Self {
        let handle = TimerHandle::new(owner, u64::MAX, deadline);
        handle.cancelled.set(true);
        handle
    }

    /// Sets a timer of `owner`; cancelled if that is closed, or gone.
    pub(crate) fn set(owner: Weak<dyn Owner>, deadline: Instant, callback: Callback) -> Self {
        let id = match owner.upgrade() {
            Some(owner) => owner.set_timer(deadline, callback),
            None => {
                contain(|| drop(callback));
                None
            }
        };
        match id {
            Some(id) => TimerHandle::new(owner, id, deadline),
            None => TimerHandle::cancelled(owner, deadline),
        }
    }

    /// Drops the callback and what it captured, at once; false if it had fired or was cancelled.
    #[doc(alias = "remove_timeout")]
    pub fn cancel(&self) -> bool {
        let cancelled = !self.is_cancelled()
            && self.owner.upgrade().is_some_and(|owner| owner.cancel_timer(self.id));
        if cancelled {
            self.cancelled.set(true);
        }
        cancelled
    }

    /// Whether the timer was cancelled through this handle, or set on a closed loop.
    ///
    /// False for one that has fired.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// When the timer fires, or fired.
    #[doc(alias = "when")]
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Moves the deadline, in place; false if the timer had fired or was cancelled.
    ///
    /// Among equal deadlines it takes its turn as if it were set now.
    pub fn reset(&self, deadline: Instant) -> bool {
        let reset = !self.is_cancelled()
            && self.owner.upgrade().is_some_and(|owner| owner.reset_timer(self.id, deadline));
        if reset {
            self.deadline.set(deadline);
        }
        reset
    }

    /// A guard that cancels the timer when it is dropped.
    pub fn cancel_on_drop(self) -> Guard<TimerHandle> {
        Guard::new(self)
    }
}

impl Release for TimerHandle {
    fn release(&self) {
        self.cancel();
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.owner.upgrade().and_then(|owner| owner.timer_location(self.id));
        f.debug_struct("TimerHandle")
            .field("location", &location.map(|location| location.to_string()))
            .field("deadline", &self.deadline.get())
            .field("cancelled", &self.cancelled.get())
            .finish_non_exhaustive()
    }
}

/// A queued callback of a loop.
///
/// Dropping it does not cancel the callback; [`cancel_on_drop`](Self::cancel_on_drop) gives the
/// guard that does.
///
/// ```
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let callback = io_loop.call_soon(|| unreachable!());
/// assert!(callback.cancel());
/// io_loop.stop();
/// io_loop.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CallbackHandle {
    owner: Weak<dyn Owner>,
    id: u64,
    cancelled: Cell<bool>,
}

impl CallbackHandle {
    /// A handle for the callback that `owner` knows as `id`.
    #[inline]
    pub fn new(owner: Weak<dyn Owner>, id: u64) -> Self {
        CallbackHandle { owner, id, cancelled: Cell::new(false) }
    }

    /// A handle for a callback that will not run, because its loop is closed.
    pub fn cancelled(owner: Weak<dyn Owner>) -> Self {
        CallbackHandle { owner, id: u64::MAX, cancelled: Cell::new(true) }
    }

    /// Drops the callback and what it captured, at once; false if it had run or was cancelled.
    pub fn cancel(&self) -> bool {
        let cancelled = !self.is_cancelled()
            && self.owner.upgrade().is_some_and(|owner| owner.cancel_callback(self.id));
        if cancelled {
            self.cancelled.set(true);
        }
        cancelled
    }

    /// Whether the callback was cancelled through this handle, or queued on a closed loop.
    ///
    /// False for one that has run.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// A guard that cancels the callback when it is dropped.
    pub fn cancel_on_drop(self) -> Guard<CallbackHandle> {
        Guard::new(self)
    }
}

impl Release for CallbackHandle {
    fn release(&self) {
        self.cancel();
    }
}

impl fmt::Debug for CallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.owner.upgrade().and_then(|owner| owner.callback_location(self.id));
        f.debug_struct("CallbackHandle")
            .field("location", &location.map(|location| location.to_string()))
            .field("cancelled", &self.cancelled.get())
            .finish_non_exhaustive()
    }
}
