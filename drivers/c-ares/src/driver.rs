//! c-ares' sockets and its time as watches and a timer of a [`Reactor`].
//!
//! c-ares does the asking but waits for nothing itself. A callback announces which of its sockets
//! it wants watched, and [`Watches`] does; what time it wants to be called, it has to be asked
//! after each call ([`Driver::settle`]). Who asked gets the answer when c-ares has returned, as a
//! future that any executor may await.
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
//!   away, or kept.
//! - It sends everything at once, however many there are; what the sockets' buffers do not hold is
//!   lost, and asked again when the time is up: so only [so many](crate::Options::at_once) are
//!   under way ([`Driver::send`]).
//! - It keeps no answers, before version 1.31: a [`Cache`] does, with each version.
//! - It reads `/etc/hosts`, a file, when it is asked, and waits for that.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Reactor, Resolver as Giver, TimerHandle, Watch};

use crate::cache::Cache;
use crate::error::Error;
use crate::ffi::{Announced, Channel, Failure, Sockets, Told};
use crate::message::{negative_ttl, records};
use crate::options::Options;
use crate::question::{Answers, Found, Key};
use crate::sort::sort;

/// For how long it is kept that there is no address, where the server's word for it is not to be
/// had.
const NO_ADDRESS: Duration = Duration::from_secs(5);

/// A channel, and who waits for its answers.
pub(crate) struct Driver<R: Reactor + 'static> {
    reactor: R,
    /// Set right after the driver was made.
    channel: OnceCell<Channel<Watches<R>>>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    /// Who waits for what.
    asked: RefCell<HashMap<Key, Vec<Giver<Found>>>>,
    /// What was not sent yet.
    waiting: RefCell<VecDeque<Key>>,
    /// How many are under way.
    under_way: Cell<usize>,
    at_once: usize,
    cache: RefCell<Cache>,
    is_closed: Cell<bool>,
    began: Instant,
}

impl<R: Reactor + 'static> Driver<R> {
    pub(crate) fn new(reactor: R, options: &Options) -> Result<Rc<Self>, Error> {
        let driver = Rc::new(Driver {
            began: reactor.now(),
            reactor,
            channel: OnceCell::new(),
            timer: Cell::default(),
            asked: RefCell::default(),
            waiting: RefCell::default(),
            under_way: Cell::new(0),
            at_once: options.at_once,
            cache: RefCell::new(Cache::new(options.room)),
            is_closed: Cell::new(false),
        });
        let channel = Channel::new(options, Watches::new(&driver));
        let channel = channel.map_err(|failure| error("the options".into(), failure))?;
        let _ = driver.channel.set(channel);
        Ok(driver)
    }

    /// Asks a question for somebody.
    pub(crate) fn ask(&self, key: Key, giver: Giver<Found>) {
        // c-ares 1.18 asks a server for an address of version 4.
        if let Some(address) = key.address() {
            let _ = giver.resolve(Ok(Answers::Addresses(vec![(address, 0).into()])));
            return;
        }
        let known = self.cache.borrow_mut().get(&key, self.reactor.now());
        if let Some(found) = known {
            let _ = giver.resolve(found);
            return;
        }
        let mut asked = self.asked.borrow_mut();
        let askers = asked.entry(key.clone()).or_default();
        askers.push(giver);
        if askers.len() > 1 {
            return;
        }
        drop(asked);
        self.waiting.borrow_mut().push_back(key);
        self.settle();
    }

    /// Ends all that is asked.
    pub(crate) fn cancel(&self, why: &Error) {
        self.waiting.take();
        let asked = self.asked.take();
        if let Some(channel) = self.channel.get() {
            channel.cancel();
            // It answers all of them at once; nobody waits for that.
            while channel.next_answer().is_some() {}
            self.under_way.set(0);
            self.mind_the_time(channel);
        }
        for giver in asked.into_values().flatten() {
            let _ = giver.resolve(Err(why.clone()));
        }
    }

    /// Ends all that is asked, and takes no more.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.cancel(&Error::Closed);
    }

    pub(crate) fn forget(&self) {
        self.cache.borrow_mut().clear();
    }

    /// Sends what there is room for, and hands out what has been answered.
    fn settle(&self) {
        let Some(channel) = self.channel.get() else { return };
        loop {
            self.send(channel);
            if let Some(refused) = channel.sockets().refused.take() {
                // It would wait for a socket that nobody watches.
                return self.cancel(&Error::Loop(refused.to_string()));
            }
            // One by one, since whoever is woken may come here as well.
            let Some((key, told)) = channel.next_answer() else { break };
            self.under_way.set(self.under_way.get().saturating_sub(1));
            self.hand_out(key, told);
        }
        self.mind_the_time(channel);
    }

    fn send(&self, channel: &Channel<Watches<R>>) {
        while self.under_way.get() < self.at_once && !self.is_closed.get() {
            let Some(key) = self.waiting.borrow_mut().pop_front() else { return };
            let mut asked = self.asked.borrow_mut();
            let is_given_up = asked.get(&key).is_none_or(|g| g.iter().all(Giver::is_abandoned));
            if is_given_up {
                drop(asked.remove(&key));
                continue;
            }
            drop(asked);
            self.under_way.set(self.under_way.get() + 1);
            channel.ask(key);
        }
    }

    fn hand_out(&self, key: Key, told: Told) {
        let (found, ttl) = read(&key, told);
        let askers = self.asked.borrow_mut().remove(&key).unwrap_or_default();
        self.cache.borrow_mut().insert(key, found.clone(), ttl, self.reactor.now());
        for giver in askers {
            let _ = giver.resolve(found.clone());
        }
    }

    /// Sets the timer to when c-ares wants to be called next, if at all.
    fn mind_the_time(&self, channel: &Channel<Watches<R>>) {
        let timer = self.timer.take();
        // Without a query the timer is cancelled here.
        let Some(timeout) = channel.timeout() else { return };
        let deadline = self.reactor.now() + timeout + Duration::from_millis(1);
        let deadline =
            self.began + rounded(deadline.saturating_duration_since(self.began), timeout);
        if let Some(timer) = timer {
            if timer.reset(deadline) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = channel.sockets().driver.clone();
        let timer = self.reactor.call_at(deadline, move || {
            if let Some(driver) = driver.upgrade() {
                driver.process(None, None);
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }

    fn process(&self, readable: Option<RawFd>, writable: Option<RawFd>) {
        if let Some(channel) = self.channel.get() {
            channel.process(readable, writable);
            self.settle();
        }
    }

    fn ready(&self, socket: RawFd, direction: Direction) {
        match direction {
            Direction::Read => self.process(Some(socket), None),
            Direction::Write => self.process(None, Some(socket)),
        }
    }
}

/// A time from the beginning, later by a 64th of the time-out at the most. Lookups that follow each
/// other have the same deadline then, of which the kernel is told once.
fn rounded(time: Duration, timeout: Duration) -> Duration {
    let grain =
        (timeout.as_nanos() as u64).checked_ilog2().map_or(1, |log| 1 << log.saturating_sub(6));
    Duration::from_nanos((time.as_nanos() as u64).next_multiple_of(grain))
}

/// What was found, and for how long it may be kept.
fn read(key: &Key, told: Told) -> (Found, Duration) {
    const NOT_AT_ALL: Duration = Duration::ZERO;
    if let Err(failure) = told.status {
        let ttl = match (&failure, key) {
            (Failure::NotFound | Failure::NoData, Key::Addresses(..)) => NO_ADDRESS,
            (Failure::NotFound | Failure::NoData, Key::Records(..)) => {
                negative_ttl(&told.message).unwrap_or(NOT_AT_ALL)
            }
            _ => NOT_AT_ALL,
        };
        return (Err(error(key.name(), failure)), ttl);
    }
    match key {
        Key::Addresses(..) => {
            let (mut addresses, ttl) = told.addresses;
            sort(&mut addresses);
            (Ok(Answers::Addresses(addresses)), Duration::from_secs(ttl.into()))
        }
        // How long names are good for is not told.
        Key::Names(_) => (Ok(Answers::Names(told.names)), NOT_AT_ALL),
        Key::Records(_, kind) => match records(&told.message, *kind) {
            Some((found, _)) if found.is_empty() => {
                let ttl = negative_ttl(&told.message).unwrap_or(NOT_AT_ALL);
                (Err(Error::NoData { name: key.name() }), ttl)
            }
            Some((found, ttl)) => (Ok(Answers::Records(found)), ttl),
            None => {
                let reason = "the answer is no DNS message".into();
                (Err(Error::Server { name: key.name(), reason }), NOT_AT_ALL)
            }
        },
    }
}

fn error(name: String, failure: Failure) -> Error {
    match failure {
        Failure::NotFound => Error::NotFound { name },
        Failure::NoData => Error::NoData { name },
        Failure::TimedOut => Error::TimedOut { name },
        Failure::Cancelled => Error::Cancelled,
        Failure::Closed => Error::Closed,
        Failure::Invalid(reason) => Error::Invalid { what: name, reason },
        Failure::Other(reason) => Error::Server { name, reason },
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
    reader: Option<Held>,
    writer: Option<Held>,
}

/// A watch that ends with this.
struct Held {
    watch: Guard<Watch>,
    /// The end of the watch is this side's doing.
    is_let_go: Rc<Cell<bool>>,
}

impl Held {
    /// Whether the loop watches the same socket as before.
    fn resume(&self) -> io::Result<bool> {
        // A watch whose socket was closed without a word is found out here, and dropped.
        self.is_let_go.set(true);
        let is_same = self.watch.resume()?;
        self.is_let_go.set(!is_same);
        Ok(is_same)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.is_let_go.set(true);
    }
}

impl<R: Reactor + 'static> Sockets for Watches<R> {
    fn want(&self, socket: &Announced, read: bool, write: bool) {
        let known = self.sockets.borrow_mut().remove(&socket.number());
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
            Ok(watched) => drop(self.sockets.borrow_mut().insert(socket.number(), watched)),
            Err(error) => self.refused.set(Some(error)),
        }
    }
}

impl<R: Reactor + 'static> Watches<R> {
    fn new(driver: &Rc<Driver<R>>) -> Self {
        Watches {
            driver: Rc::downgrade(driver),
            sockets: RefCell::default(),
            refused: Cell::default(),
        }
    }

    /// Brings a direction in line with what c-ares wants: one that is not wanted is paused.
    fn follow(
        &self,
        watch: Option<Held>,
        socket: &Announced,
        direction: Direction,
        wanted: bool,
    ) -> io::Result<Option<Held>> {
        match &watch {
            Some(known) if !wanted => drop(known.watch.pause()),
            Some(known) if known.resume()? => {}
            // None yet, or one that has ended: its number may be another socket's by now.
            _ if wanted => return self.watch(socket, direction).map(Some),
            _ => {}
        }
        Ok(watch)
    }

    fn watch(&self, socket: &Announced, direction: Direction) -> io::Result<Held> {
        let Some(driver) = self.driver.upgrade() else {
            return Err(io::Error::other("the resolver is gone"));
        };
        // Until the loop has it: what it refuses, it drops.
        let is_let_go = Rc::new(Cell::new(true));
        let served = Served { driver: self.driver.clone(), is_let_go: Rc::clone(&is_let_go) };
        let watcher = Watcher::new(socket.lend(), move |lent| {
            if let Some(driver) = served.driver.upgrade() {
                driver.ready(lent.as_raw_fd(), direction);
            }
        });
        let watch = driver.reactor.watch(direction, watcher)?.remove_on_drop();
        is_let_go.set(false);
        Ok(Held { watch, is_let_go })
    }
}

/// In the closure of a watch. The loop drops that by itself when it is closed, or when somebody
/// else watches the socket: nobody would ever be answered then.
struct Served<R: Reactor + 'static> {
    driver: Weak<Driver<R>>,
    is_let_go: Rc<Cell<bool>>,
}

impl<R: Reactor + 'static> Drop for Served<R> {
    fn drop(&mut self) {
        if self.is_let_go.get() {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            let why = "it has dropped the watch, as a closed loop does";
            driver.cancel(&Error::Loop(why.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use ioloop::IOLoop;

    use super::*;

    #[test]
    fn the_kernel_was_told_a_time_for_each_lookup() {
        let timeout = Duration::from_secs(5);
        let deadline = |after: u64| {
            let now = Duration::from_micros(after);
            let deadline = rounded(now + timeout, timeout);
            assert!((now + timeout..=now + timeout + timeout / 64).contains(&deadline));
            deadline
        };
        let deadlines: HashSet<_> = (0..1000).map(|n| deadline(n * 100)).collect();
        assert!(deadlines.len() <= 3, "{deadlines:?} in a tenth of a second");
        assert_eq!(rounded(Duration::from_nanos(7), Duration::ZERO), Duration::from_nanos(7));
    }

    /// Alone in its process, since the next file has to get the number that was closed.
    #[test]
    fn a_socket_that_was_closed_without_a_word_left_its_successor_unserved() {
        let io_loop = IOLoop::new().unwrap();
        let driver = Driver::new(io_loop.clone(), &Options::new().servers([])).unwrap();
        let watches = Watches::new(&driver);
        let (first, _peer) = UnixStream::pair().unwrap();
        let number = first.as_raw_fd();
        watches.want(&Announced::new(number), true, false);
        drop(first);
        let (second, mut peer) = UnixStream::pair().unwrap();
        assert_eq!(second.as_raw_fd(), number, "the lowest free number");
        watches.want(&Announced::new(number), true, false);
        peer.write_all(b"x").unwrap();
        io_loop.stop();
        io_loop.start().unwrap();
        assert!(watches.refused.take().is_none());
        assert_eq!((io_loop.metrics().watches, io_loop.metrics().events), (1, 1));
    }
}
