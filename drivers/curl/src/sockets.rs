//! What libcurl wants to be called for, as watches and one timer of the loop.
//!
//! libcurl tells it through two callbacks, which run inside of it:
//!
//! - It announces a socket while the connection is still being made: the socket is watched for
//!   writing, and is not ready before it is connected or refused.
//! - It closes a socket right after it took the announcement back, and the next one may get the
//!   same number before libcurl returns: so the watch ends, and the next begins, inside the
//!   callback ([`Sockets::announced`]).
//! - It asks for a timer of 0, which must not call it back at once, since it is not re-entrant; and
//!   for one of -1, which means none ([`Sockets::timer_wanted`]).
//! - It closes its own wake-up socket, when it is cleaned up, without taking it back
//!   ([`Sockets::end`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use curl::multi::{Events, Socket, SocketEvents};
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Reactor, TimerHandle, Watch};

use crate::driver::Driver;
use crate::ffi;

/// Watches one socket of libcurl's, in each direction that was ever wanted.
#[derive(Default)]
struct Watched {
    reader: Option<Guard<Watch>>,
    writer: Option<Guard<Watch>>,
}

/// The sockets that libcurl wants watched, and when it wants to be called.
pub(crate) struct Sockets {
    reactor: Rc<dyn Reactor>,
    driver: Weak<Driver>,
    watched: RefCell<HashMap<Socket, Watched>>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    /// Why the loop did not do what libcurl asked for.
    refused: Cell<Option<io::Error>>,
}

impl Sockets {
    pub(crate) fn new(reactor: Rc<dyn Reactor>, driver: Weak<Driver>) -> Self {
        Sockets {
            reactor,
            driver,
            watched: RefCell::default(),
            timer: Cell::default(),
            refused: Cell::default(),
        }
    }

    /// Why the loop did not do what libcurl asked for, once.
    pub(crate) fn take_refusal(&self) -> Option<io::Error> {
        self.refused.take()
    }

    /// Ends every watch and the timer.
    pub(crate) fn end(&self) {
        self.watched.take();
        self.timer.take();
    }

    /// libcurl's socket callback: watches a socket as libcurl wants it, from now on.
    ///
    /// Here and now, since libcurl may close the socket, and open another of the same number, next.
    pub(crate) fn announced(&self, socket: Socket, events: &SocketEvents) {
        let known = self.watched.borrow_mut().remove(&socket);
        if events.remove() {
            // Its watches end here.
            return drop(known);
        }
        let Watched { reader, writer } = known.unwrap_or_default();
        let watched =
            self.follow(reader, Direction::Read, socket, events.input()).and_then(|reader| {
                let writer = self.follow(writer, Direction::Write, socket, events.output())?;
                Ok(Watched { reader, writer })
            });
        match watched {
            Ok(watched) => drop(self.watched.borrow_mut().insert(socket, watched)),
            Err(error) => self.refused.set(Some(error)),
        }
    }

    /// Brings one direction of a socket in line with what libcurl wants.
    ///
    /// libcurl changes its mind several times a transfer, so a direction that is not wanted is
    /// paused, and one that is wanted still is left alone. But for one that libcurl has closed
    /// without a word, and whose number is another socket's by now: it cannot be resumed, and
    /// another watch takes its place.
    fn follow(
        &self,
        watch: Option<Guard<Watch>>,
        direction: Direction,
        socket: Socket,
        wanted: bool,
    ) -> io::Result<Option<Guard<Watch>>> {
        match &watch {
            Some(known) if !wanted => drop(known.pause()),
            Some(known) if known.resume()? => {}
            // None yet, or one that has ended.
            _ if wanted => return self.watch(direction, socket).map(Some),
            _ => {}
        }
        Ok(watch)
    }

    fn watch(&self, direction: Direction, socket: Socket) -> io::Result<Guard<Watch>> {
        let driver = Weak::clone(&self.driver);
        let watcher = Watcher::new(ffi::lend(socket), move |lent| {
            if let Some(driver) = driver.upgrade() {
                let mut events = Events::new();
                match direction {
                    Direction::Read => events.input(true),
                    Direction::Write => events.output(true),
                };
                driver.act(|multi| multi.action(lent.as_raw_fd(), &events));
            }
        });
        Ok(self.reactor.watch(direction, watcher)?.remove_on_drop())
    }

    /// libcurl's timer callback: has it called once `timeout` has passed, instead of when it wanted
    /// before.
    pub(crate) fn timer_wanted(&self, timeout: Option<Duration>) {
        let timer = self.timer.take();
        // -1: the timer that there was is cancelled.
        let Some(timeout) = timeout else { return };
        // 0 is a timer as well: libcurl must not be called from here.
        let deadline = self.reactor.now() + timeout;
        if let Some(timer) = timer {
            if timer.reset(deadline) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = Weak::clone(&self.driver);
        let timer = self.reactor.call_at(deadline, move || {
            if let Some(driver) = driver.upgrade() {
                driver.act(|multi| multi.timeout());
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }
}
