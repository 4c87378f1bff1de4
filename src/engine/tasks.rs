//! The task table: `!Send` futures, polled as entries of the callback queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::arena::{Arena, Key};
use super::inbox::{Inbox, Message};
use super::local;
use super::queue::Other;
use crate::reactor::Place;

pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    /// Absent while it is polled.
    future: Option<BoxedTask>,
    waker: Arc<TaskWaker>,
}

pub(crate) struct Tasks(Arena<Slot>);

impl Tasks {
    pub(crate) const fn new() -> Self {
        Tasks(Arena::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn next_key(&self) -> Key {
        self.0.next_key()
    }

    pub(crate) fn insert(&mut self, future: BoxedTask, waker: Arc<TaskWaker>) -> Key {
        self.0.insert(Slot { future: Some(future), waker })
    }

    /// Where a task was spawned.
    pub(crate) fn place(&self, key: Key) -> Option<Place> {
        self.0.get(key)?.waker.place
    }

    /// Where each task was spawned.
    pub(crate) fn places(&self) -> impl Iterator<Item = Option<Place>> {
        self.0.iter().map(|(_, slot)| slot.waker.place)
    }

    /// Takes a future out to poll it; none if the task has ended or is being polled.
    pub(crate) fn take(&mut self, key: Key) -> Option<(BoxedTask, Arc<TaskWaker>)> {
        let slot = self.0.get_mut(key)?;
        Some((slot.future.take()?, Arc::clone(&slot.waker)))
    }

    /// Puts a pending future back; returns it if the task was removed meanwhile.
    pub(crate) fn put_back(&mut self, key: Key, future: BoxedTask) -> Option<BoxedTask> {
        match self.0.get_mut(key) {
            Some(slot) => slot.future.replace(future),
            None => Some(future),
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<BoxedTask> {
        self.0.remove(key)?.future
    }

    /// Takes out every task but one, in no order.
    pub(crate) fn drain_except(&mut self, kept: Option<Key>) -> Vec<BoxedTask> {
        let keys: Vec<Key> = self.0.iter().map(|(key, _)| key).collect();
        let dropped = keys.into_iter().filter(|key| Some(*key) != kept);
        dropped.filter_map(|key| self.remove(key)).collect()
    }

    /// Takes every task out, in no order.
    pub(crate) fn drain(&mut self) -> Vec<BoxedTask> {
        self.0.drain().filter_map(|slot| slot.future).collect()
    }
}

/// Wakes one task, or the future that `run_until` waits for, from any thread.
pub(crate) struct TaskWaker {
    inbox: Arc<Inbox>,
    /// None for the future that `run_until` waits for.
    task: Option<Key>,
    /// Queued already, so that further wakes change nothing.
    scheduled: AtomicBool,
    /// Where the task was spawned.
    place: Option<Place>,
}

impl TaskWaker {
    /// A waker whose task the caller has queued already.
    pub(crate) fn scheduled(
        inbox: Arc<Inbox>,
        task: Option<Key>,
        place: Option<Place>,
    ) -> Arc<Self> {
        Arc::new(TaskWaker { inbox, task, scheduled: AtomicBool::new(true), place })
    }

    /// Says that the poll begins: wakes from here on queue the task again.
    pub(crate) fn begin_poll(&self) {
        // A swap, so that what was written before the wake is seen by the poll.
        self.scheduled.swap(false, Ordering::AcqRel);
    }

    /// On the loop's own thread, while it is driven, straight into the queue; else through the inbox.
    fn send(&self, entry: Other, message: Message) {
        match local::driven_here(&self.inbox) {
            Some(engine) => {
                engine.push_other(entry);
            }
            // A closed loop has dropped its futures; there is nobody to wake.
            None => drop(self.inbox.post(message)),
        }
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
            Some(task) => self.send(Other::Task(task), Message::Task(task)),
            None => self.send(Other::Main, Message::Main),
        }
    }
}
