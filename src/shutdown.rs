//! Ending a loop in order: what runs may finish, for a while.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::futures::time::sleep;
use crate::io_loop::IOLoop;

/// What [`IOLoop::shutdown`] did not see the end of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Tasks that were dropped unfinished.
    pub tasks: usize,
    /// Jobs of [`run_in_executor`](IOLoop::run_in_executor) that were left to themselves.
    pub jobs: usize,
}

/// Orderly shutdown.
impl IOLoop {
    /// Ends the loop in order: refuses new work, lets tasks and jobs finish for at most `grace`, drops the tasks that
    /// have not, and stops the loop.
    ///
    /// From the first poll on, what other threads post, new tasks and new jobs are refused, each with the answer that a
    /// closed loop gives. Callbacks, timers and watches go on, since tasks need them to finish. Tasks are dropped on
    /// this thread, and answer closed. Then [`start`](Self::start) or [`run`](Self::run) returns; what remains is to
    /// [`close`](Self::close) the loop, which drops what is not a task.
    ///
    /// It may be awaited by whoever drives the loop, or in a task of the loop, which is not waited for.
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
    /// Given up, it has dropped no task, but goes on refusing; it can be begun again.
    pub fn shutdown(&self, grace: Duration) -> impl Future<Output = Unfinished> + use<> {
        let (engine, jobs) = (Rc::clone(&self.inner.engine), self.inner.jobs.underway());
        // A task of the loop that awaits this must not keep the loop.
        let io_loop = self.downgrade();
        async move {
            engine.refuse();
            if let Some(io_loop) = io_loop.upgrade() {
                io_loop.inner.jobs.refuse();
            }
            let own = engine.polled_task();
            let mut over = pin!(sleep(&io_loop, grace));
            poll_fn(|cx| {
                let tasks = engine.poll_drained(own, cx.waker());
                if tasks && jobs.poll_none(cx).is_ready() {
                    return Poll::Ready(());
                }
                // Of a loop that is closed meanwhile nothing is left either.
                over.as_mut().poll(cx).map(drop)
            })
            .await;
            let unfinished = Unfinished { tasks: engine.drop_tasks(own), jobs: jobs.count() };
            if let Some(io_loop) = io_loop.upgrade() {
                io_loop.stop();
            }
            unfinished
        }
    }
}
