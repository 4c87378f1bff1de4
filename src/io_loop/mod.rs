//! The loop: how it is made, which one is current, and what a user asks of it.

pub(crate) mod build;
pub(crate) mod executor;
pub(crate) mod handle;
pub(crate) mod hooks;
mod observe;
#[cfg(any(feature = "async-io", feature = "smol"))]
pub(crate) mod pool;
pub(crate) mod portable;
pub(crate) mod run;
pub(crate) mod sendable;
pub(crate) mod shutdown;
pub(crate) mod thread;
pub(crate) mod weak;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use self::handle::Handle;
use crate::engine::clock::ManualClock;
use crate::engine::inbox::Inbox;
use crate::engine::watches::Role;
use crate::engine::{Engine, Parts, local};
use crate::host::backend::{Backend, Shutdown};
use crate::host::hosting::Hosting;
use crate::host::jobs::Jobs;
use crate::observe::exceptions::Exception;
use crate::observe::metrics::Metrics;
use crate::observe::origin::Origin;
use crate::reactor::callback::Callback;
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::handles::{CallbackHandle, Owner, TimerHandle, Watch};
use crate::reactor::post::Poster;
use crate::reactor::readiness::{Events, Interest};
use crate::reactor::watcher::Watcher;
use crate::task::Task;

/// An event loop on top of an async runtime, after Tornado's `IOLoop`.
///
/// It watches descriptors level-triggered, runs callbacks and timers, and polls `!Send` futures, all on one
/// thread; see [`Reactor`] for the methods that add them and what they promise. There are three ways to
/// drive it:
///
/// - *own*: [`IOLoop::new`], then [`start`](Self::start) or [`run_sync`](Self::run_sync), which block;
/// - *attached*: [`IOLoop::attach`] inside a running runtime, then await [`run`](Self::run) or
///   [`run_until`](Self::run_until), under any executor;
/// - *embedded* in a foreign loop: watch its [`descriptor`](Self::descriptor), call [`turn`](Self::turn).
///
/// An `IOLoop` is a cheap clone, and stays on its thread; [`handle`](Self::handle) gives the side that other
/// threads hold. When the last clone goes, the loop is closed: what is pending is dropped, and every
/// descriptor is released.
///
/// A clone that a callback or a task holds keeps the loop until [`close`](Self::close), because the loop
/// holds the callback. Give them a [`WeakIOLoop`](crate::WeakIOLoop), which is a [`Reactor`] as well; where they need the loop
/// for a moment, [`IOLoop::current`] has it.
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
/// 2. Poll the descriptors, without waiting if anything is queued or due, otherwise until the next deadline
///    or wake. (While callbacks are queued the poll may be left out, see below.)
/// 3. Run that many queued callbacks; a task's poll is one of them.
/// 4. Call the callbacks of ready descriptors, reader before writer.
/// 5. Fire the timers that were due when the poll ended, by deadline, then by order of insertion.
///
/// A timer is never early. It is late by the kernel's wake-up latency plus the callbacks ahead of it. A
/// sleeping loop sleeps at least 8 µs, so timers closer together share a wake-up.
///
/// What any of these queues waits for the next turn.
///
/// # How long anything waits
///
/// While callbacks are queued, the loop polls its descriptors after 61 calls at the latest, and once the
/// calls since the last poll have taken a tenth of a millisecond; it finishes the turn that it is in.
/// Each callback, event, timer and poll of a task is a call. An attached loop returns to its host by the
/// same rule, whatever keeps it busy. So beside callbacks that take long, a ready descriptor waits as long
/// as it would on asyncio: for the callbacks of one turn, or two. When cheap calls are followed by slow
/// ones, up to sixteen of these may pass before the loop notices.
///
/// Due timers, and posts of other threads, are looked for in each turn.
///
/// # Panics in callbacks
///
/// A panic in a callback, a reader, a timer, a task or a destructor is caught and goes to
/// [`set_exception_handler`](Self::set_exception_handler); the loop goes on. Only the future given to
/// `run_sync` or `run_until` resumes its panic at its caller. With `panic = "abort"` a panic aborts.
///
/// So an assertion that fails in a callback fails no test by itself: compare outside, or collect what the
/// exception handler gets.
///
/// # Limits
///
/// - In a forked child that executes no other program the loop is dead: what would reach the parent's kernel objects
///   returns [`Forked`](crate::RunError::Forked) or does nothing, a `Handle` returns closed, and closing the loop drops
///   what it holds and leaves the parent's alone. A loop that is made there works, also in the callback that has
///   forked: [more](crate::guide::threads#a-forked-child).
/// - Deadlines count on the monotonic clock, which stands still while the machine is suspended.
/// - `tokio::time::pause` does not move the loop's clock; a [`ManualClock`] does.
#[derive(Clone)]
pub struct IOLoop {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Rc<Engine>,
    pub(crate) hosting: Hosting,
    /// Somebody is inside one of the ways to run, which are in `run.rs`.
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
        let inner = Rc::new(Inner { engine, hosting, running, jobs, patience });
        let owner: Weak<Inner> = Rc::downgrade(&inner);
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
        let inner = engine.life.io_loop()?.downcast::<Inner>().ok()?;
        Some(IOLoop { inner })
    }

    /// This loop, which has no timer yet, on another clock and by another name if there are such.
    pub(crate) fn with(self, clock: Option<ManualClock>, name: Option<String>) -> IOLoop {
        if let Some(clock) = clock {
            self.inner.engine.set_clock(clock);
        }
        if let Some(name) = name {
            self.inner.engine.exceptions.set_name(&name);
        }
        self
    }
}

/// The current loop.
impl IOLoop {
    /// The loop whose callback, task or `run_sync` future is executing on this thread, or the one entered
    /// with [`enter`](Self::enter), whichever is innermost; none if there is neither.
    ///
    /// Unlike Tornado before version 5, it never falls back to a global loop.
    pub fn current() -> Option<IOLoop> {
        IOLoop::of(&*local::current()?)
    }

    /// Makes this loop current while `code` runs, in its backend's context.
    ///
    /// What was current before is current again afterwards, also after a panic.
    ///
    /// # Panics
    ///
    /// With the panic of `code`; and if the backend, one from outside, does not run `code` exactly once.
    #[doc(alias = "make_current")]
    pub fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        self.inner.enter(code).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Handlers: one callback for all that comes on a descriptor.
impl IOLoop {
    /// Calls `callback` with the source, and with what came, in each turn in which there is something of
    /// `interest`, an error or a hang-up.
    ///
    /// Level-triggered like [`add_reader`](Reactor::add_reader), and the source is owned in the same way. A
    /// descriptor has one handler, and then neither reader nor writer. An empty interest holds the source,
    /// paused. A handler that panics is removed.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use ioloop::{Events, IOLoop, Interest};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// ours.write_all(b"x")?;
    /// io_loop.add_handler(theirs, Interest::READ, |_, events| {
    ///     assert_eq!(events, Events::READ);
    ///     IOLoop::current().unwrap().stop();
    /// })?;
    /// io_loop.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists): the descriptor is watched already, which goes on; else
    /// as for [`add_reader`](Reactor::add_reader). A failed add leaves no trace.
    #[track_caller]
    pub fn add_handler<S, F>(&self, source: S, interest: Interest, callback: F) -> io::Result<Watch>
    where
        S: AsFd + 'static,
        F: FnMut(&S, Events) + 'static,
    {
        let watcher = Watcher::with_events(source, callback);
        let interest = interest & Interest::all();
        let id = self.inner.engine.watch(Role::Handler, interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    /// Changes what the handler of a descriptor number waits for; nothing pauses it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound): the descriptor has no handler. Else those of
    /// [`add_reader`](Reactor::add_reader). Nothing is changed then.
    pub fn update_handler(&self, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        self.inner.engine.update_handler(fd.as_fd(), interest & Interest::all())
    }

    /// Removes the handler of a descriptor number; says whether there was one.
    pub fn remove_handler(&self, fd: impl AsFd) -> bool {
        self.inner.engine.unwatch(Role::Handler, fd.as_fd().as_raw_fd())
    }
}

/// Futures, other threads, and what the loop tells.
impl IOLoop {
    /// Runs `future` as a task of this loop, on this thread; it is polled first in the next turn.
    ///
    /// Its panic is its task's: an error where the task is awaited, a report to the exception handler where
    /// nobody holds the task any more. An `Err` that it returns is a value, and is lost with a task that nobody awaits:
    /// use [`spawn_logged`](Self::spawn_logged) there. On a closed loop the future is dropped, and the task returns closed.
    ///
    /// A future that holds an `IOLoop` of its own loop keeps the loop open while it is pending, so hand it a
    /// [`WeakIOLoop`](crate::WeakIOLoop):
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor, sleep};
    ///
    /// async fn tick<R: Reactor>(reactor: R) {
    ///     while sleep(&reactor, Duration::from_millis(1)).await.is_ok() {}
    /// }
    ///
    /// let io_loop = IOLoop::new()?;
    /// let ticking = io_loop.spawn(tick(io_loop.downgrade()));
    /// drop(io_loop);
    /// assert!(ticking.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (task, completer) = Task::new();
        completer.spawn(&self.inner.engine, Location::caller(), future);
        task
    }

    /// Runs `future` as a task of this loop, and has its error reported.
    ///
    /// For tasks that nobody awaits. The error that a [`spawn`](Self::spawn)ed task returns is lost with the task;
    /// this one's goes where its panic would go: to the [exception handler](Self::set_exception_handler), and without
    /// one to `tracing`, `log` or standard error. [`Exception::is_panic`] tells the two apart, and
    /// [`Exception::message`] is the error's text, in the alternate form (`{:#}`), which of many error types is the
    /// whole chain.
    ///
    /// ```
    /// use std::{cell::RefCell, io, rc::Rc};
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let failures = Rc::new(RefCell::new(Vec::new()));
    /// let log = Rc::clone(&failures);
    /// io_loop.set_exception_handler(move |exception| {
    ///     log.borrow_mut().push(exception.to_string());
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.spawn_logged(async { Err(io::Error::other("no answer")) });
    /// io_loop.start()?;
    /// assert_eq!(*failures.borrow(), ["a task failed: no answer"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "spawn_callback")]
    #[track_caller]
    pub fn spawn_logged<F, E>(&self, future: F) -> Task<()>
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display + 'static,
    {
        let (engine, location) = (Rc::downgrade(&self.inner.engine), Location::caller());
        let logged = async move {
            if let Err(error) = future.await {
                if let Some(engine) = engine.upgrade() {
                    engine.exceptions.report_error(location, format!("{error:#}"));
                }
            }
        };
        self.spawn(logged)
    }

    /// Runs `future` as a task of this loop, and calls `callback` with what it gives.
    ///
    /// The callback is called on this thread and never inside this call, also if the future is done already;
    /// callbacks of futures that are done keep the order in which they were added. Its panic goes to the
    /// exception handler. An error of the future is in what it gives: `add_future` on a [`Task`] hands the
    /// callback a `Result`. A future that panics itself has no callback to call; its panic is reported.
    ///
    /// Dropping the returned task changes nothing; cancelling it drops future and callback.
    ///
    /// ```
    /// use ioloop::IOLoop;
    ///
    /// let worker = IOLoop::spawn_thread("worker", IOLoop::new)?;
    /// let io_loop = IOLoop::new()?;
    /// let far = worker.handle().call(|| 6 * 7);
    /// io_loop.add_future(far, |answer| {
    ///     assert_eq!(answer.unwrap(), 42);
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.start()?;
    /// # worker.handle().stop()?;
    /// # worker.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn add_future<F, C>(&self, future: F, callback: C) -> Task<()>
    where
        F: Future + 'static,
        C: FnOnce(F::Output) + 'static,
    {
        let (engine, location) = (Rc::downgrade(&self.inner.engine), Location::caller());
        self.spawn(async move {
            let output = future.await;
            if let Some(engine) = engine.upgrade() {
                engine.exceptions.guard_at(Origin::Callback, Some(location), || callback(output));
            }
        })
    }

    /// The side of this loop that other threads hold.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(self.inner.engine.inbox()))
    }

    /// The loop's name, for messages: the one given to [`Builder::name`](crate::Builder::name), else that of the thread it was first needed on.
    pub fn name(&self) -> &str {
        self.inner.engine.exceptions.name()
    }

    /// The name of the backend: `bare`, `async-io`, `tokio`, `smol`, or one from outside this crate.
    pub fn backend_name(&self) -> &str {
        self.inner.hosting.backend().map_or("bare", |backend| backend.name())
    }

    /// The backend itself, if it is of this type.
    pub fn backend<B: Backend>(&self) -> Option<&B> {
        self.inner.hosting.backend()?.as_any()?.downcast_ref()
    }

    /// Whether the loop is attached to a host.
    pub fn is_attached(&self) -> bool {
        self.inner.hosting.is_attached()
    }

    /// Has `handler` called for each panic in a callback of any kind, a task that nobody holds or a destructor.
    ///
    /// The loop is [current](Self::current) in it wherever the panic was, also outside of a run: in the destructor of
    /// a timer that is cancelled, or of what a closed loop held.
    ///
    /// Without a handler a panic is one event of `tracing` or record of `log`, whichever feature is on, otherwise a line
    /// on standard error that says what panicked, where it was handed to the loop, and whether it was removed. After the
    /// sixteenth only the 32nd, the 64th and so on are told. The panic hook of the standard library has printed each
    /// panic by then. A handler that panics, a subscriber that does, and a line that cannot be written change nothing for
    /// the loop.
    #[doc(alias = "handle_callback_exception")]
    pub fn set_exception_handler(&self, handler: impl Fn(&Exception) + 'static) {
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(handler);
        }
        let before = exceptions.set_handler(Some(Rc::new(handler)));
        exceptions.discard(before);
    }

    /// Goes back to the default: panics are told as if no handler had been [set](Self::set_exception_handler).
    pub fn reset_exception_handler(&self) {
        let exceptions = &self.inner.engine.exceptions;
        let before = exceptions.set_handler(None);
        exceptions.discard(before);
    }

    /// What the loop has done so far, counted.
    pub fn metrics(&self) -> Metrics {
        self.inner.engine.metrics(self.inner.jobs.count())
    }

    #[inline]
    fn owner(&self) -> Weak<dyn Owner> {
        let engine: Weak<Engine> = Rc::downgrade(&self.inner.engine);
        engine
    }
}

impl Reactor for IOLoop {
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        let interest = match direction {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        };
        let id = self.inner.engine.watch(direction.into(), interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        self.inner.engine.unwatch(direction.into(), fd)
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        self.queued(self.inner.engine.queue(callback))
    }

    // Written straight into the queue, without a `Callback` in between.
    #[inline(always)]
    fn call_soon(&self, callback: impl FnOnce() + 'static) -> CallbackHandle {
        self.queued(self.inner.engine.call_soon(Location::caller(), callback))
    }

    fn schedule(&self, deadline: Instant, callback: Callback) -> TimerHandle {
        match self.inner.engine.schedule(deadline, callback) {
            Some(id) => TimerHandle::new(self.owner(), id, deadline),
            None => TimerHandle::cancelled(self.owner(), deadline),
        }
    }

    fn now(&self) -> Instant {
        self.inner.engine.timers.now()
    }

    fn poster(&self) -> Poster {
        Poster::new(Arc::<Inbox>::clone(self.inner.engine.inbox()))
    }
}

impl IOLoop {
    // In line, so a handle that is not kept costs nothing.
    #[inline(always)]
    fn queued(&self, number: Option<u64>) -> CallbackHandle {
        match number {
            Some(number) => CallbackHandle::new(self.owner(), number),
            None => CallbackHandle::cancelled(self.owner()),
        }
    }
}

impl Inner {
    /// Runs `code` in the backend's context, with this loop as the current one; an error if the backend does not run it
    /// once.
    pub(crate) fn enter<T>(&self, code: impl FnOnce() -> T) -> io::Result<T> {
        self.hosting.enter(|| {
            let _current = local::enter(&self.engine);
            code()
        })
    }

    /// Calls the hooks after a sleep that are due still: nobody sleeps any more.
    pub(crate) fn end_round(&self) {
        if self.engine.hooks.is_open() {
            // Nor may a hook run or close the loop here.
            let running = self.running.replace(true);
            // A backend that does not run it has been told so by whoever ran the loop.
            let _ = self.enter(|| self.engine.after_wake());
            self.running.set(running);
        }
    }

    pub(crate) fn close(&self, how: Shutdown) {
        if self.engine.is_closed() {
            return;
        }
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
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let engine = &self.engine;
        if !engine.is_closed() {
            // Nothing can name this any more. What is called while the loop is closed finds an heir current.
            let hosting = mem::replace(&mut self.hosting, Hosting::own(None));
            let jobs = mem::replace(&mut self.jobs, Jobs::new(engine.inbox()));
            let (running, patience) = (Cell::new(false), Cell::new(None));
            let engine = Rc::clone(engine);
            let heir = Rc::new(Inner { engine, hosting, running, jobs, patience });
            let owner: Weak<Inner> = Rc::downgrade(&heir);
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
