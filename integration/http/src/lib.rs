//! What the tests share: loops on every kind of host, an HTTP server of hyper's, and bytes to send
//! through it.

mod hosts;
mod pattern;
mod server;

pub use self::hosts::{Executor, Host, Polled, Site, on_every_host};
pub use self::pattern::{Check, Pattern};
pub use self::server::{Body, Counts, Server, Shutdown, empty};
