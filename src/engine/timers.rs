//! The loop's time: its clock, and the deadlines on it.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::clock::ManualClock;
use crate::engine::deadlines::{NEVER, Nanos};
use crate::engine::poller::Poller;

impl Engine {
    pub(crate) fn set_clock(&self, clock: ManualClock) {
        clock.add_loop(&self.inbox);
        let _ = self.clock.set(clock);
    }

    /// The clock that a test moves, if there is one.
    pub(crate) fn clock(&self) -> Option<&ManualClock> {
        self.clock.get()
    }

    /// Whether a test moves the clock.
    pub(crate) fn has_own_clock(&self) -> bool {
        self.clock.get().is_some()
    }

    pub(crate) fn now(&self) -> Instant {
        match self.clock.get() {
            None => Instant::now(),
            Some(clock) => clock.now(),
        }
    }

    /// The deadline that a clock would jump to where the loop would wait.
    pub(super) fn leap(&self) -> Option<(&ManualClock, Instant)> {
        let clock = self.clock.get()?;
        let deadline = self.next_deadline()?;
        clock.reaches(deadline).then_some((clock, deadline))
    }

    /// Whether a turn that finds nothing to do is to be followed by a jump of the clock, and not by a wait.
    pub(crate) fn can_jump(&self) -> bool {
        self.leap().is_some()
    }

    /// After a turn that found nothing to do: lets the clock jump to the next deadline, if it is one that jumps.
    pub(crate) fn jump(&self) {
        if let Some((clock, deadline)) = self.leap().filter(|_| !self.has_queued()) {
            clock.jump(deadline);
        }
    }

    pub(super) fn is_earliest_due(&self) -> bool {
        self.has_timers() && self.deadlines.borrow_mut().has_due(self.nanos(self.now()))
    }

    /// Says whether any timer is due.
    #[inline(always)]
    pub(super) fn set_due_aside(&self) -> bool {
        self.has_timers() && self.deadlines.borrow_mut().set_due_aside(self.nanos(self.now()))
    }

    /// Whether there are timers that are to fire one day: without them the clock need not be read.
    #[inline]
    pub(super) fn has_timers(&self) -> bool {
        self.deadlines.borrow().known_wake() != NEVER
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.deadlines.borrow_mut().next()?;
        self.instant(next)
    }

    pub(super) fn instant(&self, at: Nanos) -> Option<Instant> {
        let distance = Duration::from_nanos(at.unsigned_abs());
        if at < 0 { self.origin.checked_sub(distance) } else { self.origin.checked_add(distance) }
    }

    /// The next deadline, where the descriptor does not hold it and the host has to.
    pub(crate) fn deadline_for_host(&self) -> Option<Instant> {
        // What a test's clock says is no time to wait for.
        if Poller::HOLDS_DEADLINE || self.has_own_clock() {
            return None;
        }
        let at = self.deadlines.borrow_mut().wake_at();
        self.instant(at).filter(|_| at != NEVER)
    }

    /// An instant as nanoseconds from the origin, at most three centuries away.
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
