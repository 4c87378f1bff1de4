//! What makes one turn, in its order: the callback queue, the inbox from other threads, the watch
//! table, the deadline queue, and the poller that waits for all of them.
//!
//! [`Engine::turn`] is the heart of the library. Everything around it (who drives it, on which runtime)
//! is in the layers above, which it does not know.
//!
//! One rule holds throughout: *take, then call*. No `RefCell` is borrowed and no lock is held while a
//! callback, a waker or a destructor of the user's runs, since each may call back into the loop.

pub(crate) mod arena;
mod buckets;
mod budget;
pub(crate) mod clock;
mod cut;
mod deadlines;
mod ending;
mod fork;
pub(crate) mod hooks;
pub(crate) mod inbox;
mod kept;
pub(crate) mod local;
mod poller;
pub(crate) mod queue;
mod room;
mod sync;
pub(crate) mod tasks;
mod wake;
pub(crate) mod watches;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::arena::Key;
use self::budget::Budget;
use self::clock::ManualClock;
use self::cut::Cut;
use self::deadlines::{Deadlines, NEVER, Nanos};
use self::ending::Ending;
use self::hooks::{HookFn, Hooks, Moment};
use self::inbox::{Inbox, Message};
use self::kept::Kept;
use self::poller::{Event, Poller, is_open, is_ready, readable_bytes};
use self::queue::{Entry, Other, Queue};
use self::room::excess;
use self::tasks::{BoxedTask, Tasks};
use self::watches::{Displaced, NewWatch, Role, Taken, WatchKey, Watches};
use crate::descriptor::Descriptor;
use crate::error::{Closed, RunError};
use crate::observe::contain::contain;
use crate::observe::exceptions::Exceptions;
use crate::observe::listing::{Pending, What};
use crate::observe::metrics::{Counters, Metrics, SleepClock};
use crate::observe::origin::Origin;
use crate::observe::report::Report;
use crate::observe::spans;
use crate::reactor::handles::Registry;
use crate::reactor::readiness::{Events, Interest};
use crate::reactor::refused::{Known, cannot_watch, no_handler};
use crate::reactor::{Callback, Place, Source};

/// Nanoseconds for which a loop sleeps at the least, for a timer.
///
/// Of timers that come more closely each would be a sleep of its own: a million in a second kept a processor busy with going
/// to sleep and waking up. The kernel's own wake-up takes as long.
const SHORTEST_SLEEP: Nanos = 8_000;

/// So many letters of other threads may have come at once, and keep their room: what comes in larger crowds makes room anew.
const LETTERS_KEPT: usize = 2048;

/// What a turn, or several, found to do.
#[derive(Clone, Copy)]
pub(crate) struct Turned {
    /// Queued callbacks were run.
    pub(crate) busy: bool,
    /// Nothing was queued, ready or due: only a wait makes sense now.
    pub(crate) idle: bool,
}

/// What a loop is driven for.
pub(crate) trait Goal {
    /// Called once before the first turn.
    fn begin(&mut self, engine: &Engine);
    /// Polls the future that is waited for, as an entry of the callback queue; does not unwind.
    fn poll(&mut self);
    /// Where that future was handed in, if there is one.
    fn place(&self) -> Option<Place>;
    /// Polls the tasks of the runtime's executor, likewise.
    fn poll_runtime(&mut self, engine: &Engine);
    fn is_done(&self) -> bool;
}

/// How long the look of a turn may wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// The host says that no descriptor has become ready: there is no need to look.
    Quiet,
    Never,
    Until(Instant),
    Forever,
}

/// A watch that was called in many turns in a row.
struct Spell {
    fd: RawFd,
    turns: u32,
    /// What it was called for the last time,
    events: Events,
    /// and what could be read before.
    bytes: Option<u64>,
}

/// Where the callback that is running was handed in.
type Running = Cell<Option<Place>>;

/// What an engine is made of, and all that is left of one that has nothing to do.
pub(crate) struct Parts {
    poller: poller::Idle,
    inbox: Arc<Inbox>,
    /// The instant that deadlines are counted from.
    origin: Instant,
}

impl Parts {
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// No engine is made of it.
    pub(crate) fn close(self) {
        for letter in self.inbox.close() {
            contain(|| drop(letter));
        }
        if self.inbox.is_forked() {
            Poller::from(self.poller).abandon();
        }
    }
}

pub(crate) struct Engine {
    queue: RefCell<Queue>,
    inbox: Arc<Inbox>,
    watches: RefCell<Watches>,
    deadlines: RefCell<Deadlines<Callback>>,
    tasks: RefCell<Tasks>,
    /// The task whose poll this is.
    polled: Cell<Option<Key>>,
    /// Those who shut the loop down.
    pub(crate) ending: Ending,
    /// No new task is taken.
    refusing: Cell<bool>,
    /// Gone once the loop is closed.
    poller: RefCell<Option<Poller>>,
    /// The instant that deadlines are counted from.
    origin: Instant,
    /// The clock of a test; without it, the system's.
    clock: OnceCell<ManualClock>,
    /// How long a busy loop goes on before it polls, or yields.
    pub(crate) budget: Budget,
    /// A watch was added or resumed since the descriptors were last looked at, and may be ready.
    unseen: Cell<bool>,
    /// Somebody is in a turn, or will make another before waiting: nothing need be rung.
    driven: Cell<bool>,
    /// Whoever has something for the loop, which sleeps, may wake its host.
    hosted: Cell<bool>,
    /// The bell was rung for what was queued while nobody drove the loop.
    rung: Cell<bool>,
    stop: Cell<bool>,
    cut: Cut,
    closed: Cell<bool>,
    /// The kernel's set holds an entry that cannot be removed.
    orphaned: Cell<bool>,
    /// A buffer that is used again.
    letters: RefCell<Vec<Message>>,
    /// The loop that this is the engine of.
    owner: OnceCell<Weak<dyn Any>>,
    /// Somebody has driven it, or was told that nobody has.
    was_driven: Cell<bool>,
    /// Who closes it once the owner has gone.
    heir: RefCell<Option<Weak<dyn Any>>>,
    pub(crate) hooks: Hooks,
    pub(crate) exceptions: Exceptions,
    pub(crate) counters: Counters,
    pub(crate) sleep_clock: SleepClock,
    pub(crate) kept: Kept,
}

impl Engine {
    pub(crate) fn new() -> io::Result<Engine> {
        let (poller, bell, origin) = Poller::new()?;
        let inbox = Arc::new(Inbox::new(bell)?);
        Ok(Engine::of_parts(Parts { poller: poller.into(), inbox, origin }))
    }

    /// An engine with nothing to do yet but what is in the inbox.
    pub(crate) fn of_parts(parts: Parts) -> Engine {
        let Parts { poller, inbox, origin } = parts;
        let poller = Poller::from(poller);
        Engine {
            queue: RefCell::new(Queue::new()),
            inbox,
            watches: RefCell::new(Watches::new()),
            deadlines: RefCell::new(Deadlines::new()),
            tasks: RefCell::new(Tasks::new()),
            polled: Cell::new(None),
            ending: Ending::default(),
            refusing: Cell::new(false),
            poller: RefCell::new(Some(poller)),
            origin,
            clock: OnceCell::new(),
            budget: Budget::new(),
            unseen: Cell::new(false),
            driven: Cell::new(false),
            hosted: Cell::new(false),
            rung: Cell::new(false),
            stop: Cell::new(false),
            cut: Cut::default(),
            closed: Cell::new(false),
            orphaned: Cell::new(false),
            letters: RefCell::new(Vec::new()),
            owner: OnceCell::new(),
            was_driven: Cell::new(false),
            heir: RefCell::new(None),
            hooks: Hooks::default(),
            exceptions: Exceptions::default(),
            counters: Counters::default(),
            sleep_clock: SleepClock::default(),
            kept: Kept::new(),
        }
    }

    /// Takes out what can go to another thread, and is closed from then on; none if it is closed already.
    pub(crate) fn dismantle(&self) -> Option<Parts> {
        let poller = self.poller().take()?;
        self.closed.set(true);
        self.repost();
        Some(Parts { poller: poller.into(), inbox: Arc::clone(&self.inbox), origin: self.origin })
    }

    // The owner, the inbox, the descriptor.

    pub(crate) fn set_owner(&self, owner: Weak<dyn Any>) {
        let _ = self.owner.set(owner);
    }

    /// Puts back into the inbox what was taken out of it and was not done: a stop, a poll of the runtime's tasks.
    /// No callback and no task is left.
    fn repost(&self) {
        if self.take_stop() {
            drop(self.inbox.post(Message::Stop));
        }
        loop {
            let front = self.queue.borrow_mut().front();
            match front {
                Some(Entry::Other(Other::Stop)) => drop(self.inbox.post(Message::Stop)),
                Some(Entry::Other(Other::Runtime)) => drop(self.inbox.post(Message::Runtime)),
                Some(_) => {}
                None => return,
            }
            let taken = self.queue.borrow_mut().pop();
            self.exceptions.discard(taken);
        }
    }

    pub(crate) fn set_heir(&self, heir: Weak<dyn Any>) {
        self.heir.replace(Some(heir));
    }

    pub(crate) fn owner(&self) -> Option<Rc<dyn Any>> {
        self.owner.get()?.upgrade().or_else(|| self.heir.borrow().as_ref()?.upgrade())
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn has_inbox(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    /// The descriptor that becomes readable when there is something to do; none once closed.
    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        self.poller().as_ref().map(Poller::descriptor)
    }

    /// The poller; none once closed, nor in a forked child, whose calls would reach the parent's set. The child's
    /// share in it is closed, which changes nothing for the parent.
    fn poller(&self) -> RefMut<'_, Option<Poller>> {
        let mut poller = self.poller.borrow_mut();
        if self.is_forked() {
            poller.take().into_iter().for_each(Poller::abandon);
        }
        poller
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.inbox.is_forked()
    }

    /// Why there is no poller.
    #[cold]
    pub(crate) fn gone(&self) -> io::Error {
        if self.is_forked() { RunError::Forked.into() } else { Closed.into() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// How many watches there are.
    pub(crate) fn watches(&self) -> usize {
        self.watches.borrow().len()
    }

    pub(crate) fn metrics(&self, jobs: usize) -> Metrics {
        Metrics {
            turns: self.counters.turns.get(),
            looks: self.counters.looks.get(),
            wakeups: self.counters.wakeups.get(),
            registrations: self.counters.registrations.get(),
            callbacks: self.counters.callbacks.get(),
            events: self.counters.events.get(),
            timers_fired: self.counters.timers_fired.get(),
            watches: self.watches(),
            timers: self.deadlines.borrow().len(),
            queued: self.queue.borrow().len(),
            tasks: self.tasks.borrow().len(),
            jobs,
            asleep: self.sleep_clock.total(),
        }
    }

    /// What the loop waits for, or has queued.
    pub(crate) fn list(&self) -> Vec<Pending> {
        let pending = |what, place| Pending { what, place };
        let mut list: Vec<Pending> = self.watches.borrow().list().collect();
        let deadlines = self.deadlines.borrow();
        list.extend(deadlines.iter().map(|(at, callback)| {
            let deadline = self.instant(at).unwrap_or(self.origin);
            pending(What::Timer { deadline }, Some(callback.place()))
        }));
        let queue = self.queue.borrow();
        list.extend(queue.places().map(|place| pending(What::Callback, Some(place))));
        list.extend(self.tasks.borrow().places().map(|place| pending(What::Task, Some(place))));
        list.extend(self.hooks.places().map(|place| pending(What::Hook, Some(place))));
        list
    }

    // The clock.

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
    fn leap(&self) -> Option<(&ManualClock, Instant)> {
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

    // Whether anybody has ever driven it.

    /// Notes that somebody drives the loop.
    pub(crate) fn note_driven(&self) {
        self.was_driven.set(true);
    }

    pub(crate) fn was_driven(&self) -> bool {
        self.was_driven.get()
    }

    /// Reports, once, that nobody has driven a loop with something to do.
    pub(crate) fn report_never_driven(&self, dropped: bool) {
        if self.was_driven.get() || self.is_forked() || thread::panicking() {
            return;
        }
        // What was posted is seen as well.
        self.take_letters();
        let list = self.list();
        if let Some(first) = list.first() {
            self.note_driven();
            let (pending, place) = (list.len(), first.place);
            self.exceptions.tell_report(&Report::NeverDriven { dropped, pending, place });
        }
    }

    // Hooks.

    /// Adds a hook; none, and it is dropped, on a closed loop.
    pub(crate) fn add_hook(&self, moment: Moment, place: Place, hook: HookFn) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(hook);
            return None;
        }
        let id = self.hooks.add(moment, place, hook);
        if !self.driven.get() {
            // A foreign loop has to hear of it.
            self.ring();
        }
        Some(id)
    }

    /// Calls the hooks before a sleep of a foreign loop, if it may sleep; says whether one of them forbids it.
    pub(crate) fn stays_awake(&self) -> bool {
        self.hooks.are_around_sleep()
            && !self.has_queued()
            && !self.is_timer_due()
            && !self.before_sleep()
    }

    /// Calls the hooks before a sleep; says whether the loop may sleep indeed.
    pub(crate) fn before_sleep(&self) -> bool {
        self.hooks.idle.is_empty() && self.hooks.before_sleep(&self.exceptions) && self.is_calm()
    }

    /// Whether nothing is queued and no stop was requested, as a hook may have done.
    fn is_calm(&self) -> bool {
        !self.has_queued() && !self.stop.get()
    }

    pub(crate) fn after_wake(&self) {
        self.hooks.after_wake(&self.exceptions);
    }

    // Being driven.

    pub(crate) fn is_driven(&self) -> bool {
        self.driven.get()
    }

    /// Whether somebody still has to [`leave`](Self::leave).
    pub(crate) fn is_entered(&self) -> bool {
        self.driven.get() || self.hosted.get()
    }

    /// Begins to drive: what is queued from here on is seen without a ring.
    pub(crate) fn rouse(&self) {
        self.driven.set(true);
        self.rung.set(false);
        self.inbox.rouse();
        self.sleep_clock.end();
        self.counters.wakeups.add(1);
    }

    /// Ends driving with nothing left to do: sets the deadline, and lets the kernel wake the loop, or whoever has
    /// something for it the host. False, and still driving, if a timer is due, or something was left in the inbox
    /// meanwhile.
    pub(crate) fn sleep(&self, host: &Waker) -> io::Result<bool> {
        if !self.arm(Wait::Forever)? {
            return Ok(false);
        }
        self.hosted.set(true);
        self.inbox.set_host(Some(host));
        if self.inbox.sleep() {
            self.driven.set(false);
            self.sleep_clock.begin();
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends driving with whatever is left: the descriptor stays readable if something is. Says whether.
    pub(crate) fn leave(&self) -> bool {
        self.driven.set(false);
        if self.hosted.replace(false) {
            self.inbox.set_host(None);
        }
        self.inbox.leave();
        let queued = self.has_queued() || !self.hooks.idle.is_empty();
        if queued {
            self.ring();
        }
        let due = self.arm_undriven();
        queued || due
    }

    /// As [`leave`](Self::leave); with `stays`, as if there were something left.
    pub(crate) fn leave_awake(&self, stays: bool) -> bool {
        let left = self.leave();
        if stays {
            self.ring();
        }
        left || stays
    }

    /// Sets the kernel's timer where nobody will do it later; says whether a timer is due already, or
    /// will be as soon as there is nothing else to do. The kernel's takes a moment to go off then, so that it
    /// is rung for.
    fn arm_undriven(&self) -> bool {
        // A failure is met again, and returned, by whoever drives next.
        let failed = self.arm(Wait::Forever).is_err();
        let due = self.is_timer_due();
        if failed || due {
            self.ring();
        }
        due
    }

    /// Whether a timer is due already, or will be as soon as there is nothing else to do.
    pub(crate) fn is_timer_due(&self) -> bool {
        self.is_earliest_due() || self.can_jump()
    }

    /// After a turn that the host has called quiet: whether another one would find nothing to do.
    pub(crate) fn rests(&self) -> bool {
        !self.has_queued()
            && !self.unseen.get()
            && !self.stop.get()
            && self.hooks.idle.is_empty()
            && self.clock.get().is_none()
            && !self.is_earliest_due()
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.queue.borrow().len() > 0 || self.inbox.is_filled()
    }

    pub(crate) fn request_stop(&self) {
        self.stop.set(true);
        if !self.driven.get() {
            self.ring();
        }
    }

    /// As [`request_stop`](Self::request_stop), before the next callback.
    pub(crate) fn request_stop_now(&self) {
        // The batch that it is cut off from is counted whole, at its end.
        self.counters.callbacks.take_off(self.cut.ask());
        self.put_back();
        self.request_stop();
    }

    /// Whether a stop was requested; the request is used up.
    pub(crate) fn take_stop(&self) -> bool {
        let stop = self.stop.replace(false);
        if stop {
            self.cut.forget();
        }
        stop
    }

    fn ring(&self) {
        if !self.rung.replace(true) {
            self.inbox.ring();
        }
    }

    // One turn.

    /// One turn of the loop.
    ///
    /// 1. Notes how many callbacks are queued.
    /// 2. Looks at the descriptors, waiting only if nothing is queued; notes the timers that are due.
    /// 3. Runs that many callbacks; a task's poll is one, and so is that of the future that the loop runs for.
    /// 4. Calls the callbacks of ready descriptors, reader before writer.
    /// 5. Fires the timers that were due when the look ended.
    ///
    /// What any of these queues waits for the next turn.
    pub(crate) fn turn(&self, wait: Wait, goal: &mut dyn Goal) -> io::Result<Turned> {
        spans::turn(|| self.one_turn(wait, goal))
    }

    #[inline]
    fn one_turn(&self, wait: Wait, goal: &mut dyn Goal) -> io::Result<Turned> {
        if self.is_forked() {
            return Err(self.gone());
        }
        self.counters.turns.add(1);
        self.rung.set(false);
        self.take_letters();
        let queued = self.queue.borrow().len();
        let busy = queued > 0;
        let mut hooked = false;
        let calm = matches!(wait, Wait::Quiet) && !self.unseen.get();
        let skip = !self.stop.get() && (calm || (busy && !self.budget.is_spent()));
        if !skip {
            hooked = self.look(if busy || self.stop.get() { Wait::Never } else { wait })?;
            // Before the run, or by a hook. A stop does not let a look be left out.
            if self.cut.is_asked() {
                self.put_back();
                return Ok(Turned { busy, idle: false });
            }
            if busy || hooked || self.budget.is_used_up() {
                self.budget.renew(busy);
            }
        }
        // Timers are looked at in every turn: callbacks may take long.
        let due = self.set_due_aside();
        if busy {
            self.run_queued(queued, goal);
        }
        let events = self.serve_ready();
        let fired = if due { self.fire_due() } else { 0 };
        let calls = queued + events + fired;
        // Hooks may have left something to do that the look did not see.
        let mut idle = calls == 0 && !hooked;
        if idle && !self.hooks.idle.is_empty() {
            self.hooks.idle.call_while(&self.exceptions, || !self.cut.is_asked());
            self.budget.charge(1);
            idle = false;
        }
        self.budget.charge(calls);
        Ok(Turned { busy, idle })
    }

    /// More turns at once, as long as they have nothing but callbacks to run, up to the next that has to poll.
    #[inline(never)]
    pub(crate) fn turn_on(&self, goal: &mut dyn Goal) {
        while !self.budget.is_spent()
            && !self.stop.get()
            && !goal.is_done()
            && !self.is_earliest_due()
            && !self.is_orphaned()
            && !self.is_forked()
        {
            self.take_letters();
            let queued = self.queue.borrow().len();
            if queued == 0 {
                break;
            }
            self.counters.turns.add(1);
            spans::turn(|| self.run_queued(queued, goal));
            self.budget.charge(queued);
        }
    }

    /// Phase 2: lets the kernel say what is ready. Says whether there may be something to do that it did not see.
    ///
    /// The hooks before a sleep and after it are called in each look: in a loop that is busy for long they would wait as
    /// long for the next sleep. Where there is none, both come before the kernel is asked, which sees what they did.
    fn look(&self, wait: Wait) -> io::Result<bool> {
        self.counters.looks.add(1);
        let waits = match wait {
            Wait::Quiet | Wait::Never => false,
            Wait::Until(_) | Wait::Forever => !self.can_jump() && self.hooks.idle.is_empty(),
        };
        if self.hooks.are_heard_in_polls() {
            return self.look_with_hooks(wait, waits);
        }
        // Nothing is queued, or the turn would not wait; the inbox is asked by the last of these.
        let block = waits && self.arm(wait)? && self.inbox.sleep();
        self.wait(block)?;
        Ok(waits)
    }

    /// The same, where hooks want to know of polls and sleeps.
    #[cold]
    #[inline(never)]
    fn look_with_hooks(&self, wait: Wait, waits: bool) -> io::Result<bool> {
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

    /// Waits, inside of the hooks around a sleep.
    fn sleep_here(&self, wait: Wait) -> io::Result<()> {
        let mut looked = None;
        self.hooks.around_sleep(&self.exceptions, &mut || {
            // The hooks may have set a timer, or queued something.
            let armed = if self.is_calm() { self.arm(wait) } else { Ok(false) };
            looked =
                Some(armed.and_then(|armed| self.wait_after_hooks(armed && self.inbox.sleep())));
        });
        // A hook that does not sleep keeps the loop awake, and no descriptor from being seen.
        looked.unwrap_or_else(|| self.wait_after_hooks(false))
    }

    /// As [`wait`](Self::wait), where a hook may have forked.
    fn wait_after_hooks(&self, block: bool) -> io::Result<()> {
        drop(self.poller());
        self.wait(block)
    }

    #[inline(always)]
    fn wait(&self, block: bool) -> io::Result<()> {
        self.unseen.set(false);
        let mut watches = self.watches.borrow_mut();
        watches.begin_look();
        // Whether this is a forked child the turn has asked, and asks again after hooks.
        let mut poller = self.poller.borrow_mut();
        let Some(poller) = poller.as_mut() else { return Ok(()) };
        if block {
            self.sleep_clock.begin();
        }
        let looked = poller.wait(block, block && !self.hooks.interrupted.is_empty());
        if block {
            self.sleep_clock.end();
            self.inbox.rouse();
            self.counters.wakeups.add(1);
        }
        looked?;
        if !poller.ready().all(|event| watches.knows(event)) {
            self.orphaned.set(true);
        }
        Ok(())
    }

    fn is_earliest_due(&self) -> bool {
        self.has_timers() && self.deadlines.borrow_mut().has_due(self.nanos(self.now()))
    }

    /// Says whether any timer is due.
    #[inline(always)]
    fn set_due_aside(&self) -> bool {
        self.has_timers() && self.deadlines.borrow_mut().set_due_aside(self.nanos(self.now()))
    }

    /// Whether there are timers that are to fire one day: without them the clock need not be read.
    #[inline]
    fn has_timers(&self) -> bool {
        self.deadlines.borrow().known_wake() != NEVER
    }

    /// Leaves nothing of the turn to be called: what is ready is asked for anew, and what is due stays so.
    #[cold]
    fn put_back(&self) {
        if let Some(poller) = self.poller().as_mut() {
            poller.forget_ready();
        }
        self.deadlines.borrow_mut().put_back_due();
    }

    /// Phase 3: that many entries of the queue.
    ///
    /// One place catches the panics of all of them, so that a callback costs no more than its call.
    fn run_queued(&self, number: usize, goal: &mut dyn Goal) {
        let batch = &self.cut;
        batch.begin(number);
        while batch.is_left() {
            let running = Cell::new(None);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                while batch.next() {
                    let front = self.queue.borrow_mut().front();
                    match front {
                        Some(Entry::Callback(place)) => {
                            let call = || Queue::call_front(&self.queue);
                            self.call(Origin::Callback, place, call, &running);
                        }
                        Some(Entry::Other(other)) => {
                            self.queue.borrow_mut().pop();
                            self.run_other(other, goal);
                        }
                        None => {}
                    }
                }
            }));
            self.caught(Origin::Callback, &running, ran);
        }
        self.counters.callbacks.add(number);
    }

    fn run_other(&self, other: Other, goal: &mut dyn Goal) {
        match other {
            Other::Task(key) if self.exceptions.is_observed() => {
                let place = self.tasks.borrow().place(key);
                self.exceptions.call(Origin::Task, place, || self.poll_task(key));
            }
            Other::Task(key) => self.poll_task(key),
            Other::Main if self.exceptions.is_observed() => {
                self.exceptions.call(Origin::Main, goal.place(), || goal.poll());
            }
            Other::Main => goal.poll(),
            Other::Runtime => goal.poll_runtime(self),
            Other::Stop => self.stop.set(true),
            Other::Cancelled => {}
        }
    }

    /// Calls a callback; its panic is reported, here or by the [caller](Self::caught).
    #[inline]
    fn call(&self, origin: Origin, place: Place, call: impl FnOnce(), running: &Running) {
        if self.exceptions.is_observed() {
            self.exceptions.call(origin, Some(place), call);
            return;
        }
        running.set(Some(place));
        call();
    }

    /// Reports the panic of a callback, if that is how it ended.
    fn caught(&self, origin: Origin, running: &Running, ran: thread::Result<()>) {
        if let (Err(payload), Some(place)) = (ran, running.get()) {
            self.exceptions.report(origin, Some(place), payload);
        }
    }

    /// Phase 4.
    #[inline(always)]
    fn serve_ready(&self) -> usize {
        let mut events = 0;
        while let Some(event) = self.next_ready() {
            events += 1;
            // The reader, or the handler; then the writer.
            let writes = event.ready.intersects(Events::WRITE | Events::ERROR | Events::HANGUP);
            for place in 0..=usize::from(writes) {
                if place > 0 && self.cut.is_asked() {
                    break;
                }
                self.serve(event, place);
            }
        }
        events
    }

    fn next_ready(&self) -> Option<Event> {
        self.poller.borrow_mut().as_mut()?.next_ready()
    }

    #[inline(always)]
    fn serve(&self, event: Event, place: usize) {
        let taken = self.watches.borrow_mut().take(event, place);
        let Some((key, mut taken)) = taken else { return };
        self.counters.events.add(1);
        let returned = if self.exceptions.is_observed() || self.exceptions.reports.counts() {
            self.serve_observed(key, &mut taken)
        } else {
            let call = AssertUnwindSafe(|| taken.source.ready_for(taken.events));
            catch_unwind(call)
                .map_err(|payload| {
                    self.exceptions.report(taken.role.into(), Some(taken.source.place()), payload);
                })
                .is_ok()
        };
        if !returned {
            // Level triggering would call it again and again, to panic each time.
            self.end_watch(key);
        }
        let ended = self.watches.borrow_mut().put_back(key, taken.source);
        if let Some(source) = ended {
            self.exceptions.discard(source);
        }
    }

    /// Calls a watch where somebody wants to know of slow or spinning ones.
    #[cold]
    fn serve_observed(&self, key: WatchKey, taken: &mut Taken) -> bool {
        let Taken { source, role, events } = taken;
        let (origin, place) = (Origin::from(*role), Some(source.place()));
        let limit = self.exceptions.reports.spin_limit();
        let spell = limit.and_then(|limit| self.count(key, *events, limit));
        let returned = self.exceptions.call(origin, place, || source.ready_for(*events));
        // After a panic it does not go on.
        if let Some(spell) = spell.filter(|_| returned) {
            self.end_spell(spell, key, origin, place);
        }
        returned
    }

    /// Counts a call of a watch; none below the limit.
    fn count(&self, key: WatchKey, events: Events, limit: u32) -> Option<Spell> {
        let mut watches = self.watches.borrow_mut();
        let turns = watches.count(key);
        if turns < limit {
            return None;
        }
        watches.forget_count(key);
        let fd = watches.fd(key)?;
        Some(Spell { fd, turns, events, bytes: readable_bytes(fd) })
    }

    /// Reports a watch that was called so often, unless its last call has changed something.
    fn end_spell(&self, spell: Spell, key: WatchKey, origin: Origin, place: Option<Place>) {
        let Spell { fd, turns, events, bytes } = spell;
        let goes_on = self.watches.borrow_mut().fd(key).is_some();
        let progress = || (bytes.is_some() && bytes != readable_bytes(fd)) || !is_ready(fd, events);
        if goes_on && !progress() {
            self.exceptions.tell_report(&Report::Spinning { origin, fd, place, turns });
        }
    }

    /// Phase 5.
    fn fire_due(&self) -> usize {
        let mut fired = 0;
        let mut left = true;
        while left {
            let running = Cell::new(None);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                while left {
                    let due = self.deadlines.borrow_mut().next_due();
                    match due {
                        None => left = false,
                        Some(callback) => {
                            fired += 1;
                            let place = callback.place();
                            self.call(Origin::Timer, place, || callback.call(), &running);
                        }
                    }
                }
            }));
            self.caught(Origin::Timer, &running, ran);
        }
        self.counters.timers_fired.add(fired);
        fired
    }

    // The queue and the inbox.

    /// Queues an entry behind everything that was queued or posted before.
    #[inline]
    pub(crate) fn push<T>(&self, push: impl FnOnce(&mut Queue) -> T) -> T {
        // One queue for all: what this thread posted before must run before.
        self.take_letters();
        let pushed = push(&mut self.queue.borrow_mut());
        if !self.driven.get() {
            self.ring();
        }
        pushed
    }

    pub(crate) fn push_other(&self, other: Other) {
        self.push(|queue| queue.push_other(other));
    }

    #[inline]
    fn take_letters(&self) {
        if self.inbox.is_filled() {
            self.queue_letters();
        }
    }

    /// Out of line, so that the look at the inbox that each callback makes stays a load and a branch.
    #[inline(never)]
    fn queue_letters(&self) {
        let mut letters = self.letters.take();
        self.inbox.take(&mut letters);
        let mut queue = self.queue.borrow_mut();
        for message in letters.drain(..) {
            match message {
                Message::Callback(callback) => drop(queue.push_callback(callback.into())),
                Message::Task(key) => queue.push_other(Other::Task(key)),
                Message::Main => queue.push_other(Other::Main),
                Message::Runtime => queue.push_other(Other::Runtime),
                Message::Stop => queue.push_other(Other::Stop),
            }
        }
        drop(queue);
        if let Some(room) = excess(letters.capacity(), 0, LETTERS_KEPT) {
            letters.shrink_to(room);
        }
        self.letters.replace(letters);
    }

    /// Queues a callback and returns its number; none, and the callback is dropped, on a closed loop.
    #[inline]
    pub(crate) fn call_soon(&self, place: Place, callback: impl FnOnce() + 'static) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push(place, callback)))
    }

    /// The same for one whose type is forgotten.
    pub(crate) fn queue(&self, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push_callback(callback)))
    }

    // Timers.

    pub(crate) fn schedule(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(callback);
            return None;
        }
        let at = self.nanos(deadline);
        let key = self.change_deadlines(|deadlines| deadlines.insert(at, callback));
        Some(key.bits())
    }

    /// Changes the deadline queue, and sets the kernel's timer at once where nobody will do it later.
    #[inline(always)]
    fn change_deadlines<T>(&self, change: impl FnOnce(&mut Deadlines<Callback>) -> T) -> T {
        let mut deadlines = self.deadlines.borrow_mut();
        let before = (!self.driven.get()).then(|| deadlines.wake_at());
        // Called in one place, so that it is inlined.
        let result = change(&mut deadlines);
        if let Some(before) = before {
            let after = deadlines.wake_at();
            drop(deadlines);
            if after != before {
                self.arm_undriven();
                if !Poller::HOLDS_DEADLINE {
                    // Whoever hosts the loop has to hear of it.
                    self.ring();
                }
            }
        }
        result
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.deadlines.borrow_mut().next()?;
        self.instant(next)
    }

    fn instant(&self, at: Nanos) -> Option<Instant> {
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

    /// Has the poller end its wait at the earliest deadline, or when `wait` ends; false if a timer is due already.
    ///
    /// Asked before each sleep: what the poller was told last is the poller's to know.
    #[inline(always)]
    fn arm(&self, wait: Wait) -> io::Result<bool> {
        let wake_at = self.deadlines.borrow().known_wake();
        let is_armed = matches!(wait, Wait::Forever)
            && self.poller.borrow().as_ref().is_some_and(|poller| poller.armed() == wake_at);
        if is_armed { Ok(true) } else { self.arm_anew(wait) }
    }

    #[inline(never)]
    fn arm_anew(&self, wait: Wait) -> io::Result<bool> {
        let mut poller = self.poller();
        let Some(poller) = poller.as_mut() else { return Ok(true) };
        let mut deadlines = self.deadlines.borrow_mut();
        let mut deadline = deadlines.wake_at();
        if deadline != NEVER && (deadline != poller.armed() || self.has_own_clock()) {
            let now = self.nanos(self.now());
            if deadlines.has_due(now) {
                return Ok(false);
            }
            // Later than before, if what was far away has been sorted more finely. Of a clock that a test moves the
            // kernel knows nothing: whoever moves it rings.
            let earliest = if self.has_own_clock() { NEVER } else { deadlines.wake_at() };
            deadline = earliest.max(now + SHORTEST_SLEEP);
        }
        if let Wait::Until(limit) = wait {
            deadline = deadline.min(self.nanos(limit));
        }
        poller.arm(deadline)?;
        Ok(true)
    }

    /// An instant as nanoseconds from the origin, at most three centuries away.
    fn nanos(&self, at: Instant) -> Nanos {
        fn nanos(distance: Duration) -> Option<Nanos> {
            let seconds = i64::try_from(distance.as_secs()).ok()?;
            seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(distance.subsec_nanos()))
        }
        match at.checked_duration_since(self.origin) {
            Some(distance) => nanos(distance).unwrap_or(Nanos::MAX),
            None => -nanos(self.origin.duration_since(at)).unwrap_or(Nanos::MAX),
        }
    }

    // Watches.

    pub(crate) fn watch(&self, role: Role, interest: Interest, source: Source) -> io::Result<u64> {
        let fd = source.as_fd().as_raw_fd();
        self.unseen.set(true);
        let added = match self.poller().as_mut() {
            // While the loop is being closed there is a poller still.
            Some(poller) if !self.closed.get() => {
                let new = NewWatch { fd, role, interest, source };
                let mut watches = self.watches.borrow_mut();
                let added = watches.add(poller, new);
                self.note(&watches);
                added
            }
            _ => Err((self.gone(), source)),
        };
        match added {
            Ok((key, displaced)) => {
                self.discard_displaced(displaced);
                Ok(key.bits())
            }
            Err((error, source)) => {
                let refused = self.refused(fd, error);
                self.exceptions.discard(source);
                Err(refused)
            }
        }
    }

    /// Says what is wrong with a descriptor that the kernel refused.
    #[cold]
    fn refused(&self, fd: RawFd, error: io::Error) -> io::Error {
        let known = match Errno::from_io_error(&error) {
            Some(Errno::BADF) if is_open(fd) => Known::Open,
            Some(Errno::INVAL) => match self.poller().as_ref() {
                Some(poller) if poller.is_own(self.inbox.bell(), fd) => Known::Own,
                _ => Known::Nothing,
            },
            _ => Known::Nothing,
        };
        cannot_watch(fd, known, error)
    }

    pub(crate) fn unwatch(&self, role: Role, fd: RawFd) -> bool {
        let key = self.watches.borrow_mut().find(fd, role);
        key.is_some_and(|key| self.end_watch(key))
    }

    /// Changes what the handler of a descriptor number waits for.
    pub(crate) fn update_handler(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd();
        self.unseen.set(true);
        let updated = self.with_watches(|watches, poller| {
            let key = watches.find(number, Role::Handler)?;
            Some(watches.update(poller, key, interest))
        });
        match updated {
            None => Err(self.refused(number, self.gone())),
            Some(None) => Err(no_handler(number)),
            Some(Some(updated)) => updated.map(drop).map_err(|error| self.refused(number, error)),
        }
    }

    /// Has a watch called again, for `interest` if that is given.
    fn set_watch(&self, id: u64, interest: Option<Interest>) -> io::Result<bool> {
        self.unseen.set(true);
        let key = WatchKey::from_bits(id);
        let set = self.with_watches(|watches, poller| {
            (watches.fd(key), watches.resume(poller, key, interest))
        });
        match set {
            Some((_, Ok(Ok(resumed)))) => Ok(resumed),
            Some((_, Ok(Err(gone)))) => {
                self.discard_displaced(gone);
                Ok(false)
            }
            Some((fd, Err(error))) => Err(self.refused(fd.unwrap_or(-1), error)),
            None if self.is_forked() => Err(self.gone()),
            None => Ok(false),
        }
    }

    fn end_watch(&self, key: WatchKey) -> bool {
        let removed = self.with_watches(|watches, poller| watches.remove(poller, key)).flatten();
        let ended = removed.is_some();
        if let Some(displaced) = removed {
            self.discard_displaced(displaced);
        }
        ended
    }

    #[inline(always)]
    fn discard_displaced(&self, [reader, writer]: Displaced) {
        // Not in a loop, which is made out of line.
        if let Some(reader) = reader {
            self.exceptions.discard(reader);
        }
        if let Some(writer) = writer {
            self.exceptions.discard(writer);
        }
    }

    fn with_watches<T>(&self, act: impl FnOnce(&mut Watches, &mut Poller) -> T) -> Option<T> {
        let mut poller = self.poller();
        let mut watches = self.watches.borrow_mut();
        let done = act(&mut watches, poller.as_mut()?);
        self.note(&watches);
        Some(done)
    }

    /// Notes whether the kernel has to be told anew what it is to watch.
    fn note(&self, watches: &Watches) {
        if watches.is_astray() {
            self.orphaned.set(true);
        }
    }

    /// Whether the kernel's set holds an entry that cannot be removed, and has to be renewed.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.get()
    }

    /// Makes the kernel's set anew, and with it the descriptor: whoever watches the old one has to take the new one
    /// instead.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let renewed = self.with_watches(|watches, poller| watches.renew(poller, self.inbox.bell()));
        let gone = renewed.transpose()?;
        self.orphaned.set(false);
        self.exceptions.discard_all(gone.into_iter().flatten());
        Ok(())
    }

    // Tasks.

    /// Makes a task of a future, which is polled in the next turn; it is dropped on a closed loop.
    pub(crate) fn spawn(&self, place: Place, future: BoxedTask) {
        if self.closed.get() || self.refusing.get() {
            return self.exceptions.discard(future);
        }
        let key = self.tasks.borrow_mut().insert(&self.inbox, place, future);
        self.push_other(Other::Task(key));
    }

    fn poll_task(&self, key: Key) {
        let taken = self.tasks.borrow_mut().take(key);
        let Some(mut runner) = taken else {
            return;
        };
        runner.begin_poll();
        self.polled.set(Some(key));
        let mut pending = false;
        // The future catches its own panics; what is caught here comes out of its destructor.
        self.exceptions.guard(Origin::Destructor, || {
            pending =
                runner.future.as_mut().poll(&mut Context::from_waker(&runner.waker)).is_pending();
        });
        self.polled.set(None);
        let over = if pending {
            self.tasks.borrow_mut().put_back(key, runner)
        } else {
            let future = self.tasks.borrow_mut().end(key, runner);
            self.ending.wake();
            Some(future)
        };
        self.exceptions.discard(over);
    }

    /// Where the task was spawned in whose poll this is asked.
    pub(crate) fn polled_place(&self) -> Option<Place> {
        self.tasks.borrow().place(self.polled.get()?)
    }

    /// The task in whose poll this is asked.
    pub(crate) fn polled_task(&self) -> Option<Key> {
        self.polled.get()
    }

    // Shutting down.

    /// Takes no new task, and no callback from other threads, from now on.
    pub(crate) fn refuse(&self) {
        self.refusing.set(true);
        self.inbox.refuse();
    }

    /// Whether every task but those that shut the loop down has ended.
    pub(crate) fn is_drained(&self) -> bool {
        let tasks = self.tasks.borrow();
        let kept = self.ending.tasks();
        tasks.len() <= kept.into_iter().filter(|key| tasks.place(*key).is_some()).count()
    }

    /// Drops every task but those that shut the loop down; says how many there were.
    pub(crate) fn drop_tasks(&self) -> usize {
        let kept = self.ending.tasks();
        let dropped = self.tasks.borrow_mut().drain_except(&kept);
        let number = dropped.len();
        self.exceptions.discard_all(dropped);
        number
    }

    // Closing.

    /// Drops everything the loop holds, in no borrow, and releases its descriptors.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        let letters = self.inbox.close();
        self.exceptions.discard_all(letters);
        self.exceptions.discard_all(std::iter::from_fn(|| self.queue.borrow_mut().pop()));
        let timers = self.deadlines.replace(Deadlines::new()).drain();
        self.exceptions.discard_all(timers);
        let tasks = self.tasks.replace(Tasks::new()).drain();
        self.exceptions.discard_all(tasks);
        let sources = self.watches.replace(Watches::new()).drain();
        // The kernel's set goes first: closing it ends all its registrations at once.
        self.poller().take();
        self.exceptions.discard_all(sources);
        self.exceptions.discard_all(self.hooks.drain());
        self.kept.clear(&self.exceptions);
        self.exceptions.discard_all(self.ending.take_wakers());
        let handler = self.exceptions.reports.set_handler(None);
        self.exceptions.discard(handler);
        let handler = self.exceptions.set_handler(None);
        self.exceptions.discard(handler);
    }
}

impl Registry for Engine {
    fn remove_watch(&self, id: u64) -> bool {
        self.end_watch(WatchKey::from_bits(id))
    }

    fn pause_watch(&self, id: u64) -> bool {
        let key = WatchKey::from_bits(id);
        match self.with_watches(|watches, poller| watches.pause(poller, key)) {
            Some(Ok(paused)) => paused,
            Some(Err(gone)) => {
                self.discard_displaced(gone);
                false
            }
            None => false,
        }
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        self.set_watch(id, None)
    }

    fn set_watch_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        match interest.is_empty() {
            true => Ok(self.pause_watch(id)),
            false => self.set_watch(id, Some(interest)),
        }
    }

    fn watch_place(&self, id: u64) -> Option<Place> {
        self.watches.try_borrow_mut().ok()?.place(WatchKey::from_bits(id))
    }

    fn timer_place(&self, id: u64) -> Option<Place> {
        self.deadlines.try_borrow().ok()?.get(Key::from_bits(id)).map(Callback::place)
    }

    fn callback_place(&self, id: u64) -> Option<Place> {
        self.queue.try_borrow().ok()?.place(id)
    }

    fn cancel_timer(&self, id: u64) -> bool {
        let cancelled = self.change_deadlines(|deadlines| deadlines.remove(Key::from_bits(id)));
        let was_pending = cancelled.is_some();
        self.exceptions.discard(cancelled);
        was_pending
    }

    fn reset_timer(&self, id: u64, deadline: Instant) -> bool {
        let at = self.nanos(deadline);
        self.change_deadlines(|deadlines| deadlines.reset(Key::from_bits(id), at))
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let cancelled = self.queue.borrow_mut().cancel(id);
        let was_queued = cancelled.is_some();
        self.exceptions.discard(cancelled);
        was_queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_due_is_rung_for_while_nobody_drives_the_loop() {
        let engine = Engine::new().unwrap();
        let hour = Duration::from_secs(3600);
        let timer = engine.schedule(Instant::now() + hour, Callback::new(|| ())).unwrap();
        let rung = engine.rung.replace(false);
        assert_eq!(rung, !Poller::HOLDS_DEADLINE, "the kernel's timer will do");
        // Now the kernel's timer would go off a moment too late.
        assert!(engine.reset_timer(timer, Instant::now()));
        assert!(engine.rung.get());
        engine.rouse();
        assert!(!engine.rung.get());
        assert!(engine.leave(), "it is left, and rung for");
        assert!(engine.rung.get());
    }
}
