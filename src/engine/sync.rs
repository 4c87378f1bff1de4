//! What the handshake with other threads is made of; `reliability/loom` puts loom's in its place.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};
