//! The parts of one turn: the callback queue, the inbox from other threads, the watch table, the
//! deadline queue, and the poller that waits for all of them.
//!
//! `turn.rs` is the heart of the library. The floors above decide who drives it and on which
//! runtime; nothing here knows them.
//!
//! One rule holds throughout: *take, then call*. No `RefCell` is borrowed and no lock is held while
//! a callback, a waker or a destructor of the user's runs, since each may call back into the loop.

pub(crate) mod arena;
mod batch;
mod buckets;
mod budget;
mod callbacks;
pub(crate) mod clock;
mod deadlines;
mod emptiness;
mod ending;
mod fork;
pub(crate) mod hooks;
pub(crate) mod inbox;
mod kept;
mod life;
pub(crate) mod local;
mod owner;
mod poller;
mod post;
pub(crate) mod queue;
mod room;
mod scheduled;
#[cfg_attr(not(feature = "inspect"), path = "no_show.rs")]
mod show;
#[cfg_attr(not(feature = "inspect"), path = "not_shown.rs")]
pub(crate) mod shown;
mod sleep;
mod spin;
mod stage;
mod stop;
mod sync;
pub(crate) mod tasks;
mod timers;
pub(crate) mod tuning;
pub(crate) mod turn;
mod wake;
pub(crate) mod watches;
mod watching;

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, ptr, thread};

use self::budget::Budget;
use self::callbacks::Callbacks;
use self::clock::ManualClock;
use self::deadlines::Deadlines;
use self::hooks::{HookFn, Hooks, Moment};
use self::inbox::{Inbox, Message};
use self::kept::Kept;
use self::life::Life;
use self::poller::Poller;
use self::queue::{Entry, Other, Queue};
use self::shown::Shown;
use self::stage::Stage;
use self::stop::Stop;
use self::tasks::{Table, Tasks};
use self::timers::Timers;
use self::watching::Watching;
use crate::descriptor::Descriptor;
use crate::observe::exceptions::Exceptions;
use crate::observe::listing::{Pending, What};
use crate::observe::metrics::{Counters, Metrics};
use crate::observe::report::Report;
use crate::reactor::callback::Caller;

/// The parts of an engine that can go to another thread. An engine with nothing to do has no
/// others.
pub(crate) struct Parts {
    poller: poller::Idle,
    inbox: Arc<Inbox>,
    /// Deadlines are counted from this instant.
    origin: Instant,
}

impl Parts {
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Gives the parts up: no engine is made of them.
    pub(crate) fn close(self) {
        drop(self.inbox.close());
        if self.inbox.is_forked() {
            Poller::from(self.poller).abandon();
        }
    }
}

pub(crate) struct Engine {
    callbacks: Callbacks,
    pub(crate) tasks: Tasks,
    pub(crate) timers: Timers,
    watching: Watching,
    pub(crate) hooks: Hooks,
    stage: Stage,
    stop: Stop,
    /// How long a busy loop goes on before it polls, and before it yields.
    pub(crate) budget: Budget,
    pub(crate) life: Life,
    pub(crate) exceptions: Exceptions,
    pub(crate) counters: Counters,
    pub(crate) kept: Kept,
    pub(crate) shown: Shown,
}

impl Engine {
    pub(crate) fn new() -> io::Result<Engine> {
        let (poller, waker, origin) = Poller::new()?;
        let inbox = Arc::new(Inbox::new(waker)?);
        Ok(Engine::of_parts(Parts { poller: poller.into(), inbox, origin }))
    }

    /// A new engine. Its inbox may be filled already.
    pub(crate) fn of_parts(parts: Parts) -> Engine {
        let Parts { poller, inbox, origin } = parts;
        Engine {
            callbacks: Callbacks::new(Arc::clone(&inbox)),
            tasks: Tasks::new(),
            timers: Timers::new(origin),
            watching: Watching::new(poller.into(), inbox),
            hooks: Hooks::default(),
            stage: Stage::new(),
            stop: Stop::default(),
            budget: Budget::new(),
            life: Life::default(),
            exceptions: Exceptions::default(),
            counters: Counters::default(),
            kept: Kept::new(),
            shown: Shown::default(),
        }
    }

    /// Closes the engine, and takes out the parts that can go to another thread; none if it is
    /// closed already.
    pub(crate) fn dismantle(&self) -> Option<Parts> {
        let poller = self.watching.take_poller()?;
        self.life.close();
        self.repost();
        Some(Parts { poller, inbox: Arc::clone(self.inbox()), origin: self.timers.origin })
    }

    /// Posts again what was taken out of the inbox and was not done: a stop, a poll of the
    /// runtime's tasks, and what was asked by those who inspect the process. The queue holds no
    /// callback and no task here.
    fn repost(&self) {
        if self.stop.take() {
            drop(self.inbox().post(Message::Stop));
        }
        loop {
            let front = self.callbacks.queue.borrow_mut().front();
            match front {
                Some(Entry::Other(Other::Stop)) => drop(self.inbox().post(Message::Stop)),
                Some(Entry::Other(Other::Runtime)) => drop(self.inbox().post(Message::Runtime)),
                Some(Entry::Other(Other::Show)) => drop(self.inbox().post(Message::Show)),
                Some(_) => {}
                None => return,
            }
            let taken = self.callbacks.queue.borrow_mut().pop();
            self.exceptions.discard(taken);
        }
    }

    #[inline]
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        self.callbacks.inbox()
    }

    pub(crate) fn has_inbox(&self, inbox: &Inbox) -> bool {
        ptr::eq(&**self.inbox(), inbox)
    }

    /// The descriptor that becomes readable when there is something to do; none once closed, and
    /// none in a forked child.
    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        self.watching.descriptor()
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.inbox().is_forked()
    }

    /// Why the loop cannot be driven.
    #[cold]
    pub(crate) fn gone(&self) -> io::Error {
        self.watching.gone()
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.life.is_closed()
    }

    pub(crate) fn set_clock(&self, clock: ManualClock) {
        clock.add_loop(self.inbox());
        let _ = self.timers.clock.set(clock);
    }

    /// How many watches there are.
    pub(crate) fn watches(&self) -> usize {
        self.watching.watches.borrow().len()
    }

    pub(crate) fn metrics(&self, jobs: usize) -> Metrics {
        Metrics {
            turns: self.counters.turns.get(),
            polls: self.counters.polls.get(),
            wakeups: self.counters.wakeups.get(),
            registrations: self.counters.registrations.get(),
            callbacks: self.callbacks.batch.called(),
            events: self.counters.events.get(),
            timers_fired: self.counters.timers_fired.get(),
            watches: self.watches(),
            timers: self.timers.deadlines.borrow().len(),
            queued: self.callbacks.queue.borrow().given(),
            tasks: self.tasks.table.borrow().len(),
            jobs,
            exceptions: self.exceptions.count(),
            asleep: self.counters.asleep.total(),
        }
    }

    /// Everything that the loop waits for or has queued.
    pub(crate) fn list(&self) -> Vec<Pending> {
        let mut list = Vec::new();
        self.each_pending(|pending| list.push(pending));
        list
    }

    /// Calls `note`, which calls nothing of the engine's, for each.
    fn each_pending(&self, note: impl FnMut(Pending)) {
        let pending = |what, location| Pending { what, location: Some(location), keeps: true };
        let deadlines = self.timers.deadlines.borrow();
        let timers = deadlines.iter().map(|(at, callback)| {
            let deadline = self.timers.instant(at).unwrap_or(self.timers.origin);
            pending(What::Timer { deadline }, callback.location())
        });
        let (queue, tasks) = (self.callbacks.queue.borrow(), self.tasks.table.borrow());
        let callbacks = queue.locations().map(|location| pending(What::Callback, location));
        let tasks = tasks.locations().map(|location| pending(What::Task, location));
        let hooks = self.hooks.locations();
        let hooks =
            hooks.map(|(location, keeps)| Pending { keeps, ..pending(What::Hook, location) });
        let watches = self.watching.watches.borrow();
        watches.list().chain(timers).chain(callbacks).chain(tasks).chain(hooks).for_each(note);
    }

    /// Reports, once, that a loop with something to do was never driven.
    pub(crate) fn report_never_driven(&self, dropped: bool) {
        if self.life.was_driven() || self.is_forked() || thread::panicking() {
            return;
        }
        // Posted callbacks count as well.
        self.callbacks.take_messages();
        let list = self.list();
        if let Some(first) = list.first() {
            self.life.note_driven();
            let (pending, location) = (list.len(), first.location);
            self.exceptions.tell_report(&Report::NeverDriven { dropped, pending, location });
        }
    }

    /// Begins to watch for code that takes longer than the limit, or ends it.
    pub(crate) fn set_watchdog(&self, limit: Option<Duration>) -> io::Result<()> {
        match limit {
            Some(_) if self.is_closed() || self.is_forked() => Err(self.gone()),
            Some(limit) => self.exceptions.begin_watchdog(limit, poller::blocks),
            None => {
                self.exceptions.end_watchdog();
                Ok(())
            }
        }
    }

    /// Adds a hook. On a closed loop it is dropped, and there is no number.
    pub(crate) fn add_hook(&self, moment: Moment, location: Caller, hook: HookFn) -> Option<u64> {
        if self.is_closed() {
            self.exceptions.discard(hook);
            return None;
        }
        let id = self.hooks.add(moment, location, hook);
        // The foreign loop has to call the hook before its next sleep.
        self.wake();
        Some(id)
    }

    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.callbacks.has_queued()
    }

    /// Queues an entry behind everything that was queued or posted before, and wakes the loop if no
    /// turn follows.
    #[inline]
    pub(crate) fn push<T>(&self, push: impl FnOnce(&mut Queue) -> T) -> T {
        let pushed = self.callbacks.push(push);
        if !self.stage.is_driven() {
            self.wake();
        }
        pushed
    }

    pub(crate) fn push_other(&self, other: Other) {
        self.push(|queue| queue.push_other(other));
    }

    /// Drops everything that the loop holds, and releases its descriptors. Nothing is borrowed
    /// while a destructor runs.
    pub(crate) fn close(&self) {
        self.life.close();
        let exceptions = &self.exceptions;
        let mut posts = self.inbox().close();
        exceptions.discard_all(std::iter::from_fn(|| posts.pop()));
        exceptions.discard_all(std::iter::from_fn(|| self.callbacks.queue.borrow_mut().pop()));
        exceptions.discard_all(self.timers.deadlines.replace(Deadlines::new()).drain());
        exceptions.discard_all(self.tasks.table.replace(Table::new()).drain());
        exceptions.discard_all(self.watching.close());
        exceptions.discard_all(self.hooks.drain());
        self.kept.clear(exceptions);
        exceptions.discard_all(self.tasks.ending.take_wakers());
        exceptions.discard(exceptions.reports.set_handler(None));
        exceptions.discard(exceptions.set_handler(None));
        // A destructor that hangs was named until here.
        exceptions.end_watchdog();
        // In a forked child its lock may be held, by a thread that is not there.
        if !self.is_forked() {
            exceptions.drop_watchdog_handler();
        }
    }
}
