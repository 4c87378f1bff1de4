//! The executors of a loop on async-io or smol: one for tasks of any thread, one for its own
//! thread's.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[cfg(feature = "async-io")]
pub(crate) use async_executor::{Executor, LocalExecutor};
#[cfg(feature = "async-io")]
use futures_lite::future::yield_now;
#[cfg(not(feature = "async-io"))]
use smol::future::yield_now;
#[cfg(not(feature = "async-io"))]
pub(crate) use smol::{Executor, LocalExecutor};

use crate::backends::RuntimeTasks;

/// Tasks that are run in one poll: so many, at most, come between two callbacks of the loop.
const TASKS_PER_POLL: usize = 8;

/// The executors of a backend. One that is not asked for allocates nothing.
#[derive(Default)]
pub(super) struct Executors {
    executor: RefCell<Option<Arc<Executor<'static>>>>,
    local: Option<Rc<LocalExecutor<'static>>>,
    /// Has the loop ask for the tasks of an executor that is made later.
    waker: RefCell<Option<Waker>>,
}

impl Executors {
    pub(super) fn from(executor: Option<Arc<Executor<'static>>>) -> Self {
        Executors { executor: RefCell::new(executor), ..Executors::default() }
    }

    /// With one for any thread beside it: the loop has no reason to ask again.
    pub(super) fn of_local(local: Rc<LocalExecutor<'static>>) -> Self {
        Executors { local: Some(local), ..Executors::from(Some(Arc::default())) }
    }

    /// The one for any thread, made at the first call.
    pub(super) fn executor(&self) -> Arc<Executor<'static>> {
        let executor = self.executor.borrow_mut().get_or_insert_default().clone();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        executor
    }

    /// Gives up the share of a loop that was closed. The tasks are dropped with the last.
    pub(super) fn give_up(&self) {
        let given_up = (self.executor.take(), self.waker.take());
        drop(given_up);
    }

    /// What goes to another thread with its loop, perhaps no executor yet; none if one is bound to
    /// this thread.
    pub(super) fn sendable(&self) -> Option<Option<Arc<Executor<'static>>>> {
        self.local.is_none().then(|| self.executor.borrow().clone())
    }

    pub(super) fn run_tasks(&self, waker: &Waker) -> Option<RuntimeTasks> {
        let Some(executor) = self.executor.borrow().clone() else {
            self.waker.replace(Some(waker.clone()));
            return None;
        };
        let tasks = Box::pin(run(async move || executor.tick().await));
        let Some(local) = self.local.clone() else { return Some(tasks) };
        let local = Box::pin(run(async move || local.tick().await));
        Some(Box::pin(Both { local, tasks }))
    }
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.executor.borrow().fmt(f)
    }
}

/// Runs the tasks of two executors, in turn.
struct Both {
    local: RuntimeTasks,
    tasks: RuntimeTasks,
}

impl Future for Both {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = self.local.as_mut().poll(cx);
        let _ = self.tasks.as_mut().poll(cx);
        Poll::Pending
    }
}

/// Runs tasks for ever. `tick` waits for one, and runs it.
///
/// The executors' own `run` does not return before it has run two hundred: for as long a descriptor
/// of the loop would wait.
async fn run(tick: impl AsyncFn()) {
    loop {
        for _ in 0..TASKS_PER_POLL {
            tick().await;
        }
        yield_now().await;
    }
}
