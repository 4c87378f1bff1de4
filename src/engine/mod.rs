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
mod sleep;
mod spin;
mod stage;
mod sync;
pub(crate) mod tasks;
mod timers;
pub(crate) mod turn;
mod wake;
pub(crate) mod watches;
mod watching;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use self::arena::Key;
use self::budget::Budget;
use self::clock::ManualClock;
use self::cut::Cut;
use self::deadlines::Deadlines;
use self::ending::Ending;
use self::hooks::{HookFn, Hooks, Moment};
use self::inbox::{Inbox, Message};
use self::kept::Kept;
use self::poller::Poller;
use self::queue::{Entry, Other, Queue};
use self::room::excess;
use self::stage::Stage;
use self::tasks::Tasks;
use self::watches::{WatchKey, Watches};
use crate::descriptor::Descriptor;
use crate::error::{Closed, RunError};
use crate::observe::contain::contain;
use crate::observe::exceptions::Exceptions;
use crate::observe::listing::{Pending, What};
use crate::observe::metrics::{Counters, Metrics, SleepClock};
use crate::observe::report::Report;
use crate::reactor::handles::Owner;
use crate::reactor::readiness::Interest;
use crate::reactor::{Callback, Caller};

/// So many letters of other threads may have come at once, and keep their room: what comes in larger crowds makes room anew.
const LETTERS_KEPT: usize = 2048;

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
    stage: Stage,
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
            stage: Stage::new(),
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

    pub(crate) fn metrics(&self, jobs: usize) -> Metrics {
        Metrics {
            turns: self.counters.turns.get(),
            polls: self.counters.polls.get(),
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
        let pending = |what, location| Pending { what, location };
        let mut list: Vec<Pending> = self.watches.borrow().list().collect();
        let deadlines = self.deadlines.borrow();
        list.extend(deadlines.iter().map(|(at, callback)| {
            let deadline = self.instant(at).unwrap_or(self.origin);
            pending(What::Timer { deadline }, Some(callback.location()))
        }));
        let queue = self.queue.borrow();
        list.extend(queue.locations().map(|location| pending(What::Callback, Some(location))));
        list.extend(
            self.tasks.borrow().locations().map(|location| pending(What::Task, Some(location))),
        );
        list.extend(self.hooks.locations().map(|location| pending(What::Hook, Some(location))));
        list
    }

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
            let (pending, location) = (list.len(), first.location);
            self.exceptions.tell_report(&Report::NeverDriven { dropped, pending, location });
        }
    }

    /// Adds a hook; none, and it is dropped, on a closed loop.
    pub(crate) fn add_hook(&self, moment: Moment, location: Caller, hook: HookFn) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(hook);
            return None;
        }
        let id = self.hooks.add(moment, location, hook);
        if !self.stage.is_driven() {
            // A foreign loop has to hear of it.
            self.ring();
        }
        Some(id)
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.queue.borrow().len() > 0 || self.inbox.is_filled()
    }

    /// Queues an entry behind everything that was queued or posted before.
    #[inline]
    pub(crate) fn push<T>(&self, push: impl FnOnce(&mut Queue) -> T) -> T {
        // One queue for all: what this thread posted before must run before.
        self.take_letters();
        let pushed = push(&mut self.queue.borrow_mut());
        if !self.stage.is_driven() {
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

    /// Out of line, so the look at the inbox that each callback makes stays a load and a branch.
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
    pub(crate) fn call_soon(
        &self,
        location: Caller,
        callback: impl FnOnce() + 'static,
    ) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push(location, callback)))
    }

    /// The same for one whose type is forgotten.
    pub(crate) fn queue(&self, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push_callback(callback)))
    }

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
        let watchers = self.watches.replace(Watches::new()).drain();
        // The kernel's set goes first: closing it ends all its registrations at once.
        self.poller().take();
        self.exceptions.discard_all(watchers);
        self.exceptions.discard_all(self.hooks.drain());
        self.kept.clear(&self.exceptions);
        self.exceptions.discard_all(self.ending.take_wakers());
        let handler = self.exceptions.reports.set_handler(None);
        self.exceptions.discard(handler);
        let handler = self.exceptions.set_handler(None);
        self.exceptions.discard(handler);
    }
}

impl Owner for Engine {
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

    fn watch_location(&self, id: u64) -> Option<Caller> {
        self.watches.try_borrow_mut().ok()?.location(WatchKey::from_bits(id))
    }

    fn timer_location(&self, id: u64) -> Option<Caller> {
        self.deadlines.try_borrow().ok()?.get(Key::from_bits(id)).map(Callback::location)
    }

    fn callback_location(&self, id: u64) -> Option<Caller> {
        self.queue.try_borrow().ok()?.location(id)
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
