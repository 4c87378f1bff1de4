//! A libuv loop inside an `IOLoop`, whatever drives that.
//!
//! `guest.rs` is the recipe, `ffi.rs` what is unsafe about it.

mod ffi;
mod guest;

pub use ffi::{Uv, Wakeup};
pub use guest::Guest;
