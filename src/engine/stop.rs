//! The end of a run: after the turn, or before its next callback.

use std::cell::Cell;

/// Also counts down the queued callbacks of a turn, so one of them can cut off the rest at no cost to the others.
#[derive(Default)]
pub(super) struct Stop {
    /// A stop was requested; the end of the run uses it up.
    requested: Cell<bool>,
    /// It was requested at once: nothing more is called in this run.
    at_once: Cell<bool>,
    /// How many of the turn's queued callbacks are still to run.
    left: Cell<usize>,
}

impl Stop {
    pub(super) fn request(&self) {
        self.requested.set(true);
    }

    /// Requests a stop before the next callback. Returns how many of the turn's queued callbacks are cut off.
    pub(super) fn request_at_once(&self) -> usize {
        self.at_once.set(true);
        self.request();
        self.left.replace(0)
    }

    #[inline]
    pub(super) fn is_requested(&self) -> bool {
        self.requested.get()
    }

    #[inline]
    pub(super) fn is_at_once(&self) -> bool {
        self.at_once.get()
    }

    /// Whether a stop was requested; the request is used up.
    #[inline]
    pub(super) fn take(&self) -> bool {
        let requested = self.requested.replace(false);
        if requested {
            self.at_once.set(false);
        }
        requested
    }

    /// Begins a turn's batch of queued callbacks.
    #[inline]
    pub(super) fn begin_batch(&self, number: usize) {
        self.left.set(number);
    }

    #[inline]
    pub(super) fn is_batch_left(&self) -> bool {
        self.left.get() > 0
    }

    /// Counts the next of the batch, which is about to run; false if there is none.
    #[inline]
    pub(super) fn next_of_batch(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        left.inspect(|left| self.left.set(*left)).is_some()
    }
}
