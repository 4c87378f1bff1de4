//! Stopping a run: after the turn, or before its next callback.

use std::cell::Cell;

#[derive(Default)]
pub(super) struct Stop {
    /// Set by a request to stop, cleared at the end of the run.
    requested: Cell<bool>,
    /// Set with `requested` by a request to stop before the next callback, and cleared with it.
    at_once: Cell<bool>,
    /// The run ends as soon as nothing is left. While it sleeps, what takes something away wakes
    /// the loop.
    when_empty: Cell<bool>,
}

impl Stop {
    pub(super) fn request(&self) {
        self.requested.set(true);
    }

    /// Requests a stop before the next callback.
    pub(super) fn request_at_once(&self) {
        self.at_once.set(true);
        self.request();
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
}
