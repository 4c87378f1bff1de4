//! The number of a signal as the type that rustix takes it in.
#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};

use rustix::process::Signal;

/// The first real-time signal that the C library leaves to programs: it keeps those before for
/// itself.
#[cfg(target_os = "linux")]
const FIRST_REAL_TIME: i32 = if cfg!(target_env = "musl") { 35 } else { 34 };

pub(super) fn signal(number: i32) -> Result<Signal> {
    let signal = Signal::from_named_raw(number).or_else(|| real_time(number));
    signal.ok_or_else(|| {
        let message = format!("there is no signal {number} that could be sent");
        Error::new(ErrorKind::InvalidInput, message)
    })
}

#[cfg(target_os = "linux")]
fn real_time(number: i32) -> Option<Signal> {
    let exists = (FIRST_REAL_TIME..=64).contains(&number);
    // SAFETY: the number is one of a signal, since every Linux has 64 of them, and the C library
    // reserves none from `FIRST_REAL_TIME` on. It is sent to a child, and changes no handler and no
    // mask of this process.
    exists.then(|| unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(not(target_os = "linux"))]
fn real_time(_: i32) -> Option<Signal> {
    None
}
