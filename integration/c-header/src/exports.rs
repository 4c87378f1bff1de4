//! The functions of `ioloop.h`, and all that crosses the boundary with them.
//!
//! What the safety arguments rest on is said in the header: pointers are good for what they are
//! given for, and callbacks return.
#![allow(unsafe_code)]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "the header documents them")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::time::Duration;

use ioloop::reactor::Direction;
use ioloop::{Lent, Reactor};

use crate::status::{self, Refusal, Status, answer};
use crate::table::{self, Loop};

// As C gives them: each may be NULL.
type Disposal = Option<unsafe extern "C" fn(*mut c_void)>;
type Callback = Option<unsafe extern "C" fn(u64, *mut c_void)>;
type Ready = Option<unsafe extern "C" fn(u64, c_int, *mut c_void)>;

/// A pointer that C gave, disposed of when this is dropped.
struct Data {
    pointer: *mut c_void,
    dispose: Disposal,
}

// SAFETY: the header says on which threads data is used: that of a post on the loop's, or where the
// post is refused.
unsafe impl Send for Data {}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(dispose) = self.dispose {
            // SAFETY: the function came with the pointer, for this, and it is called once: here.
            unsafe { dispose(self.pointer) };
        }
    }
}

/// A callback of C's, and what it is called with.
struct Call<F> {
    function: F,
    io_loop: u64,
    data: Data,
}

impl Call<unsafe extern "C" fn(u64, *mut c_void)> {
    fn run(self) {
        // SAFETY: the function came with the pointer, which is not disposed of yet.
        unsafe { (self.function)(self.io_loop, self.data.pointer) };
    }
}

impl Call<unsafe extern "C" fn(u64, c_int, *mut c_void)> {
    fn run(&mut self, fd: c_int) {
        // SAFETY: as above.
        unsafe { (self.function)(self.io_loop, fd, self.data.pointer) };
    }
}

/// A pointer that must not be NULL.
fn given<T>(pointer: Option<T>, name: &str) -> Result<T, Refusal> {
    pointer.ok_or_else(|| Refusal::new(Status::Invalid, format!("{name} is NULL")))
}

/// Writes to a pointer of C's, unless it is NULL.
///
/// # Safety
///
/// The pointer is NULL or good for a write.
unsafe fn put<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: the caller's word.
        unsafe { pointer.write(value) };
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_error() -> *const c_char {
    status::last()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_new(name: *const c_char, io_loop: *mut u64) -> c_int {
    answer(|| {
        // SAFETY: it is NULL or a string.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        let place = given(NonNull::new(io_loop), "loop")?;
        let number = Loop::make(name.map(|name| name.to_string_lossy().into_owned()))?;
        // SAFETY: it points to a number of the caller's.
        unsafe { place.write(number) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_close(io_loop: u64) -> c_int {
    answer(|| table::here(io_loop)?.close())
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_run(io_loop: u64) -> c_int {
    answer(|| Ok(table::here(io_loop)?.io_loop.start()?))
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_stop(io_loop: u64) -> c_int {
    answer(|| {
        if let Ok(here) = table::here(io_loop) {
            here.io_loop.stop();
            return Ok(());
        }
        Ok(table::anywhere(io_loop)?.stop()?)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_descriptor(io_loop: u64, fd: *mut c_int) -> c_int {
    answer(|| {
        let place = given(NonNull::new(fd), "fd")?;
        let descriptor = table::here(io_loop)?.io_loop.descriptor()?;
        // SAFETY: it points to a number of the caller's.
        unsafe { place.write(descriptor.as_raw_fd()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_turn(io_loop: u64, timeout: i64, turned: *mut c_uint) -> c_int {
    answer(|| {
        let timeout = u64::try_from(timeout).ok().map(Duration::from_nanos);
        let turn = table::here(io_loop)?.io_loop.turn(timeout)?;
        let flags = [(turn.work_left, 1), (turn.stopped, 2), (turn.renewed, 4)];
        let sum = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).sum();
        // SAFETY: it is NULL or points to a number of the caller's.
        unsafe { put(turned, sum) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_timeout(io_loop: u64, timeout: *mut i64) -> c_int {
    answer(|| {
        let place = given(NonNull::new(timeout), "timeout")?;
        let io_loop = &table::here(io_loop)?.io_loop;
        let left = io_loop.next_deadline().map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(io_loop.now()).as_nanos();
            left.try_into().unwrap_or(i64::MAX)
        });
        // SAFETY: it points to a number of the caller's.
        unsafe { place.write(left) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_watch(
    io_loop: u64,
    fd: c_int,
    direction: c_int,
    ready: Ready,
    data: *mut c_void,
    dispose: Disposal,
    watch: *mut u64,
) -> c_int {
    answer(|| {
        let data = Data { pointer: data, dispose };
        let function = given(ready, "ready")?;
        let direction = known(direction)?;
        let home = table::here(io_loop)?;
        let mut call = Call { function, io_loop, data };
        // SAFETY: the header has it that the descriptor stays open until the watch was removed.
        let lent = unsafe { Lent::new(fd) };
        let number = home.watch(direction, lent, move || call.run(fd))?;
        // SAFETY: it is NULL or points to a number of the caller's.
        unsafe { put(watch, number) };
        Ok(())
    })
}

/// A direction as C gives it.
fn known(direction: c_int) -> Result<Direction, Refusal> {
    match direction {
        1 => Ok(Direction::Read),
        2 => Ok(Direction::Write),
        _ => Err(Refusal::new(Status::Invalid, "there is no such direction")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_unwatch(io_loop: u64, fd: c_int, direction: c_int) -> c_int {
    answer(|| {
        let direction = known(direction)?;
        table::here(io_loop)?.unwatch(direction, fd)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_pause(io_loop: u64, watch: u64) -> c_int {
    answer(|| table::here(io_loop)?.pause(watch))
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_resume(io_loop: u64, watch: u64) -> c_int {
    answer(|| table::here(io_loop)?.resume(watch))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_timer(
    io_loop: u64,
    delay: u64,
    callback: Callback,
    data: *mut c_void,
    dispose: Disposal,
    timer: *mut u64,
) -> c_int {
    answer(|| {
        let data = Data { pointer: data, dispose };
        let function = given(callback, "callback")?;
        let home = table::here(io_loop)?;
        let call = Call { function, io_loop, data };
        let number = home.timer(Duration::from_nanos(delay), move || call.run())?;
        // SAFETY: it is NULL or points to a number of the caller's.
        unsafe { put(timer, number) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_reset(io_loop: u64, timer: u64, delay: u64) -> c_int {
    answer(|| table::here(io_loop)?.reset(timer, Duration::from_nanos(delay)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_post(
    io_loop: u64,
    callback: Callback,
    data: *mut c_void,
    dispose: Disposal,
) -> c_int {
    answer(|| {
        let data = Data { pointer: data, dispose };
        let function = given(callback, "callback")?;
        let handle = table::anywhere(io_loop)?;
        let call = Call { function, io_loop, data };
        Ok(handle.add_callback(move || call.run())?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_remove(io_loop: u64, watch_or_timer: u64) -> c_int {
    answer(|| table::here(io_loop)?.remove(watch_or_timer))
}
