//! Whether anything is left that a loop waits for, and a run that ends when nothing is.

use std::cell::Cell;

use super::Engine;

#[derive(Default)]
pub(crate) struct Emptiness {
    /// A run ends as soon as nothing is left. While it sleeps, what takes something away wakes the
    /// loop.
    ends_run: Cell<bool>,
}

impl Emptiness {
    /// From here to the end of the run it ends when nothing is left.
    pub(crate) fn set_ends_run(&self, ends: bool) {
        self.ends_run.set(ends);
    }
}

impl Engine {
    /// Whether nothing is queued, and nothing that would be waited for is registered. Does not know
    /// of jobs.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_queued()
            && self.timers.deadlines.borrow().len() == 0
            && self.tasks.table.borrow().len() == 0
            && self.hooks.idle.is_empty()
            && !self.watching.watches.borrow().are_counted()
    }

    /// Something that was waited for was taken away. In a turn that needs nothing, since the run
    /// asks after it.
    #[inline]
    pub(super) fn note_taken_away(&self) {
        if self.emptiness.ends_run.get() {
            self.wake();
        }
    }
}
