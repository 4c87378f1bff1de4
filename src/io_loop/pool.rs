//! Loops on threads of their own that drive one executor together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "async-io")]
use crate::backends::async_io::AsyncIoBackend as SharedBackend;
use crate::backends::executors::Executor;
#[cfg(not(feature = "async-io"))]
use crate::backends::smol::SmolBackend as SharedBackend;
use crate::error::RunError;
use crate::io_loop::IOLoop;
use crate::io_loop::build::Builder;
use crate::io_loop::handle::Handle;
use crate::io_loop::shutdown::Unfinished;
use crate::io_loop::thread::{LoopThread, late};
use crate::reactor::contract::{Reactor, deadline_after};
use crate::reactor::time::sleep;
use crate::task::Task;

/// Loops that run on threads of their own and drive one executor together; made by
/// [`IOLoop::spawn_threads`].
///
/// A task of the [`executor`](Self::executor) is `Send`, and is polled by whichever loop is free.
/// What is `!Send` stays on one loop, and is sent there through one of the
/// [`handles`](Self::handles). See [the guide](crate::guide::executors) for what runs where, and
/// what it costs.
///
/// Dropping the pool lets the threads run on.
#[cfg_attr(docsrs, doc(cfg(any(feature = "async-io", feature = "smol"))))]
#[derive(Debug)]
pub struct LoopPool {
    threads: Vec<LoopThread>,
    executor: Arc<Executor<'static>>,
}

/// Loops on threads of their own.
impl IOLoop {
    /// Starts `number` threads, each with a loop that `make` makes on it, which all drive one
    /// executor.
    ///
    /// The threads are called `name` and a number, from 0 on. `make` gets a builder whose backend
    /// has the executor. It may go on with it, and may add to the loop what is to be there from the
    /// first turn on. A loop that it gives another backend does not drive the executor. Each loop
    /// runs until it is stopped; it is closed then, and the others go on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{Builder, IOLoop, bridge};
    ///
    /// let pool = IOLoop::spawn_threads(2, "worker", Builder::build)?;
    /// // By whichever loop is free.
    /// let squares = (1..=3).map(|n| bridge::to_executor(pool.executor(), async move { n * n }));
    /// let sum: u32 = IOLoop::new()?.run_sync(async {
    ///     let mut sum = 0;
    ///     for square in squares {
    ///         sum += square.await?;
    ///     }
    ///     Ok::<_, ioloop::JoinError>(sum)
    /// })??;
    /// assert_eq!(sum, 14);
    /// let unfinished = pool.shutdown(Duration::from_secs(1))?;
    /// assert_eq!(unfinished.tasks, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a pool of none; a thread cannot be
    /// started, or what `make` returned. The threads that were started have ended then.
    #[cfg_attr(docsrs, doc(cfg(any(feature = "async-io", feature = "smol"))))]
    pub fn spawn_threads(
        number: usize,
        name: &str,
        make: impl Fn(Builder) -> io::Result<IOLoop> + Send + Sync + 'static,
    ) -> io::Result<LoopPool> {
        if number == 0 {
            let none = "a pool of no loops would never run its executor's tasks";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, none));
        }
        let make = Arc::new(make);
        let mut pool = LoopPool { threads: Vec::new(), executor: Arc::default() };
        for n in 0..number {
            let (make, executor) = (Arc::clone(&make), Arc::clone(&pool.executor));
            let spawned = IOLoop::spawn_thread(&format!("{name} {n}"), move || {
                make(IOLoop::builder().host(SharedBackend::with_executor(executor)))
            });
            match spawned {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.stop();
                    let _ = pool.join();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }
}

impl LoopPool {
    /// The executor that all of the loops drive.
    ///
    /// Its tasks wait while no loop runs. With the last share in it they are dropped.
    pub fn executor(&self) -> &Arc<Executor<'static>> {
        &self.executor
    }

    /// A handle to each loop, in the order of their threads' numbers.
    pub fn handles(&self) -> impl ExactSizeIterator<Item = Handle> {
        self.threads.iter().map(LoopThread::handle)
    }

    /// Stops every loop that still runs, as [`Handle::stop`] does.
    pub fn stop(&self) {
        for handle in self.handles() {
            // One that is closed has stopped.
            let _ = handle.stop();
        }
    }

    /// Ends all of the loops in order, within one grace, and waits until they were closed and their
    /// threads have ended.
    ///
    /// Every loop refuses new work at once. All of them go on driving the executor until that has
    /// no task left and their own tasks and jobs are done, or the grace is over; each is then shut
    /// down as by [`IOLoop::shutdown`]. What is unfinished in the executor stays there, and is
    /// dropped with the last share in it, which may be the pool's. The executor itself refuses
    /// nothing.
    ///
    /// The sums of what the loops did not see the end of; the executor's tasks are not counted
    /// among them.
    ///
    /// # Errors
    ///
    /// The first of those that [`LoopThread::shutdown`] would give for one of the loops; the others
    /// are ended nevertheless.
    pub fn shutdown(self, grace: Duration) -> Result<Unfinished, RunError> {
        let limit = late(grace);
        let LoopPool { threads, executor } = self;
        let begun: Vec<_> =
            threads.iter().map(|thread| begin(&thread.handle(), &executor, grace)).collect();
        let ended: Vec<_> = threads
            .into_iter()
            .zip(begun)
            .map(|(thread, shutdown)| thread.end(shutdown, limit))
            .collect();
        ended.into_iter().try_fold(Unfinished::default(), |mut sum, one| {
            let one = one?;
            sum.tasks += one.tasks;
            sum.jobs += one.jobs;
            Ok(sum)
        })
    }

    /// Waits until every loop was stopped, closed, and its thread has ended.
    ///
    /// # Errors
    ///
    /// The first that one of them ended with.
    pub fn join(self) -> Result<(), RunError> {
        let ended: Vec<_> = self.threads.into_iter().map(LoopThread::join).collect();
        ended.into_iter().collect()
    }
}

/// How often a loop that shuts down asks whether the executor is done. The executor does not say so
/// by itself.
const ASK: Duration = Duration::from_millis(1);

/// Begins the shutdown of one loop, which goes on with the executor's tasks and its own.
fn begin(handle: &Handle, executor: &Arc<Executor<'static>>, grace: Duration) -> Task<Unfinished> {
    let executor = Arc::clone(executor);
    let shutdown = handle.spawn(move || async move {
        let Some(io_loop) = IOLoop::current() else { return Unfinished::default() };
        let deadline = deadline_after(io_loop.now(), grace);
        io_loop.refuse();
        let is_done = || {
            let left = io_loop.metrics();
            // The one task is this.
            left.tasks <= 1 && left.jobs == 0 && executor.is_empty()
        };
        while !is_done() && io_loop.now() < deadline {
            let _ = sleep(&io_loop, ASK).await;
        }
        io_loop.shutdown(deadline.saturating_duration_since(io_loop.now())).await
    });
    handle.refuse();
    shutdown
}
