//! As much of libuv as the tests need, as safe types: all that is unsafe is in this file.
#![expect(unsafe_code, reason = "libuv is a C library")]

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Loop = c_void;
type Handle = c_void;

#[link(name = "uv")]
unsafe extern "C" {
    fn uv_loop_size() -> usize;
    fn uv_loop_init(uv: *mut Loop) -> c_int;
    fn uv_loop_close(uv: *mut Loop) -> c_int;
    fn uv_loop_alive(uv: *const Loop) -> c_int;
    fn uv_run(uv: *mut Loop, mode: c_uint) -> c_int;
    fn uv_update_time(uv: *mut Loop);
    fn uv_backend_fd(uv: *const Loop) -> c_int;
    fn uv_backend_timeout(uv: *const Loop) -> c_int;
    fn uv_walk(uv: *mut Loop, visit: extern "C" fn(*mut Handle, *mut c_void), arg: *mut c_void);
    fn uv_handle_size(kind: c_uint) -> usize;
    fn uv_handle_get_data(handle: *const Handle) -> *mut c_void;
    fn uv_handle_set_data(handle: *mut Handle, data: *mut c_void);
    fn uv_is_closing(handle: *const Handle) -> c_int;
    fn uv_close(handle: *mut Handle, closed: extern "C" fn(*mut Handle));
    fn uv_timer_init(uv: *mut Loop, timer: *mut Handle) -> c_int;
    fn uv_timer_start(
        timer: *mut Handle,
        fire: extern "C" fn(*mut Handle),
        after: u64,
        repeat: u64,
    ) -> c_int;
    fn uv_poll_init(uv: *mut Loop, poll: *mut Handle, fd: c_int) -> c_int;
    fn uv_poll_start(
        poll: *mut Handle,
        events: c_int,
        ready: extern "C" fn(*mut Handle, c_int, c_int),
    ) -> c_int;
    fn uv_async_init(
        uv: *mut Loop,
        wakeup: *mut Handle,
        woken: extern "C" fn(*mut Handle),
    ) -> c_int;
    fn uv_async_send(wakeup: *mut Handle) -> c_int;
}

const RUN_DEFAULT: c_uint = 0;
const RUN_NOWAIT: c_uint = 2;
const ASYNC: c_uint = 1;
const POLL: c_uint = 8;
const TIMER: c_uint = 13;
const READABLE: c_int = 1;

/// Memory of a size that only libuv knows, at an address that stays.
type Memory = Box<[u128]>;

fn memory(size: usize) -> Memory {
    vec![0; size.div_ceil(mem::size_of::<u128>())].into_boxed_slice()
}

/// A libuv loop; dropped, it closes its handles first. It stays on its thread.
pub struct Uv {
    uv: *mut Loop,
    _memory: Memory,
    _local: PhantomData<Rc<()>>,
}

/// What a handle's `data` points to. It owns the handle's memory, until libuv says that the handle
/// is closed.
struct Held {
    _memory: Memory,
    call: Box<dyn FnMut()>,
    /// That of a [`Wakeup`], which must not send any more once the handle is being closed.
    sender: Option<Arc<Sender>>,
}

impl Uv {
    /// A loop without handles.
    ///
    /// # Errors
    ///
    /// libuv has no descriptors, or no memory.
    pub fn new() -> io::Result<Uv> {
        // SAFETY: it takes nothing.
        let mut memory = memory(unsafe { uv_loop_size() });
        let uv = memory.as_mut_ptr().cast();
        // SAFETY: it is so much memory as the loop needs, and stays where it is: in a box that is
        // not touched.
        check(unsafe { uv_loop_init(uv) })?;
        Ok(Uv { uv, _memory: memory, _local: PhantomData })
    }

    /// Another descriptor of the file that is readable when libuv has something to do.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the loop is open as long as this is there, and so is its descriptor.
        unsafe { BorrowedFd::borrow_raw(uv_backend_fd(self.uv)) }.try_clone_to_owned()
    }

    /// Does what there is to do, without waiting.
    pub(crate) fn run_nowait(&self) {
        // SAFETY: the loop is open. Callbacks that run it again are not prevented by libuv, but
        // have no way to it: the `Uv` is inside of the guest, whose callers are the loop's
        // callbacks.
        unsafe {
            uv_run(self.uv, RUN_NOWAIT);
            uv_update_time(self.uv);
        }
    }

    /// How long libuv would wait; none if it has no timer.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        // SAFETY: the loop is open.
        let millis = unsafe {
            if uv_loop_alive(self.uv) == 0 {
                return None;
            }
            uv_backend_timeout(self.uv)
        };
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    /// Calls `fire` after `period`, and again each time that has passed.
    ///
    /// # Errors
    ///
    /// libuv's.
    pub fn every(&self, period: Duration, fire: impl FnMut() + 'static) -> io::Result<()> {
        let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        let timer = self.hold(TIMER, None, fire, |uv, timer| {
            // SAFETY: the loop is open, and the memory is as large as a timer.
            unsafe { uv_timer_init(uv, timer) }
        })?;
        // SAFETY: it is a timer of an open loop.
        check(unsafe { uv_timer_start(timer, called, millis, millis) })
    }

    /// Calls `ready` while a descriptor is readable.
    ///
    /// # Errors
    ///
    /// libuv's.
    pub fn readable(
        &self,
        fd: OwnedFd,
        mut ready: impl FnMut(&OwnedFd) + 'static,
    ) -> io::Result<()> {
        let number = fd.as_raw_fd();
        // The descriptor goes with the handle.
        let poll = self.hold(
            POLL,
            None,
            move || ready(&fd),
            |uv, poll| {
                // SAFETY: the loop is open, the memory as large as a poll handle, and the
                // descriptor open until the handle is closed.
                unsafe { uv_poll_init(uv, poll, number) }
            },
        )?;
        // SAFETY: it is a poll handle of an open loop.
        check(unsafe { uv_poll_start(poll, READABLE, polled) })
    }

    /// Calls `woken` when any thread has sent the wake-up.
    ///
    /// # Errors
    ///
    /// libuv's.
    pub fn wakeup(&self, woken: impl FnMut() + 'static) -> io::Result<Wakeup> {
        let sender = Arc::new(Sender(Mutex::new(None)));
        let handle = self.hold(ASYNC, Some(Arc::clone(&sender)), woken, |uv, wakeup| {
            // SAFETY: the loop is open, and the memory is as large as an async handle.
            unsafe { uv_async_init(uv, wakeup, called) }
        })?;
        *sender.lock() = Some(Address(handle));
        Ok(Wakeup(sender))
    }

    /// A handle with what it calls.
    fn hold(
        &self,
        kind: c_uint,
        sender: Option<Arc<Sender>>,
        call: impl FnMut() + 'static,
        init: impl FnOnce(*mut Loop, *mut Handle) -> c_int,
    ) -> io::Result<*mut Handle> {
        // SAFETY: it takes a number.
        let mut memory = memory(unsafe { uv_handle_size(kind) });
        let handle: *mut Handle = memory.as_mut_ptr().cast();
        check(init(self.uv, handle))?;
        let held = Box::new(Held { _memory: memory, call: Box::new(call), sender });
        // SAFETY: the handle was made, and this thread is the loop's.
        unsafe { uv_handle_set_data(handle, Box::into_raw(held).cast()) };
        Ok(handle)
    }
}

impl Drop for Uv {
    fn drop(&mut self) {
        extern "C" fn close(handle: *mut Handle, _: *mut c_void) {
            // SAFETY: libuv visits its open handles; their data is `Held`.
            unsafe {
                let held = uv_handle_get_data(handle).cast::<Held>();
                if let Some(sender) = (*held).sender.as_ref() {
                    sender.lock().take();
                }
                if uv_is_closing(handle) == 0 {
                    uv_close(handle, closed);
                }
            }
        }
        extern "C" fn closed(handle: *mut Handle) {
            // SAFETY: libuv uses the handle no more; its data came from a box.
            drop(unsafe { Box::from_raw(uv_handle_get_data(handle).cast::<Held>()) });
        }
        // SAFETY: the loop is open, and not being run: whoever runs it borrows it.
        unsafe {
            uv_walk(self.uv, close, std::ptr::null_mut());
            // With all handles closing it ends once they are closed.
            uv_run(self.uv, RUN_DEFAULT);
            uv_loop_close(self.uv);
        }
    }
}

extern "C" fn called(handle: *mut Handle) {
    // SAFETY: a handle of this file, whose data is `Held` until it is closed; libuv calls it on the
    // loop's thread, and not inside itself. A panic aborts at the border.
    unsafe { ((*uv_handle_get_data(handle).cast::<Held>()).call)() }
}

extern "C" fn polled(handle: *mut Handle, _status: c_int, _events: c_int) {
    called(handle);
}

/// Wakes a libuv loop from any thread.
#[derive(Clone)]
pub struct Wakeup(Arc<Sender>);

/// The handle, until it is closed.
struct Sender(Mutex<Option<Address>>);

struct Address(*mut Handle);

// SAFETY: it is used for `uv_async_send` alone, which any thread may call.
unsafe impl Send for Address {}

impl Sender {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Address>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wakeup {
    /// Sends it; nothing if the loop has gone.
    pub fn send(&self) {
        if let Some(Address(handle)) = &*self.0.lock() {
            // SAFETY: closing takes the address away first, under this lock, so the handle is
            // open.
            unsafe { uv_async_send(*handle) };
        }
    }
}

fn check(status: c_int) -> io::Result<()> {
    // On Unix libuv's errors are negative numbers of the system's.
    if status < 0 { Err(io::Error::from_raw_os_error(-status)) } else { Ok(()) }
}
