//! Redis through hiredis' asynchronous API, on any `Reactor`.
//!
//! `driver.rs` is the recipe, `ffi.rs` what is unsafe about it; `server.rs` is what the tests run it against.

mod driver;
mod ffi;
mod reply;
pub mod server;

pub use driver::Redis;
pub use reply::{Error, Reply};
