//! The default: async-io, under whatever executor polls the loop.
//!
//! async-io's reactor is one for the process and is driven by its own thread, or by whoever is in
//! `async_io::block_on`. An attached loop is woken through it; an own loop parks in its own
//! descriptor and leaves it alone, so two own loops do not queue for one reactor.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_executor::{Executor, LocalExecutor};

use crate::backends::executors::Executors;
use crate::backends::reactor::Registered;
use crate::backends::{Backend, Descriptor, Rebuild, Registration, RuntimeTasks, Shutdown};

/// Hosts a loop on async-io's reactor.
#[derive(Debug, Default)]
pub struct AsyncIoBackend(Executors);

impl AsyncIoBackend {
    /// The backend on the one reactor that there is, with no executor until it is asked for one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend of a loop that drives this executor; others may drive it too.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use async_executor::Executor;
    /// use ioloop::IOLoop;
    /// use ioloop::backends::async_io::AsyncIoBackend;
    ///
    /// let executor = Arc::new(Executor::new());
    /// let task = executor.spawn(async { "run by the loop" });
    /// let io_loop = IOLoop::builder().host(AsyncIoBackend::with_executor(executor)).build()?;
    /// assert_eq!(io_loop.run_sync(task)?, "run by the loop");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_executor(executor: Arc<Executor<'static>>) -> Self {
        AsyncIoBackend(Executors::from(Some(executor)))
    }

    /// The backend of a loop that drives this executor of its own thread's, whose tasks may be
    /// `!Send`.
    ///
    /// It drives one for any thread beside it: [`executor`](Self::executor).
    pub fn with_local_executor(executor: Rc<LocalExecutor<'static>>) -> Self {
        AsyncIoBackend(Executors::of_local(executor))
    }

    /// The executor that an own or embedded loop drives; made at the first call, unless one was
    /// given.
    ///
    /// Its tasks are `Send`, may be spawned from any thread, and run on the loop's thread while the
    /// loop is driven, between its callbacks. It is a share: other loops and threads may drive the
    /// same executor. With the last share its tasks are dropped. The loop gives up its share when
    /// it is closed; an executor that is asked for later is not driven.
    ///
    /// The panic of a task is the task's, and resumes where the task is awaited, as async-executor
    /// has it; of one that was detached it is dropped. Spawned by
    /// [`bridge::to_executor`](crate::bridge::to_executor) and detached, a task has its panic
    /// reported to the exception handler.
    ///
    /// ```
    /// use ioloop::IOLoop;
    /// use ioloop::backends::BackendKind;
    /// use ioloop::backends::async_io::AsyncIoBackend;
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
    /// let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
    /// let task = executor.spawn(async { 6 * 7 });
    /// assert_eq!(io_loop.run_sync(task)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executor(&self) -> Arc<Executor<'static>> {
        self.0.executor()
    }
}

impl Backend for AsyncIoBackend {
    fn name(&self) -> &str {
        "async-io"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered::new(descriptor)?))
    }

    fn run_tasks(&self, waker: &Waker) -> Option<RuntimeTasks> {
        self.0.run_tasks(waker)
    }

    fn shutdown(&self, _: Shutdown) {
        self.0.give_up();
    }

    fn rebuild(&self) -> Option<Rebuild> {
        let executor = self.0.sendable()?;
        Some(Box::new(move || Box::new(AsyncIoBackend(Executors::from(executor)))))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}
