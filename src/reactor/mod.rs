//! The trait that generic code is written over: readers, writers, callbacks and timers of any loop.

pub(crate) mod grid;
pub(crate) mod guard;
pub(crate) mod handles;
pub(crate) mod lent;
pub(crate) mod once;
pub(crate) mod readiness;
pub(crate) mod refused;
pub(crate) mod time;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::handles::{CallbackHandle, TimerHandle, Watch};
use self::once::{Once, SendOnce};
use self::readiness::Events;
use crate::error::Closed;

/// The direction in which a descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Data or an end of file can be read, or a connection accepted.
    Read,
    /// Data can be written, or a connection was made.
    Write,
}

/// A loop as its users see it: level-triggered descriptor callbacks, queued callbacks and timers.
///
/// A library that is generic over `Reactor` runs on every runtime, and on every loop that implements
/// it. [`IOLoop`](crate::IOLoop) implements it on each backend.
///
/// # For users
///
/// The methods from [`add_reader`](Self::add_reader) down to [`call_at`](Self::call_at) are for you.
/// What they promise, on every loop:
///
/// - *Level-triggered*: a reader is called in each turn in which its descriptor is readable, until it
///   has read everything. The same for writers. An end of file, a hang-up and an error call both.
/// - *Nothing is called inside the call that asks for it*, and what is queued while callbacks run waits
///   for the next turn, so nothing starves.
/// - *Callbacks run in the order queued*; timers by deadline, and those with equal deadlines in the
///   order of insertion; never before the deadline.
/// - *A callback may do anything to the loop*: remove itself or others, add, stop, panic. What it
///   removed is not called any more, not even for an event that has already come in.
/// - *A callback that panics* is reported once; a reader or writer that panics is removed.
///
/// These are the rules of asyncio's event loop (`add_reader`, `call_soon`, `call_at`) and Tornado's
/// `IOLoop`, with their gaps closed.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use std::{cell::RefCell, io, rc::Rc, time::Duration};
/// use ioloop::{IOLoop, Reactor, Watch};
///
/// /// Hands on each line that comes in; knows no runtime.
/// fn lines<R: Reactor>(
///     reactor: &R,
///     stream: UnixStream,
///     mut on_line: impl FnMut(&str) + 'static,
/// ) -> io::Result<Watch> {
///     let mut pending = Vec::new();
///     reactor.add_reader(stream, move |mut stream| {
///         let mut chunk = [0; 512];
///         let Ok(n) = stream.read(&mut chunk) else { return };
///         pending.extend_from_slice(&chunk[..n]);
///         while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
///             let line: Vec<u8> = pending.drain(..=end).collect();
///             on_line(String::from_utf8_lossy(&line).trim_end());
///         }
///     })
/// }
///
/// let io_loop = IOLoop::new()?;
/// let (mut ours, theirs) = UnixStream::pair()?;
/// ours.write_all(b"hello\nworld\n")?;
/// let seen = Rc::new(RefCell::new(Vec::new()));
/// let log = Rc::clone(&seen);
/// lines(&io_loop, theirs, move |line| log.borrow_mut().push(line.to_owned()))?;
/// io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
/// io_loop.start()?;
/// assert_eq!(*seen.borrow(), ["hello", "world"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # For those who bind a library to it
///
/// - Where the direction is a value, as in a C library's socket callback, call [`watch`](Self::watch) with a
///   [`Watcher`].
/// - A reader that panics is removed. Do not run your users' callbacks inside it, where their panic would end
///   your watch: queue them with [`call_soon`](Self::call_soon).
/// - Hold the reactor in your structs, and give the closures that you pass to it a `Weak` to those structs: a
///   closure that holds them would keep them, and the loop, until the loop is closed. Your users pass a
///   [`WeakIOLoop`](crate::WeakIOLoop) where what you return is held by a task or a callback of the loop.
/// - On a loop that was closed, `add_reader` and `add_writer` are errors; `call_soon` and `call_at` give a handle
///   that says [cancelled](TimerHandle::is_cancelled).
///
/// # For implementors
///
/// Write the first six methods. They take their closures erased, as [`Watcher`] and [`Callback`], so
/// that the trait is object-safe: a struct that stores `Rc<dyn Reactor>` needs no type parameter, and
/// `Rc<dyn Reactor>` is itself a `Reactor`. (So is `&dyn Reactor`: of a `reactor` of that type the methods are
/// called as `(&reactor).call_soon(..)`.) The handles that you return link to your loop through
/// [`Owner`](crate::Owner). Keep no borrow and no lock while you call a `Watcher` or a `Callback`,
/// or drop one: each may call back into your loop.
///
/// What is easily forgotten: a post wakes a loop that sleeps without a timer; callbacks that queue each other for ever
/// starve neither descriptors nor timers nor posts; a regular file, which poll(2) calls always ready, is refused; and once
/// it is closed, the loop drops what it is given and says so. The macro `reactor_suite!` of the crate
/// `ioloop-conformance` makes a test of each of these promises.
pub trait Reactor {
    /// Watches `source` in one direction; what [`add_reader`](Self::add_reader) and
    /// [`add_writer`](Self::add_writer) are made of.
    ///
    /// Replaces the watch of the same descriptor number and direction, if there is one.
    ///
    /// # Errors
    ///
    /// As for [`add_reader`](Self::add_reader). A failed replacement leaves the old watch in place.
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch>;

    /// Ends the watch of a descriptor number in one direction; says whether there was one.
    ///
    /// A number is all that this takes: the descriptor may be closed already, as that of another language's object often
    /// is by the time that its watch is removed. Where the number names another file by now, what ends is the watch that
    /// this number has in the loop, and nothing else.
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::{Direction, IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let number = ours.as_raw_fd();
    /// io_loop.add_reader(ours, |_| ())?;
    /// assert!(io_loop.unwatch(Direction::Read, number)); // closes it, too: the loop owned it
    /// assert!(!io_loop.unwatch(Direction::Read, number));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool;

    /// Queues a callback; what [`call_soon`](Self::call_soon) is made of.
    fn queue(&self, callback: Callback) -> CallbackHandle;

    /// Sets a timer; what [`call_at`](Self::call_at) and [`call_later`](Self::call_later) are made of.
    fn schedule(&self, deadline: Instant, callback: Callback) -> TimerHandle;

    /// The time on the loop's clock, which deadlines are measured against.
    ///
    /// Monotonic: the wall clock's jumps do not matter. Read anew at each call, so a delay counts
    /// from the moment of the call.
    fn now(&self) -> Instant;

    /// The means to post to this loop from another thread.
    fn poster(&self) -> Poster;

    /// Calls `callback` in each turn in which `source` is readable.
    ///
    /// The loop owns the source until the watch ends, so its descriptor can be neither closed nor
    /// reused meanwhile, and lends it to the callback. Share it through `Rc` or `Arc`; what a C library
    /// owns is passed as [`Lent`](crate::Lent). Its `as_fd` is called once, here. The descriptor's
    /// blocking mode stays as it is: read no more than once a call from one that blocks. A stream at its end is
    /// readable for ever: remove the watch there.
    ///
    /// A reader that the descriptor number already has is replaced, and never called again; its writer
    /// stays.
    ///
    /// A few of Linux's files, such as perf rings, do not stay readable until they are read: see
    /// [files that tell a change once](crate::guide::threads#files-that-tell-a-change-once).
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): the descriptor is not open, or is the loop's own.
    /// - [`Unsupported`](io::ErrorKind::Unsupported): a regular file, a directory, or a device like
    ///   `/dev/null`, which are always ready; use a blocking thread.
    /// - [`QuotaExceeded`](io::ErrorKind::QuotaExceeded): the user's limit of watches is reached.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the loop is closed.
    ///
    /// The source is dropped then, and nothing was changed.
    #[track_caller]
    fn add_reader<S, F>(&self, source: S, callback: F) -> io::Result<Watch>
    where
        S: AsFd + 'static,
        F: FnMut(&S) + 'static,
        Self: Sized,
    {
        self.watch(Direction::Read, Watcher::new(source, callback))
    }

    /// Calls `callback` in each turn in which `source` is writable, until it is removed or paused.
    ///
    /// Everything else is as for [`add_reader`](Self::add_reader).
    ///
    /// # Errors
    ///
    /// As for [`add_reader`](Self::add_reader).
    #[track_caller]
    fn add_writer<S, F>(&self, source: S, callback: F) -> io::Result<Watch>
    where
        S: AsFd + 'static,
        F: FnMut(&S) + 'static,
        Self: Sized,
    {
        self.watch(Direction::Write, Watcher::new(source, callback))
    }

    /// Removes the reader of a descriptor number; says whether there was one. [`unwatch`](Self::unwatch) takes the number
    /// itself.
    fn remove_reader(&self, fd: impl AsFd) -> bool
    where
        Self: Sized,
    {
        self.unwatch(Direction::Read, fd.as_fd().as_raw_fd())
    }

    /// Removes the writer of a descriptor number; says whether there was one. [`unwatch`](Self::unwatch) takes the number
    /// itself.
    fn remove_writer(&self, fd: impl AsFd) -> bool
    where
        Self: Sized,
    {
        self.unwatch(Direction::Write, fd.as_fd().as_raw_fd())
    }

    /// Runs `callback` in the next turn.
    ///
    /// On a closed loop it is dropped at once, and the handle says cancelled.
    #[doc(alias = "add_callback")]
    #[track_caller]
    fn call_soon(&self, callback: impl FnOnce() + 'static) -> CallbackHandle
    where
        Self: Sized,
    {
        self.queue(Callback::new(callback))
    }

    /// Runs `callback` once `delay` has passed, counted from this call.
    ///
    /// A zero delay fires in the next turn; [`Duration::MAX`] never.
    #[track_caller]
    fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> TimerHandle
    where
        Self: Sized,
    {
        self.schedule(deadline_after(self.now(), delay), Callback::new(callback))
    }

    /// Runs `callback` once the loop's clock has reached `deadline`; in the next turn if it has already.
    #[doc(alias = "add_timeout")]
    #[track_caller]
    fn call_at(&self, deadline: Instant, callback: impl FnOnce() + 'static) -> TimerHandle
    where
        Self: Sized,
    {
        self.schedule(deadline, Callback::new(callback))
    }
}

/// The instant `delay` after `now`, or a century after it where no instant is so far away.
pub(crate) fn deadline_after(now: Instant, delay: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    now.checked_add(delay).unwrap_or_else(|| now + CENTURY)
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<R: Reactor + ?Sized> Reactor for $pointer {
            fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
                (**self).watch(direction, watcher)
            }

            fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
                (**self).unwatch(direction, fd)
            }

            fn queue(&self, callback: Callback) -> CallbackHandle {
                (**self).queue(callback)
            }

            fn schedule(&self, deadline: Instant, callback: Callback) -> TimerHandle {
                (**self).schedule(deadline, callback)
            }

            fn now(&self) -> Instant {
                (**self).now()
            }

            fn poster(&self) -> Poster {
                (**self).poster()
            }
        }
    )*};
}

forward!(&R, Rc<R>, Box<R>);

/// Where something was handed to a loop, as `Location::caller` tells it.
pub(crate) type Caller = &'static Location<'static>;

/// A callback that a loop runs once, whatever closure it was made of.
///
/// A closure that captures no more than two pointers is kept in the callback itself, a larger one in a box.
/// ([`call_soon`](Reactor::call_soon) of an [`IOLoop`](crate::IOLoop) makes no `Callback`: there up to eight need no box.)
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

    /// Where it was made: for the methods of [`Reactor`], where they were called.
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
    pub(crate) fn with_events<S, F>(source: S, callback: F) -> Self
    where
        S: AsFd + 'static,
        F: FnMut(&S, Events) + 'static,
    {
        Watcher::of(Watched { source, callback, location: Location::caller() })
    }

    pub(crate) fn of(ready: impl Ready + 'static) -> Self {
        Watcher(Box::new(ready))
    }

    /// Where it was made: for the methods of [`Reactor`], where they were called.
    #[doc(alias = "place")]
    pub fn location(&self) -> Caller {
        self.0.location()
    }

    /// Calls the callback with its source.
    pub fn ready(&mut self) {
        self.0.ready(Events::empty());
    }

    /// Calls the callback with its source, and says what came. Call this where your loop knows it,
    /// and [`ready`](Self::ready) otherwise: an [`Async`](crate::Async) then tells who waits for
    /// what.
    pub fn ready_for(&mut self, events: Events) {
        self.0.ready(events);
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
    /// Calls nobody's code: the loop's table is borrowed.
    fn end(&mut self, _why: Ended) {}
}

/// Why a watch ended that nobody removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another watch of the same descriptor and direction took its place.
    Replaced,
    /// Its number was closed behind the loop's back.
    Gone,
    /// The loop was closed.
    Closed,
}

struct Watched<S, F> {
    source: S,
    callback: F,
    location: Caller,
}

impl<S: AsFd, F: FnMut(&S, Events)> Ready for Watched<S, F> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    fn ready(&mut self, events: Events) {
        (self.callback)(&self.source, events);
    }

    fn location(&self) -> Caller {
        self.location
    }
}

/// Posts callbacks to a loop from any thread; what [`Reactor::poster`] gives.
///
/// Not from the handler of a signal that was set with `sigaction`: see [`Handle::add_callback`](crate::Handle::add_callback).
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
/// use ioloop::{Closed, Post, Posted, Poster};
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
