//! smol, under whatever executor polls the loop.
//!
//! smol's reactor is async-io's: one for the process. Its own thread drives it, or a thread in
//! `smol::block_on`. An attached loop is woken through it; an own loop parks in its own descriptor
//! and leaves it alone, so two own loops do not queue for one reactor.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use smol::{Executor, LocalExecutor};

use crate::backends::executors::Executors;
use crate::backends::reactor::Registered;
use crate::backends::{Backend, Descriptor, Rebuild, Registration, RuntimeTasks, Shutdown};

/// Hosts a loop on smol's reactor.
#[derive(Debug, Default)]
pub struct SmolBackend(Executors);

impl SmolBackend {
    /// The backend on the one reactor that there is, with no executor until it is asked for one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend of a loop that drives this executor; others may drive it too.
    pub fn with_executor(executor: Arc<Executor<'static>>) -> Self {
        SmolBackend(Executors::from(Some(executor)))
    }

    /// The backend of a loop that drives this executor of its own thread's, whose tasks may be
    /// `!Send`.
    pub fn with_local_executor(executor: Rc<LocalExecutor<'static>>) -> Self {
        SmolBackend(Executors::of_local(executor))
    }

    /// The executor that an own or embedded loop drives; made at the first call, unless one was
    /// given.
    ///
    /// As [`AsyncIoBackend::executor`](crate::backends::async_io::AsyncIoBackend::executor), since
    /// smol's executors are those of async-executor. `smol::spawn` is another one: it keeps threads
    /// of its own.
    pub fn executor(&self) -> Arc<Executor<'static>> {
        self.0.executor()
    }
}

impl Backend for SmolBackend {
    fn name(&self) -> &str {
        "smol"
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
        Some(Box::new(move || Box::new(SmolBackend(Executors::from(executor)))))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}
