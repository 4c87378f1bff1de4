//! What the sides of a task share it by. `reliability/loom` replaces it by loom's.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU8, Ordering};
