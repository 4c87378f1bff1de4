//! One turn, and what it is made of.
//!
//! *Take, then call*: nothing is borrowed and no lock is held while code of the user's runs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ioloop::hooks::BeforeSleep;
use ioloop::reactor::{Callback, Coroutine, SleepHook, Watcher};
use ioloop::{Events, Interest};

use crate::left::{Entry, Left, What};
use crate::shared::{MainWaker, Message, Shared, TaskWaker};
use crate::watches::Watched;

/// Where time and readiness come from.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// The clock is moved; the kernel says what is ready.
    Manual,
    /// The clock is moved; the test says what is ready.
    Scripted,
    /// The clock is the system's; the kernel says what is ready, and is waited for.
    RealTime,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Turned {
    /// It called something, or waited, or there is something queued.
    Busy,
    Idle,
    /// It was to wait, and nothing is left to wait for.
    Stalled,
}

pub(crate) enum Queued {
    Callback(Callback),
    Poll(u64),
    /// One that was cancelled; its place is kept, so the turn that counted it is not confused.
    Cancelled,
}

struct Task {
    location: &'static Location<'static>,
    /// Absent while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<TaskWaker>,
}

type Panic = Box<dyn Any + Send>;

type PanicHandler = Rc<dyn Fn(Panic)>;

pub(crate) struct Inner {
    pub(crate) kind: Kind,
    /// Of a clock that is moved.
    now: Cell<Instant>,
    ids: Cell<u64>,
    pub(crate) queue: RefCell<VecDeque<(u64, Queued)>>,
    /// By deadline, then by order of insertion; the number of its handle beside each.
    pub(crate) timers: RefCell<BTreeMap<(Instant, u64), (u64, Callback)>>,
    pub(crate) watches: RefCell<Vec<Watched>>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    /// Absent while it is called.
    pub(crate) hooks: RefCell<Vec<(u64, Option<SleepHook>)>>,
    /// What is ready because the test says so.
    pub(crate) forced: RefCell<Vec<(RawFd, Events)>>,
    /// The errors of the next calls: true for those that add, false for those that resume.
    failures: RefCell<VecDeque<(bool, io::Error)>>,
    panics: RefCell<VecDeque<Panic>>,
    panic_handler: RefCell<Option<PanicHandler>>,
    pub(crate) shared: Arc<Shared>,
    stopped: Cell<bool>,
    pub(crate) closed: Cell<bool>,
}

/// A deadline further away never comes, as that of a delay of `Duration::MAX` must not.
const FURTHEST: Duration = Duration::from_secs(99 * 365 * 24 * 60 * 60);

impl Inner {
    pub(crate) fn new(kind: Kind) -> Rc<Self> {
        let shared = Shared::new(kind == Kind::RealTime).expect("two descriptors for the bell");
        Rc::new(Inner {
            kind,
            now: Cell::new(Instant::now()),
            ids: Cell::new(0),
            queue: RefCell::default(),
            timers: RefCell::default(),
            watches: RefCell::default(),
            tasks: RefCell::default(),
            hooks: RefCell::default(),
            forced: RefCell::default(),
            failures: RefCell::default(),
            panics: RefCell::default(),
            panic_handler: RefCell::default(),
            shared: Arc::new(shared),
            stopped: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// A number that nothing had before.
    pub(crate) fn id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    pub(crate) fn is_real(&self) -> bool {
        self.kind == Kind::RealTime
    }

    pub(crate) fn time(&self) -> Instant {
        if self.is_real() { Instant::now() } else { self.now.get() }
    }

    pub(crate) fn move_clock(&self, to: Instant) {
        assert!(!self.is_real(), "the system's clock cannot be moved");
        self.now.set(to.max(self.now.get()));
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.timers.borrow().keys().next().map(|(at, _)| *at)?;
        (next.saturating_duration_since(self.time()) < FURTHEST).then_some(next)
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(crate) fn take_stop(&self) -> bool {
        self.stopped.replace(false)
    }

    pub(crate) fn fail_next(&self, error: io::Error, adds: bool) {
        self.failures.borrow_mut().push_back((adds, error));
    }

    /// The error that the test has for this call.
    pub(crate) fn failure(&self, adds: bool) -> io::Result<()> {
        let mut failures = self.failures.borrow_mut();
        let index = failures.iter().position(|(of_adds, _)| *of_adds == adds);
        match index.and_then(|index| failures.remove(index)) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs code of the user's; false if it panicked.
    pub(crate) fn guarded(&self, code: impl FnOnce()) -> bool {
        let Err(mut panic) = catch_unwind(AssertUnwindSafe(code)) else { return true };
        let handler = self.panic_handler.borrow().clone();
        if let Some(handler) = handler {
            match catch_unwind(AssertUnwindSafe(|| handler(panic))) {
                Ok(()) => return false,
                Err(of_handler) => panic = of_handler,
            }
        }
        self.panics.borrow_mut().push_back(panic);
        false
    }

    /// Drops what is the user's.
    pub(crate) fn discard<T>(&self, what: T) {
        self.guarded(|| drop(what));
    }

    pub(crate) fn set_panic_handler(&self, handler: PanicHandler) {
        let before = self.panic_handler.replace(Some(handler));
        self.discard(before);
    }

    /// Goes on with the first panic that nobody has taken.
    pub(crate) fn resume_panic(&self) {
        let panics = self.panics.take();
        if let Some(panic) = panics.into_iter().next() {
            resume_unwind(panic);
        }
    }

    pub(crate) fn main(&self) -> Arc<MainWaker> {
        Arc::new(MainWaker { woken: AtomicBool::new(true), shared: Arc::clone(&self.shared) })
    }

    pub(crate) fn spawn(&self, coroutine: Coroutine) {
        let (task, location) = (self.id(), coroutine.location());
        let future = coroutine.into_future();
        if self.closed.get() {
            return self.discard(future);
        }
        let (queued, shared) = (AtomicBool::new(true), Arc::clone(&self.shared));
        let waker = Arc::new(TaskWaker { task, queued, shared });
        let future = Some(future);
        self.tasks.borrow_mut().insert(task, Task { location, future, waker });
        self.take_messages();
        let poll = (self.id(), Queued::Poll(task));
        self.queue.borrow_mut().push_back(poll);
    }

    /// Moves what other threads posted into the queue.
    pub(crate) fn take_messages(&self) {
        // Not later: what is posted from here on has to end the next wait.
        self.shared.clear();
        for message in self.shared.take() {
            let queued = match message {
                Message::Callback(callback) => Queued::Callback(callback.into()),
                Message::Poll(task) => Queued::Poll(task),
            };
            let entry = (self.id(), queued);
            self.queue.borrow_mut().push_back(entry);
        }
    }

    /// One turn. Where there is nothing to do it waits, if it may: on a clock that is moved that is
    /// a jump to the next deadline.
    pub(crate) fn turn(&self, may_wait: impl Fn() -> bool) -> Turned {
        self.take_messages();
        let queued = self.queue.borrow().len();
        let stays = self.call_hooks(true);
        let is_due = self.next_deadline().is_some_and(|at| at <= self.time());
        let is_queued = || !self.queue.borrow().is_empty();
        let busy = queued > 0 || stays || is_due || self.stopped.get() || is_queued();
        let mut ready = self.poll(Some(Duration::ZERO));
        // Asked once the bell is unreadable: a wake from here on ends the wait.
        let waits = !busy && ready.is_empty() && may_wait();
        let mut waited = false;
        if waits && self.is_real() {
            let now = self.time();
            ready = self.poll(self.next_deadline().map(|at| at.saturating_duration_since(now)));
            waited = true;
        } else if let Some(next) = self.next_deadline().filter(|_| waits) {
            self.move_clock(next);
            waited = true;
        }
        self.call_hooks(false);
        let (now, newest) = (self.time(), self.ids.get());
        for _ in 0..queued {
            let entry = self.queue.borrow_mut().pop_front();
            match entry {
                Some((_, Queued::Callback(callback))) => _ = self.guarded(|| callback.call()),
                Some((_, Queued::Poll(task))) => self.poll_task(task),
                Some((_, Queued::Cancelled)) => {}
                None => break,
            }
        }
        let mut calls = queued + ready.len();
        for (id, events) in ready {
            self.serve(id, events);
        }
        loop {
            let mut timers = self.timers.borrow_mut();
            // What was set in this turn waits for the next, however early its deadline.
            let due = timers.keys().take_while(|(at, _)| *at <= now);
            let due = due.copied().find(|(_, order)| *order <= newest);
            let Some((_, callback)) = due.and_then(|due| timers.remove(&due)) else { break };
            drop(timers);
            calls += 1;
            self.guarded(|| callback.call());
        }
        if calls > 0 || stays || waited || is_queued() {
            Turned::Busy
        } else if waits {
            Turned::Stalled
        } else {
            Turned::Idle
        }
    }

    fn poll_task(&self, task: u64) {
        let taken = self.tasks.borrow_mut().get_mut(&task).and_then(|task| {
            task.waker.queued.swap(false, Ordering::AcqRel);
            Some((task.future.take()?, Arc::clone(&task.waker)))
        });
        let Some((mut future, waker)) = taken else { return };
        let waker = Waker::from(waker);
        let mut pending = false;
        self.guarded(|| {
            pending = future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending;
        });
        let mut left = Some(future);
        let mut tasks = self.tasks.borrow_mut();
        let ended = match tasks.get_mut(&task) {
            Some(task) if pending => {
                task.future = left.take();
                None
            }
            _ => tasks.remove(&task),
        };
        drop(tasks);
        self.discard((left, ended));
    }

    /// Calls the hooks before the sleep, or those after it; says whether one wants to stay awake.
    fn call_hooks(&self, before: bool) -> bool {
        let ids: Vec<_> = self.hooks.borrow().iter().map(|(id, _)| *id).collect();
        let mut stays = false;
        for id in ids {
            let taken = self.with_hook(id, |hook| hook.take_if(|hook| hook.is_before() == before));
            let Some(mut hook) = taken.flatten() else { continue };
            let mut returned = None;
            self.guarded(|| returned = Some(hook.call()));
            stays |= returned == Some(BeforeSleep::StayAwake);
            if returned.is_none() {
                self.end_hook(id);
            }
            let mut left = Some(hook);
            self.with_hook(id, |hook| *hook = left.take());
            self.discard(left);
        }
        stays
    }

    fn with_hook<T>(&self, id: u64, act: impl FnOnce(&mut Option<SleepHook>) -> T) -> Option<T> {
        let mut hooks = self.hooks.borrow_mut();
        hooks.iter_mut().find(|(known, _)| *known == id).map(|(_, hook)| act(hook))
    }

    pub(crate) fn end_hook(&self, id: u64) -> bool {
        let mut hooks = self.hooks.borrow_mut();
        let index = hooks.iter().position(|(known, _)| *known == id);
        let removed = index.map(|index| hooks.remove(index));
        drop(hooks);
        let was_there = removed.is_some();
        self.discard(removed);
        was_there
    }

    /// Drops all that it holds, and takes nothing from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        // Out of the lock, as everything is out of its borrow: destructors may ask for anything.
        self.discard_each(self.shared.close().into_iter().flatten());
        self.discard_each(self.queue.take());
        self.discard_each(self.timers.take());
        self.discard_each(self.tasks.take());
        self.discard_each(self.watches.take());
        self.discard_each(self.hooks.take());
    }

    fn discard_each<T>(&self, all: impl IntoIterator<Item = T>) {
        all.into_iter().for_each(|one| self.discard(one));
    }

    pub(crate) fn left(&self) -> Left {
        self.take_messages();
        let watches = self.watches.borrow();
        let watches = watches.iter().map(|watched| {
            let (number, paused) = (watched.number, watched.paused);
            let what = match watched.direction {
                Some(direction) => What::Watch { number, direction, paused },
                None if paused => What::Handler { number, interest: Interest::empty() },
                None => What::Handler { number, interest: watched.interest },
            };
            Entry { what, location: watched.watcher.as_ref().map(Watcher::location) }
        });
        let (timers, now) = (self.timers.borrow(), self.time());
        let timers = timers.iter().map(|((at, _), (_, callback))| {
            let due_in = at.saturating_duration_since(now);
            Entry { what: What::Timer { due_in }, location: Some(callback.location()) }
        });
        let (tasks, hooks) = (self.tasks.borrow(), self.hooks.borrow());
        let hooks = hooks.iter().map(|(_, hook)| Entry {
            what: What::Hook,
            location: hook.as_ref().map(SleepHook::location),
        });
        let locations = tasks.values().map(|task| Some(task.location));
        let listed = locations.map(|location| Entry { what: What::Task, location });
        let queue = self.queue.borrow();
        let queued = queue.iter().filter_map(|(_, queued)| {
            let location = match queued {
                Queued::Callback(callback) => Some(callback.location()),
                Queued::Poll(task) => Some(tasks.get(task)?.location),
                Queued::Cancelled => return None,
            };
            Some(Entry { what: What::Callback, location })
        });
        Left(watches.chain(timers).chain(hooks).chain(listed).chain(queued).collect())
    }
}
