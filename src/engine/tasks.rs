//! The task table: `!Send` futures, polled as entries of the callback queue.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use super::arena::{Arena, Key};
use super::ending::Ending;
use super::inbox::{Inbox, Message};
use super::local;
use super::queue::Other;
use super::tuning::TASK_WAKERS_KEPT;
use crate::engine::Engine;
use crate::observe::origin::Origin;
use crate::reactor::callback::Caller;

pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// What polls a task.
pub(crate) struct Runner {
    pub(crate) future: BoxedTask,
    /// A waker of the task's, kept so that a poll neither makes nor drops one.
    pub(crate) waker: Waker,
    task: Arc<TaskWaker>,
}

impl Runner {
    /// See [`TaskWaker::begin_poll`].
    pub(crate) fn begin_poll(&self) {
        self.task.begin_poll();
    }
}

struct Slot {
    /// Absent while it is polled.
    runner: Option<Runner>,
    /// Where the task was spawned.
    location: Caller,
}

struct Table {
    slots: Arena<Slot>,
    spare: Vec<Arc<TaskWaker>>,
}

impl Table {
    const fn new() -> Self {
        Table { slots: Arena::new(), spare: Vec::new() }
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a task, which the caller queues for its first poll.
    fn insert(&mut self, inbox: &Arc<Inbox>, location: Caller, future: BoxedTask) -> Key {
        let key = self.slots.next_key();
        let task = self.waker(inbox, key);
        let runner = Runner { future, waker: Waker::from(Arc::clone(&task)), task };
        self.slots.insert(Slot { runner: Some(runner), location })
    }

    fn waker(&mut self, inbox: &Arc<Inbox>, key: Key) -> Arc<TaskWaker> {
        if let Some(mut spare) = self.spare.pop() {
            if let Some(waker) = Arc::get_mut(&mut spare) {
                waker.task = Some(key);
                *waker.scheduled.get_mut() = true;
                return spare;
            }
        }
        TaskWaker::scheduled(Arc::clone(inbox), Some(key))
    }

    /// Where a task was spawned.
    fn location(&self, key: Key) -> Option<Caller> {
        Some(self.slots.get(key)?.location)
    }

    /// Where each task was spawned.
    fn locations(&self) -> impl Iterator<Item = Caller> {
        self.slots.iter().map(|(_, slot)| slot.location)
    }

    /// Takes what polls a task out; none if the task has ended or is being polled.
    fn take(&mut self, key: Key) -> Option<Runner> {
        self.slots.get_mut(key)?.runner.take()
    }

    /// Puts it back after a poll; returns its future if the task was removed meanwhile.
    fn put_back(&mut self, key: Key, runner: Runner) -> Option<BoxedTask> {
        match self.slots.get_mut(key) {
            Some(slot) => slot.runner.replace(runner).map(|before| before.future),
            None => Some(runner.future),
        }
    }

    /// Ends a task whose runner was taken out; returns its future.
    fn end(&mut self, key: Key, runner: Runner) -> BoxedTask {
        self.slots.remove(key);
        let Runner { future, waker, mut task } = runner;
        drop(waker);
        // One that somebody has a share in may wake whatever task it names.
        if self.spare.len() < TASK_WAKERS_KEPT && Arc::get_mut(&mut task).is_some() {
            self.spare.push(task);
        }
        future
    }

    fn remove(&mut self, key: Key) -> Option<BoxedTask> {
        self.slots.remove(key)?.runner.map(|runner| runner.future)
    }

    /// Takes out every task but some, in no order.
    fn drain_except(&mut self, kept: &[Key]) -> Vec<BoxedTask> {
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        let dropped = keys.into_iter().filter(|key| !kept.contains(key));
        dropped.filter_map(|key| self.remove(key)).collect()
    }

    /// Takes every task out, in no order.
    fn drain(&mut self) -> Vec<BoxedTask> {
        self.slots.drain().filter_map(|slot| slot.runner).map(|runner| runner.future).collect()
    }
}

/// The tasks of a loop.
pub(crate) struct Tasks {
    table: RefCell<Table>,
    /// The task whose poll this is.
    polled: Cell<Option<Key>>,
    /// No new task is taken. Set by a shutdown; never cleared.
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

    pub(super) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    /// Where a task was spawned.
    pub(super) fn location(&self, key: Key) -> Option<Caller> {
        self.table.borrow().location(key)
    }

    /// Where each task was spawned.
    pub(super) fn locations(&self) -> Vec<Caller> {
        self.table.borrow().locations().collect()
    }

    /// The task in whose poll this is asked.
    pub(crate) fn polled(&self) -> Option<Key> {
        self.polled.get()
    }

    /// Where the task was spawned in whose poll this is asked.
    pub(crate) fn polled_location(&self) -> Option<Caller> {
        self.location(self.polled.get()?)
    }

    /// Whether every task but those that shut the loop down has ended.
    pub(crate) fn are_drained(&self) -> bool {
        let table = self.table.borrow();
        let kept = self.ending.tasks();
        table.len() <= kept.into_iter().filter(|key| table.location(*key).is_some()).count()
    }

    /// Takes out everything, for a loop that is closed.
    pub(super) fn drain(&self) -> Vec<BoxedTask> {
        self.table.replace(Table::new()).drain()
    }
}

/// Wakes one task, or the future that `run_until` waits for, from any thread.
pub(crate) struct TaskWaker {
    inbox: Arc<Inbox>,
    /// None for the future that `run_until` waits for.
    task: Option<Key>,
    /// Queued already, so further wakes change nothing.
    scheduled: AtomicBool,
}

impl TaskWaker {
    /// A waker whose task the caller has queued already.
    pub(crate) fn scheduled(inbox: Arc<Inbox>, task: Option<Key>) -> Arc<Self> {
        Arc::new(TaskWaker { inbox, task, scheduled: AtomicBool::new(true) })
    }

    /// Says that the poll begins: wakes from here on queue the task again.
    pub(crate) fn begin_poll(&self) {
        // A swap, so what was written before the wake is seen by the poll.
        self.scheduled.swap(false, Ordering::AcqRel);
    }
}

/// On the loop's own thread, while it is driven, straight into the queue; otherwise through the inbox.
fn send(inbox: &Arc<Inbox>, entry: Other, message: Message) {
    match local::driven_here(inbox) {
        Some(engine) => engine.push_other(entry),
        // A closed loop has dropped its futures; there is nobody to wake.
        None => drop(inbox.post(message)),
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.task {
            Some(task) => send(&self.inbox, Other::Task(task), Message::Task(task)),
            None => send(&self.inbox, Other::Main, Message::Main),
        }
    }
}

/// Has the tasks of the runtime's executor polled. The inbox is that waker itself, so a loop
/// whose executor nobody asked for allocates none.
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.schedule_runtime() {
            send(self, Other::Runtime, Message::Runtime);
        }
    }
}

impl Engine {
    /// Makes a task of a future, which is polled in the next turn; it is dropped on a closed loop.
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
        runner.begin_poll();
        tasks.polled.set(Some(key));
        let mut pending = false;
        // The future catches its own panics; what is caught here comes out of its destructor.
        self.exceptions.guard(Origin::Destructor, || {
            pending =
                runner.future.as_mut().poll(&mut Context::from_waker(&runner.waker)).is_pending();
        });
        tasks.polled.set(None);
        let over = if pending {
            tasks.table.borrow_mut().put_back(key, runner)
        } else {
            let future = tasks.table.borrow_mut().end(key, runner);
            tasks.ending.wake();
            Some(future)
        };
        self.exceptions.discard(over);
    }

    /// Takes no new task, and no callback from other threads, from now on.
    pub(crate) fn refuse(&self) {
        self.tasks.refusing.set(true);
        self.inbox().refuse();
    }

    /// Drops every task but those that shut the loop down; says how many there were.
    pub(crate) fn drop_tasks(&self) -> usize {
        let kept = self.tasks.ending.tasks();
        let dropped = self.tasks.table.borrow_mut().drain_except(&kept);
        let number = dropped.len();
        self.exceptions.discard_all(dropped);
        number
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::engine::poller::Poller;

    fn inbox() -> Arc<Inbox> {
        let (_, waker, _) = Poller::new().unwrap();
        Arc::new(Inbox::new(waker).unwrap())
    }

    /// Spawns a task and polls it to its end; what the poll keeps of its waker.
    fn run(
        tasks: &mut Table,
        inbox: &Arc<Inbox>,
        keep: impl FnOnce(&Waker) -> Waker,
    ) -> (Key, Waker) {
        let key = tasks.insert(inbox, Location::caller(), Box::pin(async {}));
        let runner = tasks.take(key).unwrap();
        runner.begin_poll();
        let kept = keep(&runner.waker);
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
        tasks.take(next).unwrap().begin_poll();
        kept.wake();
        let mut messages = Vec::new();
        inbox.take(&mut messages);
        assert!(matches!(messages[..], [Message::Task(key)] if key == ended));
    }
}
