//! DNS through c-ares, on any `Reactor`.
//!
//! `driver.rs` is the recipe, `ffi.rs` what is unsafe about it.

mod driver;
mod error;
mod ffi;

pub use driver::{Answer, Dns};
pub use error::Error;
pub use ffi::{Family, Options};
