//! The version, which the header has too.

use std::ffi::{CStr, c_uint};

/// As `IOLOOP_VERSION_STRING`.
pub(crate) const STRING: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(string) => string,
        Err(_) => panic!("a version has no NUL in it"),
    };

/// As `IOLOOP_VERSION`.
pub(crate) const NUMBER: c_uint = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(digits: &str) -> c_uint {
    match c_uint::from_str_radix(digits, 10) {
        Ok(number) if number < 256 => number,
        _ => panic!("a part of a version is a number below 256"),
    }
}
