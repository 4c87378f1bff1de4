//! Being driven, going to sleep, and what wakes the loop: also whatever changes when that has to be.

use std::io;
use std::task::Waker;

use crate::engine::Engine;
use crate::engine::deadlines::Deadlines;
use crate::engine::poller::Poller;
use crate::engine::turn::Wait;
use crate::reactor::callback::Callback;

impl Engine {
    /// Calls the hooks before a sleep of a foreign loop, if it may sleep; says whether one of them forbids it.
    pub(crate) fn stays_awake(&self) -> bool {
        self.hooks.are_around_sleep()
            && !self.has_queued()
            && !self.timers.is_due()
            && !self.before_sleep()
    }

    /// Calls the hooks before a sleep; says whether the loop may sleep indeed.
    pub(crate) fn before_sleep(&self) -> bool {
        self.hooks.idle.is_empty() && self.hooks.before_sleep(&self.exceptions) && self.is_calm()
    }

    /// Whether nothing is queued and no stop was requested, as a hook may have done.
    pub(super) fn is_calm(&self) -> bool {
        !self.has_queued() && !self.stop.is_requested()
    }

    pub(crate) fn after_wake(&self) {
        self.hooks.after_wake(&self.exceptions);
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.stage.is_driven()
    }

    /// Whether somebody still has to [`leave`](Self::leave).
    pub(crate) fn is_entered(&self) -> bool {
        self.stage.is_entered()
    }

    /// Begins to drive: what is queued from here on is seen without a ring.
    pub(crate) fn rouse(&self) {
        self.stage.begin();
        self.inbox().rouse();
        self.counters.asleep.end();
        self.counters.wakeups.add(1);
    }

    /// Ends driving with nothing left to do: sets the deadline, and lets the kernel wake the loop, or whoever has
    /// something for it the host. False, and still driving, if a timer is due, or something was left in the inbox
    /// meanwhile.
    pub(crate) fn sleep(&self, host: &Waker) -> io::Result<bool> {
        if !self.arm(Wait::Forever)? {
            return Ok(false);
        }
        self.stage.host();
        self.inbox().set_host(Some(host));
        if self.inbox().sleep() {
            self.stage.sleep();
            self.counters.asleep.begin();
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends driving with whatever is left: the descriptor stays readable if something is. Says whether.
    pub(crate) fn leave(&self) -> bool {
        if self.stage.leave() {
            self.inbox().set_host(None);
        }
        self.inbox().leave();
        let queued = self.has_queued() || !self.hooks.idle.is_empty();
        if queued {
            self.wake();
        }
        let due = self.arm_undriven();
        queued || due
    }

    /// As [`leave`](Self::leave); with `stays`, as if there were something left.
    pub(crate) fn leave_awake(&self, stays: bool) -> bool {
        let left = self.leave();
        if stays {
            self.wake();
        }
        left || stays
    }

    /// Sets the kernel's timer where nobody will do it later; says whether a timer is due already, or
    /// will be as soon as there is nothing else to do. The kernel's takes a moment to go off then, so it
    /// is rung for.
    pub(super) fn arm_undriven(&self) -> bool {
        // A failure is met again, and returned, by whoever drives next.
        let failed = self.arm(Wait::Forever).is_err();
        let due = self.timers.is_due();
        if failed || due {
            self.wake();
        }
        due
    }

    /// After a turn that the host has called quiet: whether another one would find nothing to do.
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

    /// As [`request_stop`](Self::request_stop), before the next callback.
    pub(crate) fn request_stop_now(&self) {
        // The batch that it is cut off from is counted whole, at its end.
        self.counters.callbacks.take_off(self.stop.request_at_once());
        self.put_back();
        self.wake();
    }

    /// Whether a stop was requested; the request is used up.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.take()
    }

    /// After a turn that found nothing to do: lets the clock jump to the next deadline, if it is one that jumps.
    pub(crate) fn jump(&self) {
        if let Some((clock, deadline)) = self.timers.jump_target().filter(|_| !self.has_queued()) {
            clock.jump(deadline);
        }
    }

    /// Whether the kernel's set holds an entry that cannot be removed, and has to be renewed.
    #[inline]
    pub(crate) fn is_astray(&self) -> bool {
        self.watching.is_astray()
    }

    pub(super) fn wake(&self) {
        if self.stage.wake() {
            self.inbox().wake_loop();
        }
    }

    /// Changes the deadline queue, and sets the kernel's timer at once where nobody will do it later.
    #[inline(always)]
    pub(super) fn change_deadlines<T>(
        &self,
        change: impl FnOnce(&mut Deadlines<Callback>) -> T,
    ) -> T {
        let mut deadlines = self.timers.deadlines.borrow_mut();
        let before = (!self.stage.is_driven()).then(|| deadlines.wake_at());
        // Called in one place, so it is inlined.
        let result = change(&mut deadlines);
        if let Some(before) = before {
            let after = deadlines.wake_at();
            drop(deadlines);
            if after != before {
                self.arm_undriven();
                if !Poller::HOLDS_DEADLINE {
                    // Whoever hosts the loop has to hear of it.
                    self.wake();
                }
            }
        }
        result
    }

    /// Has the poller end its wait at the earliest deadline, or when `wait` ends; false if a timer is due already.
    ///
    /// Asked before each sleep: what the poller was told last is the poller's to know.
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
    use crate::reactor::handles::Owner;

    #[test]
    fn a_timer_that_is_due_is_rung_for_while_nobody_drives_the_loop() {
        let engine = Engine::new().unwrap();
        let hour = Duration::from_secs(3600);
        let timer = engine.schedule(Instant::now() + hour, Callback::new(|| ())).unwrap();
        assert_eq!(engine.stage.wake(), Poller::HOLDS_DEADLINE, "the kernel's timer will do");
        engine.rouse();
        engine.leave();
        // Now the kernel's timer would go off a moment too late.
        assert!(engine.reset_timer(timer, Instant::now()));
        assert!(!engine.stage.wake(), "it was rung for");
        engine.rouse();
        assert!(engine.leave(), "it is left, and rung for");
        assert!(!engine.stage.wake());
    }
}
