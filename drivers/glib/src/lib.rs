//! GLib's main loop and ioloop, in each of the ways in which they go together:
//!
//! - [`embed`]: a loop inside GLib's, by its descriptor. What most programs with GTK want.
//! - [`GlibBackend`]: a loop that is attached to GLib as it is to tokio, and driven as a future of
//!   GLib's.
//! - [`GlibReactor`]: no loop of ioloop's at all. What is written over `Reactor` runs on GLib
//!   itself.
//!
//! Everything is in safe code; what GLib wants `Send` is wrapped into its `ThreadGuard`.

mod backend;
mod embed;
mod reactor;

pub use backend::GlibBackend;
pub use embed::{Embedded, embed};
pub use reactor::GlibReactor;
