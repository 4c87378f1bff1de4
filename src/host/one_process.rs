//! What a process has once, and a child that is forked from it cannot use.
//!
//! A reactor or a pool that is one for the process lives in a static, which a forked child
//! inherits, without the threads that serve it. What waits there waits for ever, so it is
//! refused, or done in another way.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Remembers the process that something was first used in.
pub(crate) struct OneProcess(AtomicU32);

impl OneProcess {
    pub(crate) const fn new() -> Self {
        OneProcess(AtomicU32::new(0))
    }

    /// Whether it is used in the process that it was first used in.
    pub(crate) fn is_this(&self) -> bool {
        let this = process::id();
        let first = self.0.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|first| first == this, |_| true)
    }
}
