//! Blocking work on other threads, with its value on the loop.

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::rc::Rc;

use crate::host::backend::Job;
use crate::host::jobs::Executor;
use crate::io_loop::IOLoop;
use crate::task::{Home, Task};

/// Work that blocks.
impl IOLoop {
    /// Runs `job`, which may block, on a thread of the default executor; the task gives its value.
    ///
    /// Where none was [set](Self::set_default_executor) the default is the runtime's own: tokio's
    /// blocking pool on tokio, the pool of the crate `blocking`, which is smol's, on all others. A
    /// loop that was built without the feature `blocking`, on a runtime without a pool, starts a
    /// thread for each job. None of them limits how many jobs wait; each starts its threads when
    /// the first job arrives.
    ///
    /// ```
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let entries = io_loop.run_in_executor(|| std::fs::read_dir("/").map(Iterator::count));
    /// assert!(io_loop.run_sync(entries)??? > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// As Tornado's and asyncio's method of that name. To use another executor for one job, give
    /// the job to that executor, and its result to a [`deferred`](crate::deferred()).
    ///
    /// # Errors
    ///
    /// The task's: closed if the loop is closed or [shuts down](Self::shutdown), or the executor
    /// drops the job; the panic of the job. A job that ends after the loop was closed is discarded;
    /// on an own loop on tokio, closing waits for it, after a [`shutdown`](Self::shutdown) no
    /// longer than that one's grace.
    ///
    /// # Cancel safety
    ///
    /// Dropping the task lets the job run on. A job that is cancelled before it began does not run;
    /// one that has begun runs to its end.
    #[doc(alias = "spawn_blocking")]
    #[doc(alias = "unblock")]
    #[track_caller]
    pub fn run_in_executor<T, F>(&self, job: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (task, completer) = Task::new();
        let inner = &*self.inner;
        let home = Home::new(inner.engine.inbox(), Location::caller());
        let Some(ticket) = inner.jobs.admit().filter(|_| !inner.engine.is_closed()) else {
            inner.engine.exceptions.discard(job);
            return task;
        };
        let job = Box::new(move || {
            // Given back last: by then the value is there.
            let _ticket = ticket;
            completer.call(home, job);
        });
        inner.jobs.run(&inner.engine.exceptions, inner.hosting.backend(), job);
        task
    }

    /// Has `executor` run the jobs of [`run_in_executor`](Self::run_in_executor) from now on.
    ///
    /// It is called on the loop's thread and must not block there; it is dropped when the loop is
    /// closed. Its panic goes to the exception handler, and the job's task returns closed.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ioloop::backends::Job;
    /// use ioloop::IOLoop;
    ///
    /// let (jobs, queue) = mpsc::channel::<Job>();
    /// let worker = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
    /// let io_loop = IOLoop::new()?;
    /// io_loop.set_default_executor(move |job| {
    ///     let _ = jobs.send(job); // refused, the job is dropped, and its task returns closed
    /// });
    /// assert_eq!(io_loop.run_sync(io_loop.run_in_executor(|| 6 * 7))??, 42);
    /// io_loop.close()?;
    /// worker.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_default_executor(&self, executor: impl Fn(Job) + 'static) {
        let executor: Executor = Rc::new(executor);
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(executor);
        }
        let before = self.inner.jobs.set_executor(executor);
        exceptions.discard(before);
    }

    /// Refuses further jobs from this call on, and waits for those that were begun or are queued.
    ///
    /// Waits for ever where a job never ends; see [`shutdown`](Self::shutdown) for a limit.
    pub fn shutdown_default_executor(&self) -> impl Future<Output = ()> + use<> {
        self.inner.jobs.refuse();
        let underway = self.inner.jobs.underway();
        poll_fn(move |cx| underway.poll_none(cx))
    }
}
