//! PostgreSQL through libpq's asynchronous functions, on any `Reactor`.
//!
//! `driver.rs` is the recipe, `ffi.rs` what is unsafe about it.

mod driver;
mod error;
mod ffi;

pub use driver::{Canceller, Connection, CopyIn, CopyOut, Rows};
pub use error::Error;
pub use ffi::{Notification, Table};
