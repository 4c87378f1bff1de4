//! Ending a run before its next callback: what is left of the turn is cut off.

use std::cell::Cell;

/// Counts down the queued callbacks of a turn, so one of them can cut off the rest at no cost to the others.
#[derive(Default)]
pub(super) struct Cut {
    asked: Cell<bool>,
    /// How many of the turn's queued callbacks are still to run.
    left: Cell<usize>,
}

impl Cut {
    /// Nothing more is to be called in this run. Returns how many of the batch are cut off.
    pub(super) fn ask(&self) -> usize {
        self.asked.set(true);
        self.left.replace(0)
    }

    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// The run has ended by it, or otherwise.
    pub(super) fn forget(&self) {
        self.asked.set(false);
    }

    /// Begins a turn's batch of queued callbacks.
    #[inline]
    pub(super) fn begin(&self, number: usize) {
        self.left.set(number);
    }

    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.left.get() > 0
    }

    /// Counts the next, which is about to run; false if there is none.
    #[inline]
    pub(super) fn next(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        left.inspect(|left| self.left.set(*left)).is_some()
    }
}
