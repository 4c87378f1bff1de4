//! Things that exist once for each process, and that a forked child cannot use.
//!
//! A reactor or a pool for the whole process lies in a static. A forked child inherits it, without
//! the threads that serve it, so a wait for it would never end. It is refused there, or replaced.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Remembers the process in which something was first used.
pub(crate) struct OneProcess(AtomicU32);

impl OneProcess {
    pub(crate) const fn new() -> Self {
        OneProcess(AtomicU32::new(0))
    }

    /// Whether this is the process of the first use.
    pub(crate) fn is_this(&self) -> bool {
        let this = process::id();
        let first = self.0.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|first| first == this, |_| true)
    }
}
