//! A place that loom watches: two threads that touch it at once fail the model.
#![allow(unsafe_code)]

use std::mem;

use loom::cell::UnsafeCell;

pub(super) struct Place<T>(UnsafeCell<Option<T>>);

// SAFETY: as the library's.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    pub(super) fn new() -> Self {
        Place(UnsafeCell::new(None))
    }

    pub(super) unsafe fn replace(&self, value: Option<T>) -> Option<T> {
        // SAFETY: as the library's.
        self.0.with_mut(|place| unsafe { mem::replace(&mut *place, value) })
    }

    pub(super) unsafe fn fill(&self, value: T) {
        // SAFETY: as the library's, and nothing is leaked.
        assert!(unsafe { self.replace(Some(value)) }.is_none());
    }
}
