//! Redis through hiredis' asynchronous API, on any `Reactor`.
//!
//! `driver.rs` is the recipe, `ffi.rs` what is unsafe about it.

mod driver;
mod ffi;
mod reply;

pub use driver::Redis;
pub use reply::{Error, Reply};
