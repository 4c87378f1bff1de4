//! c-ares' channel as a safe type: all that is unsafe about it is in this file.
//!
//! c-ares calls back from inside of the calls made to it. Where it must be obeyed at once, that is
//! the trait [`Sockets`]; its answers are kept, and asked for with [`Channel::next_answer`]
//! afterwards, so that nobody's code runs inside of it.
#![expect(unsafe_code, reason = "c-ares is a C library")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ushort, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use crate::error::Error;

/// What watches the sockets of a channel. Called from inside of c-ares.
pub(crate) trait Sockets: 'static {
    /// Watches a socket in these directions, from now on; in none if it is closed next.
    fn want(&self, socket: RawFd, read: bool, write: bool);
}

/// Where c-ares asks, and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// A list of `address:port`, separated by commas.
    pub servers: String,
    /// How long it waits for a server at first; it doubles when all of them were asked.
    pub timeout: Duration,
    /// How often it asks each.
    pub tries: u16,
    /// Whether it asks over TCP, instead of only where UDP is too short.
    pub tcp: bool,
}

impl Options {
    /// Asks these servers as c-ares does by default: four times, for five seconds at first.
    pub fn new(servers: impl Into<String>) -> Self {
        let servers = servers.into();
        Options { servers, timeout: Duration::from_secs(5), tries: 4, tcp: false }
    }
}

/// Which addresses are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `A` records.
    V4,
    /// `AAAA` records.
    V6,
    /// Both.
    Any,
}

/// What became of a query.
pub(crate) type Addresses = Result<Vec<IpAddr>, Error>;

/// A channel of c-ares', for queries by askers of type `T`; dropped, it is destroyed, and what it
/// was asked has no answer any more.
pub(crate) struct Channel<S: Sockets, T> {
    raw: NonNull<RawChannel>,
    shared: Rc<Shared<S, T>>,
}

/// The side that c-ares sees, and what a query has a reference of.
struct Shared<S, T> {
    /// c-ares is being called; it is never called from inside of itself.
    called: Cell<bool>,
    answers: RefCell<VecDeque<(T, Addresses)>>,
    sockets: S,
}

/// What c-ares holds of a query, and gives back once.
struct Query<S, T> {
    asker: T,
    shared: Rc<Shared<S, T>>,
}

impl<S: Sockets, T: 'static> Channel<S, T> {
    pub(crate) fn new(options: &Options, sockets: S) -> Result<Self, Error> {
        static LIBRARY: OnceLock<c_int> = OnceLock::new();
        // SAFETY: it is called once. What must not be called meanwhile is c-ares itself, which
        // nobody does before it; on Unix it does nothing else but to count.
        check(*LIBRARY.get_or_init(|| unsafe { ares_library_init(ARES_LIB_INIT_ALL) }))?;
        let servers = CString::new(&*options.servers).map_err(other)?;
        let milliseconds = c_int::try_from(options.timeout.as_millis()).map_err(other)?;
        let shared =
            Rc::new(Shared { called: Cell::new(false), answers: RefCell::default(), sockets });
        let mut raw = ptr::null_mut();
        let mut wanted = RawOptions {
            flags: ARES_FLAG_NOSEARCH | if options.tcp { ARES_FLAG_USEVC } else { 0 },
            timeout: milliseconds.max(1),
            tries: options.tries.max(1).into(),
            lookups: c"b".as_ptr(),
            sock_state_cb: Some(socket_wanted::<S, T>),
            sock_state_cb_data: Rc::as_ptr(&shared).cast_mut().cast(),
            // SAFETY: zero is a value of all the others, which c-ares does not look at.
            ..unsafe { mem::zeroed() }
        };
        let mask = ARES_OPT_FLAGS
            | ARES_OPT_TIMEOUTMS
            | ARES_OPT_TRIES
            | ARES_OPT_LOOKUPS
            | ARES_OPT_SOCK_STATE_CB;
        // SAFETY: the fields that the mask names are set, and c-ares copies what they point to, but
        // for the data of the callback, which lives as long as the channel: `drop` destroys that
        // first.
        check(unsafe { ares_init_options(&mut raw, &mut wanted, mask) })?;
        let raw = NonNull::new(raw).ok_or_else(|| other("no channel"))?;
        let channel = Channel { raw, shared };
        // SAFETY: the channel is alive, and has no query yet; c-ares copies the string.
        check(unsafe { ares_set_servers_ports_csv(channel.raw.as_ptr(), servers.as_ptr()) })?;
        Ok(channel)
    }

    /// Begins to look for the addresses of a name, for somebody who gets the answer with
    /// `next_answer`.
    pub(crate) fn query(&self, name: &str, family: Family, asker: T) {
        let Ok(name) = CString::new(name) else {
            let refused = Err(other("a name has a zero byte in it"));
            return self.shared.answers.borrow_mut().push_back((asker, refused));
        };
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
        let query = Box::new(Query { asker, shared: Rc::clone(&self.shared) });
        let (name, query) = (name.as_ptr(), Box::into_raw(query).cast());
        let asked = self.call(|raw| {
            // SAFETY: `call` hands over a channel that is alive and not being called; c-ares copies
            // name and hints, and gives the query to the callback, which expects it, exactly once.
            unsafe { ares_getaddrinfo(raw, name, ptr::null(), &hints, answered::<S, T>, query) };
        });
        if asked.is_none() {
            // SAFETY: it came from a box, and c-ares does not know it.
            drop(unsafe { Box::from_raw(query.cast::<Query<S, T>>()) });
        }
    }

    /// Has it look at sockets that are ready, if any, and at the time.
    pub(crate) fn process(&self, readable: Option<RawFd>, writable: Option<RawFd>) {
        let [readable, writable] = [readable, writable].map(|fd| fd.unwrap_or(ARES_SOCKET_BAD));
        // SAFETY: as in `query`. c-ares compares the numbers with those of its own sockets.
        self.call(|raw| unsafe { ares_process_fd(raw, readable, writable) });
    }

    /// Ends all queries.
    pub(crate) fn cancel(&self) {
        // SAFETY: as in `query`.
        self.call(|raw| unsafe { ares_cancel(raw) });
    }

    /// When it wants to be asked to look at the time; not at all without queries.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let mut time = MaybeUninit::<Timeval>::uninit();
        let wanted = self.call(|raw| {
            // SAFETY: as in `query`. Without a maximum the answer is null, or `time`, which is set
            // then.
            unsafe { ares_timeout(raw, ptr::null_mut(), time.as_mut_ptr()).as_ref() }
                .map(|time| (time.tv_sec, time.tv_usec))
        });
        let (seconds, microseconds) = wanted??;
        let seconds = Duration::from_secs(seconds.try_into().unwrap_or_default());
        Some(seconds + Duration::from_micros(microseconds.try_into().unwrap_or_default()))
    }

    /// The next answer that has come, and who asked.
    pub(crate) fn next_answer(&self) -> Option<(T, Addresses)> {
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

impl<S: Sockets, T> Drop for Channel<S, T> {
    fn drop(&mut self) {
        self.shared.called.set(true);
        // SAFETY: nobody uses it afterwards. It is not being called: what it calls is in this file,
        // or has a reference to the channel at most.
        unsafe { ares_destroy(self.raw.as_ptr()) };
    }
}

/// c-ares wants a socket watched.
extern "C" fn socket_wanted<S: Sockets, T>(
    data: *mut c_void,
    socket: c_int,
    readable: c_int,
    writable: c_int,
) {
    // SAFETY: it is what `new` gave, and lives as long as the channel, which is calling. It is
    // shared, never `&mut`.
    let shared = unsafe { &*data.cast::<Shared<S, T>>() };
    shared.sockets.want(socket, readable != 0, writable != 0);
}

/// A query is over.
extern "C" fn answered<S: Sockets, T>(
    query: *mut c_void,
    status: c_int,
    _timeouts: c_int,
    found: *mut RawAddrinfo,
) {
    // SAFETY: it is what `query` gave, and c-ares gives it back once.
    let Query { asker, shared } = *unsafe { Box::from_raw(query.cast::<Query<S, T>>()) };
    let mut addresses = Vec::new();
    if let Some(found) = NonNull::new(found) {
        // SAFETY: it is a list of addresses, which is ours to free, and is freed below.
        unsafe {
            let mut next = found.as_ref().nodes;
            while let Some(node) = next.as_ref() {
                addresses.extend(address(node.ai_addr));
                next = node.ai_next;
            }
            ares_freeaddrinfo(found.as_ptr());
        }
    }
    let answer = check(status).map(|()| addresses);
    shared.answers.borrow_mut().push_back((asker, answer));
}

/// # Safety
///
/// It is null, or an address as long as its family says.
unsafe fn address(address: *const Sockaddr) -> Option<IpAddr> {
    // SAFETY: the family comes first in all of them, and says which it is.
    unsafe {
        match c_int::from(address.as_ref()?.family) {
            AF_INET => Some(Ipv4Addr::from((*address.cast::<SockaddrIn>()).address).into()),
            AF_INET6 => Some(Ipv6Addr::from((*address.cast::<SockaddrIn6>()).address).into()),
            _ => None,
        }
    }
}

fn check(status: c_int) -> Result<(), Error> {
    Err(match status {
        ARES_SUCCESS => return Ok(()),
        ARES_ENODATA => Error::NoData,
        ARES_ENOTFOUND => Error::NotFound,
        ARES_ETIMEOUT => Error::TimedOut,
        ARES_EDESTRUCTION => Error::Closed,
        ARES_ECANCELLED => Error::Cancelled,
        // SAFETY: it gives a string that is there for good, also for what is no status.
        _ => other(unsafe { CStr::from_ptr(ares_strerror(status)) }.to_string_lossy()),
    })
}

fn other(error: impl ToString) -> Error {
    Error::Other(error.to_string())
}

const ARES_LIB_INIT_ALL: c_int = 1;
const ARES_SUCCESS: c_int = 0;
const ARES_ENODATA: c_int = 1;
const ARES_ENOTFOUND: c_int = 4;
const ARES_ETIMEOUT: c_int = 12;
const ARES_EDESTRUCTION: c_int = 16;
const ARES_ECANCELLED: c_int = 24;
const ARES_FLAG_USEVC: c_int = 1;
const ARES_FLAG_NOSEARCH: c_int = 1 << 5;
const ARES_OPT_FLAGS: c_int = 1;
const ARES_OPT_TRIES: c_int = 1 << 2;
const ARES_OPT_LOOKUPS: c_int = 1 << 8;
const ARES_OPT_SOCK_STATE_CB: c_int = 1 << 9;
const ARES_OPT_TIMEOUTMS: c_int = 1 << 13;
const ARES_AI_NOSORT: c_int = 1 << 7;
const ARES_SOCKET_BAD: c_int = -1;

// Linux's.
const AF_UNSPEC: c_int = 0;
const AF_INET: c_int = 2;
const AF_INET6: c_int = 10;

#[repr(C)]
struct RawChannel {
    opaque: [u8; 0],
    unsendable: PhantomData<(*mut u8, PhantomPinned)>,
}

/// `struct ares_options` as far as it is used: what comes after it, and later versions append, is
/// only looked at where the mask says so.
#[repr(C)]
struct RawOptions {
    flags: c_int,
    timeout: c_int,
    tries: c_int,
    ndots: c_int,
    udp_port: c_ushort,
    tcp_port: c_ushort,
    socket_send_buffer_size: c_int,
    socket_receive_buffer_size: c_int,
    servers: *mut c_void,
    nservers: c_int,
    domains: *mut *mut c_char,
    ndomains: c_int,
    lookups: *const c_char,
    sock_state_cb: Option<SocketCallback>,
    sock_state_cb_data: *mut c_void,
}

#[repr(C)]
struct RawHints {
    ai_flags: c_int,
    ai_family: c_int,
    ai_socktype: c_int,
    ai_protocol: c_int,
}

#[repr(C)]
struct RawAddrinfo {
    cnames: *const c_void,
    nodes: *const RawNode,
    name: *const c_char,
}

#[repr(C)]
struct RawNode {
    ai_ttl: c_int,
    ai_flags: c_int,
    ai_family: c_int,
    ai_socktype: c_int,
    ai_protocol: c_int,
    ai_addrlen: c_uint,
    ai_addr: *const Sockaddr,
    ai_next: *const RawNode,
}

#[repr(C)]
struct Sockaddr {
    family: u16,
}

#[repr(C)]
struct SockaddrIn {
    family: u16,
    port: u16,
    address: [u8; 4],
}

#[repr(C)]
struct SockaddrIn6 {
    family: u16,
    port: u16,
    flow: u32,
    address: [u8; 16],
}

#[repr(C)]
struct Timeval {
    tv_sec: c_long,
    tv_usec: c_long,
}

type SocketCallback = extern "C" fn(*mut c_void, c_int, c_int, c_int);
type AddressCallback = extern "C" fn(*mut c_void, c_int, c_int, *mut RawAddrinfo);

// `ares.h`
#[link(name = "cares")]
unsafe extern "C" {
    fn ares_library_init(flags: c_int) -> c_int;
    fn ares_init_options(
        channel: *mut *mut RawChannel,
        options: *mut RawOptions,
        mask: c_int,
    ) -> c_int;
    fn ares_set_servers_ports_csv(channel: *mut RawChannel, servers: *const c_char) -> c_int;
    fn ares_getaddrinfo(
        channel: *mut RawChannel,
        name: *const c_char,
        service: *const c_char,
        hints: *const RawHints,
        callback: AddressCallback,
        query: *mut c_void,
    );
    fn ares_freeaddrinfo(found: *mut RawAddrinfo);
    fn ares_process_fd(channel: *mut RawChannel, readable: c_int, writable: c_int);
    fn ares_timeout(
        channel: *mut RawChannel,
        maximum: *mut Timeval,
        buffer: *mut Timeval,
    ) -> *mut Timeval;
    fn ares_cancel(channel: *mut RawChannel);
    fn ares_destroy(channel: *mut RawChannel);
    fn ares_strerror(status: c_int) -> *const c_char;
}
