//! Ending a run before its next callback: what is left of the turn is cut off.

use std::cell::Cell;

/// Counts down the queued callbacks of a turn, so that one of them can cut off the rest at no cost to the others.
#[derive(Default)]
pub(crate) struct Cut {
    asked: Cell<bool>,
    /// How many of the turn's queued callbacks are still to run,
    left: Cell<usize>,
    /// and how many were cut off.
    off: Cell<usize>,
}

impl Cut {
    /// Nothing more is to be called in this run.
    pub(super) fn ask(&self) {
        self.asked.set(true);
        self.off.set(self.off.get() + self.left.replace(0));
    }

    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// The run has ended by it, or otherwise.
    #[inline]
    pub(super) fn forget(&self) {
        self.asked.set(false);
    }

    /// Begins a turn's batch of queued callbacks.
    #[inline]
    pub(super) fn begin(&self, number: usize) {
        self.left.set(number);
        self.off.set(0);
    }

    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.left.get() > 0
    }

    /// Counts one that is about to run.
    #[inline]
    pub(super) fn count(&self) {
        self.left.set(self.left.get() - 1);
    }

    /// How many of the batch were cut off.
    #[inline]
    pub(super) fn off(&self) -> usize {
        self.off.get()
    }
}
