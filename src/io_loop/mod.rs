//! The loop itself; its methods are in the files of this folder.

// In the order of the docs: rustdoc shows the methods of `IOLoop` in the order of these lines,
// which rustfmt keeps where an empty line is between them. How to make it, run it, stop it:
pub(crate) mod build;

mod current;

pub(crate) mod run;

pub(crate) mod running;

pub(crate) mod shutdown;

// what to add to it:
mod reactor;

mod spawn;

#[cfg(feature = "signal")]
mod signal;

// who holds it:
pub(crate) mod weak;

pub(crate) mod handle;

pub(crate) mod thread;

#[cfg(any(feature = "async-io", feature = "smol"))]
pub(crate) mod pool;

// what it has done elsewhere, where it is embedded, and what it tells:
pub(crate) mod executor;

pub(crate) mod embedded;

pub(crate) mod sendable;

pub(crate) mod portable;

pub(crate) mod hooks;

mod observe;

#[cfg_attr(not(feature = "inspect"), path = "no_inspect.rs")]
mod inspect;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::rc::{Rc, Weak};
use std::time::Instant;

use crate::engine::clock::ManualClock;
use crate::engine::{Engine, Parts, local};
use crate::host::backend::{Backend, Shutdown};
use crate::host::hosting::Hosting;
use crate::host::jobs::Jobs;

/// An event loop on top of an async runtime, after Tornado's `IOLoop`.
///
/// It watches descriptors level-triggered, runs callbacks and timers, and polls `!Send` futures,
/// all on one thread; see [`Reactor`](crate::Reactor) for the methods that add them and what they
/// promise. There are three ways to drive it:
///
/// - *own*: [`IOLoop::new`], then [`start`](Self::start) or [`run_sync`](Self::run_sync), which
///   block;
/// - *attached*: [`IOLoop::attach`] inside a running runtime, then await [`run`](Self::run) or
///   [`run_until`](Self::run_until), under any executor;
/// - *embedded* in a foreign loop: watch its [`descriptor`](Self::descriptor), call
///   [`turn`](Self::turn).
///
/// An `IOLoop` is a cheap clone, and stays on its thread; [`handle`](Self::handle) gives the side
/// that other threads hold. When the last clone goes, the loop is closed: what is pending is
/// dropped, and every descriptor is released.
///
/// A clone that a callback or a task holds keeps the loop until [`close`](Self::close), because the
/// loop holds the callback. Give them a [`WeakIOLoop`](crate::WeakIOLoop), which is a
/// [`Reactor`](crate::Reactor) as well. Where they need the loop for a moment, [`IOLoop::current`]
/// returns it.
///
/// ```
/// use std::time::Duration;
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// io_loop.call_later(Duration::from_millis(5), || {
///     println!("five milliseconds later");
///     IOLoop::current().unwrap().stop();
/// });
/// io_loop.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # One turn
///
/// 1. Note how many callbacks are queued.
/// 2. Poll the descriptors, without waiting if anything is queued or due, otherwise until the next
///    deadline or wake. (While callbacks are queued the poll may be left out, see below.)
/// 3. Run that many queued callbacks; a task's poll is one of them.
/// 4. Call the callbacks of ready descriptors, reader before writer.
/// 5. Fire the timers that were due when the poll ended, by deadline, then by order of insertion.
///
/// A timer is never early. It is late by the kernel's wake-up latency plus the callbacks ahead of
/// it. A sleeping loop sleeps at least 8 µs, so timers closer together share a wake-up.
///
/// What any of these queues waits for the next turn. So does the rest of a crowd: a turn runs 960
/// callbacks at the most, serves 64 ready descriptors, and fires 960 timers, in their order. A run
/// that ends runs all callbacks that were queued before. While more timers are due than a turn
/// fires, one that is set for a time that has passed fires after those that are due already.
///
/// # How long anything waits
///
/// While callbacks are queued, the loop polls its descriptors after 61 calls at the latest, and
/// once the calls since the last poll have taken a tenth of a millisecond; it finishes the turn
/// that it is in. Each callback, event, timer and poll of a task is a call. An attached loop
/// returns to its host by the same rule, whatever keeps it busy. So beside callbacks that take
/// long, a ready descriptor waits as long as it would on asyncio: for the callbacks of one turn, or
/// two. When cheap calls are followed by slow ones, up to sixteen of these may pass before the loop
/// notices.
///
/// Each turn fires the timers that are due, and takes the posts of other threads.
///
/// # Panics in callbacks
///
/// A panic in a callback, a reader, a timer, a task or a destructor is caught, and goes to the
/// handler that [`set_exception_handler`](Self::set_exception_handler) has set. The loop goes on.
/// Only the future given to `run_sync` or `run_until` resumes its panic at its caller. With
/// `panic = "abort"` a panic aborts.
///
/// So an assertion that fails in a callback fails no test by itself: compare outside, or collect
/// what the exception handler gets.
///
/// # Limits
///
/// - In a forked child that executes no other program the loop is dead. A method that would reach
///   the parent's kernel objects returns [`Forked`](crate::RunError::Forked), or does nothing. A
///   `Handle` returns closed. Closing the loop drops what it holds, and leaves the parent's alone.
///   A loop that is made in the child works, also in the callback that has forked:
///   [more](crate::guide::threads#a-forked-child).
/// - Deadlines count on the monotonic clock, which stands still while the machine is suspended.
/// - `tokio::time::pause` does not move the loop's clock; a [`ManualClock`] does.
#[derive(Clone)]
pub struct IOLoop {
    pub(crate) inner: Rc<BoundToItsThread>,
}

pub(crate) struct BoundToItsThread {
    pub(crate) engine: Rc<Engine>,
    pub(crate) hosting: Hosting,
    /// The loop is being run, in one of the ways that are in `run.rs`.
    pub(crate) running: Cell<bool>,
    pub(crate) jobs: Jobs,
    /// After a shutdown, until when closing may wait for the runtime's threads.
    pub(crate) patience: Cell<Option<Instant>>,
}

impl IOLoop {
    pub(crate) fn own(backend: Option<Box<dyn Backend>>) -> io::Result<IOLoop> {
        let hosting = Hosting::own(backend);
        // The backend may have made its runtime already.
        let engine = Engine::new().inspect_err(|_| hosting.shutdown(Shutdown::Background))?;
        Ok(IOLoop::assemble(Rc::new(engine), hosting))
    }

    pub(crate) fn attached(backend: Box<dyn Backend>) -> io::Result<IOLoop> {
        let engine = Rc::new(Engine::new()?);
        let hosting = Hosting::attached(backend, &engine)?;
        Ok(IOLoop::assemble(engine, hosting))
    }

    pub(crate) fn of_parts(parts: Parts, hosting: Hosting) -> IOLoop {
        IOLoop::assemble(Rc::new(Engine::of_parts(parts)), hosting)
    }

    fn assemble(engine: Rc<Engine>, hosting: Hosting) -> IOLoop {
        let jobs = Jobs::new(engine.inbox());
        let (running, patience) = (Cell::new(false), Cell::new(None));
        let inner = Rc::new(BoundToItsThread { engine, hosting, running, jobs, patience });
        let owner: Weak<BoundToItsThread> = Rc::downgrade(&inner);
        inner.engine.life.set_loop(owner);
        let engine = Rc::downgrade(&inner.engine);
        inner.engine.exceptions.set_context(Box::new(move |code| {
            match engine.upgrade().and_then(|engine| IOLoop::of(&engine)) {
                Some(io_loop) => io_loop.enter(code),
                None => code(),
            }
        }));
        inner.hosting.ask_for_tasks(&inner.engine);
        local::add(&inner.engine);
        IOLoop { inner }
    }

    /// The loop of an engine; none if it has gone.
    fn of(engine: &Engine) -> Option<IOLoop> {
        let inner = engine.life.io_loop()?.downcast::<BoundToItsThread>().ok()?;
        Some(IOLoop { inner })
    }

    /// This loop, which has no timer yet, on another clock and by another name if there are such.
    pub(crate) fn with(self, clock: Option<ManualClock>, name: Option<String>) -> IOLoop {
        if let Some(clock) = clock {
            self.inner.engine.set_clock(clock);
        }
        if let Some(name) = &name {
            self.inner.engine.exceptions.set_name(name);
        }
        inspect::introduce(&self, name.as_deref());
        self
    }
}

impl BoundToItsThread {
    /// Runs `code` in the backend's context, with this loop as the current one; an error if the
    /// backend does not run it once.
    pub(crate) fn enter<T>(&self, code: impl FnOnce() -> T) -> io::Result<T> {
        self.hosting.enter(|| {
            let _current = local::enter(&self.engine);
            code()
        })
    }

    /// Calls the hooks after a sleep that are due still: the loop does not sleep any more.
    pub(crate) fn end_round(&self) {
        if self.engine.hooks.is_open() {
            // A hook may not run or close the loop here either.
            let running = self.running.replace(true);
            // Whoever ran the loop has the error of a backend that does not run it.
            let _ = self.enter(|| self.engine.after_wake());
            self.running.set(running);
        }
    }

    pub(crate) fn close(&self, how: Shutdown) {
        if self.engine.is_closed() {
            return;
        }
        self.engine.shown.set_closing(true);
        self.end_round();
        // In the runtime's context, as what is dropped here may need it.
        let _ = self.hosting.enter(|| {
            self.hosting.deregister(&self.engine);
            self.hosting.drop_tasks(&self.engine);
            self.engine.close();
            let executor = self.jobs.take_executor();
            if self.engine.is_forked() {
                // Its threads are the parent's.
                mem::forget(executor);
            } else {
                self.engine.exceptions.discard(executor);
            }
        });
        if !self.engine.is_closed() {
            // The backend ran nothing.
            self.engine.close();
        }
        if !self.engine.is_forked() {
            self.hosting.shutdown(how);
        }
        self.engine.shown.set_closing(false);
    }
}

impl Drop for BoundToItsThread {
    fn drop(&mut self) {
        let engine = &self.engine;
        if !engine.is_closed() {
            // Nothing can name this any more. Code that is called while the loop is closed finds an
            // heir current.
            let hosting = mem::replace(&mut self.hosting, Hosting::own(None));
            let jobs = mem::replace(&mut self.jobs, Jobs::new(engine.inbox()));
            let (running, patience) = (Cell::new(false), Cell::new(None));
            let engine = Rc::clone(engine);
            let heir = Rc::new(BoundToItsThread { engine, hosting, running, jobs, patience });
            let owner: Weak<BoundToItsThread> = Rc::downgrade(&heir);
            heir.engine.life.set_heir(owner);
            heir.engine.report_never_driven(true);
            heir.close(Shutdown::Background);
        } else if engine.is_forked() {
            self.hosting.abandon();
        }
    }
}

/// Whether both are the same loop.
impl PartialEq for IOLoop {
    fn eq(&self, other: &IOLoop) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for IOLoop {}

impl fmt::Debug for IOLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IOLoop")
            .field("name", &self.name())
            .field("backend", &self.backend_name())
            .field("attached", &self.is_attached())
            .field("running", &self.is_running())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
