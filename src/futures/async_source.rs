//! A source with the futures of its readiness, for anything that implements `Reactor`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::Closed;
use crate::handles::Watch;
use crate::reactor::{Direction, Place, Reactor, Source};

/// A source whose readiness can be awaited, by any number of tasks in each direction.
///
/// It holds the source, a reader and a writer on it, and the wakers of those who wait. While nobody waits for
/// a direction, that direction is paused.
///
/// Where `&S` reads and writes, as sockets and files do, `Async<S>` and `&Async<S>` are futures-io's `AsyncRead` and
/// `AsyncWrite`: read in one task and write in another through an `Rc` of it. tokio-util's `compat` makes tokio's
/// traits of them.
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
pub struct Async<S> {
    source: Rc<S>,
    reader: Side,
    writer: Side,
}

fn watching<S: AsFd + 'static>(place: Place, source: &Rc<S>, call: Callback) -> Source {
    Source::at(place, Rc::clone(source), move |_| call.event())
}

/// One direction; its watch ends with it.
struct Side(Rc<Waiting>);

/// Who waits for a direction; shared with the watch's callback.
#[derive(Default)]
struct Waiting {
    watch: OnceCell<Watch>,
    paused: Cell<bool>,
    /// The watch has ended, because its reactor was closed or somebody replaced it.
    over: Cell<bool>,
    /// Counts the events, so that a waiter knows that one came since it began to wait.
    events: Cell<u64>,
    waiters: Cell<u64>,
    wakers: RefCell<Vec<(u64, Waker)>>,
}

impl<S: AsFd + 'static> Async<S> {
    /// Puts `source` in non-blocking mode and watches it on `reactor`.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::add_reader`], and of setting the mode. A reader or a writer that the descriptor has
    /// already is replaced.
    #[track_caller]
    pub fn new<R: Reactor>(reactor: &R, source: S) -> io::Result<Async<S>> {
        rustix::io::ioctl_fionbio(&source, true)?;
        Async::new_nonblocking(reactor, source)
    }

    /// Watches a source that is in non-blocking mode already, or is never read or written through this.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::add_reader`].
    #[track_caller]
    pub fn new_nonblocking<R: Reactor>(reactor: &R, source: S) -> io::Result<Async<S>> {
        let (source, place) = (Rc::new(source), Location::caller());
        let reader =
            Side::new(|call| reactor.watch(Direction::Read, watching(place, &source, call)))?;
        let writer =
            Side::new(|call| reactor.watch(Direction::Write, watching(place, &source, call)))?;
        Ok(Async { source, reader, writer })
    }
}

impl<S> Async<S> {
    /// The source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Waits until the source is readable, or at its end, or in error.
    ///
    /// May come too early, as readiness may: what follows has to cope with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), as [`read_with`](Self::read_with) does.
    ///
    /// # Errors
    ///
    /// Those of putting the descriptor back into the kernel's set; that the reactor was closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets its waker; nothing else changes.
    pub fn readable(&self) -> Readiness<'_> {
        self.reader.ready()
    }

    /// Waits until the source is writable, or in error. Else as [`readable`](Self::readable).
    pub fn writable(&self) -> Readiness<'_> {
        self.writer.ready()
    }

    /// Tries `operation`, again whenever the source is readable, until it answers other than
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

    /// Tries `operation`, again whenever the source is writable. Else as [`read_with`](Self::read_with).
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
                Poll::Pending => side.ready().await?,
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
        let attempted = self.attempt(operation);
        if attempted.is_pending() {
            // Level-triggered: what became ready since the attempt is told as well.
            side.0.stand_by(cx.waker())?;
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
    fn new(add: impl FnOnce(Callback) -> io::Result<Watch>) -> io::Result<Side> {
        let waiting = Rc::new(Waiting::default());
        let watch = add(Callback(Rc::clone(&waiting)))?;
        watch.pause();
        waiting.paused.set(true);
        let _ = waiting.watch.set(watch);
        Ok(Side(waiting))
    }

    fn ready(&self) -> Readiness<'_> {
        Readiness { waiting: &self.0, began: None }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(watch) = self.0.watch.get() {
            watch.remove();
        }
    }
}

/// The number of a waker that belongs to no waiter.
const NOBODY: u64 = u64::MAX;

/// Held by the watch; dropped with it.
struct Callback(Rc<Waiting>);

impl Callback {
    fn event(&self) {
        self.0.event();
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.wake();
    }
}

impl Waiting {
    fn event(&self) {
        self.events.set(self.events.get() + 1);
        // Whoever was woken may wait again before the next look: the watch is paused only if nobody does.
        if self.wakers.borrow().is_empty() {
            self.pause();
        }
        self.wake();
    }

    fn wake(&self) {
        let mut wakers = self.wakers.take();
        let mut panicked = None;
        for (_, waker) in wakers.drain(..) {
            // One that panics must not keep the others asleep.
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            panicked = panicked.or(woken.err());
        }
        // Nobody waits again inside `wake`, but for an executor that polls there.
        let mut present = self.wakers.borrow_mut();
        if present.is_empty() {
            *present = wakers;
        }
        drop(present);
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }

    fn pause(&self) {
        if let Some(watch) = self.watch.get() {
            self.paused.set(true);
            watch.pause();
        }
    }

    /// Begins to wait; returns the waiter's number and the count of events so far.
    fn begin(&self, waker: Waker) -> io::Result<(u64, u64)> {
        self.resume()?;
        let waiter = self.waiters.get();
        self.waiters.set(waiter + 1);
        self.wakers.borrow_mut().push((waiter, waker));
        Ok((waiter, self.events.get()))
    }

    /// Has a waker woken by the next event, without a waiter that could forget it.
    fn stand_by(&self, waker: &Waker) -> io::Result<()> {
        self.resume()?;
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|(waiter, other)| *waiter == NOBODY && other.will_wake(waker)) {
            wakers.push((NOBODY, waker.clone()));
        }
        Ok(())
    }

    /// Has the watch report again; an error if it has ended.
    fn resume(&self) -> io::Result<()> {
        if self.paused.get() {
            let resumed = match self.watch.get() {
                Some(watch) => watch.resume()?,
                None => false,
            };
            self.over.set(!resumed);
            self.paused.set(!resumed);
        }
        if self.over.get() { Err(Closed.into()) } else { Ok(()) }
    }

    /// Puts a new waker in the place of a waiter's old one, which is returned to be dropped.
    fn replace(&self, waiter: u64, waker: Waker) -> Option<Waker> {
        let mut wakers = self.wakers.borrow_mut();
        let (_, present) = wakers.iter_mut().find(|(other, _)| *other == waiter)?;
        Some(std::mem::replace(present, waker))
    }

    /// Forgets a waiter; without any the watch is paused.
    fn forget(&self, waiter: u64) {
        let mut wakers = self.wakers.borrow_mut();
        let Some(index) = wakers.iter().position(|(other, _)| *other == waiter) else { return };
        let forgotten = wakers.swap_remove(index);
        let empty = wakers.is_empty();
        drop(wakers);
        drop(forgotten);
        if empty && !self.over.get() {
            self.pause();
        }
    }
}

/// The future of [`Async::readable`] and [`Async::writable`].
#[must_use = "futures do nothing unless polled"]
pub struct Readiness<'a> {
    waiting: &'a Waiting,
    /// Its number as a waiter, and the count of events when it began to wait.
    began: Option<(u64, u64)>,
}

impl Future for Readiness<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        match self.began {
            None => self.began = Some(self.waiting.begin(waker)?),
            Some((_, events)) if events != self.waiting.events.get() => return Poll::Ready(Ok(())),
            Some(_) if self.waiting.over.get() => return Poll::Ready(Err(Closed.into())),
            Some((waiter, _)) => drop(self.waiting.replace(waiter, waker)),
        }
        Poll::Pending
    }
}

impl Drop for Readiness<'_> {
    fn drop(&mut self) {
        if let Some((waiter, _)) = self.began {
            self.waiting.forget(waiter);
        }
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
