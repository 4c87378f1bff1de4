//! The queued callbacks of one turn, counted as they are called.

use std::cell::Cell;

/// It ends where the count is what it will be when all have been called. So one of them can cut off
/// the rest at no cost to the others, and what was not called is not counted.
#[derive(Default)]
pub(super) struct Batch {
    /// The callbacks and polls of tasks so far, in all turns.
    called: Cell<u64>,
    end: Cell<u64>,
}

impl Batch {
    pub(super) fn called(&self) -> u64 {
        self.called.get()
    }

    /// Begins that of a turn.
    #[inline]
    pub(super) fn begin(&self, number: usize) {
        self.end.set(self.called.get() + number as u64);
    }

    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.called.get() < self.end.get()
    }

    /// Counts the next entry, which is about to be called; false if there is none.
    #[inline]
    pub(super) fn next(&self) -> bool {
        let is_left = self.is_left();
        if is_left {
            self.called.set(self.called.get() + 1);
        }
        is_left
    }

    /// The last one that was counted is not to count.
    pub(super) fn leave_out(&self) {
        self.called.set(self.called.get() - 1);
        self.end.set(self.end.get() - 1);
    }

    /// Cuts off the rest.
    pub(super) fn cut(&self) {
        self.end.set(self.called.get());
    }
}

#[cfg(test)]
mod tests {
    use super::Batch;

    #[test]
    fn what_is_left_out_or_cut_off_is_not_counted() {
        let batch = Batch::default();
        batch.begin(4);
        assert!(batch.next() && batch.next());
        batch.leave_out();
        assert!(batch.next() && batch.called() == 2);
        assert!(batch.is_left() && batch.next() && !batch.is_left() && !batch.next());
        assert_eq!(batch.called(), 3);
        batch.begin(4);
        assert!(batch.next() && batch.called() == 4);
        batch.cut();
        assert!(!batch.next());
        // One that cuts off the rest, and is not to count itself.
        batch.begin(2);
        assert!(batch.next());
        batch.leave_out();
        batch.cut();
        assert!(!batch.next());
        assert_eq!(batch.called(), 4);
    }
}
