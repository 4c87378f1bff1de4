//! c-ares' channel as a safe type: all that is unsafe about it is in this file.
//!
//! c-ares calls back from inside of the calls made to it. Where it must be obeyed at once, that is
//! the trait [`Sockets`]; its answers are kept, and asked for with [`Channel::next_answer`]
//! afterwards, so nobody's code runs inside of it.
//!
//! The bindings in `raw.rs` are this crate's own: a dozen functions, the same in every version from
//! 1.18 on, for which there is neither a build script nor a search by pkg-config.
#![expect(unsafe_code, reason = "c-ares is a C library")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::OnceLock;
use std::time::Duration;

use ioloop::Lent;

use crate::message::Type;
use crate::options::Options;
use crate::question::{Family, Key};

use self::raw::{
    AF_INET, AF_INET6, AF_UNSPEC, ARES_AI_NOSORT, ARES_EBADNAME, ARES_EBADQUERY, ARES_EBADSTR,
    ARES_ECANCELLED, ARES_EDESTRUCTION, ARES_ENODATA, ARES_ENOTFOUND, ARES_ETIMEOUT,
    ARES_FLAG_USEVC, ARES_LIB_INIT_ALL, ARES_OPT_DOMAINS, ARES_OPT_FLAGS, ARES_OPT_LOOKUPS,
    ARES_OPT_QUERY_CACHE, ARES_OPT_RESOLVCONF, ARES_OPT_SOCK_STATE_CB, ARES_OPT_TIMEOUTMS,
    ARES_OPT_TRIES, ARES_SOCKET_BAD, ARES_SUCCESS, CLASS_IN, RawAddrinfo, RawChannel, RawHints,
    RawHostent, RawOptions, Sockaddr, SockaddrIn, SockaddrIn6, Timeval, ares_cancel, ares_destroy,
    ares_freeaddrinfo, ares_getaddrinfo, ares_gethostbyaddr, ares_init_options, ares_library_init,
    ares_process_fd, ares_query, ares_set_servers_ports_csv, ares_strerror, ares_timeout,
};

mod raw;

/// What watches the sockets of a channel. Called from inside of c-ares.
pub(crate) trait Sockets: 'static {
    /// Watches a socket in these directions, from now on; in none if it is closed next, when what
    /// was lent must be gone from the loop before this returns.
    fn want(&self, socket: &Announced, read: bool, write: bool);
}

/// A socket of c-ares'.
pub(crate) struct Announced(RawFd);

impl Announced {
    /// One that is c-ares' for the sake of a test.
    #[cfg(test)]
    pub(crate) fn new(number: RawFd) -> Self {
        Announced(number)
    }

    pub(crate) fn number(&self) -> RawFd {
        self.0
    }

    /// What a loop watches.
    pub(crate) fn lend(&self) -> Lent {
        // SAFETY: c-ares takes a socket back through its callback before it closes it, also when it
        // is destroyed, and the watch ends within that call, as `Sockets` demands.
        unsafe { Lent::new(self.0) }
    }
}

/// What c-ares says to a question.
pub(crate) struct Told {
    pub(crate) status: Result<(), Failure>,
    /// Those of a question for addresses, with the number of seconds for which they may be kept.
    pub(crate) addresses: (Vec<SocketAddr>, u32),
    /// That of a question for records, also where there are none.
    pub(crate) message: Vec<u8>,
    /// Those of a question for names.
    pub(crate) names: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NotFound,
    NoData,
    TimedOut,
    Cancelled,
    Closed,
    /// The question makes no sense, in c-ares' words.
    Invalid(String),
    /// In c-ares' words.
    Other(String),
}

/// A channel of c-ares'; dropped, it is destroyed, and what it was asked has no answer any more.
pub(crate) struct Channel<S: Sockets> {
    raw: NonNull<RawChannel>,
    shared: Rc<Shared<S>>,
}

/// The side that c-ares sees, and what a query has a reference of.
struct Shared<S> {
    /// c-ares is being called; it is never called from inside of itself.
    called: Cell<bool>,
    answers: RefCell<VecDeque<(Key, Told)>>,
    sockets: S,
}

/// What c-ares holds of a query, and gives back once.
struct Query<S> {
    key: Key,
    shared: Rc<Shared<S>>,
}

impl<S: Sockets> Channel<S> {
    pub(crate) fn new(options: &Options, sockets: S) -> Result<Self, Failure> {
        static LIBRARY: OnceLock<c_int> = OnceLock::new();
        // SAFETY: it is called once. What must not be called meanwhile is c-ares itself, which
        // nobody does before it; on Unix it does nothing else but to count.
        check(*LIBRARY.get_or_init(|| unsafe { ares_library_init(ARES_LIB_INIT_ALL) }))?;
        let shared =
            Rc::new(Shared { called: Cell::new(false), answers: RefCell::default(), sockets });
        let mut wanted = RawOptions {
            sock_state_cb: Some(socket_wanted::<S>),
            sock_state_cb_data: Rc::as_ptr(&shared).cast_mut().cast(),
            // SAFETY: zero is a value of all the others, which c-ares does not look at.
            ..unsafe { mem::zeroed() }
        };
        // Its cache is turned off where it has one, by a number of seconds that is zero: there is
        // one in this crate, for all versions.
        let mut mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_QUERY_CACHE;
        if options.tcp {
            wanted.flags = ARES_FLAG_USEVC;
            mask |= ARES_OPT_FLAGS;
        }
        if let Some(timeout) = options.timeout {
            wanted.timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX).max(1);
            mask |= ARES_OPT_TIMEOUTMS;
        }
        if let Some(tries) = options.tries {
            wanted.tries = tries.into();
            mask |= ARES_OPT_TRIES;
        }
        if !options.hosts {
            wanted.lookups = c"b".as_ptr();
            mask |= ARES_OPT_LOOKUPS;
        }
        let domains = options.domains.iter().flatten().map(string);
        let domains = domains.collect::<Result<Vec<_>, _>>()?;
        let mut domain_pointers: Vec<_> = domains.iter().map(|domain| domain.as_ptr()).collect();
        if options.domains.is_some() {
            wanted.domains = domain_pointers.as_mut_ptr();
            wanted.ndomains = c_int::try_from(domain_pointers.len()).unwrap_or(c_int::MAX);
            mask |= ARES_OPT_DOMAINS;
        }
        let path = options.resolv_conf.as_ref().map(|path| string(path.as_os_str().as_bytes()));
        let path = path.transpose()?;
        if let Some(path) = &path {
            wanted.resolvconf_path = path.as_ptr();
            mask |= ARES_OPT_RESOLVCONF;
        }
        let mut raw = ptr::null_mut();
        // SAFETY: the fields that the mask names are set, and c-ares copies what they point to, but
        // for the data of the callback, which lives as long as the channel: `drop` destroys that
        // first.
        check(unsafe { ares_init_options(&mut raw, &mut wanted, mask) })?;
        let raw = NonNull::new(raw).ok_or_else(|| Failure::Other("no channel".into()))?;
        let channel = Channel { raw, shared };
        if let Some(servers) = &options.servers {
            let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
            let servers = string(servers.join(","))?;
            // SAFETY: the channel is alive, and has no query yet; c-ares copies the string.
            check(unsafe { ares_set_servers_ports_csv(channel.raw.as_ptr(), servers.as_ptr()) })?;
        }
        Ok(channel)
    }

    /// Asks a question, whose answer is to be had of `next_answer`.
    pub(crate) fn ask(&self, key: Key) {
        let query = Query { key: key.clone(), shared: Rc::clone(&self.shared) };
        let asked = match &key {
            Key::Addresses(name, family) => {
                string(name).map(|name| self.addresses(&name, *family, query))
            }
            Key::Records(name, kind) => string(name).map(|name| self.records(&name, *kind, query)),
            Key::Names(address) => {
                self.names(*address, query);
                Ok(())
            }
        };
        if let Err(failure) = asked {
            self.shared.tell(key, Err(failure), |_| ());
        }
    }

    fn addresses(&self, name: &CStr, family: Family, query: Query<S>) {
        let hints = RawHints {
            ai_flags: ARES_AI_NOSORT,
            ai_family: match family {
                Family::V4 => AF_INET,
                Family::V6 => AF_INET6,
                Family::Any => AF_UNSPEC,
            },
            ai_socktype: 0,
            ai_protocol: 0,
        };
        self.begin(query, |raw, query| {
            // SAFETY: `begin` hands over a channel that is alive and not being called, and a query
            // that the callback expects; c-ares copies name and hints.
            unsafe {
                let name = name.as_ptr();
                ares_getaddrinfo(raw, name, ptr::null(), &hints, found_addresses::<S>, query);
            }
        });
    }

    fn records(&self, name: &CStr, kind: Type, query: Query<S>) {
        self.begin(query, |raw, query| {
            // SAFETY: as above.
            unsafe {
                let name = name.as_ptr();
                ares_query(raw, name, CLASS_IN, kind as c_int, found_records::<S>, query);
            }
        });
    }

    fn names(&self, address: IpAddr, query: Query<S>) {
        let (bytes, family) = match address {
            IpAddr::V4(address) => (address.octets().to_vec(), AF_INET),
            IpAddr::V6(address) => (address.octets().to_vec(), AF_INET6),
        };
        let length = if address.is_ipv4() { 4 } else { 16 };
        self.begin(query, |raw, query| {
            // SAFETY: as above. c-ares copies the bytes, of which there are as many as is said.
            unsafe {
                let bytes = bytes.as_ptr().cast();
                ares_gethostbyaddr(raw, bytes, length, family, found_names::<S>, query);
            }
        });
    }

    /// Gives a query to c-ares, which gives it to its callback exactly once.
    fn begin(&self, query: Query<S>, ask: impl FnOnce(*mut RawChannel, *mut c_void)) {
        let query: *mut c_void = Box::into_raw(Box::new(query)).cast();
        if self.call(|raw| ask(raw, query)).is_none() {
            // SAFETY: it came from a box, and c-ares does not know it.
            drop(unsafe { Box::from_raw(query.cast::<Query<S>>()) });
        }
    }

    /// Has it look at sockets that are ready, if any, and at the time.
    pub(crate) fn process(&self, readable: Option<RawFd>, writable: Option<RawFd>) {
        let [readable, writable] = [readable, writable].map(|fd| fd.unwrap_or(ARES_SOCKET_BAD));
        // SAFETY: `call` hands over a channel that is alive and not being called. c-ares compares
        // the numbers with those of its own sockets.
        self.call(|raw| unsafe { ares_process_fd(raw, readable, writable) });
    }

    /// Ends all queries.
    pub(crate) fn cancel(&self) {
        // SAFETY: as in `process`.
        self.call(|raw| unsafe { ares_cancel(raw) });
    }

    /// When it wants to be asked to look at the time; not at all without queries.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let mut time = MaybeUninit::<Timeval>::uninit();
        let wanted = self.call(|raw| {
            // SAFETY: as in `process`. Without a maximum the answer is null, or `time`, which is
            // set then.
            unsafe { ares_timeout(raw, ptr::null_mut(), time.as_mut_ptr()).as_ref() }
                .map(|time| (time.tv_sec, time.tv_usec))
        });
        let (seconds, microseconds) = wanted??;
        let seconds = Duration::from_secs(seconds.try_into().unwrap_or_default());
        Some(seconds + Duration::from_micros(microseconds.try_into().unwrap_or_default()))
    }

    /// The next answer that has come, and to what.
    pub(crate) fn next_answer(&self) -> Option<(Key, Told)> {
        self.shared.answers.borrow_mut().pop_front()
    }

    /// What watches the sockets.
    pub(crate) fn sockets(&self) -> &S {
        &self.shared.sockets
    }

    /// Calls c-ares, unless it is being called already.
    fn call<A>(&self, call: impl FnOnce(*mut RawChannel) -> A) -> Option<A> {
        if self.shared.called.replace(true) {
            return None;
        }
        let answer = call(self.raw.as_ptr());
        self.shared.called.set(false);
        Some(answer)
    }
}

impl<S: Sockets> Drop for Channel<S> {
    fn drop(&mut self) {
        self.shared.called.set(true);
        // SAFETY: nobody uses it afterwards. It is not being called: what it calls is in this file,
        // or has a reference to the channel at most.
        unsafe { ares_destroy(self.raw.as_ptr()) };
    }
}

impl<S> Shared<S> {
    fn tell(&self, key: Key, status: Result<(), Failure>, add: impl FnOnce(&mut Told)) {
        let addresses = (Vec::new(), 0);
        let mut told = Told { status, addresses, message: Vec::new(), names: Vec::new() };
        add(&mut told);
        self.answers.borrow_mut().push_back((key, told));
    }
}

impl<S> Query<S> {
    /// # Safety
    ///
    /// It is what `begin` gave, and c-ares gives it back for the first time.
    unsafe fn back(query: *mut c_void) -> Self {
        // SAFETY: it came from a box, which nobody else has.
        *unsafe { Box::from_raw(query.cast()) }
    }
}

// The functions that c-ares calls. A panic in one of them would abort; what they call has none.

/// c-ares wants a socket watched.
extern "C" fn socket_wanted<S: Sockets>(
    data: *mut c_void,
    socket: c_int,
    readable: c_int,
    writable: c_int,
) {
    // SAFETY: it is what `new` gave, and lives as long as the channel, which is calling. It is
    // shared, never `&mut`.
    let shared = unsafe { &*data.cast::<Shared<S>>() };
    shared.sockets.want(&Announced(socket), readable != 0, writable != 0);
}

extern "C" fn found_addresses<S: Sockets>(
    query: *mut c_void,
    status: c_int,
    _timeouts: c_int,
    found: *mut RawAddrinfo,
) {
    // SAFETY: c-ares gives it back once.
    let Query { key, shared } = unsafe { Query::<S>::back(query) };
    let mut addresses = Vec::new();
    let mut ttl = c_int::MAX;
    if let Some(found) = NonNull::new(found) {
        // SAFETY: these are lists, which are ours to free, and are freed below.
        unsafe {
            let mut next = found.as_ref().cnames;
            while let Some(alias) = next.as_ref() {
                ttl = ttl.min(alias.ttl);
                next = alias.next;
            }
            let mut next = found.as_ref().nodes;
            while let Some(node) = next.as_ref() {
                ttl = ttl.min(node.ai_ttl);
                addresses.extend(address(node.ai_addr));
                next = node.ai_next;
            }
            ares_freeaddrinfo(found.as_ptr());
        }
    }
    let ttl = u32::try_from(ttl).unwrap_or(0);
    shared.tell(key, check(status), |told| told.addresses = (addresses, ttl));
}

extern "C" fn found_records<S: Sockets>(
    query: *mut c_void,
    status: c_int,
    _timeouts: c_int,
    message: *const u8,
    length: c_int,
) {
    // SAFETY: c-ares gives it back once.
    let Query { key, shared } = unsafe { Query::<S>::back(query) };
    let bytes = match usize::try_from(length) {
        // SAFETY: there are so many bytes, until this returns.
        Ok(length) if !message.is_null() => unsafe { slice::from_raw_parts(message, length) },
        _ => &[],
    };
    shared.tell(key, check(status), |told| told.message = bytes.to_vec());
}

extern "C" fn found_names<S: Sockets>(
    query: *mut c_void,
    status: c_int,
    _timeouts: c_int,
    host: *const RawHostent,
) {
    // SAFETY: c-ares gives it back once.
    let Query { key, shared } = unsafe { Query::<S>::back(query) };
    let mut names = Vec::new();
    // SAFETY: it is null, or lives until this returns: a string, and a list of strings that ends
    // with a null.
    unsafe {
        if let Some(host) = host.as_ref() {
            let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
            if !host.h_name.is_null() {
                names.push(text(host.h_name));
            }
            let mut alias = host.h_aliases;
            while !alias.is_null() && !(*alias).is_null() {
                let name = text(*alias);
                if !names.contains(&name) {
                    names.push(name);
                }
                alias = alias.add(1);
            }
        }
    }
    shared.tell(key, check(status), |told| told.names = names);
}

/// # Safety
///
/// It is null, or an address as long as its family says.
unsafe fn address(address: *const Sockaddr) -> Option<SocketAddr> {
    // SAFETY: the family comes first in all of them, and says which it is.
    unsafe {
        match c_int::from(address.as_ref()?.family) {
            AF_INET => {
                let found = &*address.cast::<SockaddrIn>();
                Some(SocketAddrV4::new(Ipv4Addr::from(found.address), 0).into())
            }
            AF_INET6 => {
                let found = &*address.cast::<SockaddrIn6>();
                let scope = found.scope;
                Some(SocketAddrV6::new(Ipv6Addr::from(found.address), 0, 0, scope).into())
            }
            _ => None,
        }
    }
}

fn string(text: impl AsRef<[u8]>) -> Result<CString, Failure> {
    CString::new(text.as_ref()).map_err(|_| Failure::Invalid("there is a zero byte in it".into()))
}

fn check(status: c_int) -> Result<(), Failure> {
    // SAFETY: it gives a string that is there for good, also for what is no status.
    let text = || unsafe { CStr::from_ptr(ares_strerror(status)) }.to_string_lossy().into_owned();
    Err(match status {
        ARES_SUCCESS => return Ok(()),
        ARES_ENODATA => Failure::NoData,
        ARES_ENOTFOUND => Failure::NotFound,
        ARES_ETIMEOUT => Failure::TimedOut,
        ARES_EDESTRUCTION => Failure::Closed,
        ARES_ECANCELLED => Failure::Cancelled,
        ARES_EBADQUERY | ARES_EBADNAME | ARES_EBADSTR => Failure::Invalid(text()),
        _ => Failure::Other(text()),
    })
}
