//! hiredis' asynchronous context as a safe type: all that is unsafe about it is in this file.
//!
//! hiredis calls back from inside of the calls made to it. Where it must be obeyed at once, that is
//! the trait [`Socket`]; what it has to tell is kept, and asked for with [`Context::next_event`]
//! afterwards, so that nobody's code runs inside of it.
#![expect(unsafe_code, reason = "hiredis is a C library")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use ioloop::reactor::Direction;

use crate::reply::Reply;

/// What watches the descriptor of a context. Called from inside of hiredis.
pub(crate) trait Socket: 'static {
    /// Watches `fd` in a direction, or not any more. The same may be asked for again and again.
    fn want(&self, fd: RawFd, direction: Direction, wanted: bool);

    /// The descriptor is closed next.
    fn gone(&self);
}

/// What hiredis told, in order.
pub(crate) enum Event {
    /// The connection is made.
    Connected,
    /// The reply to the first command that has none yet.
    Reply(Reply),
    /// What came for a subscription.
    Message(Reply),
    /// The context is gone, and why, unless it was asked to go. Nothing follows.
    Ended(Option<String>),
}

/// To whom the replies to a command go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One reply.
    Command,
    /// What comes is a message.
    Subscribe,
    /// It has no reply of its own.
    Unsubscribe,
}

/// One connection of hiredis'.
pub(crate) struct Context<S: Socket> {
    shared: Rc<Shared<S>>,
}

/// The side that hiredis sees. It holds a reference of its own, from `connect` until `cleanup`.
struct Shared<S> {
    raw: NonNull<RawContext>,
    phase: Cell<Phase>,
    fd: RawFd,
    events: RefCell<VecDeque<Event>>,
    socket: S,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The context is alive, and may be called.
    Idle,
    /// hiredis is being called; it is never called from inside of itself.
    Called,
    /// hiredis has freed the context, or is about to.
    Freed,
}

impl<S: Socket> Context<S> {
    /// Begins to connect to a Unix socket; why it cannot be, in hiredis' words, otherwise.
    pub(crate) fn connect(path: &Path, socket: S) -> Result<Self, String> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: it is a string, which hiredis copies.
        let raw = unsafe { redisAsyncConnectUnix(path.as_ptr()) };
        let raw = NonNull::new(raw).ok_or("out of memory")?;
        // SAFETY: it was just made, and nobody else has it.
        if let Some(error) = unsafe { error_of(raw.as_ptr()) } {
            // SAFETY: as above; it has nobody to call yet.
            unsafe { redisAsyncFree(raw.as_ptr()) };
            return Err(error);
        }
        let shared = Rc::new(Shared {
            raw,
            phase: Cell::new(Phase::Idle),
            // SAFETY: the context is alive. It keeps its descriptor until it is freed.
            fd: unsafe { layout_descriptor(raw.as_ptr()) },
            events: RefCell::default(),
            socket,
        });
        let context = Context { shared };
        let data = Rc::into_raw(Rc::clone(&context.shared)).cast_mut().cast();
        context.call(|raw| {
            // SAFETY: the context is alive; `data` is what the functions expect, and stays valid
            // until `cleanup`, the last of them to be called.
            unsafe {
                layout_attach(
                    raw,
                    data,
                    add_read::<S>,
                    del_read::<S>,
                    add_write::<S>,
                    del_write::<S>,
                    cleanup::<S>,
                );
                redisAsyncSetConnectCallback(raw, connected::<S>);
            }
        });
        Ok(context)
    }

    /// Has it read or write, as the descriptor is ready.
    pub(crate) fn ready(&self, direction: Direction) {
        self.call(|raw| match direction {
            // SAFETY: `call` hands over a context that is alive and not being called.
            Direction::Read => unsafe { redisAsyncHandleRead(raw) },
            // SAFETY: as above.
            Direction::Write => unsafe { redisAsyncHandleWrite(raw) },
        });
    }

    /// Sends a command, which has a name at least; false if the context takes none any more.
    pub(crate) fn command(&self, words: &[&[u8]], kind: Kind) -> bool {
        assert!(!words.is_empty(), "hiredis aborts at a command without words");
        let Ok(count) = c_int::try_from(words.len()) else { return false };
        let starts: Vec<_> = words.iter().map(|word| word.as_ptr().cast()).collect();
        let lengths: Vec<_> = words.iter().map(|word| word.len()).collect();
        let (starts, lengths) = (starts.as_ptr(), lengths.as_ptr());
        let data = Rc::as_ptr(&self.shared).cast_mut().cast();
        let callback: Option<ReplyCallback> = match kind {
            Kind::Command => Some(replied::<S>),
            Kind::Subscribe => Some(message::<S>),
            Kind::Unsubscribe => None,
        };
        // SAFETY: as in `ready`. There are `count` words and lengths, and hiredis copies them.
        // `data` is what the callback expects, and is valid until `cleanup`, before which hiredis
        // calls its callbacks.
        let sent = self.call(|raw| unsafe {
            redisAsyncCommandArgv(raw, callback, data, count, starts, lengths)
        });
        sent == Some(REDIS_OK)
    }

    /// Ends the connection once what was asked is answered.
    pub(crate) fn disconnect(&self) {
        // SAFETY: as in `ready`.
        self.call(|raw| unsafe { redisAsyncDisconnect(raw) });
    }

    /// Ends the connection here and now.
    pub(crate) fn free(&self) {
        // SAFETY: as in `ready`.
        self.call(|raw| unsafe { redisAsyncFree(raw) });
    }

    /// The next of what hiredis told.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.shared.events.borrow_mut().pop_front()
    }

    /// What watches the descriptor.
    pub(crate) fn socket(&self) -> &S {
        &self.shared.socket
    }

    /// Calls hiredis with the context, if that is alive and not being called.
    fn call<T>(&self, call: impl FnOnce(*mut RawContext) -> T) -> Option<T> {
        let phase = &self.shared.phase;
        if phase.get() != Phase::Idle {
            return None;
        }
        phase.set(Phase::Called);
        let answer = call(self.shared.raw.as_ptr());
        if phase.get() == Phase::Called {
            phase.set(Phase::Idle);
        }
        Some(answer)
    }
}

impl<S: Socket> Drop for Context<S> {
    fn drop(&mut self) {
        self.free();
    }
}

impl<S: Socket> Shared<S> {
    /// The side of a context that hiredis was given.
    ///
    /// # Safety
    ///
    /// `data` came from `connect` or `command`, and `cleanup` has not returned.
    unsafe fn of<'a>(data: *mut c_void) -> &'a Self {
        // SAFETY: it is the pointer of an `Rc`, of which hiredis' own reference lives until
        // `cleanup` has returned.
        unsafe { &*data.cast::<Self>() }
    }

    fn tell(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
    }
}

// The functions that hiredis calls. A panic in one of them would abort; what they call has none.

extern "C" fn add_read<S: Socket>(data: *mut c_void) {
    // SAFETY: hiredis calls none of these after `cleanup`.
    let shared = unsafe { Shared::<S>::of(data) };
    shared.socket.want(shared.fd, Direction::Read, true);
}

extern "C" fn del_read<S: Socket>(data: *mut c_void) {
    // SAFETY: as above.
    let shared = unsafe { Shared::<S>::of(data) };
    shared.socket.want(shared.fd, Direction::Read, false);
}

extern "C" fn add_write<S: Socket>(data: *mut c_void) {
    // SAFETY: as above.
    let shared = unsafe { Shared::<S>::of(data) };
    shared.socket.want(shared.fd, Direction::Write, true);
}

extern "C" fn del_write<S: Socket>(data: *mut c_void) {
    // SAFETY: as above.
    let shared = unsafe { Shared::<S>::of(data) };
    shared.socket.want(shared.fd, Direction::Write, false);
}

/// The context is freed next, and its descriptor closed.
extern "C" fn cleanup<S: Socket>(data: *mut c_void) {
    // SAFETY: the reference that `connect` gave away, which nobody uses after this call.
    let shared = unsafe { Rc::from_raw(data.cast::<Shared<S>>()) };
    shared.phase.set(Phase::Freed);
    shared.socket.gone();
    // SAFETY: it is freed only when this has returned.
    shared.tell(Event::Ended(unsafe { error_of(shared.raw.as_ptr()) }));
}

extern "C" fn connected<S: Socket>(raw: *const RawContext, status: c_int) {
    // Where it failed, `cleanup` comes next.
    if status == REDIS_OK {
        // SAFETY: the context is alive, and has been given its data.
        let shared = unsafe { Shared::<S>::of(layout_data(raw)) };
        shared.tell(Event::Connected);
    }
}

extern "C" fn replied<S: Socket>(_: *mut RawContext, reply: *const RawReply, data: *mut c_void) {
    // SAFETY: hiredis calls its callbacks before `cleanup`.
    let shared = unsafe { Shared::<S>::of(data) };
    // Without a reply the context ends, and `cleanup` comes next.
    if !reply.is_null() {
        // SAFETY: it lives until this has returned.
        shared.tell(Event::Reply(unsafe { copy(reply) }));
    }
}

extern "C" fn message<S: Socket>(_: *mut RawContext, reply: *const RawReply, data: *mut c_void) {
    // SAFETY: as above.
    let shared = unsafe { Shared::<S>::of(data) };
    if !reply.is_null() {
        // SAFETY: as above.
        shared.tell(Event::Message(unsafe { copy(reply) }));
    }
}

/// Why the context cannot go on, if so.
///
/// # Safety
///
/// The context is alive.
unsafe fn error_of(raw: *const RawContext) -> Option<String> {
    // SAFETY: it is alive, and so the text in it.
    unsafe {
        if layout_error(raw) == 0 {
            return None;
        }
        Some(CStr::from_ptr(layout_error_text(raw)).to_string_lossy().into_owned())
    }
}

/// # Safety
///
/// It is a reply of hiredis'.
unsafe fn copy(reply: *const RawReply) -> Reply {
    // SAFETY: hiredis sets the fields that go with a type, and elements are replies. The bytes are
    // not null.
    unsafe {
        let bytes = || slice::from_raw_parts(layout_bytes(reply).cast(), layout_length(reply));
        let text = || String::from_utf8_lossy(bytes()).into_owned();
        match layout_type(reply) {
            REDIS_REPLY_STRING => Reply::Bytes(bytes().to_vec()),
            REDIS_REPLY_ARRAY => {
                let elements = 0..layout_elements(reply);
                Reply::Array(elements.map(|i| copy(layout_element(reply, i))).collect())
            }
            REDIS_REPLY_INTEGER => Reply::Integer(layout_integer(reply)),
            REDIS_REPLY_NIL => Reply::Nil,
            REDIS_REPLY_STATUS => Reply::Status(text()),
            REDIS_REPLY_ERROR => Reply::Error(text()),
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

/// hiredis' `redisAsyncContext`, which only `layout.c` looks into.
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

type Hook = extern "C" fn(*mut c_void);
type ConnectCallback = extern "C" fn(*const RawContext, c_int);
type ReplyCallback = extern "C" fn(*mut RawContext, *const RawReply, *mut c_void);

// `hiredis/async.h`
unsafe extern "C" {
    fn redisAsyncConnectUnix(path: *const c_char) -> *mut RawContext;
    fn redisAsyncSetConnectCallback(context: *mut RawContext, callback: ConnectCallback) -> c_int;
    fn redisAsyncDisconnect(context: *mut RawContext);
    fn redisAsyncFree(context: *mut RawContext);
    fn redisAsyncHandleRead(context: *mut RawContext);
    fn redisAsyncHandleWrite(context: *mut RawContext);
    fn redisAsyncCommandArgv(
        context: *mut RawContext,
        callback: Option<ReplyCallback>,
        data: *mut c_void,
        count: c_int,
        words: *const *const c_char,
        lengths: *const usize,
    ) -> c_int;
}

// `layout.c`
unsafe extern "C" {
    fn layout_error(context: *const RawContext) -> c_int;
    fn layout_error_text(context: *const RawContext) -> *const c_char;
    fn layout_descriptor(context: *const RawContext) -> c_int;
    fn layout_data(context: *const RawContext) -> *mut c_void;
    fn layout_attach(
        context: *mut RawContext,
        data: *mut c_void,
        add_read: Hook,
        del_read: Hook,
        add_write: Hook,
        del_write: Hook,
        cleanup: Hook,
    );
    fn layout_type(reply: *const RawReply) -> c_int;
    fn layout_integer(reply: *const RawReply) -> c_longlong;
    fn layout_bytes(reply: *const RawReply) -> *const c_char;
    fn layout_length(reply: *const RawReply) -> usize;
    fn layout_elements(reply: *const RawReply) -> usize;
    fn layout_element(reply: *const RawReply, index: usize) -> *const RawReply;
}
