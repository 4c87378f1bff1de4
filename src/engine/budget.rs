//! How long a busy loop goes on before it polls its descriptors again, and before an attached one
//! yields.
//!
//! Polling the kernel costs as much as twenty small callbacks, so a loop with callbacks queued does
//! not poll in each turn. But no descriptor and no host may wait long for it. So there are two
//! limits: a number of calls, for short calls, and a time, for long ones. Every call is charged: a
//! callback, an event, a timer, a task's poll.
//!
//! Reading the clock costs as much as three small callbacks, so it is not read after each. The
//! number of calls until the next reading follows from the average time of the calls before, and is
//! [`BUDGET_CALLS_PER_READING`] at most.

use std::cell::Cell;
use std::time::Instant;

use super::tuning::{BUDGET_CALLS, BUDGET_CALLS_PER_READING, BUDGET_NANOS};

pub(crate) struct Budget {
    /// Calls since the budget was renewed.
    calls: Cell<usize>,
    /// The number of calls at which the clock is read.
    reading: Cell<usize>,
    /// Calls between two readings: one while a single call may take long.
    step: Cell<usize>,
    /// The first reading since the budget was renewed, and the number of calls by then.
    begun: Cell<Option<(Instant, usize)>>,
}

impl Budget {
    /// A spent budget: the first turn polls.
    pub(crate) fn new() -> Self {
        Budget {
            calls: Cell::new(BUDGET_CALLS),
            reading: Cell::new(BUDGET_CALLS),
            step: Cell::new(1),
            begun: Cell::new(None),
        }
    }

    /// Begins anew. With `busy`, calls are waiting already, and their time counts from here.
    #[inline]
    pub(crate) fn renew(&self, busy: bool) {
        self.calls.set(0);
        self.reading.set(self.step.get());
        self.begun.set(None);
        if busy {
            self.begin();
        }
    }

    #[inline(never)]
    fn begin(&self) {
        // While the clock is read seldom, it is not read here either.
        if self.step.get() == 1 {
            self.begun.set(Some((Instant::now(), 0)));
        }
    }

    /// The loop has slept: the time until now is not that of its calls.
    #[inline]
    pub(crate) fn rest(&self) {
        self.begun.set(None);
    }

    #[inline]
    pub(crate) fn charge(&self, calls: usize) {
        self.calls.set(self.calls.get() + calls);
    }

    /// Whether the budget was spent, without reading the clock.
    #[inline]
    pub(crate) fn is_used_up(&self) -> bool {
        self.calls.get() >= BUDGET_CALLS
    }

    /// Spends the budget: the next turn polls.
    pub(crate) fn spend(&self) {
        self.calls.set(BUDGET_CALLS);
    }

    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        let calls = self.calls.get();
        calls >= self.reading.get() && (calls >= BUDGET_CALLS || self.read(calls))
    }

    /// Reads the clock. Returns whether the time has passed; otherwise sets when the clock is read
    /// again.
    #[cold]
    #[inline(never)]
    fn read(&self, calls: usize) -> bool {
        let now = Instant::now();
        let Some((begun, before)) = self.begun.get() else {
            self.begun.set(Some((now, calls)));
            self.read_after(calls, self.step.get());
            return false;
        };
        let taken = u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX);
        if taken >= BUDGET_NANOS {
            self.step.set(1);
            self.spend();
            return true;
        }
        let step = next_step(taken, (calls - before) as u64);
        self.step.set(step);
        self.read_after(calls, step);
        false
    }

    fn read_after(&self, calls: usize, step: usize) {
        self.reading.set((calls + step).min(BUDGET_CALLS));
    }
}

/// How many calls fit in half of the remaining time, by the average of `calls` that have taken
/// `taken`.
fn next_step(taken: u64, calls: u64) -> usize {
    // Mostly so many fit that no division is needed.
    if taken * (2 * BUDGET_CALLS_PER_READING as u64) < (BUDGET_NANOS - taken) * calls {
        return BUDGET_CALLS_PER_READING;
    }
    let average = (taken / calls.max(1)).max(1);
    let fitting = (BUDGET_NANOS - taken) / 2 / average;
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, BUDGET_CALLS_PER_READING)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn calls_that_take_nothing_spend_it_by_their_number() {
        let budget = Budget::new();
        assert!(budget.is_spent(), "the first turn polls");
        budget.renew(true);
        assert_eq!(budget.calls.get(), 0);
        budget.charge(BUDGET_CALLS);
        assert!(budget.is_spent());
        budget.renew(false);
        assert!(!budget.is_spent());
    }

    #[test]
    fn calls_that_take_long_spend_it_one_by_one() {
        let budget = Budget::new();
        for _ in 0..3 {
            budget.renew(true);
            assert!(!budget.is_spent());
            let (begun, _) = budget.begun.get().unwrap();
            let before = begun.checked_sub(Duration::from_nanos(BUDGET_NANOS)).unwrap();
            budget.begun.set(Some((before, 0)));
            budget.charge(1);
            assert!(budget.is_spent());
            assert!(budget.is_spent(), "until it is renewed");
        }
    }

    #[test]
    fn the_clock_is_read_less_often_the_less_the_calls_take() {
        assert_eq!(next_step(0, 1), BUDGET_CALLS_PER_READING);
        assert_eq!(next_step(20, 1), BUDGET_CALLS_PER_READING);
        // Ten microseconds each: four fill half of what is left.
        assert_eq!(next_step(10_000, 1), 4);
        assert_eq!(next_step(50_000, 5), 2);
        assert_eq!(next_step(99_999, 1), 1);
    }

    #[test]
    fn a_reading_leaves_the_number_of_calls_a_limit() {
        let budget = Budget::new();
        budget.renew(true);
        budget.charge(BUDGET_CALLS - 1);
        budget.is_spent();
        budget.charge(1);
        assert!(budget.is_spent());
    }
}
