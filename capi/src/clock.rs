//! The clock of the loops, in nanoseconds.

use std::sync::OnceLock;
use std::time::Instant;

/// The nanoseconds since the first call.
pub(crate) fn now() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let since = BEGINNING.get_or_init(Instant::now).elapsed();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}
