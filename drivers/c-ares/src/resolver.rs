//! The resolver, and the futures of its answers.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ioloop::{Reactor, Task, deferred};

use crate::driver::Driver;
use crate::error::Error;
use crate::message::{Mx, Record, Srv, Type};
use crate::options::Options;
use crate::question::{Answers, Family, Found, Key};

/// Looks names up.
///
/// Any number of lookups may be under way; those of the same name and type are one query, and
/// answers are [kept](Options::cache) for as long as their records say.
///
/// Dropping it ends all lookups, which return [`Error::Closed`]. A lookup that is under way when
/// the loop is closed returns [`Error::Loop`].
///
/// ```no_run
/// use ioloop::IOLoop;
/// use ioloop_c_ares::Resolver;
///
/// let io_loop = IOLoop::new()?;
/// let resolver = Resolver::new(io_loop.downgrade())?;
/// let addresses = io_loop.run_sync(resolver.lookup_port("example.com", 443))??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Resolver<R: Reactor + 'static> {
    driver: Rc<Driver<R>>,
}

impl<R: Reactor + 'static> Resolver<R> {
    /// A resolver as the system is configured.
    ///
    /// It reads the files of that configuration here, and not again but for `/etc/hosts`: where the
    /// servers change, make another one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) or [`Server`](Error::Server), where c-ares cannot begin: a file
    /// that cannot be read, or no memory.
    pub fn new(reactor: R) -> Result<Self, Error> {
        Self::with(reactor, &Options::new())
    }

    /// A resolver with options.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new); an option makes no sense.
    pub fn with(reactor: R, options: &Options) -> Result<Self, Error> {
        Ok(Resolver { driver: Driver::new(reactor, options)? })
    }

    /// Looks for the addresses of a name, of both families, in the order in which to try them (RFC
    /// 6724).
    ///
    /// `/etc/hosts` and the search list are followed; an address stands for itself.
    ///
    /// # Errors
    ///
    /// As the answer: an [`Error`], which names the name.
    pub fn lookup(&self, name: &str) -> Answer<Vec<IpAddr>> {
        self.lookup_family(name, Family::Any)
    }

    /// Looks for the addresses of a name in one family; otherwise as [`lookup`](Self::lookup).
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn lookup_family(&self, name: &str, family: Family) -> Answer<Vec<IpAddr>> {
        self.ask(Key::Addresses(name.to_owned(), family), 0, |found, _| {
            addresses(found).iter().map(SocketAddr::ip).collect()
        })
    }

    /// Looks for the addresses of a name, each with this port, to connect to; otherwise as
    /// [`lookup`](Self::lookup).
    ///
    /// A link-local address of `/etc/hosts` keeps its interface in this.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn lookup_port(&self, name: &str, port: u16) -> Answer<Vec<SocketAddr>> {
        self.ask(Key::Addresses(name.to_owned(), Family::Any), port, |found, port| {
            let mut addresses = addresses(found);
            addresses.iter_mut().for_each(|address| address.set_port(port));
            addresses
        })
    }

    /// Looks for the servers of a service, such as `_imaps._tcp.example.com`: by priority, and
    /// within one by weight, the heavier first.
    ///
    /// The name is taken as it is, without the search list.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn srv(&self, name: &str) -> Answer<Vec<Srv>> {
        self.ask(Key::Records(name.to_owned(), Type::Srv), 0, |found, _| {
            let is_srv = |record| if let Record::Srv(srv) = record { Some(srv) } else { None };
            let mut servers: Vec<_> = records(found).filter_map(is_srv).collect();
            servers.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
            servers
        })
    }

    /// Looks for the texts of a name, each with its strings put together.
    ///
    /// The name is taken as it is, without the search list.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn txt(&self, name: &str) -> Answer<Vec<Vec<u8>>> {
        self.ask(Key::Records(name.to_owned(), Type::Txt), 0, |found, _| {
            let is_txt = |record| if let Record::Txt(text) = record { Some(text) } else { None };
            records(found).filter_map(is_txt).collect()
        })
    }

    /// Looks for the mail servers of a name, the preferred first.
    ///
    /// The name is taken as it is, without the search list.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn mx(&self, name: &str) -> Answer<Vec<Mx>> {
        self.ask(Key::Records(name.to_owned(), Type::Mx), 0, |found, _| {
            let is_mx = |record| if let Record::Mx(mx) = record { Some(mx) } else { None };
            let mut servers: Vec<_> = records(found).filter_map(is_mx).collect();
            servers.sort();
            servers
        })
    }

    /// Looks for the names of an address (`PTR`), in `/etc/hosts` too.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    #[doc(alias = "ptr")]
    pub fn reverse(&self, address: IpAddr) -> Answer<Vec<String>> {
        self.ask(Key::Names(address), 0, |found, _| match found {
            Answers::Names(names) => names,
            _ => Vec::new(),
        })
    }

    fn ask<T>(&self, key: Key, port: u16, take: fn(Answers, u16) -> T) -> Answer<T> {
        let (giver, found) = deferred();
        self.driver.ask(key, giver);
        Answer { found, port, take }
    }

    /// Ends all lookups, which return [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.driver.cancel(&Error::Cancelled);
    }

    /// Forgets the answers that are kept.
    pub fn clear_cache(&self) {
        self.driver.forget();
    }
}

impl<R: Reactor + 'static> Drop for Resolver<R> {
    fn drop(&mut self) {
        self.driver.close();
    }
}

impl<R: Reactor + 'static> fmt::Debug for Resolver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn addresses(found: Answers) -> Vec<SocketAddr> {
    match found {
        Answers::Addresses(addresses) => addresses,
        _ => Vec::new(),
    }
}

fn records(found: Answers) -> impl Iterator<Item = Record> {
    match found {
        Answers::Records(records) => records.into_iter(),
        _ => Vec::new().into_iter(),
    }
}

/// The future of an answer; any executor may await it.
///
/// The question is asked already, whether or not this is polled.
///
/// # Cancel safety
///
/// Dropping it takes nothing back that was sent: the query goes on, and its answer is kept for who
/// asks next. What was not sent yet is not.
#[must_use = "the answer is lost if nobody awaits it"]
pub struct Answer<T> {
    found: Task<Found>,
    port: u16,
    take: fn(Answers, u16) -> T,
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let found = ready!(Pin::new(&mut self.found).poll(cx)).unwrap_or(Err(Error::Closed));
        Poll::Ready(found.map(|found| (self.take)(found, self.port)))
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_there = self.found.is_finished();
        f.debug_struct("Answer").field("is_there", &is_there).finish_non_exhaustive()
    }
}
