//! The library's own files, with loom's locks and atomics in them, and models of what they call.
// Not every kind of message is posted here.
#![allow(dead_code)]

#[path = "../../../../src/engine/inbox.rs"]
pub(crate) mod inbox;
pub(crate) mod poller;
pub(crate) mod queue;
#[path = "../../../../src/engine/scheduled.rs"]
pub(crate) mod scheduled;
#[path = "../../../../src/engine/wake.rs"]
mod wake;

mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard, atomic};
    pub(super) use std::sync::PoisonError;
}

mod arena {
    pub(crate) struct Key;
}

mod fork {
    pub(crate) struct Process;

    impl Process {
        pub(crate) fn this() -> std::io::Result<Process> {
            Ok(Process)
        }

        pub(crate) fn is_this(&self) -> bool {
            true
        }
    }
}
