//! The shutdowns that are under way, each in a task or awaited by whoever drives the loop.
//!
//! None waits for the tasks of the others, and the first that is over ends all.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::arena::Key;
use crate::observe::contain::contain;

#[derive(Default)]
pub(crate) struct Ending {
    waiting: RefCell<Vec<Waiting>>,
    next: Cell<u64>,
    /// How many tasks the first that was over has dropped, until the last has heard of it.
    over: Cell<Option<usize>>,
    /// One of them has stopped the loop.
    stopped: Cell<bool>,
}

struct Waiting {
    id: u64,
    /// The task that it is in.
    task: Option<Key>,
    waker: Option<Waker>,
}

impl Ending {
    /// Begins one, which [`leave`](Self::leave) ends.
    pub(crate) fn enter(&self, task: Option<Key>) -> u64 {
        let id = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().push(Waiting { id, task, waker: None });
        // For those that wait, there is one task less to wait for.
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

    /// After a task has ended, or one of the shutdowns.
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

    /// The tasks that shut the loop down, once each.
    pub(crate) fn tasks(&self) -> Vec<Key> {
        let mut tasks: Vec<Key> = Vec::new();
        for task in self.waiting.borrow().iter().filter_map(|waiting| waiting.task) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// Whether it is this one that stops the loop.
    pub(crate) fn stop(&self) -> bool {
        !self.stopped.replace(true)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.waiting.borrow().len() < 2
    }

    /// How many tasks were dropped, if one of the shutdowns is over.
    pub(crate) fn over(&self) -> Option<usize> {
        self.over.get()
    }

    /// Ends all others as well.
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
