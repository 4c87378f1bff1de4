//! Driving a loop, putting it to sleep, and waking it; and the timers, which decide how long it
//! sleeps.

use std::io;
use std::task::Waker;

use crate::engine::Engine;
use crate::engine::deadlines::Deadlines;
use crate::engine::poller::Poller;
use crate::engine::turn::Wait;
use crate::reactor::callback::Callback;

impl Engine {
    /// Calls the hooks before a sleep of a foreign loop, if it may sleep. Returns whether one of
    /// them forbids it.
    pub(crate) fn stays_awake(&self) -> bool {
        self.hooks.are_around_sleep()
            && !self.has_queued()
            && !self.timers.is_due()
            && !self.before_sleep()
    }

    /// Calls the hooks before a sleep. Returns whether the loop may sleep then.
    pub(crate) fn before_sleep(&self) -> bool {
        self.hooks.idle.is_empty() && self.hooks.before_sleep(&self.exceptions) && self.is_calm()
    }

    /// Whether nothing is queued and no stop was requested. A hook may have done either.
    pub(super) fn is_calm(&self) -> bool {
        !self.has_queued() && !self.stop.is_requested()
    }

    pub(crate) fn after_wake(&self) {
        self.hooks.after_wake(&self.exceptions);
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.stage.is_driven()
    }

    /// Whether [`leave`](Self::leave) is still to be called.
    pub(crate) fn is_entered(&self) -> bool {
        self.stage.is_entered()
    }

    /// Begins to drive: a turn follows, so what is queued from here on needs no wake.
    pub(crate) fn rouse(&self) {
        self.stage.begin();
        self.inbox().rouse();
        self.counters.asleep.end();
        self.counters.wakeups.add(1);
    }

    /// Ends driving with nothing left to do, and sets the deadline. The kernel wakes the loop by
    /// its descriptor, other threads by `host`. Returns false, and the loop is still driven, if a
    /// timer is due, or something was queued or posted meanwhile.
    pub(crate) fn sleep(&self, host: &Waker) -> io::Result<bool> {
        self.stage.host();
        self.inbox().set_host(Some(host));
        // Asked last: the clone of a waker, or the drop of the one before, may run user code, and
        // what that queues wakes nothing.
        if !self.is_calm() || !self.arm(Wait::Forever)? {
            return Ok(false);
        }
        if self.inbox().sleep() {
            self.stage.sleep();
            self.counters.asleep.begin();
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends a run, with or without work left. Returns whether any is left: then the descriptor
    /// stays readable.
    pub(crate) fn leave(&self) -> bool {
        self.timers.deadlines.borrow_mut().give_back();
        self.leave_between_turns()
    }

    fn leave_between_turns(&self) -> bool {
        if self.stage.leave() {
            self.inbox().set_host(None);
        }
        self.inbox().leave();
        let queued =
            self.has_queued() || !self.hooks.idle.is_empty() || self.watching.has_put_back();
        if queued {
            self.wake();
        }
        let due = self.arm_undriven();
        queued || due
    }

    /// As [`leave`](Self::leave), between two turns of a foreign loop: what is to be given back of a
    /// crowd of timers is work left, a part for each turn. With `stays` the descriptor stays
    /// readable in any case.
    pub(crate) fn leave_awake(&self, stays: bool) -> bool {
        let left = self.leave_between_turns();
        if stays {
            self.wake();
        }
        left || stays
    }

    /// Sets the kernel's timer for a loop that is not driven. Returns whether a timer is due
    /// already, or will be as soon as there is nothing else to do. The kernel's timer would expire
    /// a moment too late then, so the loop is woken.
    fn arm_undriven(&self) -> bool {
        // The next run meets the failure again, and returns it.
        let failed = self.arm(Wait::Forever).is_err();
        let due = self.timers.is_due();
        if failed || due {
            self.wake();
        }
        due
    }

    /// After a quiet turn: whether another turn would find nothing to do.
    pub(crate) fn rests(&self) -> bool {
        !self.has_queued()
            && !self.watching.are_unpolled()
            && !self.stop.is_requested()
            && self.hooks.idle.is_empty()
            && !self.timers.has_own_clock()
            && !self.timers.is_earliest_due()
    }

    pub(crate) fn request_stop(&self) {
        self.stop.request();
        self.wake();
    }

    /// Requests a stop before the next callback.
    pub(crate) fn request_stop_now(&self) {
        self.stop.request_at_once();
        self.callbacks.batch.cut();
        self.put_back();
        self.wake();
    }

    /// Whether a stop was requested. The request is used up.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.take()
    }

    /// After a turn that found nothing to do: lets the clock of a test jump to the next deadline.
    pub(crate) fn jump(&self) {
        if let Some((clock, deadline)) = self.timers.jump_target().filter(|_| !self.has_queued()) {
            clock.jump(deadline);
        }
    }

    /// Whether the kernel's set watches for more than is wanted, and has to be made anew.
    #[inline]
    pub(crate) fn is_astray(&self) -> bool {
        self.watching.is_astray()
    }

    pub(super) fn wake(&self) {
        if self.stage.wake() {
            self.inbox().wake_loop();
        }
    }

    /// Changes the deadline queue. If no turn follows, sets the kernel's timer at once.
    #[inline(always)]
    pub(super) fn change_deadlines<T>(
        &self,
        change: impl FnOnce(&mut Deadlines<Callback>) -> T,
    ) -> T {
        let mut deadlines = self.timers.deadlines.borrow_mut();
        let before = (!self.stage.is_driven()).then(|| deadlines.wake_at());
        // There is one call, so it is inlined.
        let result = change(&mut deadlines);
        if let Some(before) = before {
            let after = deadlines.wake_at();
            drop(deadlines);
            if after != before {
                self.note_taken_away();
                self.arm_undriven();
                if !Poller::HOLDS_DEADLINE {
                    // The host has to ask for the new deadline.
                    self.wake();
                }
            }
        }
        result
    }

    /// Has the poller end its wait at the earliest deadline, or when `wait` ends. Returns false if
    /// a timer is due already.
    ///
    /// Called before each sleep. The poller knows which deadline it was told last.
    #[inline(always)]
    pub(super) fn arm(&self, wait: Wait) -> io::Result<bool> {
        let wake_at = self.timers.deadlines.borrow().known_wake();
        let is_armed = matches!(wait, Wait::Forever) && self.watching.is_armed_for(wake_at);
        if is_armed { Ok(true) } else { self.arm_anew(wait) }
    }

    #[inline(never)]
    fn arm_anew(&self, wait: Wait) -> io::Result<bool> {
        let armed = self.watching.arm(|poller| {
            let Some(mut deadline) = self.timers.wait_until(poller.armed()) else {
                return Ok(false);
            };
            if let Wait::Until(limit) = wait {
                deadline = deadline.min(self.timers.nanos(limit));
            }
            poller.arm(deadline).map(|()| true)
        });
        armed.unwrap_or(Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::engine::tuning::GIVEN_BACK;
    use crate::reactor::handles::Owner;

    #[test]
    fn a_timer_that_is_due_is_rung_for_while_nobody_drives_the_loop() {
        let engine = Engine::new().unwrap();
        let hour = Duration::from_secs(3600);
        let timer = engine.set_timer(Instant::now() + hour, Callback::new(|| ())).unwrap();
        assert_eq!(engine.stage.wake(), Poller::HOLDS_DEADLINE, "the kernel's timer will do");
        engine.rouse();
        engine.leave();
        // Now the kernel's timer would expire a moment too late.
        assert!(engine.reset_timer(timer, Instant::now()));
        assert!(!engine.stage.wake(), "it was rung for");
        engine.rouse();
        assert!(engine.leave(), "it is left, and rung for");
        assert!(!engine.stage.wake());
    }

    #[test]
    fn an_embedded_turn_gave_all_memory_of_a_crowd_of_timers_back() {
        const CROWD: usize = 250_000;
        let engine = Engine::new().unwrap();
        let hour = Instant::now() + Duration::from_secs(3600);
        let set = |_| engine.set_timer(hour, Callback::new(|| ())).unwrap();
        let timers: Vec<_> = (0..CROWD).map(set).collect();
        assert!(timers.into_iter().all(|timer| engine.cancel_timer(timer)));
        let held = || engine.timers.deadlines.borrow().bytes();
        let (first, mut turns) = (held(), 0);
        loop {
            let before = held();
            engine.rouse();
            assert!(!engine.timers.set_due_aside(64));
            let left = engine.leave_awake(false);
            assert!(before - held() <= GIVEN_BACK, "{} at once", before - held());
            turns += 1;
            if !left {
                break;
            }
        }
        assert!(turns > first / GIVEN_BACK / 2 && held() < GIVEN_BACK / 4, "{turns}, {}", held());
    }
}
