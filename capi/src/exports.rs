//! The functions of `ioloop.h`.
//!
//! What the safety arguments rest on is said in the header: a pointer is NULL or good for what it
//! is given for, and a descriptor stays open until its watch was removed.
#![allow(unsafe_code)]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "the header documents them")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ioloop::Lent;

use crate::calls::{
    Before, Callback, Data, Disposal, Id, LoopNumber, Place, Ready, Reporter, Signalled, string,
};
use crate::events;
use crate::status::{self, answer};
use crate::table::{self, Loop};
use crate::version;

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_version() -> c_uint {
    version::NUMBER
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_version_string() -> *const c_char {
    version::STRING.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_error() -> *const c_char {
    status::last()
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_status_text(status: c_int) -> *const c_char {
    status::text(status).as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_now() -> u64 {
    crate::clock::now()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_new(name: *const c_char, io_loop: *mut LoopNumber) -> c_int {
    // SAFETY: the pointers are as above.
    let (name, place) = unsafe { (string(name), Place::new(io_loop)) };
    answer(|| {
        let place = place.required("loop")?;
        place.put(Loop::make(name)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_close(io_loop: LoopNumber) -> c_int {
    answer(|| table::here(io_loop)?.close())
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_run(io_loop: LoopNumber) -> c_int {
    answer(|| Ok(table::here(io_loop)?.io_loop.start()?))
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_stop(io_loop: LoopNumber) -> c_int {
    answer(|| table::stop(io_loop))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_turn(
    io_loop: LoopNumber,
    timeout: i64,
    turned: *mut c_uint,
) -> c_int {
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(turned) };
    answer(|| {
        let timeout = u64::try_from(timeout).ok().map(Duration::from_nanos);
        let turn = table::here(io_loop)?.io_loop.turn(timeout)?;
        place.put(events::turned(turn));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_descriptor(io_loop: LoopNumber, fd: *mut c_int) -> c_int {
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(fd) };
    answer(|| {
        let place = place.required("fd")?;
        // The loop has a share in it, so the number outlives this one.
        place.put(table::here(io_loop)?.io_loop.descriptor()?.as_raw_fd());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_timeout(io_loop: LoopNumber, timeout: *mut i64) -> c_int {
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(timeout) };
    answer(|| {
        let place = place.required("timeout")?;
        place.put(table::here(io_loop)?.timeout());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_watch(
    io_loop: LoopNumber,
    fd: c_int,
    events: c_uint,
    ready: Ready,
    data: *mut c_void,
    dispose: Disposal,
    watch: *mut Id,
) -> c_int {
    let data = Data::new(data, dispose);
    // SAFETY: the pointer is as above, and the descriptor stays open until the watch was removed.
    let (place, lent) = unsafe { (Place::new(watch), Lent::new(fd)) };
    answer(|| {
        let call = data.with(ready, "ready", io_loop)?;
        let interest = events::interest(events)?;
        place
            .put(table::here(io_loop)?.watch(lent, interest, move |events| call.call(fd, events))?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_modify(io_loop: LoopNumber, watch: Id, events: c_uint) -> c_int {
    answer(|| {
        let interest = events::interest(events)?;
        table::here(io_loop)?.modify(watch, interest)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_timer(
    io_loop: LoopNumber,
    delay: u64,
    repeat: u64,
    callback: Callback,
    data: *mut c_void,
    dispose: Disposal,
    timer: *mut Id,
) -> c_int {
    let data = Data::new(data, dispose);
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(timer) };
    answer(|| {
        let call = data.with(callback, "callback", io_loop)?;
        place.put(table::here(io_loop)?.timer(delay, repeat, move || call.call())?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_reset(io_loop: LoopNumber, timer: Id, delay: u64, repeat: u64) -> c_int {
    answer(|| table::here(io_loop)?.reset(timer, delay, repeat))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_signal(
    io_loop: LoopNumber,
    signal: c_int,
    signalled: Signalled,
    data: *mut c_void,
    dispose: Disposal,
    id: *mut Id,
) -> c_int {
    let data = Data::new(data, dispose);
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(id) };
    answer(|| {
        let call = data.with(signalled, "signalled", io_loop)?;
        place.put(table::here(io_loop)?.signal(signal, move || call.call(signal))?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_post(
    io_loop: LoopNumber,
    callback: Callback,
    data: *mut c_void,
    dispose: Disposal,
) -> c_int {
    let data = Data::new(data, dispose);
    answer(|| {
        let call = data.with(callback, "callback", io_loop)?;
        Ok(table::anywhere(io_loop)?.add_callback(move || call.call())?)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_before_sleep(
    io_loop: LoopNumber,
    hook: Before,
    data: *mut c_void,
    dispose: Disposal,
    id: *mut Id,
) -> c_int {
    let data = Data::new(data, dispose);
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(id) };
    answer(|| {
        let call = data.with(hook, "hook", io_loop)?;
        place.put(table::here(io_loop)?.before_sleep(move || call.call() == 0)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_after_wake(
    io_loop: LoopNumber,
    hook: Callback,
    data: *mut c_void,
    dispose: Disposal,
    id: *mut Id,
) -> c_int {
    let data = Data::new(data, dispose);
    // SAFETY: the pointer is as above.
    let place = unsafe { Place::new(id) };
    answer(|| {
        let call = data.with(hook, "hook", io_loop)?;
        place.put(table::here(io_loop)?.after_wake(move || call.call())?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_remove(io_loop: LoopNumber, id: Id) -> c_int {
    answer(|| table::here(io_loop)?.remove(id))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioloop_report(
    io_loop: LoopNumber,
    report: Reporter,
    data: *mut c_void,
    dispose: Disposal,
) -> c_int {
    let data = Data::new(data, dispose);
    answer(|| {
        let home = table::here(io_loop)?;
        match report {
            Some(_) => {
                let call = data.with(report, "report", io_loop)?;
                home.report(move |text| call.call(text));
            }
            None => home.report(|_| ()),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_report_slow(io_loop: LoopNumber, threshold: u64) -> c_int {
    answer(|| {
        let threshold = (threshold != 0).then(|| Duration::from_nanos(threshold));
        table::here(io_loop)?.io_loop.set_slow_callback_threshold(threshold);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ioloop_report_spin(io_loop: LoopNumber, turns: u32) -> c_int {
    answer(|| {
        table::here(io_loop)?.io_loop.set_spin_limit((turns != 0).then_some(turns));
        Ok(())
    })
}
