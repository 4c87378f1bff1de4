#![doc = include_str!("../README.md")]

mod backend;
mod embed;
mod ffi;
mod hooks;
mod reactor;

pub use backend::GlibBackend;
pub use embed::{Embedded, embed};
pub use reactor::GlibReactor;
