//! A backend whose loops drive an executor of its own: a queue of the tasks that are awake.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::{any::Any, io, mem};

use ioloop::IOLoop;
use ioloop::backends::{Backend, Descriptor, Registration, RuntimeTasks, Shutdown};
use ioloop_conformance::Spawn;

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub(crate) struct Spawning(Arc<Mutex<Executor>>);

/// Drops what is left of its tasks when it is dropped, whoever still holds their wakers.
#[derive(Default)]
struct Executor {
    tasks: Vec<Arc<Spawned>>,
    awake: VecDeque<Arc<Spawned>>,
    /// Has the loop poll.
    waker: Option<Waker>,
}

struct Spawned {
    /// Absent while it is polled, and once it has ended.
    future: Mutex<Option<Boxed>>,
    executor: Weak<Mutex<Executor>>,
}

impl Spawning {
    /// How to spawn on the executor of a loop.
    pub(crate) fn spawn(io_loop: &IOLoop) -> Spawn {
        io_loop.backend::<Spawning>().unwrap().spawner()
    }

    /// Drops every task.
    pub(crate) fn clear(&self) {
        let left = mem::take(&mut *self.0.lock().unwrap());
        drop(left);
    }

    pub(crate) fn spawner(&self) -> Spawn {
        let executor = Arc::clone(&self.0);
        Arc::new(move |future| {
            let weak = Arc::downgrade(&executor);
            let task = Arc::new(Spawned { future: Mutex::new(Some(future)), executor: weak });
            executor.lock().unwrap().tasks.push(Arc::clone(&task));
            task.wake();
        })
    }
}

impl Wake for Spawned {
    fn wake(self: Arc<Self>) {
        let Some(executor) = self.executor.upgrade() else { return };
        let waker = {
            let mut executor = executor.lock().unwrap();
            executor.awake.push_back(self);
            executor.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Polls the next task that is awake; false if there is none.
fn poll_next(executor: &Mutex<Executor>) -> bool {
    let Some(task) = executor.lock().unwrap().awake.pop_front() else { return false };
    let Some(mut future) = task.future.lock().unwrap().take() else { return true };
    let waker = Waker::from(Arc::clone(&task));
    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        *task.future.lock().unwrap() = Some(future);
    } else {
        executor.lock().unwrap().tasks.retain(|one| !Arc::ptr_eq(one, &task));
    }
    true
}

impl Drop for Executor {
    fn drop(&mut self) {
        for task in mem::take(&mut self.tasks) {
            drop(task.future.lock().unwrap().take());
        }
    }
}

impl Backend for Spawning {
    fn name(&self) -> &str {
        "spawning"
    }

    fn register(&self, _: Descriptor) -> io::Result<Box<dyn Registration>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn run_tasks(&self, waker: &Waker) -> Option<RuntimeTasks> {
        let mut unused = self.0.lock().unwrap();
        if unused.tasks.is_empty() {
            // The first task has the loop ask again.
            unused.waker = Some(waker.clone());
            return None;
        }
        let executor = Arc::clone(&self.0);
        Some(Box::pin(poll_fn(move |cx| {
            executor.lock().unwrap().waker = Some(cx.waker().clone());
            // A few, so the loop has its share.
            if (0..4).all(|_| poll_next(&executor)) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })))
    }

    fn shutdown(&self, _: Shutdown) {
        self.clear();
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
