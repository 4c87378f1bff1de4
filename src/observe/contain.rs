//! Panics that nobody is to see: those of handlers, of subscribers, of what was thrown.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code whose panic nobody is to see.
pub(crate) fn contain(code: impl FnOnce()) {
    contained(code);
}

/// As [`contain`], for code that has a result; none if it panicked.
pub(crate) fn contained<T>(code: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            dispose(payload);
            None
        }
    }
}

/// Drops a panic's payload, whose destructor may panic with another, and so on: one that does not end is
/// leaked, since nothing may unwind from here.
pub(crate) fn dispose(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}
