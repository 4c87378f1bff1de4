//! A source with the futures of its readiness, for anything that implements `Reactor`.

use std::any::TypeId;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::waiters::{Found, KEPT, Waiters};
use crate::reactor::callback::Caller;
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::handles::Watch;
use crate::reactor::readiness::{Events, Interest};
use crate::reactor::refused::watch_ended;
use crate::reactor::watcher::{Ended, Ready, Start, Watcher};
use crate::system::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A source whose readiness can be awaited, by any number of tasks in each direction.
///
/// It holds the source, a reader and a writer on it, and the wakers of those who wait. The
/// descriptor goes into the kernel's set when a task waits. A direction that no task waits for is
/// paused. Its [`as_fd`](AsFd::as_fd) is called several times, and has to give the same descriptor
/// each time.
///
/// Where `&S` reads and writes, as sockets and files do, `Async<S>` and `&Async<S>` are
/// futures-io's `AsyncRead` and `AsyncWrite`: read in one task and write in another through an `Rc`
/// of it. tokio-util's `compat` makes tokio's traits of them.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use ioloop::{Async, IOLoop};
///
/// let io_loop = IOLoop::new()?;
/// let (mut ours, theirs) = UnixStream::pair()?;
/// let theirs = Async::new(&io_loop, theirs)?;
/// ours.write_all(b"hello")?;
/// let mut chunk = [0; 16];
/// let n = io_loop.run_sync(theirs.read_with(|mut stream| stream.read(&mut chunk)))??;
/// assert_eq!(&chunk[..n], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What stays when it is dropped
///
/// Non-blocking mode belongs to the open file, which duplicates and other processes share: a
/// terminal's standard input and standard output are often one. [`new`](Self::new) sets it, and
/// nothing here takes it back: another `Async` of a duplicate would then block its whole loop, and
/// other code may rely on the mode as well. So `println!` may fail with
/// [`WouldBlock`](io::ErrorKind::WouldBlock) after an `Async` of standard input. Open the terminal
/// anew instead, as `/dev/tty`, which gives an open file of one's own; or read it on a thread that
/// may block.
///
/// # Errors that stay
///
/// A socket that queues its errors (`IP_RECVERR`, `MSG_ZEROCOPY`, time stamps) is in error until
/// they are taken out, whatever is read. Its waiters are woken once for an error, and again
/// for what comes after it; the rest of the time they sleep. [`ready`](Self::ready) waits for the
/// error itself. (The portable poller cannot tell an error from data: there the loop is busy until
/// the error is taken out.)
#[doc(alias = "IOStream")]
#[doc(alias = "AsyncFd")]
#[doc(alias = "PollEvented")]
#[must_use = "a source that is dropped is not watched any more"]
pub struct Async<S> {
    source: Rc<S>,
    reader: Side,
    writer: Side,
    /// A read that leaves room says that no more is there. Anything else may have a buffer of its
    /// own, or a read that ends elsewhere.
    is_stream: bool,
    /// What a reader's watch is told as well where a read has found all there was. Not of a Unix
    /// socket: there a read also ends where a descriptor is passed, and no edge tells of what is
    /// behind it.
    when_drained: Interest,
}

/// One direction; its watch ends with it.
struct Side(Rc<Waiting>);

/// Who waits for a direction; shared with what the loop calls.
struct Waiting {
    fd: RawFd,
    /// What a read or a write waits for.
    base: Interest,
    watch: OnceCell<Watch>,
    /// What the watch waits for; it is paused if that is nothing. May be more than any waiter wants
    /// any more.
    watched: Cell<Interest>,
    /// What the last event was: an error may be in there that stays.
    seen: Cell<Events>,
    /// Whether the task of a poll trait was told, and has not asked since.
    task_told: Cell<bool>,
    /// Whether nothing was left after the last read, and no event has come since. To read again
    /// would be a system call that finds nothing.
    is_drained: Cell<bool>,
    /// How the watch begins, until the loop asks.
    start: Cell<Start>,
    over: Cell<bool>,
    why: Cell<Option<Ended>>,
    waiters: RefCell<Waiters>,
    /// An empty list, for its room.
    spare: Cell<Vec<Waker>>,
}

impl<S: AsFd + 'static> Async<S> {
    /// Watches `source` on `reactor` and puts it in non-blocking mode, in which it
    /// [stays](Self#what-stays-when-it-is-dropped).
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::add_reader`], and of setting the mode. A source that is refused is
    /// dropped as it was, its mode included. A reader or a writer that the descriptor has already
    /// is replaced.
    #[track_caller]
    pub fn new<R: Reactor>(reactor: &R, source: S) -> io::Result<Async<S>> {
        Async::new_at(reactor, source, Location::caller())
    }

    /// As [`new`](Self::new), for a future, whose caller is not known while it is polled.
    pub(crate) fn new_at<R: Reactor>(
        reactor: &R,
        source: S,
        location: Caller,
    ) -> io::Result<Async<S>> {
        let watched = Async::new_nonblocking_at(reactor, source, location)?;
        rustix::io::ioctl_fionbio(watched.get_ref(), true)?;
        Ok(watched)
    }

    /// Watches a source that is in non-blocking mode already, or is never read or written through
    /// this.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::add_reader`].
    #[track_caller]
    pub fn new_nonblocking<R: Reactor>(reactor: &R, source: S) -> io::Result<Async<S>> {
        Async::new_nonblocking_at(reactor, source, Location::caller())
    }

    pub(crate) fn new_nonblocking_at<R: Reactor>(
        reactor: &R,
        source: S,
        location: Caller,
    ) -> io::Result<Async<S>> {
        Async::begin(reactor, source, Start::Paused, location)
    }

    /// As [`new_nonblocking_at`](Self::new_nonblocking_at), for a socket. The kernel watches every
    /// socket, so it is not asked before the first wait.
    pub(crate) fn of_socket<R: Reactor>(
        reactor: &R,
        socket: S,
        location: Caller,
    ) -> io::Result<Async<S>> {
        Async::begin(reactor, socket, Start::Known, location)
    }

    fn begin<R: Reactor>(
        reactor: &R,
        source: S,
        start: Start,
        location: Caller,
    ) -> io::Result<Async<S>> {
        let source = Rc::new(source);
        let side = |direction, start| Side::new(reactor, direction, &source, start, location);
        // What the kernel says of the reader holds for the writer.
        let (reader, writer) =
            (side(Direction::Read, start)?, side(Direction::Write, Start::Known)?);
        let kind = TypeId::of::<S>();
        let is_tcp = kind == TypeId::of::<TcpStream>();
        let is_stream = is_tcp || kind == TypeId::of::<UnixStream>();
        let when_drained = if is_tcp { Interest::EDGE } else { Interest::empty() };
        Ok(Async { source, reader, writer, is_stream, when_drained })
    }
}

impl<S> Async<S> {
    /// The source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Gives the source back, watched no more. It is in non-blocking mode still.
    ///
    /// # Errors
    ///
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy): the loop holds the source while it wakes a
    /// waiter of this very `Async`, under an executor that polls inside of `wake`. The source is
    /// dropped after that.
    pub fn into_inner(self) -> io::Result<S> {
        let Async { source, reader, writer, .. } = self;
        drop((reader, writer));
        Rc::into_inner(source).ok_or_else(|| {
            let text = "the source cannot be taken out while its own loop calls it";
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })
    }

    /// Waits until the source is readable, or at its end, or in error.
    ///
    /// Readiness may be reported too early: the read that follows has to handle
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), as [`read_with`](Self::read_with) does.
    ///
    /// # Errors
    ///
    /// Those of putting the descriptor into the kernel's set. The watch has ended: the reactor was
    /// closed, the watch was replaced or removed, or the waker of another waiter of the same
    /// direction panicked, which ends it for all of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets its waker; nothing else changes.
    pub fn readable(&self) -> Readiness<'_> {
        Readiness(self.reader.waiter(Interest::READ))
    }

    /// Waits until the source is writable, or in error. Otherwise as [`readable`](Self::readable).
    pub fn writable(&self) -> Readiness<'_> {
        Readiness(self.writer.waiter(Interest::WRITE))
    }

    /// Waits for any of `interest`, an error or a hang-up; returns the events that arrived. An
    /// empty interest waits for the last two.
    ///
    /// Level-triggered: an event that is there already is returned at once. An error that stays,
    /// and was not asked for, is returned once.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::net::Shutdown;
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::{Async, Events, IOLoop, Interest};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (mut client, server) = UnixStream::pair()?;
    /// let server = Async::new(&io_loop, server)?;
    /// client.write_all(b"the next request, which has to wait")?;
    /// client.shutdown(Shutdown::Write)?;
    /// // Nothing was read, and the end is known all the same.
    /// # #[cfg(all(target_os = "linux", not(ioloop_portable)))]
    /// assert_eq!(io_loop.run_sync(server.ready(Interest::READ_CLOSED))??, Events::READ_CLOSED);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`readable`](Self::readable). [`Unsupported`](io::ErrorKind::Unsupported): the loop
    /// or its poller does not report this; each reports reading and writing.
    ///
    /// # Cancel safety
    ///
    /// As for [`readable`](Self::readable).
    pub async fn ready(&self, interest: Interest) -> io::Result<Events> {
        let asked = interest & Interest::all();
        let written = asked & Interest::WRITE;
        let mut read = asked - Interest::WRITE;
        if read == Interest::ERROR && !written.is_empty() {
            // Told to writers as well.
            read = Interest::empty();
        }
        if asked.is_empty() {
            read = Interest::ERROR;
        }
        let mut waiters = [self.reader.waiter(read), self.writer.waiter(written)];
        poll_fn(|cx| {
            let mut events = Events::empty();
            for waiter in waiters.iter_mut().filter(|waiter| !waiter.interest.is_empty()) {
                if let Poll::Ready(told) = waiter.poll(cx) {
                    events |= told?;
                }
            }
            if events.is_empty() { Poll::Pending } else { Poll::Ready(Ok(events)) }
        })
        .await
    }

    /// Whether the source has become readable since this, or a read, last returned pending.
    ///
    /// For a `Stream` of your own, or any other trait that is polled:
    ///
    /// ```
    /// use std::io::{self, Read};
    /// use std::os::unix::net::UnixStream;
    /// use std::task::{Context, Poll, ready};
    /// use ioloop::Async;
    ///
    /// fn poll_byte(stream: &Async<UnixStream>, cx: &mut Context<'_>) -> Poll<io::Result<u8>> {
    ///     let mut byte = [0];
    ///     loop {
    ///         match stream.get_ref().read(&mut byte) {
    ///             Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
    ///                 ready!(stream.poll_readable(cx))?;
    ///             }
    ///             read => return Poll::Ready(read.map(|_| byte[0])),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// Only the task that asked last is woken. [`AsyncRead`](futures_io::AsyncRead) shares the same
    /// waker. Where several tasks wait, use [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// As for [`readable`](Self::readable).
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reader.0.poll(cx)
    }

    /// Whether the source has become writable. Otherwise as [`poll_readable`](Self::poll_readable).
    ///
    /// # Errors
    ///
    /// As for [`readable`](Self::readable).
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.0.poll(cx)
    }

    /// Tries `operation`, again whenever the source is readable, until it returns other than
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// Those of the operation and of [`readable`](Self::readable).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future between two tries loses nothing.
    pub async fn read_with<T>(&self, operation: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.with(&self.reader, operation).await
    }

    /// Tries `operation`, again whenever the source is writable. Otherwise as
    /// [`read_with`](Self::read_with).
    ///
    /// A Unix datagram socket without a peer is writable all the time, whether or not the receiver
    /// has room: the kernel does not know who that will be. Waiting for room there takes a turn for
    /// each try, so connect the socket, or try again after a time.
    ///
    /// # Errors
    ///
    /// Those of the operation and of [`writable`](Self::writable).
    pub async fn write_with<T>(&self, operation: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.with(&self.writer, operation).await
    }

    async fn with<T>(
        &self,
        side: &Side,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match self.attempt(&mut operation) {
                Poll::Ready(done) => return done,
                Poll::Pending => Readiness(side.waiter(side.0.base)).await?,
            }
        }
    }

    pub(super) fn poll_read_with<T>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_with(&self.reader, cx, operation)
    }

    /// As [`poll_read_with`](Self::poll_read_with), of as many bytes as there is room for.
    pub(super) fn poll_read_into(
        &self,
        cx: &Context<'_>,
        room: usize,
        mut read: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let reader = &self.reader.0;
        reader.task_told.set(false);
        if !reader.is_drained.get() || reader.over.get() {
            let attempted = self.attempt(|source| read(source));
            let is_short = matches!(attempted, Poll::Ready(Ok(n)) if 0 < n && n < room);
            let ends_elsewhere = reader.seen.get().intersects(Events::BESIDE_DATA);
            reader.is_drained.set(is_short && self.is_stream && !ends_elsewhere);
            if attempted.is_ready() {
                return attempted;
            }
        }
        // What has arrived since the read is told as well: it is an edge.
        reader.stand_by(cx.waker(), self.when_drained)?;
        Poll::Pending
    }

    pub(super) fn poll_write_with<T>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_with(&self.writer, cx, operation)
    }

    /// For traits whose pending calls cannot say that they were given up.
    fn poll_with<T>(
        &self,
        side: &Side,
        cx: &Context<'_>,
        operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        side.0.task_told.set(false);
        let attempted = self.attempt(operation);
        if attempted.is_pending() {
            // Level-triggered: what became ready since the attempt is told as well.
            side.0.stand_by(cx.waker(), Interest::empty())?;
        }
        attempted
    }

    /// Pending if it would block.
    fn attempt<T>(&self, mut operation: impl FnMut(&S) -> io::Result<T>) -> Poll<io::Result<T>> {
        loop {
            match operation(&self.source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl Side {
    fn new<R: Reactor, S: AsFd + 'static>(
        reactor: &R,
        direction: Direction,
        source: &Rc<S>,
        start: Start,
        location: Caller,
    ) -> io::Result<Side> {
        let waiting = Rc::new(Waiting {
            fd: source.as_fd().as_raw_fd(),
            base: match direction {
                Direction::Read => Interest::READ,
                Direction::Write => Interest::WRITE,
            },
            watch: OnceCell::new(),
            watched: Cell::new(Interest::empty()),
            seen: Cell::new(Events::empty()),
            task_told: Cell::new(false),
            is_drained: Cell::new(false),
            over: Cell::new(false),
            why: Cell::new(None),
            start: Cell::new(start),
            waiters: RefCell::default(),
            spare: Cell::default(),
        });
        let called = Called { source: Rc::clone(source), waiting: Rc::clone(&waiting), location };
        let watch = reactor.watch(direction, Watcher::of(called))?;
        if waiting.start.get() != Start::Called {
            // A loop from outside, which has not asked.
            watch.pause();
        }
        let _ = waiting.watch.set(watch);
        Ok(Side(waiting))
    }

    fn waiter(&self, interest: Interest) -> Waiter<'_> {
        Waiter { waiting: &self.0, interest, number: None }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(watch) = self.0.watch.get() {
            watch.remove();
        }
    }
}

/// What the loop holds and calls.
struct Called<S> {
    source: Rc<S>,
    waiting: Rc<Waiting>,
    location: Caller,
}

impl<S: AsFd> Ready for Called<S> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    fn ready(&mut self, events: Events) {
        self.waiting.event(events);
    }

    fn location(&self) -> Caller {
        self.location
    }

    fn begin(&mut self) -> Start {
        self.waiting.start.replace(Start::Called)
    }

    fn end(&mut self, why: Ended) {
        self.waiting.why.set(Some(why));
    }
}

impl<S> Drop for Called<S> {
    fn drop(&mut self) {
        self.waiting.end();
    }
}

impl Waiting {
    fn event(&self, events: Events) {
        // A loop that does not name the events has called for what a watch of this direction waits
        // for.
        let base = Events::from_bits_truncate(self.base.bits());
        let events = if events.is_empty() { base } else { events };
        self.seen.set(events);
        self.is_drained.set(false);
        let mut waiters = self.waiters.borrow_mut();
        if let Some(alone) = waiters.tell_alone(events, self.base) {
            drop(waiters);
            self.task_told.set(true);
            return alone.wake();
        }
        let mut told = self.spare.take();
        if waiters.tell(events, self.base, &mut told) {
            self.task_told.set(true);
        }
        // A task that was woken may wait again before the next poll: the watch waits for less only
        // if it woke none.
        let left = told.is_empty().then(|| waiters.interest(self.base));
        drop(waiters);
        if let Some(left) = left {
            self.wait_for(left);
        }
        self.wake(told);
    }

    /// The watch has ended.
    fn end(&self) {
        self.over.set(true);
        let mut told = Vec::new();
        self.waiters.borrow_mut().end(&mut told);
        if !told.is_empty() {
            self.wake(told);
        }
    }

    fn wake(&self, mut told: Vec<Waker>) {
        let mut panicked = None;
        for waker in told.drain(..) {
            // One that panics must not keep the others asleep.
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            panicked = panicked.or(woken.err());
        }
        if told.capacity() <= KEPT {
            self.spare.set(told);
        }
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }

    /// Has the watch wait for no more than this.
    fn wait_for(&self, interest: Interest) {
        let set = self.watch.get().map(|watch| watch.set_interest(interest));
        if let Some(Ok(true)) = set {
            self.watched.set(interest);
        }
    }

    /// Has the watch wait for this too; an error if it has ended.
    fn want(&self, interest: Interest) -> io::Result<()> {
        if self.over.get() {
            return Err(self.ended());
        }
        let (watched, seen) = (self.watched.get(), self.seen.get());
        let mut wanted = (watched - Interest::EDGE) | interest;
        // An error that stays, and is not what this one waits for: what comes next counts.
        if seen.intersects(Events::UNASKED) && !seen.answers(interest) {
            wanted |= Interest::EDGE;
        }
        if wanted != watched {
            let is_there = match self.watch.get() {
                Some(watch) => watch.set_interest(wanted)?,
                None => false,
            };
            if !is_there {
                self.over.set(true);
                return Err(self.ended());
            }
            self.watched.set(wanted);
        }
        Ok(())
    }

    /// What has become of the watch.
    #[cold]
    fn ended(&self) -> io::Error {
        let is_orphan = self.watch.get().is_none_or(Watch::is_orphan);
        watch_ended(self.fd, if is_orphan { Some(Ended::Closed) } else { self.why.get() })
    }

    /// Has the task that asks woken by the next event, instead of the one that asked before. `mode`
    /// is [`Interest::EDGE`] if the source has just been found not ready.
    fn stand_by(&self, waker: &Waker, mode: Interest) -> io::Result<()> {
        self.want(self.base | mode)?;
        if !self.waiters.borrow().has_task(waker) {
            let waker = waker.clone();
            let last = self.waiters.borrow_mut().set_task(waker);
            drop(last);
        }
        Ok(())
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if !self.task_told.take() {
            self.stand_by(cx.waker(), Interest::empty())?;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// One that waits on a side, from its first poll on.
struct Waiter<'a> {
    waiting: &'a Waiting,
    interest: Interest,
    number: Option<u64>,
}

impl Waiter<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<io::Result<Events>> {
        let waiting = self.waiting;
        let Some(number) = self.number else {
            let waker = cx.waker().clone();
            waiting.want(self.interest)?;
            self.number = Some(waiting.waiters.borrow_mut().add(self.interest, waker));
            return Poll::Pending;
        };
        let found = waiting.waiters.borrow_mut().find_out(number, cx.waker());
        match found {
            Found::Told(events) if events.is_empty() => Poll::Ready(Err(waiting.ended())),
            Found::Told(events) => {
                self.number = None;
                Poll::Ready(Ok(events))
            }
            Found::Waits => Poll::Pending,
            Found::Stale => {
                let waker = cx.waker().clone();
                let last = waiting.waiters.borrow_mut().replace(number, waker);
                drop(last);
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut waiters = self.waiting.waiters.borrow_mut();
        let waker = waiters.forget(number);
        let was_last = waker.is_some() && waiters.is_empty();
        drop(waiters);
        drop(waker);
        if was_last && !self.waiting.over.get() {
            self.waiting.wait_for(Interest::empty());
        }
    }
}

/// The future of [`Async::readable`] and [`Async::writable`].
#[must_use = "futures do nothing unless polled"]
pub struct Readiness<'a>(Waiter<'a>);

impl Future for Readiness<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.0.poll(cx)).map(drop))
    }
}

impl<S: fmt::Debug> fmt::Debug for Async<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async").field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Debug for Readiness<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}
