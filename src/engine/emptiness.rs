//! Whether anything is left that a loop waits for, and a run that ends when nothing is.

use super::Engine;

impl Engine {
    /// Whether nothing that was given to the loop is queued, and nothing that would be waited for is registered. Does not know
    /// of jobs.
    pub(crate) fn is_empty(&self) -> bool {
        !self.callbacks.are_given()
            && self.timers.deadlines.borrow().len() == 0
            && self.tasks.table.borrow().len() == 0
            && self.hooks.idle.is_empty()
            && !self.watching.watches.borrow().are_counted()
    }

    /// Whether the run ends as soon as nothing is left.
    pub(crate) fn set_ends_when_empty(&self, ends: bool) {
        self.stop.set_when_empty(ends);
    }

    /// Something that was waited for was taken away. In a turn that needs nothing, since the run
    /// asks after it.
    #[inline]
    pub(super) fn note_taken_away(&self) {
        if self.stop.is_when_empty() {
            self.wake();
        }
    }
}
