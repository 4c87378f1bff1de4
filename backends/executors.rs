//! The executors of a loop on async-io or smol: one for tasks of any thread, one for its own thread's.

use std::cell::{OnceCell, RefCell};
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

/// What a backend holds of them.
#[derive(Clone, Default)]
pub(super) struct Executors(Rc<Shared>);

#[derive(Default)]
struct Shared {
    executor: OnceCell<Arc<Executor<'static>>>,
    local: Option<Rc<LocalExecutor<'static>>>,
    /// Has the loop ask for the tasks of an executor that is made later.
    waker: RefCell<Option<Waker>>,
}

impl Executors {
    pub(super) fn from(executor: Option<Arc<Executor<'static>>>) -> Self {
        let executor = executor.map_or_else(OnceCell::new, OnceCell::from);
        Executors(Rc::new(Shared { executor, ..Shared::default() }))
    }

    pub(super) fn of_local(local: Rc<LocalExecutor<'static>>) -> Self {
        Executors(Rc::new(Shared { local: Some(local), ..Shared::default() }))
    }

    /// The one for any thread, made at the first call.
    pub(super) fn executor(&self) -> Arc<Executor<'static>> {
        let executor = self.0.executor.get_or_init(|| {
            if let Some(waker) = self.0.waker.take() {
                waker.wake();
            }
            Arc::default()
        });
        Arc::clone(executor)
    }

    /// What goes to another thread with its loop, perhaps no executor yet; none if one is bound to this thread.
    pub(super) fn sendable(&self) -> Option<Option<Arc<Executor<'static>>>> {
        self.0.local.is_none().then(|| self.0.executor.get().cloned())
    }

    pub(super) fn run_tasks(&self, waker: &Waker) -> Option<RuntimeTasks> {
        let Shared { executor, local, .. } = &*self.0;
        if executor.get().is_none() {
            self.0.waker.replace(Some(waker.clone()));
            local.as_ref()?;
        }
        Some(Box::pin(Running { executors: self.clone(), executor: None, local: None }))
    }
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.executor.get().fmt(f)
    }
}

/// Runs the tasks of both, in turn.
struct Running {
    executors: Executors,
    executor: Option<RuntimeTasks>,
    local: Option<RuntimeTasks>,
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Shared { executor, local, .. } = &*this.executors.0;
        if let Some(local) = local {
            let tasks = this.local.get_or_insert_with(|| {
                let local = Rc::clone(local);
                Box::pin(run(async move || local.tick().await))
            });
            let _ = tasks.as_mut().poll(cx);
        }
        // It may have been made since the last poll.
        if let Some(executor) = executor.get() {
            let tasks = this.executor.get_or_insert_with(|| {
                let executor = Arc::clone(executor);
                Box::pin(run(async move || executor.tick().await))
            });
            let _ = tasks.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

/// Runs tasks for ever. `tick` waits for one, and runs it.
///
/// The executors' own `run` does not return before it has run two hundred: for as long a descriptor of
/// the loop would wait.
async fn run(tick: impl AsyncFn()) {
    loop {
        for _ in 0..TASKS_PER_POLL {
            tick().await;
        }
        yield_now().await;
    }
}
