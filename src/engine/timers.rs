//! The loop's time: its clock, and the deadlines on it.

use std::cell::{OnceCell, RefCell};
use std::time::{Duration, Instant};

use super::clock::ManualClock;
use super::deadlines::{Deadlines, NEVER, Nanos};
use super::poller::Poller;
use super::tuning::SHORTEST_SLEEP;
use crate::reactor::callback::Callback;

pub(crate) struct Timers {
    pub(super) deadlines: RefCell<Deadlines<Callback>>,
    /// Deadlines are counted from this instant.
    pub(super) origin: Instant,
    /// Set at most once, and before the first turn. Without it the system's clock counts.
    pub(super) clock: OnceCell<ManualClock>,
}

impl Timers {
    pub(super) fn new(origin: Instant) -> Self {
        Timers { deadlines: RefCell::new(Deadlines::new()), origin, clock: OnceCell::new() }
    }

    /// The clock that a test moves, if there is one.
    pub(crate) fn clock(&self) -> Option<&ManualClock> {
        self.clock.get()
    }

    /// Whether a test moves the clock.
    pub(crate) fn has_own_clock(&self) -> bool {
        self.clock.get().is_some()
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self.clock.get() {
            None => Instant::now(),
            Some(clock) => clock.now(),
        }
    }

    /// The clock of a test and the deadline that it jumps to; none if it would not jump.
    #[inline]
    pub(super) fn jump_target(&self) -> Option<(&ManualClock, Instant)> {
        self.jump_target_of(self.clock.get()?)
    }

    #[cold]
    fn jump_target_of<'a>(&self, clock: &'a ManualClock) -> Option<(&'a ManualClock, Instant)> {
        let deadline = self.instant(self.deadlines.borrow_mut().earliest()?)?;
        clock.reaches(deadline).then_some((clock, deadline))
    }

    /// Whether a turn that finds nothing to do is followed by a jump of the clock, and not by a
    /// sleep.
    #[inline]
    pub(crate) fn can_jump(&self) -> bool {
        self.jump_target().is_some()
    }

    /// Whether a timer is due already, or will be as soon as there is nothing else to do.
    pub(super) fn is_due(&self) -> bool {
        self.is_earliest_due() || self.can_jump()
    }

    #[inline(always)]
    pub(super) fn is_earliest_due(&self) -> bool {
        self.are_pending() && self.has_due()
    }

    #[inline(never)]
    fn has_due(&self) -> bool {
        self.deadlines.borrow_mut().has_due(self.nanos(self.now()))
    }

    /// Sets aside the timers that are due, `most` at the most. Returns whether there are any.
    #[inline(always)]
    pub(super) fn set_due_aside(&self, most: usize) -> bool {
        self.deadlines.borrow_mut().set_due_aside(self.nanos(self.now()), most)
    }

    /// Whether a timer is to fire one day. Without one the clock need not be read.
    #[inline]
    pub(super) fn are_pending(&self) -> bool {
        self.deadlines.borrow().known_wake() != NEVER
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.deadlines.borrow_mut().next()?;
        self.instant(next)
    }

    /// When the poller is to end its wait, which was last told `armed`; none if a timer is due
    /// already.
    pub(super) fn wait_until(&self, armed: Nanos) -> Option<Nanos> {
        let mut deadlines = self.deadlines.borrow_mut();
        let deadline = deadlines.wake_at();
        if deadline == NEVER || (deadline == armed && !self.has_own_clock()) {
            return Some(deadline);
        }
        let now = self.nanos(self.now());
        if deadlines.has_due(now) {
            return None;
        }
        // The deadline may be later than before, since timers that were far away may have been
        // sorted more finely. The kernel knows nothing of a test's clock: moving it wakes the loop.
        let earliest = if self.has_own_clock() { NEVER } else { deadlines.wake_at() };
        Some(earliest.max(now + SHORTEST_SLEEP))
    }

    /// When the host has to wake the loop; none where the descriptor does that.
    pub(crate) fn deadline_for_host(&self) -> Option<Instant> {
        // A host cannot wait for a time on a test's clock.
        if Poller::HOLDS_DEADLINE || self.has_own_clock() {
            return None;
        }
        let at = self.deadlines.borrow_mut().wake_at();
        self.instant(at).filter(|_| at != NEVER)
    }

    pub(super) fn instant(&self, at: Nanos) -> Option<Instant> {
        let distance = Duration::from_nanos(at.unsigned_abs());
        if at < 0 { self.origin.checked_sub(distance) } else { self.origin.checked_add(distance) }
    }

    /// An instant in nanoseconds from the origin, at most three centuries away.
    #[inline]
    pub(super) fn nanos(&self, at: Instant) -> Nanos {
        fn nanos(distance: Duration) -> Option<Nanos> {
            let seconds = i64::try_from(distance.as_secs()).ok()?;
            seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(distance.subsec_nanos()))
        }
        match at.checked_duration_since(self.origin) {
            Some(distance) => nanos(distance).unwrap_or(Nanos::MAX),
            None => -nanos(self.origin.duration_since(at)).unwrap_or(Nanos::MAX),
        }
    }
}
