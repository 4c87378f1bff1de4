//! c-ares on any [`Reactor`]: copy this file, with `ffi.rs` and `error.rs`, into your project.
//!
//! c-ares does the asking but waits for nothing itself. A callback announces which of its sockets
//! it wants watched, and [`Watches`] does; what time it wants to be called, it has to be asked
//! after each call ([`Driver::settle`]). Who asked gets the answer when c-ares has returned, as a
//! future that any executor may await.
//!
//! ```ignore
//! let dns = Dns::new(io_loop.clone(), &Options::new("192.0.2.1:53"))?;
//! let addresses = dns.lookup("example.com", Family::Any).await?;
//! ```
//!
//! What c-ares does that trips drivers, and where it is dealt with:
//!
//! - It closes a socket right after it took the announcement back, and the next one may get the
//!   same number: so the watches end inside the callback ([`Watches::want`]). One that it closed
//!   without a word, and announces anew by the same number, is found out: the old watch cannot be
//!   resumed, and another begins ([`Watches::follow`]).
//! - It may answer before the call that asks returns, and calls back in the middle of others:
//!   nobody's code runs inside of it.
//! - It rounds the time down to milliseconds, before version 1.23, and called so early does nothing
//!   ([`Driver::mind_the_time`]).
//! - A single query cannot be cancelled: one that is given up goes on, and its answer is thrown
//!   away.
//! - It sends everything at once, however many there are; what the sockets' buffers do not hold is
//!   lost, and asked again when the time is up. Where that may be, ask over TCP.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Lent, Reactor, Resolver, Task, TimerHandle, Watch, deferred};

use crate::error::Error;
use crate::ffi::{Addresses, Channel, Family, Options, Sockets};

/// Looks for the addresses of names.
///
/// Dropping it ends all queries, which answer [`Error::Closed`].
pub struct Dns<R: Reactor + 'static> {
    driver: Rc<Driver<R>>,
}

/// The future of an answer.
///
/// Dropping it takes nothing back: the query goes on, and its answer is thrown away.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Answer(Task<Addresses>);

impl Future for Answer {
    type Output = Result<Vec<IpAddr>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}

impl<R: Reactor + 'static> Dns<R> {
    /// A resolver that asks these servers, and looks into no file.
    ///
    /// # Errors
    ///
    /// The options make no sense, or there is no memory.
    pub fn new(reactor: R, options: &Options) -> Result<Self, Error> {
        let driver = Rc::new(Driver { reactor, channel: OnceCell::new(), timer: Cell::default() });
        let watches = Watches {
            driver: Rc::downgrade(&driver),
            sockets: RefCell::default(),
            refused: Cell::default(),
        };
        let _ = driver.channel.set(Channel::new(options, watches)?);
        Ok(Dns { driver })
    }

    /// Looks for the addresses of a name; any number may be looked for at a time.
    ///
    /// # Errors
    ///
    /// As the answer.
    pub fn lookup(&self, name: &str, family: Family) -> Answer {
        let (resolver, answer) = deferred();
        self.driver.call(|channel| channel.query(name, family, resolver));
        Answer(answer)
    }

    /// Ends all queries, which answer [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.driver.call(Channel::cancel);
    }
}

type Asked<R> = Channel<Watches<R>, Resolver<Addresses>>;

struct Driver<R: Reactor + 'static> {
    reactor: R,
    /// Set right after the driver was made.
    channel: OnceCell<Asked<R>>,
    timer: Cell<Option<Guard<TimerHandle>>>,
}

impl<R: Reactor + 'static> Driver<R> {
    /// Calls c-ares, and then looks what has come of it.
    fn call(&self, action: impl FnOnce(&Asked<R>)) {
        if let Some(channel) = self.channel.get() {
            action(channel);
            self.settle(channel);
        }
    }

    fn settle(&self, channel: &Asked<R>) {
        let refused = channel.sockets().refused.take();
        if refused.is_some() {
            // It would wait for a socket that nobody watches.
            channel.cancel();
        }
        // One by one, since whoever is woken may come here as well.
        while let Some((asker, mut answer)) = channel.next_answer() {
            if let (Some(error), Err(Error::Cancelled)) = (&refused, &answer) {
                answer = Err(Error::Loop(error.to_string()));
            }
            let _ = asker.resolve(answer);
        }
        self.mind_the_time(channel);
    }

    /// Sets the timer to when c-ares wants to be called next, if at all.
    fn mind_the_time(&self, channel: &Asked<R>) {
        let timer = self.timer.take();
        // Without a query the timer is cancelled here.
        let Some(timeout) = channel.timeout() else { return };
        let deadline = self.reactor.now() + timeout + Duration::from_millis(1);
        if let Some(timer) = timer {
            if timer.reset(deadline) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = channel.sockets().driver.clone();
        let timer = self.reactor.call_at(deadline, move || {
            if let Some(driver) = driver.upgrade() {
                driver.call(|channel| channel.process(None, None));
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }

    fn ready(&self, socket: RawFd, direction: Direction) {
        self.call(|channel| match direction {
            Direction::Read => channel.process(Some(socket), None),
            Direction::Write => channel.process(None, Some(socket)),
        });
    }
}

/// The sockets that c-ares wants watched.
struct Watches<R: Reactor + 'static> {
    driver: Weak<Driver<R>>,
    sockets: RefCell<HashMap<RawFd, Watched>>,
    /// Why the loop does not watch.
    refused: Cell<Option<io::Error>>,
}

/// The watches of one socket, in each direction that was ever wanted.
#[derive(Default)]
struct Watched {
    reader: Option<Guard<Watch>>,
    writer: Option<Guard<Watch>>,
}

impl<R: Reactor + 'static> Sockets for Watches<R> {
    fn want(&self, socket: RawFd, read: bool, write: bool) {
        let known = self.sockets.borrow_mut().remove(&socket);
        if !read && !write {
            // Its watches end here.
            return drop(known);
        }
        let Watched { reader, writer } = known.unwrap_or_default();
        let watched = self.follow(reader, socket, Direction::Read, read).and_then(|reader| {
            let writer = self.follow(writer, socket, Direction::Write, write)?;
            Ok(Watched { reader, writer })
        });
        match watched {
            Ok(watched) => drop(self.sockets.borrow_mut().insert(socket, watched)),
            Err(error) => self.refused.set(Some(error)),
        }
    }
}

impl<R: Reactor + 'static> Watches<R> {
    /// Brings a direction in line with what c-ares wants: one that is not wanted is paused.
    fn follow(
        &self,
        watch: Option<Guard<Watch>>,
        socket: RawFd,
        direction: Direction,
        wanted: bool,
    ) -> io::Result<Option<Guard<Watch>>> {
        match &watch {
            Some(known) if !wanted => drop(known.pause()),
            Some(known) if known.resume()? => {}
            // None yet, or one that has ended: its number may be another socket's by now.
            _ if wanted => return self.watch(socket, direction).map(Some),
            _ => {}
        }
        Ok(watch)
    }

    fn watch(&self, socket: RawFd, direction: Direction) -> io::Result<Guard<Watch>> {
        let Some(driver) = self.driver.upgrade() else {
            return Err(io::Error::other("the resolver is gone"));
        };
        #[expect(unsafe_code, reason = "c-ares owns its sockets")]
        // SAFETY: c-ares takes a socket back through its callback before it closes it, also when it
        // is destroyed, and the watch ends within that call.
        let lent = unsafe { Lent::new(socket) };
        let weak = self.driver.clone();
        let watcher = Watcher::new(lent, move |lent| {
            if let Some(driver) = weak.upgrade() {
                driver.ready(lent.as_raw_fd(), direction);
            }
        });
        Ok(driver.reactor.watch(direction, watcher)?.remove_on_drop())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use ioloop::IOLoop;

    use super::*;

    /// Alone in its process, since the next file has to get the number that was closed.
    #[test]
    fn a_socket_that_was_closed_without_a_word_left_its_successor_unserved() {
        let io_loop = IOLoop::new().unwrap();
        let driver =
            Driver { reactor: io_loop.clone(), channel: OnceCell::new(), timer: Cell::default() };
        let driver = Rc::new(driver);
        let watches = Watches {
            driver: Rc::downgrade(&driver),
            sockets: RefCell::default(),
            refused: Cell::default(),
        };
        let (first, _peer) = UnixStream::pair().unwrap();
        let number = first.as_raw_fd();
        watches.want(number, true, false);
        drop(first);
        let (second, mut peer) = UnixStream::pair().unwrap();
        assert_eq!(second.as_raw_fd(), number, "the lowest free number");
        watches.want(number, true, false);
        peer.write_all(b"x").unwrap();
        io_loop.stop();
        io_loop.start().unwrap();
        assert!(watches.refused.take().is_none());
        assert_eq!((io_loop.metrics().watches, io_loop.metrics().events), (1, 1));
    }
}
