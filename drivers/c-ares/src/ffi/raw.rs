//! What of `ares.h` is used, as it stands there.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ushort, c_void};
use std::marker::{PhantomData, PhantomPinned};

pub(super) const ARES_LIB_INIT_ALL: c_int = 1;
pub(super) const ARES_SUCCESS: c_int = 0;
pub(super) const ARES_ENODATA: c_int = 1;
pub(super) const ARES_ENOTFOUND: c_int = 4;
pub(super) const ARES_EBADQUERY: c_int = 7;
pub(super) const ARES_EBADNAME: c_int = 8;
pub(super) const ARES_ETIMEOUT: c_int = 12;
pub(super) const ARES_EDESTRUCTION: c_int = 16;
pub(super) const ARES_EBADSTR: c_int = 17;
pub(super) const ARES_ECANCELLED: c_int = 24;
pub(super) const ARES_FLAG_USEVC: c_int = 1;
pub(super) const ARES_AI_NOSORT: c_int = 1 << 7;
pub(super) const ARES_OPT_FLAGS: c_int = 1;
pub(super) const ARES_OPT_TRIES: c_int = 1 << 2;
pub(super) const ARES_OPT_DOMAINS: c_int = 1 << 7;
pub(super) const ARES_OPT_LOOKUPS: c_int = 1 << 8;
pub(super) const ARES_OPT_SOCK_STATE_CB: c_int = 1 << 9;
pub(super) const ARES_OPT_TIMEOUTMS: c_int = 1 << 13;
pub(super) const ARES_OPT_RESOLVCONF: c_int = 1 << 17;
// Since version 1.31; before it means nothing.
pub(super) const ARES_OPT_QUERY_CACHE: c_int = 1 << 21;
pub(super) const CLASS_IN: c_int = 1;
pub(super) const ARES_SOCKET_BAD: c_int = -1;

// Linux's.
pub(super) const AF_UNSPEC: c_int = 0;
pub(super) const AF_INET: c_int = 2;
pub(super) const AF_INET6: c_int = 10;

#[repr(C)]
pub(super) struct RawChannel {
    pub(super) opaque: [u8; 0],
    pub(super) unsendable: PhantomData<(*mut u8, PhantomPinned)>,
}

/// `struct ares_options` as far as it is used: what comes after it, and later versions append, is
/// only looked at where the mask says so.
#[repr(C)]
pub(super) struct RawOptions {
    pub(super) flags: c_int,
    pub(super) timeout: c_int,
    pub(super) tries: c_int,
    pub(super) ndots: c_int,
    pub(super) udp_port: c_ushort,
    pub(super) tcp_port: c_ushort,
    pub(super) socket_send_buffer_size: c_int,
    pub(super) socket_receive_buffer_size: c_int,
    pub(super) servers: *mut c_void,
    pub(super) nservers: c_int,
    pub(super) domains: *mut *const c_char,
    pub(super) ndomains: c_int,
    pub(super) lookups: *const c_char,
    pub(super) sock_state_cb: Option<SocketCallback>,
    pub(super) sock_state_cb_data: *mut c_void,
    pub(super) sortlist: *mut c_void,
    pub(super) nsort: c_int,
    pub(super) ednspsz: c_int,
    pub(super) resolvconf_path: *const c_char,
    // Since version 1.19 and later ones.
    pub(super) hosts_path: *const c_char,
    pub(super) udp_max_queries: c_int,
    pub(super) maxtimeout: c_int,
    pub(super) qcache_max_ttl: c_uint,
}

#[repr(C)]
pub(super) struct RawHints {
    pub(super) ai_flags: c_int,
    pub(super) ai_family: c_int,
    pub(super) ai_socktype: c_int,
    pub(super) ai_protocol: c_int,
}

#[repr(C)]
pub(super) struct RawAddrinfo {
    pub(super) cnames: *const RawCname,
    pub(super) nodes: *const RawNode,
    pub(super) name: *const c_char,
}

#[repr(C)]
pub(super) struct RawCname {
    pub(super) ttl: c_int,
    pub(super) alias: *const c_char,
    pub(super) name: *const c_char,
    pub(super) next: *const RawCname,
}

/// The system's `struct hostent`, as far as it is used.
#[repr(C)]
pub(super) struct RawHostent {
    pub(super) h_name: *const c_char,
    pub(super) h_aliases: *const *const c_char,
}

#[repr(C)]
pub(super) struct RawNode {
    pub(super) ai_ttl: c_int,
    pub(super) ai_flags: c_int,
    pub(super) ai_family: c_int,
    pub(super) ai_socktype: c_int,
    pub(super) ai_protocol: c_int,
    pub(super) ai_addrlen: c_uint,
    pub(super) ai_addr: *const Sockaddr,
    pub(super) ai_next: *const RawNode,
}

#[repr(C)]
pub(super) struct Sockaddr {
    pub(super) family: u16,
}

#[repr(C)]
pub(super) struct SockaddrIn {
    pub(super) family: u16,
    pub(super) port: u16,
    pub(super) address: [u8; 4],
}

#[repr(C)]
pub(super) struct SockaddrIn6 {
    pub(super) family: u16,
    pub(super) port: u16,
    pub(super) flow: u32,
    pub(super) address: [u8; 16],
    pub(super) scope: u32,
}

#[repr(C)]
pub(super) struct Timeval {
    pub(super) tv_sec: c_long,
    pub(super) tv_usec: c_long,
}

pub(super) type SocketCallback = extern "C" fn(*mut c_void, c_int, c_int, c_int);
pub(super) type AddressCallback = extern "C" fn(*mut c_void, c_int, c_int, *mut RawAddrinfo);
pub(super) type MessageCallback = extern "C" fn(*mut c_void, c_int, c_int, *const u8, c_int);
pub(super) type HostCallback = extern "C" fn(*mut c_void, c_int, c_int, *const RawHostent);

// `ares.h`
#[link(name = "cares")]
unsafe extern "C" {
    pub(super) fn ares_library_init(flags: c_int) -> c_int;
    pub(super) fn ares_init_options(
        channel: *mut *mut RawChannel,
        options: *mut RawOptions,
        mask: c_int,
    ) -> c_int;
    pub(super) fn ares_set_servers_ports_csv(
        channel: *mut RawChannel,
        servers: *const c_char,
    ) -> c_int;
    pub(super) fn ares_getaddrinfo(
        channel: *mut RawChannel,
        name: *const c_char,
        service: *const c_char,
        hints: *const RawHints,
        callback: AddressCallback,
        query: *mut c_void,
    );
    pub(super) fn ares_query(
        channel: *mut RawChannel,
        name: *const c_char,
        class: c_int,
        kind: c_int,
        callback: MessageCallback,
        query: *mut c_void,
    );
    pub(super) fn ares_gethostbyaddr(
        channel: *mut RawChannel,
        address: *const c_void,
        length: c_int,
        family: c_int,
        callback: HostCallback,
        query: *mut c_void,
    );
    pub(super) fn ares_freeaddrinfo(found: *mut RawAddrinfo);
    pub(super) fn ares_process_fd(channel: *mut RawChannel, readable: c_int, writable: c_int);
    pub(super) fn ares_timeout(
        channel: *mut RawChannel,
        maximum: *mut Timeval,
        buffer: *mut Timeval,
    ) -> *mut Timeval;
    pub(super) fn ares_cancel(channel: *mut RawChannel);
    pub(super) fn ares_destroy(channel: *mut RawChannel);
    pub(super) fn ares_strerror(status: c_int) -> *const c_char;
}
