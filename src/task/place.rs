//! A place for a value that one thread at a time may touch. `reliability/loom` has one of loom's.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem;
use std::panic::RefUnwindSafe;

pub(super) struct Place<T>(UnsafeCell<Option<T>>);

// SAFETY: a reference gives no other than to the value itself, which is `Send`, to one thread at a
// time.
unsafe impl<T: Send> Sync for Place<T> {}
// A panic never finds it half written.
impl<T> RefUnwindSafe for Place<T> {}

impl<T> Place<T> {
    pub(super) fn new() -> Self {
        Place(UnsafeCell::new(None))
    }

    /// # Safety
    ///
    /// Nobody else touches it meanwhile, and what they did before has happened for this thread.
    #[inline]
    pub(super) unsafe fn replace(&self, value: Option<T>) -> Option<T> {
        // SAFETY: this is the only reference, as the caller promises. No other code runs while it
        // lasts: what was here is moved out, not dropped.
        unsafe { mem::replace(&mut *self.0.get(), value) }
    }

    /// Fills it. What was here would be leaked.
    ///
    /// # Safety
    ///
    /// As for [`replace`](Self::replace).
    #[inline]
    pub(super) unsafe fn fill(&self, value: T) {
        // SAFETY: nobody else reads or writes it, as the caller promises.
        unsafe { self.0.get().write(Some(value)) };
    }
}
