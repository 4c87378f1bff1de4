//! The trait itself, which generic code is written over and another loop implements.

use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::contain::contain;
use crate::reactor::callback::Callback;
use crate::reactor::coroutine::{Coroutine, Running};
use crate::reactor::handles::{CallbackHandle, Owner, TimerHandle, Watch, now_of};
use crate::reactor::hook::{BeforeSleep, Hook, SleepHook};
use crate::reactor::post::Poster;
use crate::reactor::readiness::{Events, Interest};
use crate::reactor::watcher::Watcher;
use crate::system::{AsFd, AsRawFd, RawFd};

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
/// A library that is generic over `Reactor` runs on every runtime, and on every loop that
/// implements it. [`IOLoop`](crate::IOLoop) implements it on each backend.
///
/// # For users
///
/// The methods from [`add_reader`](Self::add_reader) down to [`call_at`](Self::call_at) are for
/// you. What they promise, on every loop:
///
/// - *Level-triggered*: a reader is called in each turn in which its descriptor is readable, until
///   it has read everything. The same for writers. An end of file, a hang-up and an error call
///   both.
/// - *Nothing is called inside the call that asks for it*, and what is queued while callbacks run
///   waits for the next turn, so nothing starves.
/// - *Callbacks run in the order queued*; timers by deadline, and those with equal deadlines in the
///   order of insertion; never before the deadline.
/// - *A callback may do anything to the loop*: remove itself or others, add, stop, panic. What it
///   removed is not called any more, not even for an event that has already arrived.
/// - *A callback that panics* is reported once; a reader or writer that panics is removed.
///
/// Tasks and time are functions that take a reactor: [`spawn`](crate::spawn()),
/// [`sleep`](crate::sleep), [`timeout`](crate::timeout()), [`interval`](crate::interval()). So is what
/// other threads fire: [`Trigger::new`](crate::Trigger::new).
///
/// These are the rules of asyncio's event loop (`add_reader`, `call_soon`, `call_at`) and Tornado's
/// `IOLoop`, with their gaps closed.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use std::cell::{OnceCell, RefCell};
/// use std::{io, rc::Rc};
/// use ioloop::{IOLoop, Reactor, Watch};
///
/// /// Hands on each line that arrives, and nothing at the end; knows no runtime.
/// fn lines<R: Reactor>(
///     reactor: &R,
///     stream: UnixStream,
///     mut on_line: impl FnMut(Option<&str>) + 'static,
/// ) -> io::Result<Rc<OnceCell<Watch>>> {
///     let mut pending = Vec::new();
///     let watch = Rc::new(OnceCell::<Watch>::new());
///     let own = Rc::clone(&watch); // a `Watch` keeps nothing alive
///     let added = reactor.add_reader(stream, move |mut stream| {
///         let mut chunk = [0; 512];
///         match stream.read(&mut chunk) {
///             // A stream at its end is readable for ever.
///             Ok(0) => {
///                 own.get().map(Watch::remove);
///                 return on_line(None);
///             }
///             Ok(n) => pending.extend_from_slice(&chunk[..n]),
///             Err(_) => return,
///         }
///         while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
///             let line: Vec<u8> = pending.drain(..=end).collect();
///             on_line(Some(String::from_utf8_lossy(&line).trim_end()));
///         }
///     })?;
///     watch.set(added).expect("a reader is not called inside this call");
///     Ok(watch)
/// }
///
/// let io_loop = IOLoop::new()?;
/// let (mut ours, theirs) = UnixStream::pair()?;
/// ours.write_all(b"hello\nworld\n")?;
/// let seen = Rc::new(RefCell::new(Vec::new()));
/// let log = Rc::clone(&seen);
/// lines(&io_loop, theirs, move |line| match line {
///     Some(line) => log.borrow_mut().push(line.to_owned()),
///     None => IOLoop::current().unwrap().stop(),
/// })?;
/// drop(ours);
/// io_loop.start()?;
/// assert_eq!(*seen.borrow(), ["hello", "world"]);
/// assert_eq!(io_loop.metrics().watches, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # For those who bind a library to it
///
/// - Where the direction is a value, as in a C library's socket callback, call
///   [`watch`](Self::watch) with a [`Watcher`].
/// - A reader that panics is removed. Do not run your users' callbacks inside it, where their panic
///   would end your watch: queue them with [`call_soon`](Self::call_soon).
/// - Hold the reactor in your structs, and give the closures that you pass to it a `Weak` to those
///   structs: a closure that holds them would keep them, and the loop, until the loop is closed.
///   Your users pass a [`WeakIOLoop`](crate::WeakIOLoop) where what you return is held by a task or
///   a callback of the loop.
/// - On a loop that was closed, `add_reader`, `add_writer` and `add_handler` are errors; `call_soon`
///   and `call_at` give a handle that says [cancelled](TimerHandle::is_cancelled); a hook is dropped,
///   and its handle says that it is gone.
/// - `Rc<dyn Reactor>` and `&dyn Reactor` are reactors. Of a `reactor` of the second type the methods
///   are called as `(&reactor).call_soon(..)`.
///
/// # For implementors
///
/// Write the first five methods; eight of the [`Owner`](crate::reactor::Owner) that the handles which
/// you return ask; and the one of [`Post`](crate::reactor::Post). The five methods after the first
/// have defaults: timers and the time are the owner's, the loop has no handlers and no hooks, and a
/// future is polled in callbacks. They take their closures
/// erased, as [`Watcher`] and [`Callback`], so the trait is object-safe: a struct that stores
/// `Rc<dyn Reactor>` needs no type parameter, and is itself a `Reactor`, as `&dyn Reactor` is. Keep no
/// borrow and no lock while you call what you were given, or drop it: it may call back into your
/// loop.
///
/// What is easily forgotten: a post wakes a loop that sleeps without a timer; callbacks that queue
/// each other for ever starve neither descriptors nor timers nor posts; a regular file, which
/// poll(2) calls always ready, is refused; and once it is closed, the loop drops what it is given
/// and says so. The macro `reactor_suite!` of the crate `ioloop-conformance` makes a test of each
/// of these promises; the crate `ioloop-fake` is a small reactor that keeps them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Reactor`",
    label = "not a loop that descriptors and timers can be added to",
    note = "an `ioloop::IOLoop` is one, on every runtime: `IOLoop::attach()` inside of tokio, smol or \
            async-io, `IOLoop::new()` elsewhere",
    note = "a task or a callback of the loop holds a `WeakIOLoop`, which is a `Reactor` too"
)]
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
    /// A [handler](Self::add_handler) is not ended by this: keep its `Watch`.
    ///
    /// A number is all that this takes: the descriptor may be closed already, as that of another
    /// language's object often is by the time that its watch is removed. Where the number names
    /// another file by now, what ends is the watch that this number has in the loop, and nothing
    /// else.
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::reactor::Direction;
    /// use ioloop::{IOLoop, Reactor};
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

    /// The means to post to this loop from another thread.
    fn poster(&self) -> Poster;

    /// The loop as the handles that it returns know it: weakly.
    ///
    /// Who has one sets timers without the reactor, as a [`Timer`](crate::Timer) does.
    fn owner(&self) -> Weak<dyn Owner>;

    /// Sets a timer; what [`call_at`](Self::call_at) and [`call_later`](Self::call_later) are made
    /// of. By default the [`owner`](Self::owner) does it.
    fn schedule(&self, deadline: Instant, callback: Callback) -> TimerHandle {
        TimerHandle::set(self.owner(), deadline, callback)
    }

    /// The time on the loop's clock, which deadlines are measured against. By default the
    /// [`owner`](Self::owner) has it.
    ///
    /// Monotonic: the wall clock's jumps do not matter. Read anew at each call, so a delay counts
    /// from the moment of the call.
    fn now(&self) -> Instant {
        now_of(&self.owner())
    }

    /// Watches `watcher` for all of `interest` with one callback; what
    /// [`add_handler`](Self::add_handler) is made of.
    ///
    /// By default a loop has no handlers, and this is an error of the kind
    /// [`Unsupported`](io::ErrorKind::Unsupported). One that has them implements
    /// [`Owner::set_watch_interest`](crate::reactor::Owner::set_watch_interest) as well, and says
    /// what came: [`Watcher::ready_for`].
    ///
    /// # Errors
    ///
    /// As for [`add_handler`](Self::add_handler).
    fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
        let _ = interest;
        contain(|| drop(watcher));
        let text = "this loop has readers and writers, and no handlers";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Calls a hook before each sleep of the loop, or after it; what
    /// [`before_sleep`](Self::before_sleep) and [`after_wake`](Self::after_wake) are made of.
    ///
    /// By default a loop has no hooks.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where a loop has no hooks; the hook is dropped
    /// then.
    fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
        contain(|| drop(hook));
        let text = "this loop calls no hooks before it sleeps, or after it woke";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Polls a future on this thread until it is done, first in the next turn; what
    /// [`spawn`](crate::spawn) is made of.
    ///
    /// By default it is polled in posted callbacks, and a timer that never fires owns it. A loop
    /// that has tasks makes one of it.
    fn run_coroutine(&self, coroutine: Coroutine) {
        let running = Running::new(coroutine, self.poster());
        let never = deadline_after(self.now(), Duration::MAX);
        running.set_owner(self.schedule(never, running.owned()));
        self.queue(running.first_poll());
    }

    /// Calls `callback` in each turn in which `source` is readable.
    ///
    /// The loop owns the source until the watch ends, so its descriptor can be neither closed nor
    /// reused meanwhile, and lends it to the callback. Share it through `Rc` or `Arc`; what a C
    /// library owns is passed as [`Lent`](crate::Lent). Its `as_fd` is called once, here. The
    /// descriptor's blocking mode stays as it is: read no more than once a call from one that
    /// blocks. A stream at its end is readable for ever: remove the watch there.
    ///
    /// A reader that the descriptor number already has is replaced, and never called again; its
    /// writer stays.
    ///
    /// A few of Linux's files, such as perf rings, do not stay readable until they are read: see
    /// [files that tell a change once](crate::guide::threads#files-that-tell-a-change-once).
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): the descriptor is not open, or is the
    ///   loop's own.
    /// - [`Unsupported`](io::ErrorKind::Unsupported): a regular file, a directory, or a device like
    ///   `/dev/null`, which are always ready; use a blocking thread.
    /// - [`QuotaExceeded`](io::ErrorKind::QuotaExceeded): the user's limit of watches is reached.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the loop is closed.
    ///
    /// The source is dropped then, and nothing was changed.
    ///
    /// # If the compiler says
    ///
    /// - *the trait `AsFd` is not implemented for `i32`*: a number is no descriptor. One that is yours
    ///   is an [`OwnedFd`](std::os::fd::OwnedFd), one that a C library keeps is
    ///   [lent](crate::Lent).
    /// - *cannot borrow `stream` as mutable*: take it by `|mut stream|`, since `Read` is implemented for
    ///   `&TcpStream`. A pipe of a child has no such implementation: make a `File` of it, as below.
    /// - *does not live long enough*: give the loop the source itself, or an `Rc` of it, and not a
    ///   reference.
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::Read;
    /// use std::os::fd::OwnedFd;
    /// use std::process::{Command, Stdio};
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
    /// let stdout = File::from(OwnedFd::from(child.stdout.take().unwrap()));
    /// io_loop.add_reader(stdout, |mut stdout| {
    ///     let mut chunk = [0; 64];
    ///     let read = stdout.read(&mut chunk).unwrap();
    ///     assert_eq!(&chunk[..read], b"hello\n");
    ///     IOLoop::current().unwrap().stop();
    /// })?;
    /// io_loop.start()?;
    /// child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Calls `callback` with the source, and with what came, in each turn in which there is
    /// something of `interest`, an error or a hang-up.
    ///
    /// Level-triggered like [`add_reader`](Self::add_reader), and the source is owned in the same
    /// way. A descriptor has one handler, and then neither reader nor writer: this never takes the
    /// place of what another part of the program watches. [`Watch::set_interest`] changes the
    /// interest. An empty one holds the source, paused from the beginning. A handler that panics is
    /// removed.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::{Events, IOLoop, Interest, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// ours.write_all(b"x")?;
    /// let watch = io_loop.add_handler(theirs, Interest::empty(), |_, events| {
    ///     assert_eq!(events, Events::READ);
    ///     IOLoop::current().unwrap().stop();
    /// })?;
    /// watch.set_interest(Interest::READ)?;
    /// io_loop.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](io::ErrorKind::AlreadyExists): the descriptor is watched already, which
    ///   goes on.
    /// - [`Unsupported`](io::ErrorKind::Unsupported): as for `add_reader`, or the loop has no
    ///   handlers. Every [`IOLoop`](crate::IOLoop) has them.
    ///
    /// Otherwise as for [`add_reader`](Self::add_reader). A failed add leaves no trace.
    #[track_caller]
    fn add_handler<S, F>(&self, source: S, interest: Interest, callback: F) -> io::Result<Watch>
    where
        S: AsFd + 'static,
        F: FnMut(&S, Events) + 'static,
        Self: Sized,
    {
        self.watch_for(interest, Watcher::with_events(source, callback))
    }

    /// Removes the reader of a descriptor number; says whether there was one.
    /// [`unwatch`](Self::unwatch) takes the number itself.
    fn remove_reader(&self, fd: impl AsFd) -> bool
    where
        Self: Sized,
    {
        self.unwatch(Direction::Read, fd.as_fd().as_raw_fd())
    }

    /// Removes the writer of a descriptor number; says whether there was one.
    /// [`unwatch`](Self::unwatch) takes the number itself.
    fn remove_writer(&self, fd: impl AsFd) -> bool
    where
        Self: Sized,
    {
        self.unwatch(Direction::Write, fd.as_fd().as_raw_fd())
    }

    /// Runs `callback` in the next turn.
    ///
    /// On a closed loop it is dropped at once, and the handle says cancelled.
    ///
    /// # If the compiler says
    ///
    /// - *closure may outlive the current function*: the loop keeps it. Share what it changes in an
    ///   `Rc<Cell<_>>` or an `Rc<RefCell<_>>`, and move a clone of that in. In place of the loop itself
    ///   let it ask for [`IOLoop::current`](crate::IOLoop::current).
    /// - *expected a closure, found an `async` block*: a future is a task, of
    ///   [`spawn`](crate::spawn).
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

    /// Runs `callback` once the loop's clock has reached `deadline`; in the next turn if it has
    /// already.
    #[doc(alias = "add_timeout")]
    #[track_caller]
    fn call_at(&self, deadline: Instant, callback: impl FnOnce() + 'static) -> TimerHandle
    where
        Self: Sized,
    {
        self.schedule(deadline, Callback::new(callback))
    }

    /// When the loop's clock will be where the wall clock says `time`; now, if that has passed.
    ///
    /// For a library that gives deadlines by the wall clock, such as Avahi's `timeval`, and for
    /// Tornado's `add_timeout(time.time() + 5, ..)`. The wall clock is read once, here: a jump of it
    /// afterwards moves no timer.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let midnight = SystemTime::now() + Duration::from_millis(1);
    /// io_loop.call_at(io_loop.instant_at(midnight), || IOLoop::current().unwrap().stop());
    /// io_loop.start()?;
    /// assert!(SystemTime::now() >= midnight);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "timeval")]
    fn instant_at(&self, time: SystemTime) -> Instant
    where
        Self: Sized,
    {
        let delay = time.duration_since(SystemTime::now()).unwrap_or_default();
        deadline_after(self.now(), delay)
    }

    /// Calls `hook` before each sleep of the loop, and before each poll of the descriptors in a
    /// busy turn.
    ///
    /// For a library that has read ahead, or has output to flush. The loop does not sleep where a
    /// hook returns [`StayAwake`](BeforeSleep::StayAwake) or queues something. A hook that panics
    /// is reported and removed. [`IOLoop::before_sleep`](crate::IOLoop::before_sleep), which cannot
    /// fail, has the rest, and an example.
    ///
    /// # Errors
    ///
    /// As for [`add_hook`](Self::add_hook).
    #[track_caller]
    fn before_sleep(&self, hook: impl FnMut() -> BeforeSleep + 'static) -> io::Result<Hook>
    where
        Self: Sized,
    {
        self.add_hook(SleepHook::before(hook))
    }

    /// Calls `hook` once after each round of hooks [before a sleep](Self::before_sleep), whether or
    /// not the loop slept, and before the callbacks of the descriptors that woke it.
    ///
    /// As [`IOLoop::after_wake`](crate::IOLoop::after_wake), which cannot fail.
    ///
    /// # Errors
    ///
    /// As for [`add_hook`](Self::add_hook).
    #[track_caller]
    fn after_wake(&self, hook: impl FnMut() + 'static) -> io::Result<Hook>
    where
        Self: Sized,
    {
        self.add_hook(SleepHook::after(hook))
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

            fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
                (**self).watch_for(interest, watcher)
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

            fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
                (**self).add_hook(hook)
            }

            fn run_coroutine(&self, coroutine: Coroutine) {
                (**self).run_coroutine(coroutine);
            }

            fn now(&self) -> Instant {
                (**self).now()
            }

            fn owner(&self) -> Weak<dyn Owner> {
                (**self).owner()
            }

            fn poster(&self) -> Poster {
                (**self).poster()
            }
        }
    )*};
}

forward!(&R, Rc<R>, Box<R>);
