//! Stopping a run: after the turn, or before its next callback.

use std::cell::Cell;

/// It also counts down the queued callbacks of a turn, so one of them can cut off the rest at no
/// cost to the others.
#[derive(Default)]
pub(super) struct Stop {
    /// Set by a request to stop, cleared at the end of the run.
    requested: Cell<bool>,
    /// Set with `requested` by a request to stop before the next callback, and cleared with it.
    at_once: Cell<bool>,
    /// The run ends as soon as nothing is left. While it sleeps, what takes something away wakes
    /// the loop.
    when_empty: Cell<bool>,
    /// The queued callbacks of the turn that have not run yet.
    left: Cell<usize>,
}

impl Stop {
    pub(super) fn request(&self) {
        self.requested.set(true);
    }

    /// Requests a stop before the next callback. Returns how many of the turn's queued callbacks
    /// are cut off.
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

    pub(super) fn set_when_empty(&self, ends: bool) {
        self.when_empty.set(ends);
    }

    #[inline]
    pub(super) fn is_when_empty(&self) -> bool {
        self.when_empty.get()
    }

    /// Whether a stop was requested. The request is used up.
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

    /// Counts the next callback of the batch, which is about to run; false if there is none.
    #[inline]
    pub(super) fn next_of_batch(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        left.inspect(|left| self.left.set(*left)).is_some()
    }
}
