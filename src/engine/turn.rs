//! One turn of the loop: its phases, in their order.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use std::{io, thread};

use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::poller::Event;
use crate::engine::queue::{Front, Other, Queue};
use crate::engine::tuning::CALLS_PER_TURN;
use crate::observe::origin::Origin;
use crate::observe::spans;
use crate::reactor::callback::Caller;
use crate::reactor::readiness::Events;

/// The work that a turn, or several of them, found.
#[derive(Clone, Copy)]
pub(crate) struct Turned {
    /// Queued callbacks were run.
    pub(crate) busy: bool,
    /// Nothing was queued, ready or due: only a wait makes sense now.
    pub(crate) idle: bool,
}

/// The purpose of a run: to go on until it is stopped, or until a future is done.
pub(crate) trait Goal {
    /// Called once before the first turn.
    fn begin(&mut self, engine: &Engine);
    /// Polls the future that the run is for, as an entry of the callback queue. Does not unwind.
    fn poll(&mut self);
    /// Where the future was handed in, if there is one.
    fn location(&self) -> Option<Caller>;
    /// Polls the tasks of the runtime's executor, as an entry of the callback queue. Does not
    /// unwind.
    fn poll_runtime(&mut self, engine: &Engine);
    fn is_done(&self) -> bool;
}

/// How long the poll of a turn may wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// The host says that no descriptor has become ready: no poll is needed.
    Quiet,
    Never,
    Until(Instant),
    Forever,
}

/// Where the running callback was handed in.
type Running = Cell<Option<Caller>>;

impl Engine {
    /// One turn of the loop.
    ///
    /// 1. Notes how many callbacks are queued.
    /// 2. Polls the descriptors, waiting only if nothing is queued; notes the timers that are due.
    /// 3. Runs that many callbacks; a task's poll is one, and so is that of the future that the
    ///    loop runs for.
    /// 4. Calls the callbacks of ready descriptors, reader before writer.
    /// 5. Fires the timers that were due when the poll ended.
    ///
    /// Whatever these queue waits for the next turn. So does what is left of a crowd: a turn runs
    /// [`CALLS_PER_TURN`] callbacks at the most, fires as many timers, and serves the descriptors
    /// of one poll. The last turn of a run leaves no callback of its batch.
    pub(crate) fn turn(&self, wait: Wait, goal: &mut dyn Goal) -> io::Result<Turned> {
        spans::turn(|| self.exceptions.name(), || self.one_turn(wait, goal))
    }

    #[inline]
    fn one_turn(&self, wait: Wait, goal: &mut dyn Goal) -> io::Result<Turned> {
        if self.is_forked() {
            return Err(self.gone());
        }
        self.counters.turns.add(1);
        self.callbacks.take_messages();
        let queued = self.callbacks.queue.borrow().len();
        let busy = queued > 0;
        let mut hooked = false;
        let calm = matches!(wait, Wait::Quiet) && !self.watching.are_unpolled();
        let skip = !self.stop.is_requested() && (calm || (busy && !self.budget.is_spent()));
        if !skip {
            let ends = self.stop.is_requested();
            if ends {
                self.watching.make_room_for_all();
            }
            hooked = self.poll(if busy || ends { Wait::Never } else { wait })?;
            // By a hook, or before the run. A turn with a stop requested still polls.
            if self.stop.is_at_once() {
                self.put_back();
                return Ok(Turned { busy, idle: false });
            }
            if busy || self.budget.is_used_up() {
                self.budget.renew(busy);
            }
        }
        // Every turn asks for due timers, also without a poll: callbacks may take long. A poll may
        // have asked the kernel's timer, which spares the clock.
        let due = self.timers.are_pending()
            && (skip || !self.is_polled_before_deadline())
            && self.timers.set_due_aside(self.most_calls());
        let mut left = 0;
        if queued > CALLS_PER_TURN {
            left = self.run_crowd(queued, goal);
        } else if busy {
            self.run_queued(queued, goal);
        }
        let events = self.serve_ready();
        let fired = if due { self.fire_due() } else { 0 };
        if left > 0 && self.stop.is_requested() {
            left = self.run_rest(left, goal);
        }
        let calls = queued - left + events + fired;
        // Hooks may have left something to do that the poll did not see.
        let mut idle = calls == 0 && !hooked;
        if idle && !self.hooks.idle.is_empty() {
            self.hooks.idle.call_while(&self.exceptions, || !self.stop.is_at_once());
            self.budget.charge(1);
            idle = false;
        }
        self.budget.charge(calls);
        Ok(Turned { busy, idle })
    }

    /// Whether the poll that was just made says that no timer is due.
    #[inline]
    fn is_polled_before_deadline(&self) -> bool {
        let wake_at = self.timers.deadlines.borrow().known_wake();
        self.watching.is_before(wake_at)
    }

    /// Makes more turns at once, while there are only callbacks to run and no poll is due.
    #[inline(never)]
    pub(crate) fn turn_on(&self, goal: &mut dyn Goal) {
        while !self.budget.is_spent()
            && !self.stop.is_requested()
            && !goal.is_done()
            && !self.timers.is_earliest_due()
            && !self.is_astray()
            && !self.is_forked()
        {
            self.callbacks.take_messages();
            let queued = self.callbacks.queue.borrow().len();
            // A crowd is run a part at a time, each in a turn of its own.
            if queued == 0 || queued > CALLS_PER_TURN {
                break;
            }
            self.counters.turns.add(1);
            spans::turn(|| self.exceptions.name(), || self.run_queued(queued, goal));
            self.budget.charge(queued);
        }
    }

    /// How many callbacks, and how many timers, a turn calls. A turn that ends a run calls all.
    #[inline]
    fn most_calls(&self) -> usize {
        if self.stop.is_requested() { usize::MAX } else { CALLS_PER_TURN }
    }

    /// Phase 2: asks the kernel what is ready. Returns whether there may be something to do that it
    /// did not see.
    ///
    /// The hooks before a sleep and after it are called in each poll, since a busy loop may not
    /// sleep for long. In a poll that does not wait all of them come before the kernel is asked,
    /// which then sees what they did.
    fn poll(&self, wait: Wait) -> io::Result<bool> {
        self.counters.polls.add(1);
        let waits = match wait {
            Wait::Quiet | Wait::Never => false,
            Wait::Until(_) | Wait::Forever => !self.timers.can_jump() && self.hooks.idle.is_empty(),
        };
        if self.hooks.are_heard_in_polls() {
            return self.poll_with_hooks(wait, waits);
        }
        // Nothing is queued if the turn waits. The inbox is asked last, when the deadline is set.
        let block = waits && self.arm(wait)? && self.inbox().sleep();
        self.wait(block)?;
        Ok(waits)
    }

    /// The same, with hooks around polls and sleeps.
    #[cold]
    #[inline(never)]
    fn poll_with_hooks(&self, wait: Wait, waits: bool) -> io::Result<bool> {
        while self.hooks.before_sleep(&self.exceptions) && waits {
            let slept = self.sleep_here(wait);
            self.after_wake();
            match slept {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.hooks.interrupted.call(&self.exceptions);
                }
                slept => return slept.map(|()| true),
            }
        }
        self.after_wake();
        self.wait_after_hooks(false)?;
        Ok(waits || self.hooks.are_around_sleep() && !self.is_calm())
    }

    /// Sleeps, inside the hooks around a sleep.
    fn sleep_here(&self, wait: Wait) -> io::Result<()> {
        let mut polled = None;
        self.hooks.around_sleep(&self.exceptions, &mut || {
            // The hooks may have set a timer or queued something.
            let armed = if self.is_calm() { self.arm(wait) } else { Ok(false) };
            polled =
                Some(armed.and_then(|armed| self.wait_after_hooks(armed && self.inbox().sleep())));
        });
        // A hook that does not call its sleep keeps the loop awake, but the descriptors are polled.
        polled.unwrap_or_else(|| self.wait_after_hooks(false))
    }

    /// As [`wait`](Self::wait), after hooks, one of which may have forked.
    fn wait_after_hooks(&self, block: bool) -> io::Result<()> {
        self.watching.abandon_if_forked();
        self.wait(block)
    }

    #[inline(always)]
    fn wait(&self, block: bool) -> io::Result<()> {
        if block {
            self.counters.asleep.begin();
        }
        let polled = self.watching.poll(block, block && !self.hooks.interrupted.is_empty());
        if block {
            self.counters.asleep.end();
            self.inbox().rouse();
            self.counters.wakeups.add(1);
            self.budget.rest();
        }
        polled
    }

    /// Gives up the rest of the turn: ready descriptors are reported by the next poll, due timers
    /// stay due.
    #[cold]
    pub(super) fn put_back(&self) {
        self.watching.put_back_ready();
        self.timers.deadlines.borrow_mut().put_back_due();
    }

    /// Phase 3, where the queue holds a crowd: the first of its entries. Returns how many are left.
    #[cold]
    #[inline(never)]
    fn run_crowd(&self, queued: usize, goal: &mut dyn Goal) -> usize {
        self.run_queued(CALLS_PER_TURN, goal);
        let left = queued - CALLS_PER_TURN;
        let ends = self.stop.is_requested() || goal.is_done();
        if ends { self.run_rest(left, goal) } else { left }
    }

    /// The rest of a crowd, where the run ends: what was queued before does not wait for the next
    /// run, unless this one is to end before its next callback. Returns how many are left.
    #[cold]
    #[inline(never)]
    fn run_rest(&self, mut left: usize, goal: &mut dyn Goal) -> usize {
        while left > 0 && !self.stop.is_at_once() {
            let number = left.min(CALLS_PER_TURN);
            self.run_queued(number, goal);
            left -= number;
        }
        left
    }

    /// Phase 3: that many entries of the queue.
    ///
    /// All calls share one `catch_unwind`, so a callback costs no more than its call.
    fn run_queued(&self, number: usize, goal: &mut dyn Goal) {
        let batch = &self.callbacks.batch;
        batch.begin(number);
        while batch.is_left() {
            let running = Cell::new(None);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                while batch.next() {
                    let queue = &self.callbacks.queue;
                    match Queue::run_front(queue, !self.exceptions.is_observed(), &running) {
                        Some(Front::Left(location)) => {
                            let call = || Queue::call_front(queue);
                            self.exceptions.call_observed(Origin::Callback, Some(location), call);
                        }
                        Some(Front::Taken(Other::Task(key))) => self.run_task(key),
                        Some(Front::Taken(other)) => self.run_other(other, goal),
                        Some(Front::Called) | None => {}
                    }
                }
            }));
            self.caught(Origin::Callback, &running, ran);
        }
    }

    fn run_task(&self, key: Key) {
        if self.exceptions.is_observed() {
            let location = self.tasks.location(key);
            self.exceptions.call_observed(Origin::Task, location, || self.poll_task(key));
        } else {
            self.poll_task(key);
        }
    }

    /// Runs an entry that is no callback. Out of line, where each turn would read the methods of
    /// its goal in advance.
    #[cold]
    #[inline(never)]
    fn run_other(&self, other: Other, goal: &mut dyn Goal) {
        if other.is_own() {
            self.callbacks.batch.leave_out();
        }
        match other {
            Other::Task(key) => self.run_task(key),
            Other::Main if self.exceptions.is_observed() => {
                self.exceptions.call_observed(Origin::Main, goal.location(), || goal.poll());
            }
            Other::Main => goal.poll(),
            Other::Runtime => goal.poll_runtime(self),
            Other::Stop => self.stop.request(),
            Other::Show => self.show(),
            Other::Cancelled => {}
        }
    }

    /// Calls a callback. Its panic is reported here, or by [`caught`](Self::caught).
    #[inline]
    fn call(&self, origin: Origin, location: Caller, call: impl FnOnce(), running: &Running) {
        if self.exceptions.is_observed() {
            self.exceptions.call_observed(origin, Some(location), call);
            return;
        }
        running.set(Some(location));
        call();
    }

    /// Reports the panic of a callback, if it has panicked.
    fn caught(&self, origin: Origin, running: &Running, ran: thread::Result<()>) {
        if let (Err(payload), Some(location)) = (ran, running.get()) {
            self.exceptions.report(origin, Some(location), payload);
        }
    }

    /// Phase 4: calls the watchers of ready descriptors.
    #[inline(always)]
    fn serve_ready(&self) -> usize {
        let mut events = 0;
        while let Some(event) = self.watching.next_ready() {
            events += 1;
            // The reader or the handler first, then the writer, which waits for anything but input.
            let writes = event.ready != Events::READ;
            for side in 0..=usize::from(writes) {
                if side > 0 && self.stop.is_at_once() {
                    break;
                }
                self.serve(event, side);
            }
        }
        events
    }

    #[inline(always)]
    fn serve(&self, event: Event, side: usize) {
        let taken = self.watching.watches.borrow_mut().take(event, side);
        let Some((key, mut taken)) = taken else { return };
        self.counters.events.add(1);
        let returned = if self.exceptions.is_observed() || self.exceptions.reports.counts() {
            self.serve_observed(key, &mut taken)
        } else {
            let call = AssertUnwindSafe(|| taken.watcher.ready_for(taken.events));
            catch_unwind(call)
                .map_err(|payload| {
                    self.exceptions.report(
                        taken.role.into(),
                        Some(taken.watcher.location()),
                        payload,
                    );
                })
                .is_ok()
        };
        if !returned {
            // It would be called in each turn, and panic each time.
            self.end_watch(key);
        }
        let ended = self.watching.watches.borrow_mut().put_back(key, taken.watcher);
        if let Some(watcher) = ended {
            self.exceptions.discard(watcher);
        }
    }

    /// Phase 5: fires the timers that were set aside.
    fn fire_due(&self) -> usize {
        let mut fired = 0;
        let mut left = true;
        while left {
            let running = Cell::new(None);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                while left {
                    let due = self.timers.deadlines.borrow_mut().next_due();
                    match due {
                        None => left = false,
                        Some(callback) => {
                            fired += 1;
                            let location = callback.location();
                            self.call(Origin::Timer, location, || callback.call(), &running);
                        }
                    }
                }
            }));
            self.caught(Origin::Timer, &running, ran);
        }
        self.counters.timers_fired.add(fired);
        fired
    }
}
