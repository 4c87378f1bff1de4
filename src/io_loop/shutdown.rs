//! Ending a loop in order: what runs may finish, for a while.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::io_loop::IOLoop;
use crate::reactor::contract::deadline_after;
use crate::reactor::time::sleep_until;

/// What had not finished when an [`IOLoop::shutdown`] ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Tasks that were dropped unfinished.
    pub tasks: usize,
    /// Jobs of [`run_in_executor`](IOLoop::run_in_executor) that were left to themselves.
    pub jobs: usize,
}

/// Ending in order.
impl IOLoop {
    /// Refuses posts, tasks and jobs from now on, as a closed loop does.
    pub(crate) fn refuse(&self) {
        self.inner.engine.refuse();
        self.inner.jobs.refuse();
    }

    /// Ends the loop in order: refuses new work, lets tasks and jobs finish for at most `grace`,
    /// drops the tasks that have not, and stops the loop.
    ///
    /// From the first poll on, posts of other threads, new tasks and new jobs are refused, as a
    /// closed loop refuses them. Callbacks, timers and watches go on, since tasks need them to
    /// finish. Tasks that are dropped return closed; they are dropped on this thread. Then
    /// [`start`](Self::start) or [`run`](Self::run) returns, and the loop is to be
    /// [closed](Self::close). That drops what is not a task, and waits for the threads of the
    /// loop's own runtime no longer than for the rest of the grace. Whatever blocks them is left to
    /// itself.
    ///
    /// A task without an end, such as one that accepts connections, takes up all of the grace: keep
    /// it, and [cancel](crate::Task::cancel) it first. Timers and callbacks that are pending are not
    /// waited for. Where they matter, remove the watches and let
    /// [`run_until_empty`](Self::run_until_empty) end the run instead.
    ///
    /// It may be awaited by the code that drives the loop, that is inside
    /// [`run_until`](Self::run_until) or [`run_sync`](Self::run_sync), or in a task of the loop,
    /// which is not waited for. Beside a loop that nobody drives it waits for ever: tasks do not
    /// go on, and the grace is a timer of the loop. Several shutdowns at once do not wait for each other, and all end with the
    /// first. A callback that blocks the loop's thread holds it up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let nap = ioloop::sleep(&io_loop, Duration::from_millis(1));
    /// let quick = io_loop.spawn(nap);
    /// let endless = io_loop.spawn(std::future::pending::<()>());
    /// let unfinished = io_loop.run_sync(io_loop.shutdown(Duration::from_millis(20)))?;
    /// assert_eq!((unfinished.tasks, unfinished.jobs), (1, 0));
    /// assert!(quick.is_finished() && endless.is_finished());
    /// io_loop.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// asyncio leaves this to `asyncio.run`, which cancels at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future half way drops no task. The loop goes on refusing; the shutdown can be
    /// begun again.
    pub fn shutdown(&self, grace: Duration) -> impl Future<Output = Unfinished> + use<> {
        let (engine, jobs) = (Rc::clone(&self.inner.engine), self.inner.jobs.underway());
        // A task of the loop that awaits this must not keep the loop.
        let io_loop = self.downgrade();
        async move {
            if let Some(io_loop) = io_loop.upgrade() {
                io_loop.refuse();
            }
            let deadline = deadline_after(engine.timers.now(), grace);
            let ending = Entered::new(engine);
            let Entered(engine, id) = &ending;
            let mut over = pin!(sleep_until(&io_loop, deadline));
            poll_fn(|cx| {
                engine.tasks.ending.wait(*id, cx.waker());
                let is_done = engine.tasks.ending.over().is_some()
                    || (engine.tasks.are_drained() && jobs.poll_none(cx).is_ready());
                // A loop that is closed meanwhile has nothing left either.
                if is_done { Poll::Ready(()) } else { over.as_mut().poll(cx).map(drop) }
            })
            .await;
            let first = engine.tasks.ending.over().is_none();
            let tasks = engine.tasks.ending.over().unwrap_or_else(|| engine.drop_tasks());
            let unfinished = Unfinished { tasks, jobs: jobs.count() };
            if first {
                engine.tasks.ending.end(*id, tasks);
            }
            if first && !engine.tasks.ending.is_alone() {
                // The others have been woken, and return before the loop stops.
                let mut has_yielded = false;
                poll_fn(|cx| match mem::replace(&mut has_yielded, true) {
                    true => Poll::Ready(()),
                    false => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                })
                .await;
            }
            if let Some(io_loop) = io_loop.upgrade().filter(|_| engine.tasks.ending.stop()) {
                let left = deadline.saturating_duration_since(engine.timers.now());
                io_loop.inner.patience.set(Some(deadline_after(Instant::now(), left)));
                io_loop.stop();
            }
            unfinished
        }
    }
}

/// A shutdown that was begun; dropped, it has ended or was given up.
struct Entered(Rc<Engine>, u64);

impl Entered {
    fn new(engine: Rc<Engine>) -> Self {
        let id = engine.tasks.ending.enter(engine.tasks.polled());
        Entered(engine, id)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.tasks.ending.leave(self.1);
    }
}
