//! The task table: `!Send` futures, polled as entries of the callback queue.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Context, Wake, Waker};

use super::arena::{Arena, Key};
use super::ending::Ending;
use super::inbox::{Inbox, Message};
use super::local;
use super::queue::Other;
use super::scheduled::Scheduled;
use super::tuning::TASK_WAKERS_KEPT;
use crate::engine::Engine;
use crate::observe::origin::Origin;
use crate::reactor::callback::Caller;

pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// A task's future, with its waker.
struct Runner {
    future: BoxedTask,
    kept: KeptWaker,
}

/// A waker, and what it wakes. Kept together, so neither a poll nor the end of a task makes or
/// drops a waker.
struct KeptWaker {
    waker: Waker,
    task: Arc<TaskWaker>,
}

impl KeptWaker {
    fn new(inbox: &Arc<Inbox>, key: Key) -> Self {
        let task = TaskWaker::scheduled(Arc::clone(inbox), Some(key));
        KeptWaker { waker: Waker::from(Arc::clone(&task)), task }
    }

    /// Whether nobody has a clone of the waker, which could wake the task that it names.
    fn is_alone(&self) -> bool {
        let is_alone = Arc::strong_count(&self.task) == 2;
        // So what the last owner of a clone did with it comes before what is done here.
        fence(Ordering::Acquire);
        is_alone
    }
}

struct Spawned {
    /// Absent while it is polled.
    runner: Option<Runner>,
    /// The location of the `spawn`.
    location: Caller,
}

pub(super) struct Table {
    slots: Arena<Spawned>,
    /// Those of tasks that have ended.
    spare: Vec<KeptWaker>,
}

impl Table {
    pub(super) const fn new() -> Self {
        Table { slots: Arena::new(), spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a task. The caller queues its first poll.
    fn insert(&mut self, inbox: &Arc<Inbox>, location: Caller, future: BoxedTask) -> Key {
        let key = self.slots.next_key();
        let kept = match self.spare.pop() {
            Some(spare) => {
                spare.task.renew(key);
                spare
            }
            None => KeptWaker::new(inbox, key),
        };
        self.slots.insert(Spawned { runner: Some(Runner { future, kept }), location })
    }

    /// The location where a task was spawned.
    fn location(&self, key: Key) -> Option<Caller> {
        Some(self.slots.get(key)?.location)
    }

    /// The locations where the tasks were spawned.
    pub(super) fn locations(&self) -> impl Iterator<Item = Caller> {
        self.slots.iter().map(|(_, slot)| slot.location)
    }

    /// Takes a task's runner out, to be polled; none if the task has ended, is being polled, or
    /// was not woken since its last poll.
    #[inline]
    fn take(&mut self, key: Key) -> Option<Runner> {
        let runner = &mut self.slots.get_mut(key)?.runner;
        if runner.as_ref()?.kept.task.begin_poll() { runner.take() } else { None }
    }

    /// Puts a runner back after a poll. Returns its future if the task was removed meanwhile.
    #[inline]
    fn put_back(&mut self, key: Key, runner: Runner) -> Option<BoxedTask> {
        match self.slots.get_mut(key) {
            Some(slot) => {
                slot.runner = Some(runner);
                None
            }
            None => Some(runner.future),
        }
    }

    /// Ends a task whose runner was taken out. Returns its future.
    fn end(&mut self, key: Key, runner: Runner) -> BoxedTask {
        self.slots.remove_emptied(key, |_| ((), key.serial.checked_add(1)));
        let Runner { future, kept } = runner;
        if self.spare.len() < TASK_WAKERS_KEPT && kept.is_alone() {
            self.spare.push(kept);
        }
        future
    }

    fn remove(&mut self, key: Key) -> Option<BoxedTask> {
        self.slots.remove(key)?.runner.map(|runner| runner.future)
    }

    /// Takes out every task except some, in no order.
    fn drain_except(&mut self, kept: &[Key]) -> Vec<BoxedTask> {
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        let dropped = keys.into_iter().filter(|key| !kept.contains(key));
        dropped.filter_map(|key| self.remove(key)).collect()
    }

    /// Takes every task out, in no order.
    pub(super) fn drain(&mut self) -> Vec<BoxedTask> {
        self.slots.drain().filter_map(|slot| slot.runner).map(|runner| runner.future).collect()
    }
}

/// The tasks of a loop.
pub(crate) struct Tasks {
    pub(super) table: RefCell<Table>,
    /// Set during the poll of a task.
    polled: Cell<Option<Key>>,
    /// New tasks are refused. Set by a shutdown, never cleared.
    refusing: Cell<bool>,
    /// The shutdowns that are under way.
    pub(crate) ending: Ending,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Tasks {
            table: RefCell::new(Table::new()),
            polled: Cell::new(None),
            refusing: Cell::new(false),
            ending: Ending::default(),
        }
    }

    /// The location where a task was spawned.
    pub(super) fn location(&self, key: Key) -> Option<Caller> {
        self.table.borrow().location(key)
    }

    /// The task whose poll is running.
    pub(crate) fn polled(&self) -> Option<Key> {
        self.polled.get()
    }

    /// The location where the task was spawned whose poll is running.
    pub(crate) fn polled_location(&self) -> Option<Caller> {
        self.location(self.polled.get()?)
    }

    /// Whether every task has ended, except for those that shut the loop down.
    pub(crate) fn are_drained(&self) -> bool {
        let table = self.table.borrow();
        let kept = self.ending.tasks();
        table.len() <= kept.into_iter().filter(|key| table.location(*key).is_some()).count()
    }
}

/// Wakes one task, or the future that a run is for, from any thread.
pub(crate) struct TaskWaker {
    inbox: Arc<Inbox>,
    /// The bits of the task's key, or [`MAIN`]. Changed only while nobody has the waker.
    task: AtomicU64,
    scheduled: Scheduled,
}

/// In place of a key, which no table grows to: the future that a run is for.
const MAIN: u64 = u64::MAX;

impl TaskWaker {
    /// A waker of a task whose poll is queued already; of the future that a run is for, if it is
    /// none.
    pub(crate) fn scheduled(inbox: Arc<Inbox>, task: Option<Key>) -> Arc<Self> {
        let task = AtomicU64::new(task.map_or(MAIN, Key::bits));
        Arc::new(TaskWaker { inbox, task, scheduled: Scheduled::new() })
    }

    /// Names another task, whose poll is queued already.
    fn renew(&self, task: Key) {
        self.task.store(task.bits(), Ordering::Relaxed);
        self.scheduled.renew();
    }

    /// See [`Scheduled::begin_poll`].
    #[inline]
    pub(crate) fn begin_poll(&self) -> bool {
        self.scheduled.begin_poll()
    }

    /// None for the future that a run is for.
    #[inline]
    fn task(&self) -> Option<Key> {
        let bits = self.task.load(Ordering::Relaxed);
        (bits != MAIN).then(|| Key::from_bits(bits))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = local::with_driven_here(&self.inbox, |engine| {
            if self.scheduled.wake_here() {
                engine.push_other(self.task().map_or(Other::Main, Other::Task));
            }
        });
        if woken.is_none() && self.scheduled.wake_elsewhere() {
            // A closed loop has dropped its futures, so no task is left to wake.
            drop(self.inbox.post(self.task().map_or(Message::Main, Message::Task)));
        }
    }
}

/// Wakes the tasks of the runtime's executor. The inbox is their waker itself, so a loop without
/// such an executor allocates none.
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.schedule_runtime() {
            return;
        }
        let queued = local::with_driven_here(self, |engine| engine.push_other(Other::Runtime));
        if queued.is_none() {
            drop(self.post(Message::Runtime));
        }
    }
}

impl Engine {
    /// Makes a task of a future, and queues its first poll. On a closed loop the future is dropped.
    pub(crate) fn spawn(&self, location: Caller, future: BoxedTask) {
        if self.is_closed() || self.tasks.refusing.get() {
            return self.exceptions.discard(future);
        }
        let key = self.tasks.table.borrow_mut().insert(self.inbox(), location, future);
        self.push_other(Other::Task(key));
    }

    pub(super) fn poll_task(&self, key: Key) {
        let tasks = &self.tasks;
        let taken = tasks.table.borrow_mut().take(key);
        let Some(mut runner) = taken else {
            return;
        };
        tasks.polled.set(Some(key));
        let mut pending = false;
        // The future catches its own panics. A panic that is caught here is of its destructor.
        let mut cx = Context::from_waker(&runner.kept.waker);
        self.exceptions.catch(Origin::Destructor, None, || {
            pending = runner.future.as_mut().poll(&mut cx).is_pending();
        });
        tasks.polled.set(None);
        let over = if pending {
            tasks.table.borrow_mut().put_back(key, runner)
        } else {
            let future = tasks.table.borrow_mut().end(key, runner);
            tasks.ending.wake();
            Some(future)
        };
        if over.is_some() {
            self.exceptions.discard(over);
        }
    }

    /// Refuses new tasks, and callbacks from other threads, from now on.
    pub(crate) fn refuse(&self) {
        self.tasks.refusing.set(true);
        self.inbox().refuse();
    }

    /// Drops every task except for those that shut the loop down. Returns how many were dropped.
    pub(crate) fn drop_tasks(&self) -> usize {
        let kept = self.tasks.ending.tasks();
        let dropped = self.tasks.table.borrow_mut().drain_except(&kept);
        let number = dropped.len();
        self.exceptions.discard_all(dropped);
        self.note_taken_away();
        number
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::engine::poller::Poller;
    use crate::engine::queue::{Entry, Queue};

    fn inbox() -> Arc<Inbox> {
        let (_, waker, _) = Poller::new().unwrap();
        Arc::new(Inbox::new(waker).unwrap())
    }

    /// Spawns a task and polls it to its end. Returns what the poll keeps of its waker.
    fn run(
        tasks: &mut Table,
        inbox: &Arc<Inbox>,
        keep: impl FnOnce(&Waker) -> Waker,
    ) -> (Key, Waker) {
        let key = tasks.insert(inbox, Location::caller(), Box::pin(async {}));
        let runner = tasks.take(key).unwrap();
        let kept = keep(&runner.kept.waker);
        drop(tasks.end(key, runner));
        (key, kept)
    }

    #[test]
    fn the_waker_of_a_task_that_has_ended_is_used_again() {
        let (inbox, mut tasks) = (inbox(), Table::new());
        run(&mut tasks, &inbox, |_| Waker::noop().clone());
        let shares = Arc::strong_count(&inbox);
        run(&mut tasks, &inbox, |_| Waker::noop().clone());
        assert_eq!(Arc::strong_count(&inbox), shares);
    }

    #[test]
    fn a_waker_that_somebody_has_still_wakes_no_other_task() {
        let (inbox, mut tasks) = (inbox(), Table::new());
        let (ended, kept) = run(&mut tasks, &inbox, Waker::clone);
        let next = tasks.insert(&inbox, Location::caller(), Box::pin(async {}));
        assert!(tasks.take(next).is_some());
        kept.wake();
        let mut queue = Queue::new();
        inbox.take(&mut queue);
        assert_eq!(queue.len(), 1);
        assert!(matches!(queue.front(), Some(Entry::Other(Other::Task(key))) if key == ended));
    }
}
