//! The loop's side of its backend: the reactor that holds its descriptor, and the context that it
//! runs in.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::engine::Engine;
use crate::error::not_hosted;
use crate::host::backend::{Backend, Registration, RuntimeTasks, Shutdown};
use crate::observe::origin::Origin;

pub(crate) struct Hosting {
    /// None for a bare loop.
    backend: Option<Box<dyn Backend>>,
    attached: bool,
    /// The descriptor in the backend's reactor, while the backend is to wake the loop.
    registration: RefCell<Option<Box<dyn Registration>>>,
    /// The tasks of the runtime's executor, in an own or embedded loop.
    tasks: RefCell<Option<RuntimeTasks>>,
}

impl Hosting {
    /// An own loop. Its backend is asked for nothing yet.
    pub(crate) fn own(backend: Option<Box<dyn Backend>>) -> Self {
        Hosting::new(backend, false)
    }

    /// A loop that its host wakes. It is registered at once, which is cheap while the loop watches
    /// nothing.
    pub(crate) fn attached(backend: Box<dyn Backend>, engine: &Engine) -> io::Result<Self> {
        let hosting = Hosting::new(Some(backend), true);
        hosting.enter(|| hosting.register(engine))??;
        Ok(hosting)
    }

    fn new(backend: Option<Box<dyn Backend>>, attached: bool) -> Self {
        let (registration, tasks) = (RefCell::new(None), RefCell::new(None));
        Hosting { backend, attached, registration, tasks }
    }

    pub(crate) fn backend(&self) -> Option<&dyn Backend> {
        self.backend.as_deref()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether the loop returns to its host to sleep, and never waits in the kernel by itself.
    pub(crate) fn host_sleeps(&self) -> bool {
        self.attached || self.backend().is_some_and(|backend| !backend.is_embeddable())
    }

    /// Runs `code` inside the backend's context.
    ///
    /// An error says that the backend ran it twice, or not at all.
    pub(crate) fn enter<T>(&self, code: impl FnOnce() -> T) -> io::Result<T> {
        let Some(backend) = &self.backend else {
            return Ok(code());
        };
        let (mut code, mut result, mut runs) = (Some(code), None, 0_u32);
        backend.enter(&mut || {
            runs += 1;
            if let Some(code) = code.take() {
                result = Some(code());
            }
        });
        match result {
            Some(result) if runs == 1 => Ok(result),
            _ => Err(self
                .misused(&format!("its `enter` ran what it was given {runs} times, and not once"))),
        }
    }

    /// Has the loop polled again, after the host has had its turn.
    pub(crate) fn yield_now(&self, cx: &mut Context<'_>) {
        match &self.backend {
            Some(backend) => backend.yield_now(cx),
            None => cx.waker().wake_by_ref(),
        }
    }

    /// An error for the author of a backend that breaks its contract.
    #[cold]
    pub(crate) fn misused(&self, what: &str) -> io::Error {
        let name = self.backend().map_or("bare", |backend| backend.name());
        io::Error::other(format!("the backend `{name}` breaks the contract of `Backend`: {what}"))
    }

    // The tasks of the runtime's executor.

    /// Asks the backend for its tasks. If there are some, they are polled when the loop is driven
    /// next.
    pub(crate) fn ask_for_tasks(&self, engine: &Engine) {
        let Some(backend) = self.backend.as_ref().filter(|_| !self.attached) else { return };
        let waker = Waker::from(Arc::clone(engine.inbox()));
        let tasks = backend.run_tasks(&waker);
        if tasks.is_some() {
            self.tasks.replace(tasks);
            waker.wake();
        }
    }

    /// Polls the tasks, as an entry of the callback queue.
    pub(crate) fn poll_tasks(&self, engine: &Engine) {
        engine.inbox().begin_runtime_poll();
        // Taken out meanwhile, since a task may do anything to the loop.
        let taken = self.tasks.take();
        let Some(mut tasks) = taken else {
            // The backend's executor was made, or has its first task.
            return self.ask_for_tasks(engine);
        };
        let waker = Waker::from(Arc::clone(engine.inbox()));
        let mut polled = None;
        engine.exceptions.call(Origin::RuntimeTask, None, || {
            polled = Some(tasks.as_mut().poll(&mut Context::from_waker(&waker)));
        });
        match polled {
            Some(Poll::Pending) => drop(self.tasks.replace(Some(tasks))),
            Some(_) => engine.exceptions.discard(tasks),
            // A future that has panicked must not be polled again.
            None => {
                engine.exceptions.discard(tasks);
                self.ask_for_tasks(engine);
            }
        }
    }

    /// Drops the tasks' future. The tasks wait for the next driver of the executor. Returns whether
    /// there was one.
    pub(crate) fn drop_tasks(&self, engine: &Engine) -> bool {
        let tasks = self.tasks.take();
        let any = tasks.is_some();
        if engine.is_forked() {
            // A thread of the parent's may hold the executor's lock.
            mem::forget(tasks);
        } else {
            engine.exceptions.discard(tasks);
        }
        any
    }

    fn register(&self, engine: &Engine) -> io::Result<()> {
        let Some(backend) = &self.backend else {
            return Ok(());
        };
        let descriptor = engine.descriptor().ok_or_else(|| engine.gone())?;
        let registration = backend.register(descriptor).map_err(not_hosted)?;
        self.registration.replace(Some(registration));
        engine.counters.registrations.add(1);
        Ok(())
    }

    /// Whether the descriptor is in the host's reactor.
    pub(crate) fn is_registered(&self) -> bool {
        self.registration.borrow().is_some()
    }

    /// Whether a registration that returns `Pending` after a wake says that no descriptor is ready.
    pub(crate) fn is_exact(&self) -> bool {
        self.registration.borrow().as_ref().is_some_and(|registration| registration.is_exact())
    }

    /// Asks the host whether the loop's descriptor may have become readable.
    pub(crate) fn poll_ready(&self, engine: &Engine, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if engine.is_forked() {
            return Poll::Ready(Err(engine.gone()));
        }
        if !self.is_registered() {
            if let Err(error) = self.register(engine) {
                return Poll::Ready(Err(error));
            }
        }
        // Taken out meanwhile, since the host may run wakers.
        let registration = self.registration.take();
        let Some(mut registration) = registration else {
            return Poll::Pending;
        };
        let polled = registration.poll_ready(cx, engine.timers.deadline_for_host());
        self.registration.replace(Some(registration));
        polled
    }

    /// Has the engine make a part of its kernel set anew, and registers the new descriptor once all
    /// of it is.
    ///
    /// After an error, as if no other descriptor can be had, the next turn tries again.
    pub(crate) fn renew(&self, engine: &Engine) -> io::Result<()> {
        let renewed = matches!(engine.renew(), Ok(true));
        if renewed && self.deregister(engine) { self.register(engine) } else { Ok(()) }
    }

    /// Takes the descriptor out of the host's reactor. Returns whether it was there.
    pub(crate) fn deregister(&self, engine: &Engine) -> bool {
        let registration = self.registration.take();
        let registered = registration.is_some();
        if engine.is_forked() {
            mem::forget(registration);
        }
        registered
    }

    /// Leaves the runtime as it is, in a forked child, which shares the runtime's reactor with its
    /// parent and lacks its threads.
    pub(crate) fn abandon(&mut self) {
        mem::forget(self.backend.take());
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        if let Some(backend) = self.backend.as_ref().filter(|_| !self.attached) {
            backend.shutdown(how);
        }
    }
}
