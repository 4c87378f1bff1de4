#![doc = include_str!("../README.md")]

mod bytes;
mod connection;
mod driver;
mod error;
mod ffi;
mod message;
mod proxy;
mod remote;
mod reply;
mod serve;
mod signals;

pub use bytes::Bytes;
pub use connection::Connection;
pub use error::Error;
pub use message::Message;
pub use proxy::Proxy;
pub use remote::Remote;
pub use reply::Reply;
pub use serve::{MethodCall, Served};
pub use signals::Signals;

/// Types of arguments; of the crate `dbus`.
#[doc(no_inline)]
pub use dbus::arg;
/// Which signals a stream is for; of the crate `dbus`.
#[doc(no_inline)]
pub use dbus::message::MatchRule;
/// Paths, names and signatures; of the crate `dbus`.
#[doc(no_inline)]
pub use dbus::strings;
