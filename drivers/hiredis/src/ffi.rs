//! hiredis' context as a safe type: all that is unsafe about this crate is in this file.
//!
//! hiredis is asked to connect, to read, to write and to take replies apart, each without waiting.
//! It calls nobody back, so nobody's code runs inside of it.
#![expect(unsafe_code, reason = "hiredis is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{self, NonNull};
use std::slice;

use crate::options::Address;
use crate::reply::Reply;

/// One context of hiredis', with its socket.
///
/// Its errors are hiredis' words, and the last thing to be had of it.
pub(crate) struct Wire {
    /// Alive until the drop, with its socket: hiredis closes that in `redisFree` alone.
    raw: NonNull<RawContext>,
}

impl Wire {
    /// Begins to connect.
    pub(crate) fn connect(address: &Address) -> Result<Self, String> {
        // The text of an IPv6 address has the number of its interface behind a `%`, as
        // getaddrinfo(3), which hiredis asks, takes it. It does not wait, for an address.
        let (text, port) = match address {
            Address::Tcp(SocketAddr::V4(address)) => (address.ip().to_string(), address.port()),
            Address::Tcp(SocketAddr::V6(address)) => {
                let scope = match address.scope_id() {
                    0 => String::new(),
                    scope => format!("%{scope}"),
                };
                (format!("{}{scope}", address.ip()), address.port())
            }
            Address::Unix(path) => return Self::connect_unix(path.as_os_str().as_bytes()),
        };
        let text = CString::new(text).map_err(|error| error.to_string())?;
        // SAFETY: it is a string, which hiredis copies.
        let wire = Self::of(unsafe { redisConnectNonBlock(text.as_ptr(), c_int::from(port)) })?;
        // Otherwise a server whose machine is gone is never missed where nothing is sent to it.
        // SAFETY: the context is alive.
        unsafe { redisEnableKeepAlive(wire.raw.as_ptr()) };
        wire.checked()
    }

    fn connect_unix(path: &[u8]) -> Result<Self, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        // SAFETY: it is a string, which hiredis copies.
        Self::of(unsafe { redisConnectUnixNonBlock(path.as_ptr()) })
    }

    fn of(raw: *mut RawContext) -> Result<Self, String> {
        Wire { raw: NonNull::new(raw).ok_or("out of memory")? }.checked()
    }

    /// Gives it back, unless hiredis has found an error.
    fn checked(self) -> Result<Self, String> {
        // SAFETY: the context is alive.
        if unsafe { layout_error(self.raw.as_ptr()) } == 0 { Ok(self) } else { Err(self.error()) }
    }

    /// Whether the connection was made, once the socket is writable.
    pub(crate) fn connected(&self) -> Result<(), String> {
        let asked = self.as_fd().try_clone_to_owned().map(TcpStream::from);
        match asked.and_then(|socket| socket.take_error()) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(error.to_string()),
        }
    }

    /// Puts encoded commands behind those that have to be written.
    pub(crate) fn queue(&self, commands: &[u8]) -> Result<(), String> {
        // SAFETY: the context is alive. hiredis copies the bytes.
        let code = unsafe {
            let bytes = commands.as_ptr().cast();
            redisAppendFormattedCommand(self.raw.as_ptr(), bytes, commands.len())
        };
        self.check(code)
    }

    /// Writes what the socket takes; says whether that was all.
    pub(crate) fn write(&self) -> Result<bool, String> {
        let mut done = 0;
        // SAFETY: the context is alive, and `done` lives.
        let code = unsafe { redisBufferWrite(self.raw.as_ptr(), &raw mut done) };
        self.check(code).map(|()| done != 0)
    }

    /// Reads once, up to 16 KiB, and nothing where nothing is there.
    pub(crate) fn read(&self) -> Result<(), String> {
        // SAFETY: the context is alive.
        let code = unsafe { redisBufferRead(self.raw.as_ptr()) };
        self.check(code)
    }

    /// The next reply that was read as a whole.
    pub(crate) fn reply(&self) -> Result<Option<Reply>, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: the context is alive, and `raw` lives.
        let code = unsafe { redisGetReplyFromReader(self.raw.as_ptr(), &raw mut raw) };
        self.check(code)?;
        let Some(raw) = NonNull::new(raw) else { return Ok(None) };
        let reply = RawReplyBox(raw.cast());
        // SAFETY: it is a reply of hiredis', which lives until it is dropped.
        Ok(Some(unsafe { copy(reply.0.as_ptr()) }))
    }

    fn check(&self, code: c_int) -> Result<(), String> {
        if code == REDIS_OK { Ok(()) } else { Err(self.error()) }
    }

    fn error(&self) -> String {
        // SAFETY: the context is alive, and so the text in it.
        let text = unsafe { CStr::from_ptr(layout_error_text(self.raw.as_ptr())) };
        text.to_string_lossy().into_owned()
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the context was made without an error, so it has a socket, and that stays open
        // for as long as the context lives.
        unsafe { BorrowedFd::borrow_raw(layout_descriptor(self.raw.as_ptr())) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // SAFETY: the context is alive, and nobody has it after this.
        unsafe { redisFree(self.raw.as_ptr()) };
    }
}

/// Whether this hiredis knows RESP3.
pub(crate) fn knows_resp3() -> bool {
    // SAFETY: it takes nothing.
    unsafe { layout_knows_resp3() != 0 }
}

/// A reply that is freed with this.
struct RawReplyBox(NonNull<RawReply>);

impl Drop for RawReplyBox {
    fn drop(&mut self) {
        // SAFETY: hiredis gave it away, and nobody has it after this.
        unsafe { freeReplyObject(self.0.as_ptr().cast()) };
    }
}

/// # Safety
///
/// It is a reply of hiredis'.
unsafe fn copy(reply: *const RawReply) -> Reply {
    // SAFETY: hiredis sets the fields that go with a type, and elements are replies, nested to a
    // depth of some ten at the most. The bytes are not null.
    unsafe {
        let bytes = || slice::from_raw_parts(layout_bytes(reply).cast(), layout_length(reply));
        let text = || String::from_utf8_lossy(bytes()).into_owned();
        let parts = || (0..layout_elements(reply)).map(|i| copy(layout_element(reply, i)));
        match layout_type(reply) {
            REDIS_REPLY_STRING | REDIS_REPLY_VERB => Reply::Bytes(bytes().to_vec()),
            REDIS_REPLY_ARRAY => Reply::Array(parts().collect()),
            REDIS_REPLY_INTEGER => Reply::Integer(layout_integer(reply)),
            REDIS_REPLY_NIL => Reply::Nil,
            REDIS_REPLY_STATUS => Reply::Status(text()),
            REDIS_REPLY_ERROR => Reply::Error(text()),
            // The text as the server sent it: the number beside it came later.
            REDIS_REPLY_DOUBLE => text().parse().map_or(Reply::Unknown(7), Reply::Double),
            REDIS_REPLY_BOOL => Reply::Boolean(layout_integer(reply) != 0),
            REDIS_REPLY_MAP => {
                let mut parts = parts();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                    pairs.push((key, value));
                }
                Reply::Map(pairs)
            }
            REDIS_REPLY_SET => Reply::Set(parts().collect()),
            REDIS_REPLY_PUSH => Reply::Push(parts().collect()),
            REDIS_REPLY_BIGNUM => Reply::BigNumber(text()),
            other => Reply::Unknown(other),
        }
    }
}

const REDIS_OK: c_int = 0;
const REDIS_REPLY_STRING: c_int = 1;
const REDIS_REPLY_ARRAY: c_int = 2;
const REDIS_REPLY_INTEGER: c_int = 3;
const REDIS_REPLY_NIL: c_int = 4;
const REDIS_REPLY_STATUS: c_int = 5;
const REDIS_REPLY_ERROR: c_int = 6;
// From version 1.0 on.
const REDIS_REPLY_DOUBLE: c_int = 7;
const REDIS_REPLY_BOOL: c_int = 8;
const REDIS_REPLY_MAP: c_int = 9;
const REDIS_REPLY_SET: c_int = 10;
const REDIS_REPLY_PUSH: c_int = 12;
const REDIS_REPLY_BIGNUM: c_int = 13;
const REDIS_REPLY_VERB: c_int = 14;

/// hiredis' `redisContext`, which only `layout.c` looks into.
#[repr(C)]
struct RawContext {
    opaque: [u8; 0],
    unsendable: PhantomData<(*mut u8, PhantomPinned)>,
}

/// hiredis' `redisReply`, likewise.
#[repr(C)]
struct RawReply {
    opaque: [u8; 0],
    unsendable: PhantomData<(*mut u8, PhantomPinned)>,
}

// `hiredis/hiredis.h`
unsafe extern "C" {
    fn redisConnectNonBlock(ip: *const c_char, port: c_int) -> *mut RawContext;
    fn redisConnectUnixNonBlock(path: *const c_char) -> *mut RawContext;
    fn redisEnableKeepAlive(context: *mut RawContext) -> c_int;
    fn redisFree(context: *mut RawContext);
    fn redisAppendFormattedCommand(
        context: *mut RawContext,
        commands: *const c_char,
        length: usize,
    ) -> c_int;
    fn redisBufferWrite(context: *mut RawContext, done: *mut c_int) -> c_int;
    fn redisBufferRead(context: *mut RawContext) -> c_int;
    fn redisGetReplyFromReader(context: *mut RawContext, reply: *mut *mut c_void) -> c_int;
    fn freeReplyObject(reply: *mut c_void);
}

// `layout.c`
unsafe extern "C" {
    fn layout_knows_resp3() -> c_int;
    fn layout_error(context: *const RawContext) -> c_int;
    fn layout_error_text(context: *const RawContext) -> *const c_char;
    fn layout_descriptor(context: *const RawContext) -> c_int;
    fn layout_type(reply: *const RawReply) -> c_int;
    fn layout_integer(reply: *const RawReply) -> c_longlong;
    fn layout_bytes(reply: *const RawReply) -> *const c_char;
    fn layout_length(reply: *const RawReply) -> usize;
    fn layout_elements(reply: *const RawReply) -> usize;
    fn layout_element(reply: *const RawReply, index: usize) -> *const RawReply;
}
