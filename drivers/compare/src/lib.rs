//! Each driver beside the crate that one would pick instead: a program each, all of them a
//! [contest](testkit::contest).
//!
//! `cargo run --release -p ioloop-compare --bin NAME` prints its table. Here is what they share.

use tokio::runtime::{Builder, Runtime};

/// A tokio runtime on one thread, as a loop has one.
///
/// # Panics
///
/// It cannot be made.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
