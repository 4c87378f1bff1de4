//! A Wayland client on any `Reactor` that has hooks, by the recipe of the guide: read in the reader,
//! flush in the hook.
//!
//! `client.rs` is the recipe, `ffi.rs` what is unsafe about it; `compositor.rs` is what the tests
//! run it against.

mod client;
mod compositor;
mod ffi;

pub use client::Client;
pub use compositor::serve;
