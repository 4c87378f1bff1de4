//! How libpq's socket becomes watches of the loop.
//!
//! A connection has one reader for as long as it lives. It reads what arrives into libpq, so
//! nothing is registered and removed for each query, and pauses once it has read some without being
//! asked for more: who reads rows slowly is not sent all of them at once.
//!
//! libpq closes its socket inside of whatever call finds that the connection is broken. So each
//! call goes through [`Link::call`], which ends the watches if that was so.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Reactor, Watch, deferred};

use crate::error::Error;
use crate::ffi::{Conn, lend};

/// How often is read into libpq after it was asked for, before the reader pauses.
const READ_AHEAD: u8 = 4;

/// A connection, and its watches.
pub(crate) struct Link {
    // Dropped in this order: libpq closes the socket last.
    reader: RefCell<Option<Watching>>,
    writer: RefCell<Option<Watching>>,
    conn: RefCell<Conn>,
    /// The socket that is watched.
    socket: Cell<Option<RawFd>>,
    /// Whom to tell that there is news.
    waker: Cell<Option<Waker>>,
    /// Something has happened since somebody polled.
    news: Cell<bool>,
    /// How often the reader may read on.
    credit: Cell<u8>,
    paused: Cell<bool>,
    watched: Cell<u64>,
}

struct Watching {
    watch: Guard<Watch>,
    number: u64,
}

impl Link {
    /// Of a connection that has been made.
    pub(crate) fn new(conn: Conn) -> Rc<Link> {
        Rc::new(Link {
            reader: RefCell::default(),
            writer: RefCell::default(),
            socket: Cell::new(conn.socket()),
            conn: RefCell::new(conn),
            waker: Cell::default(),
            news: Cell::new(false),
            credit: Cell::new(0),
            paused: Cell::new(false),
            watched: Cell::new(0),
        })
    }

    /// Calls libpq, and ends the watches if it has closed its socket.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut Conn) -> T) -> T {
        let mut conn = self.conn.borrow_mut();
        let answer = call(&mut conn);
        let socket = conn.socket();
        drop(conn);
        if self.socket.replace(socket) != socket {
            // Not under the borrow: what the loop drops may call back.
            drop(self.reader.take());
            drop(self.writer.take());
        }
        answer
    }

    /// What went wrong last, in libpq's words.
    pub(crate) fn failure(&self) -> Error {
        Error::Failed(self.conn.borrow().error())
    }

    /// Whether libpq has given the connection up.
    pub(crate) fn is_broken(&self) -> bool {
        self.socket.get().is_none()
    }

    /// Waits until there is reason to ask libpq again: more was read, or, where that is wanted, more
    /// can be written.
    ///
    /// There is one waiter: the last that polled.
    pub(crate) fn poll_news<R: Reactor>(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        reactor: &R,
        writes: bool,
    ) -> Poll<Result<(), Error>> {
        if self.news.take() {
            return Poll::Ready(Ok(()));
        }
        let Some(fd) = self.socket.get() else { return Poll::Ready(Err(self.failure())) };
        self.waker.set(Some(cx.waker().clone()));
        self.credit.set(READ_AHEAD);
        if self.paused.take() {
            let resumed = self.reader.borrow().as_ref().map(|reader| reader.watch.resume());
            if let Some(Err(error)) = resumed {
                return Poll::Ready(Err(refused(&error)));
            }
        }
        if self.reader.borrow().is_none() {
            self.watch(reactor, Direction::Read, fd)?;
        }
        if writes && self.writer.borrow().is_none() {
            self.watch(reactor, Direction::Write, fd)?;
        }
        Poll::Pending
    }

    fn watch<R: Reactor>(
        self: &Rc<Self>,
        reactor: &R,
        direction: Direction,
        fd: RawFd,
    ) -> Result<(), Error> {
        let number = self.watched.get() + 1;
        self.watched.set(number);
        let watched = Watched { link: Rc::downgrade(self), direction, number };
        let watcher = Watcher::new(lend(fd), move |_| watched.ready());
        let watch = reactor.watch(direction, watcher).map_err(|error| refused(&error))?;
        let watching = Watching { watch: watch.remove_on_drop(), number };
        drop(self.place(direction).replace(Some(watching)));
        Ok(())
    }

    fn place(&self, direction: Direction) -> &RefCell<Option<Watching>> {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn readable(&self) {
        let Some(credit) = self.credit.get().checked_sub(1) else {
            if let Some(reader) = &*self.reader.borrow() {
                self.paused.set(reader.watch.pause());
            }
            return;
        };
        self.credit.set(credit);
        // If it fails, whoever waits finds that out.
        self.call(Conn::consume_input);
        self.tell();
    }

    fn writable(&self) {
        drop(self.writer.take());
        self.tell();
    }

    fn tell(&self) {
        self.news.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What the loop holds of a watch.
struct Watched {
    link: Weak<Link>,
    direction: Direction,
    number: u64,
}

impl Watched {
    fn ready(&self) {
        if let Some(link) = self.link.upgrade() {
            match self.direction {
                Direction::Read => link.readable(),
                Direction::Write => link.writable(),
            }
        }
    }
}

impl Drop for Watched {
    /// The loop has dropped it without being asked to, since it was closed: whoever waits tries
    /// again, and is told so.
    fn drop(&mut self) {
        let Some(link) = self.link.upgrade() else { return };
        let place = link.place(self.direction);
        let is_it = |watching: &Watching| watching.number == self.number;
        let gone = place.try_borrow_mut().ok().and_then(|mut place| place.take_if(|it| is_it(it)));
        if gone.is_some() {
            link.tell();
        }
    }
}

/// Waits until a socket of libpq's is ready once; for who does not call libpq meanwhile.
pub(crate) async fn ready<R: Reactor>(
    reactor: &R,
    direction: Direction,
    fd: RawFd,
) -> Result<(), Error> {
    let (resolver, ready) = deferred();
    let mut resolver = Some(resolver);
    let watcher = Watcher::new(lend(fd), move |_| {
        if let Some(resolver) = resolver.take() {
            let _ = resolver.resolve(());
        }
    });
    let watch = reactor.watch(direction, watcher).map_err(|error| refused(&error))?;
    let _watching = watch.remove_on_drop();
    // A loop that is closed drops the callback, and the resolver with it.
    ready.await.map_err(|_| refused(&std::io::ErrorKind::BrokenPipe.into()))
}

fn refused(error: &std::io::Error) -> Error {
    Error::Loop(format!("the loop does not watch the connection: {error}"))
}
