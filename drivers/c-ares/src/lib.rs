#![doc = include_str!("../README.md")]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod cache;
mod driver;
mod error;
mod ffi;
mod message;
mod options;
mod question;
mod resolver;
mod sort;

pub use error::Error;
pub use message::{Mx, Srv};
pub use options::Options;
pub use question::Family;
pub use resolver::{Answer, Resolver};
