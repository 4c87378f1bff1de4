//! libwayland's two displays, the client's and the compositor's, as safe types: all that is unsafe
//! is in this file.
//!
//! libwayland calls back from inside of `dispatch` and `roundtrip`. What it tells there is kept,
//! and asked for afterwards, so nobody's code runs inside of it.
#![expect(unsafe_code, reason = "libwayland is a C library")]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};

use ioloop::Lent;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// A display, a proxy or an event loop, as libwayland has them.
enum Opaque {}

/// A `wl_interface`.
#[repr(C)]
struct Interface([u8; 0]);

#[repr(C)]
struct CallbackListener(unsafe extern "C" fn(*mut c_void, *mut Opaque, u32));

#[link(name = "wayland-client")]
unsafe extern "C" {
    static wl_callback_interface: Interface;
    fn wl_display_connect_to_fd(fd: c_int) -> *mut Opaque;
    fn wl_display_disconnect(display: *mut Opaque);
    fn wl_display_get_fd(display: *mut Opaque) -> c_int;
    fn wl_display_prepare_read(display: *mut Opaque) -> c_int;
    fn wl_display_read_events(display: *mut Opaque) -> c_int;
    fn wl_display_dispatch_pending(display: *mut Opaque) -> c_int;
    fn wl_display_flush(display: *mut Opaque) -> c_int;
    fn wl_display_roundtrip(display: *mut Opaque) -> c_int;
    fn wl_proxy_marshal_flags(
        proxy: *mut Opaque,
        opcode: u32,
        interface: *const Interface,
        version: u32,
        flags: u32,
        ...
    ) -> *mut Opaque;
    fn wl_proxy_add_listener(
        proxy: *mut Opaque,
        listener: *const CallbackListener,
        data: *mut c_void,
    ) -> c_int;
    fn wl_proxy_destroy(proxy: *mut Opaque);
}

#[link(name = "wayland-server")]
unsafe extern "C" {
    fn wl_display_create() -> *mut Opaque;
    fn wl_display_destroy(display: *mut Opaque);
    fn wl_display_destroy_clients(display: *mut Opaque);
    fn wl_display_flush_clients(display: *mut Opaque);
    fn wl_display_get_event_loop(display: *mut Opaque) -> *mut Opaque;
    fn wl_client_create(display: *mut Opaque, fd: c_int) -> *mut Opaque;
    fn wl_event_loop_get_fd(event_loop: *mut Opaque) -> c_int;
    fn wl_event_loop_dispatch(event_loop: *mut Opaque, timeout: c_int) -> c_int;
}

/// A request for an event once everything before it was handled, by its proxy's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sync(usize);

/// A client's connection, used by one thread.
pub(crate) struct Display {
    display: NonNull<Opaque>,
    /// The syncs that were answered; libwayland has its address.
    done: Box<RefCell<Vec<Sync>>>,
}

impl Display {
    pub(crate) fn connect(stream: UnixStream) -> io::Result<Display> {
        // SAFETY: the descriptor is given away; libwayland closes it, also where it fails.
        let display = unsafe { wl_display_connect_to_fd(stream.into_raw_fd()) };
        let display = NonNull::new(display).ok_or_else(io::Error::last_os_error)?;
        Ok(Display { display, done: Box::default() })
    }

    fn as_ptr(&self) -> *mut Opaque {
        self.display.as_ptr()
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        // SAFETY: it is connected until it is dropped; so below.
        unsafe { wl_display_get_fd(self.as_ptr()) }
    }

    /// Reads what has come, without waiting, into libwayland's queue; nothing while that holds
    /// events.
    pub(crate) fn read(&self) -> io::Result<()> {
        // SAFETY: it is connected; a read that was prepared is ended at once, by the thread that
        // prepared it.
        let read = unsafe {
            match wl_display_prepare_read(self.as_ptr()) {
                0 => wl_display_read_events(self.as_ptr()),
                _ => 0,
            }
        };
        done(read).map(drop)
    }

    /// Blocks until something has come.
    pub(crate) fn wait(&self) -> io::Result<()> {
        // SAFETY: what is lent is not kept.
        let lent = unsafe { self.lend() };
        while poll(&mut [PollFd::new(&lent, PollFlags::IN)], None).or_else(again)? == 0 {}
        Ok(())
    }

    /// Dispatches what was read, by whomever; says how many events that was.
    pub(crate) fn dispatch_pending(&self) -> io::Result<u32> {
        // SAFETY: it is connected, and the listeners of its proxies are those of `sync`.
        done(unsafe { wl_display_dispatch_pending(self.as_ptr()) })
    }

    /// Writes what it can; false if there was no room for all.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        // SAFETY: it is connected.
        match done(unsafe { wl_display_flush(self.as_ptr()) }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            flushed => flushed.map(|_| true),
        }
    }

    /// Blocks until the compositor has handled all that was asked for; dispatches what comes.
    pub(crate) fn round_trip(&self) -> io::Result<()> {
        // SAFETY: as for `dispatch_pending`.
        done(unsafe { wl_display_roundtrip(self.as_ptr()) }).map(drop)
    }

    /// `wl_display.sync`, queued until the next flush.
    pub(crate) fn sync(&self) -> Sync {
        static LISTENER: CallbackListener = CallbackListener(on_done);
        let no_id = ptr::null::<c_void>();
        // SAFETY: opcode 0 of a display takes one new callback; a display is a proxy. The listener
        // is static, and what it gets lives until the display, and its proxies, are gone.
        unsafe {
            let interface = &raw const wl_callback_interface;
            let callback = wl_proxy_marshal_flags(self.as_ptr(), 0, interface, 1, 0, no_id);
            wl_proxy_add_listener(
                callback,
                &LISTENER,
                ptr::from_ref(&*self.done).cast_mut().cast(),
            );
            Sync(callback.addr())
        }
    }

    /// The syncs that were answered since this was last asked.
    pub(crate) fn take_done(&self) -> Vec<Sync> {
        self.done.take()
    }
}

unsafe extern "C" fn on_done(data: *mut c_void, callback: *mut Opaque, _serial: u32) {
    // SAFETY: it is the list of the display that dispatches, on whose thread this is called.
    unsafe { &*data.cast::<RefCell<Vec<Sync>>>() }.borrow_mut().push(Sync(callback.addr()));
    // SAFETY: a callback is called once, and libwayland lets it be destroyed in its event.
    unsafe { wl_proxy_destroy(callback) };
}

impl Drop for Display {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        unsafe { wl_display_disconnect(self.as_ptr()) };
    }
}

fn again(error: Errno) -> Result<usize, Errno> {
    if error == Errno::INTR { Ok(0) } else { Err(error) }
}

fn done(answer: c_int) -> io::Result<u32> {
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// The compositor's side of one client.
pub(crate) struct Compositor {
    display: NonNull<Opaque>,
    event_loop: *mut Opaque,
}

impl Compositor {
    pub(crate) fn new(client: UnixStream) -> io::Result<Compositor> {
        // SAFETY: it has no condition.
        let display = unsafe { wl_display_create() };
        let display = NonNull::new(display).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the display was made above.
        let event_loop = unsafe { wl_display_get_event_loop(display.as_ptr()) };
        let compositor = Compositor { display, event_loop };
        let fd = client.into_raw_fd();
        // SAFETY: the descriptor is given away.
        let client = unsafe { wl_client_create(compositor.display.as_ptr(), fd) };
        if client.is_null() { Err(io::Error::last_os_error()) } else { Ok(compositor) }
    }

    /// The descriptor that says when to dispatch, for a watch whose closure owns this.
    pub(crate) fn descriptor(&self) -> Lent {
        // SAFETY: it stays open until the compositor is dropped, which a loop does with the
        // closure: after it has ended the watch.
        unsafe { Lent::new(wl_event_loop_get_fd(self.event_loop)) }
    }

    /// Handles what clients ask for, and answers.
    pub(crate) fn dispatch(&self) {
        // SAFETY: both live until this is dropped.
        unsafe {
            wl_event_loop_dispatch(self.event_loop, 0);
            wl_display_flush_clients(self.display.as_ptr());
        }
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        unsafe {
            wl_display_destroy_clients(self.display.as_ptr());
            wl_display_destroy(self.display.as_ptr());
        }
    }
}

impl Display {
    /// The descriptor, for watches that end before this is dropped.
    ///
    /// # Safety
    ///
    /// They do.
    pub(crate) unsafe fn lend(&self) -> Lent {
        // SAFETY: the caller says that the watch ends before the display is dropped, which closes
        // it.
        unsafe { Lent::new(self.descriptor()) }
    }
}

/// The watches of a display, and behind them the display: dropped in this order.
pub(crate) struct Watched<W> {
    watches: RefCell<Vec<W>>,
    pub(crate) display: Display,
}

impl<W> Watched<W> {
    pub(crate) fn new(display: Display) -> Self {
        Watched { watches: RefCell::default(), display }
    }

    /// Keeps the guard of a watch of the display's descriptor, which ends the watch when it is
    /// dropped.
    pub(crate) fn watch<E>(&self, add: impl FnOnce(Lent) -> Result<W, E>) -> Result<(), E> {
        // SAFETY: the guard is kept beside the display, and dropped before it.
        let watch = add(unsafe { self.display.lend() })?;
        self.watches.borrow_mut().push(watch);
        Ok(())
    }

    /// Ends all watches but the first.
    pub(crate) fn end_others(&self) {
        let others = self.watches.borrow_mut().split_off(1);
        drop(others);
    }

    pub(crate) fn has_others(&self) -> bool {
        self.watches.borrow().len() > 1
    }
}

impl<W> Drop for Watched<W> {
    fn drop(&mut self) {
        drop(mem::take(self.watches.get_mut()));
    }
}
