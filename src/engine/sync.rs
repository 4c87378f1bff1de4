//! The locks and atomics of the handshake with other threads. `reliability/loom` replaces them by
//! loom's.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};
