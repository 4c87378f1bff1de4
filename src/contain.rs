//! Panics that are neither reported nor passed on: those of handlers, of subscribers, of payloads.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code, and drops its panic.
pub(crate) fn contain(code: impl FnOnce()) {
    contained(code);
}

/// As [`contain`], for code with a result; none if it panicked.
pub(crate) fn contained<T>(code: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            dispose(payload);
            None
        }
    }
}

/// Drops a panic's payload. Its destructor may panic with another payload, and so on; after some of
/// them the last is leaked, since no panic may unwind from here.
pub(crate) fn dispose(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}
