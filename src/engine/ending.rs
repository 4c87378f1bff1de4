//! The shutdowns of a loop that are under way, each in a task or awaited by the driver of the loop.
//!
//! No shutdown waits for the tasks of the others. The first that is over ends all.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::arena::Key;
use crate::contain::contain;

#[derive(Default)]
pub(crate) struct Ending {
    waiting: RefCell<Vec<Waiting>>,
    next: Cell<u64>,
    /// How many tasks were dropped by the first shutdown that was over. Cleared when the last one
    /// has left.
    over: Cell<Option<usize>>,
    /// Set by the first shutdown that stops the loop. Cleared when the last one has left.
    stopped: Cell<bool>,
}

struct Waiting {
    id: u64,
    /// The task of the shutdown, if it is in one.
    task: Option<Key>,
    waker: Option<Waker>,
}

impl Ending {
    /// Begins a shutdown, which [`leave`](Self::leave) ends.
    pub(crate) fn enter(&self, task: Option<Key>) -> u64 {
        let id = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().push(Waiting { id, task, waker: None });
        // The others have one task less to wait for.
        self.wake();
        id
    }

    pub(crate) fn leave(&self, id: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|waiting| waiting.id == id);
        let left = at.map(|at| waiting.swap_remove(at));
        if waiting.is_empty() {
            self.over.set(None);
            self.stopped.set(false);
        }
        drop(waiting);
        drop(left);
    }

    /// Has `waker` woken by the next [`wake`](Self::wake).
    pub(crate) fn wait(&self, id: u64, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = self.waiting.borrow_mut();
        let own = waiting.iter_mut().find(|waiting| waiting.id == id);
        let before = own.and_then(|own| own.waker.replace(waker));
        drop(waiting);
        drop(before);
    }

    /// Called when a task or a shutdown has ended.
    #[inline]
    pub(crate) fn wake(&self) {
        if !self.waiting.borrow().is_empty() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        self.take_wakers().into_iter().for_each(|waker| contain(|| waker.wake()));
    }

    pub(crate) fn take_wakers(&self) -> Vec<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.iter_mut().filter_map(|waiting| waiting.waker.take()).collect()
    }

    /// The tasks of the shutdowns, each once.
    pub(crate) fn tasks(&self) -> Vec<Key> {
        let mut tasks: Vec<Key> = Vec::new();
        for task in self.waiting.borrow().iter().filter_map(|waiting| waiting.task) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// Returns whether the caller is the first to stop the loop.
    pub(crate) fn stop(&self) -> bool {
        !self.stopped.replace(true)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.waiting.borrow().len() < 2
    }

    /// How many tasks were dropped, if a shutdown is over.
    pub(crate) fn over(&self) -> Option<usize> {
        self.over.get()
    }

    /// Ends all other shutdowns as well.
    pub(crate) fn end(&self, id: u64, dropped: usize) {
        self.over.set(Some(dropped));
        let mut waiting = self.waiting.borrow_mut();
        let own = waiting.iter_mut().find(|waiting| waiting.id == id);
        let own = own.and_then(|own| own.waker.take());
        drop(waiting);
        drop(own);
        self.wake();
    }
}
