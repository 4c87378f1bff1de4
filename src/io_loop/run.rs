//! The ways to run a loop, to stop and to close it.

use std::future::{Future, poll_fn};
use std::panic::{Location, resume_unwind};
use std::pin::pin;

use crate::backends::Shutdown;
use crate::engine::local;
use crate::engine::turn::Goal;
use crate::error::RunError;
use crate::host::backend::{Drive, Driving};
use crate::host::driver::{Completion, Driver, Endless, RunEnd, UntilEmpty};
use crate::io_loop::running::{Run, RunUntil};
use crate::io_loop::{BoundToItsThread, IOLoop};
use crate::observe::origin::Origin;

/// Running, stopping and closing.
impl IOLoop {
    /// Runs an own loop until [`stop`](Self::stop).
    ///
    /// A stop that was requested before this call makes it run one turn, without waiting.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning),
    /// [`OtherLoopRunning`](RunError::OtherLoopRunning), [`Closed`](RunError::Closed),
    /// [`Attached`](RunError::Attached) and [`InAsyncContext`](RunError::InAsyncContext) change
    /// nothing; [`Io`](RunError::Io) if the kernel fails.
    #[doc(alias = "run_forever")]
    pub fn start(&self) -> Result<(), RunError> {
        let _running = self.begin(Mode::Own)?;
        match self.drive(&mut Endless(&self.inner.hosting))? {
            RunEnd::Failed(error) => Err(error.into()),
            RunEnd::Done | RunEnd::Stopped => Ok(()),
        }
    }

    /// Runs an own loop until `future` is done, and returns its value.
    ///
    /// The future need be neither `Send` nor `'static`, and is dropped before this returns. Inside
    /// an async function this blocks the executor. On tokio it returns an error instead; async-io
    /// and smol give no means to notice.
    ///
    /// Tornado's `timeout` is a future of its own here: [`timeout`](crate::timeout()).
    ///
    /// ```
    /// use ioloop::IOLoop;
    ///
    /// let name = String::from("Ada");
    /// let greeting = IOLoop::new()?.run_sync(async { format!("hello, {name}") })?;
    /// assert_eq!(greeting, "hello, Ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, timeout};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let slow = timeout(&io_loop, Duration::from_millis(1), std::future::pending::<()>());
    /// assert!(io_loop.run_sync(slow)?.unwrap_err().is_elapsed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopped`](RunError::Stopped) if the loop was stopped first; otherwise as for
    /// [`start`](Self::start). A refused call drops the future without polling it.
    ///
    /// # Panics
    ///
    /// With the future's own panic; the loop can be run again.
    #[doc(alias = "run_until_complete")]
    #[doc(alias = "asyncio.run")]
    #[track_caller]
    pub fn run_sync<F: Future>(&self, future: F) -> Result<F::Output, RunError> {
        let _running = self.begin(Mode::Own)?;
        let mut future = pin!(Some(future));
        let location = Location::caller();
        let BoundToItsThread { engine, hosting, .. } = &*self.inner;
        let mut goal = Completion::new(engine, hosting, location, future.as_mut());
        let ended = self.drive(&mut goal);
        let result = goal.result.take();
        // Its destructor runs where its polls ran.
        // A destructor that panics must not take the result along.
        let exceptions = &self.inner.engine.exceptions;
        // How the drive ended tells a backend that does not run it.
        let _ = self.inner.enter(|| exceptions.guard(Origin::Destructor, || future.set(None)));
        finish(ended?, result)
    }

    /// Runs an own loop until nothing is left that it waits for; at once where there is nothing.
    ///
    /// As a program of libuv or Node ends, and libevent's `event_base_dispatch`. What keeps the
    /// loop running:
    ///
    /// - a reader, a writer or a handler, unless it is paused (an [`Async`](crate::Async) that
    ///   nobody waits on has its watches paused);
    /// - a timer, so also a [`PeriodicCallback`](crate::PeriodicCallback) that is started;
    /// - a queued callback, a [task](Self::spawn), a [job](Self::run_in_executor), an
    ///   [idle callback](Self::on_idle).
    ///
    /// What comes from outside alone does not: signal handlers, [triggers](crate::Trigger), whoever
    /// holds a [`Handle`](crate::Handle) and may post yet (what is posted later waits for the next
    /// run), and tasks of the runtime's own executor while they are pending. Have a task of the
    /// loop await what must not be missed. Hooks around a sleep do not either. To watch another
    /// descriptor without keeping the loop running, watch it
    /// [uncounted](crate::reactor::Watcher::uncounted); there is no such form of a timer or a task.
    /// [`is_empty`](Self::is_empty) says whether anything is left, and the
    /// [listing](crate::observe::Pending::keeps) what that is and where it comes from.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let worker = io_loop.run_in_executor(|| 6 * 7);
    /// io_loop.add_future(worker, |answer| println!("{}", answer.unwrap()));
    /// io_loop.call_later(Duration::from_millis(1), || println!("a millisecond later"));
    /// io_loop.start_until_empty()?; // both have been printed
    /// assert!(io_loop.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopped`](RunError::Stopped) if the loop was stopped while something is left; otherwise as
    /// for [`start`](Self::start).
    #[doc(alias = "uv_run")]
    #[doc(alias = "UV_RUN_DEFAULT")]
    #[doc(alias = "event_base_dispatch")]
    pub fn start_until_empty(&self) -> Result<(), RunError> {
        let _running = self.begin(Mode::Own)?;
        until_done(self.drive(&mut self.until_empty())?)
    }

    /// Drives an attached loop until [`stop`](Self::stop), under whatever executor polls the
    /// future.
    ///
    /// **The loop runs while this is awaited, and is woken by the runtime that it was
    /// [attached](Self::attach) to.** That runtime has to be driven: by the executor that polls
    /// this, or by threads of its own. The future holds the loop. A loop whose last handle is
    /// dropped meanwhile runs on until it is stopped, or this is dropped.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning), [`Closed`](RunError::Closed) and
    /// [`NotAttached`](RunError::NotAttached) at the first poll; [`Io`](RunError::Io) if the host
    /// was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future half way leaves the loop not running and everything in it as it was; it
    /// can be run again.
    pub fn run(&self) -> Run {
        let io_loop = self.clone();
        Run::new(async move {
            let _running = io_loop.begin(Mode::Attached)?;
            match io_loop.drive_attached(&mut Endless(&io_loop.inner.hosting)).await {
                RunEnd::Failed(error) => Err(error.into()),
                RunEnd::Done | RunEnd::Stopped => Ok(()),
            }
        })
    }

    /// Drives an attached loop until `future` is done, and returns its value.
    ///
    /// **The loop runs while this is awaited**, as with [`run`](Self::run), and not beside what is
    /// awaited after this. To have it run on, spawn its `run` on a local executor of the runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// # #[cfg(feature = "async-io")]
    /// async_io::block_on(async {
    ///     let io_loop = IOLoop::attach()?;
    ///     io_loop.call_later(Duration::from_millis(1), || println!("tick"));
    ///     io_loop.run_until(async_io::Timer::after(Duration::from_millis(5))).await
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopped`](RunError::Stopped) if the loop was stopped first; otherwise as for
    /// [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// With the future's own panic; the loop can be run again.
    ///
    /// # Cancel safety
    ///
    /// As for [`run`](Self::run); the inner future is dropped with it.
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn run_until<'a, F: Future + 'a>(&self, future: F) -> RunUntil<'a, F::Output> {
        let (io_loop, location) = (self.clone(), Location::caller());
        RunUntil::new(async move {
            let _running = io_loop.begin(Mode::Attached)?;
            let mut future = pin!(Some(future));
            let BoundToItsThread { engine, hosting, .. } = &*io_loop.inner;
            let mut goal = Completion::new(engine, hosting, location, future.as_mut());
            let ended = io_loop.drive_attached(&mut goal).await;
            let result = goal.result.take();
            let exceptions = &io_loop.inner.engine.exceptions;
            let _ =
                io_loop.inner.enter(|| exceptions.guard(Origin::Destructor, || future.set(None)));
            finish(ended, result)
        })
    }

    /// Drives an attached loop until nothing is left that it waits for; at once where there is
    /// nothing.
    ///
    /// **The loop runs while this is awaited**, as with [`run`](Self::run). What counts is what
    /// counts for [`start_until_empty`](Self::start_until_empty). What the host runs beside the
    /// loop does not.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// # #[cfg(feature = "async-io")]
    /// async_io::block_on(async {
    ///     let io_loop = IOLoop::attach()?;
    ///     io_loop.call_later(Duration::from_millis(1), || println!("a millisecond later"));
    ///     io_loop.run_until_empty().await
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopped`](RunError::Stopped) if the loop was stopped while something is left; otherwise as
    /// for [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As for [`run`](Self::run).
    pub fn run_until_empty(&self) -> Run {
        let io_loop = self.clone();
        Run::new(async move {
            let _running = io_loop.begin(Mode::Attached)?;
            until_done(io_loop.drive_attached(&mut io_loop.until_empty()).await)
        })
    }

    /// Whether nothing is left that a run [until nothing is left](Self::start_until_empty) would go
    /// on for. A foreign loop asks after each [`turn`](Self::turn).
    ///
    /// A loop that does nothing but wait for other threads or signals is empty. So is one whose
    /// callbacks were all cancelled.
    ///
    /// In code that the loop calls, the answer is about what may be called from here on. A callback
    /// and a timer are over as they are called, so the last of them finds the loop empty, and a
    /// [`PeriodicCallback`](crate::PeriodicCallback) does not count while it is called. A task
    /// counts until its future is done, also in its own polls, and a watch until it is removed or
    /// paused.
    #[doc(alias = "uv_loop_alive")]
    pub fn is_empty(&self) -> bool {
        self.until_empty().is_done()
    }

    /// Stops the loop at the end of the present turn; if it is not running, makes the next run one
    /// turn long.
    ///
    /// Callbacks that were queued before this call run in this turn, those that are queued after it
    /// in the next run. Two stops count as one.
    pub fn stop(&self) {
        if !self.inner.engine.is_closed() {
            self.inner.engine.request_stop();
        }
    }

    /// Stops the loop before its next callback; if it is not running, the next run ends before its
    /// first.
    ///
    /// The rest of the turn waits for the next run, in its order: queued callbacks and polls of
    /// tasks, timers that are due, and descriptors, which are polled again. Hooks around a sleep
    /// are still called in pairs. Two such stops count as one, and a [`stop`](Self::stop) beside
    /// one counts as part of it.
    ///
    /// It is for a callback after which nothing may go on: one that has met an error which ends the
    /// program, or another language's exception. asyncio ends a run in this way where a callback
    /// raises `KeyboardInterrupt` or `SystemExit`, and has no method for it.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let log = Rc::new(RefCell::new(Vec::new()));
    /// let (first, second) = (Rc::clone(&log), Rc::clone(&log));
    /// io_loop.call_soon(move || {
    ///     first.borrow_mut().push("first");
    ///     IOLoop::current().unwrap().stop_now();
    /// });
    /// io_loop.call_soon(move || second.borrow_mut().push("second"));
    /// io_loop.start()?;
    /// assert_eq!(*log.borrow(), ["first"]);
    /// io_loop.stop(); // the next run is one turn long
    /// io_loop.start()?;
    /// assert_eq!(*log.borrow(), ["first", "second"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "interrupt")]
    pub fn stop_now(&self) {
        if !self.inner.engine.is_closed() {
            self.inner.engine.request_stop_now();
        }
    }

    /// Whether the loop is inside `start`, `run_sync` or `turn`, or a `run` of it was polled and is
    /// still held.
    pub fn is_running(&self) -> bool {
        self.inner.running.get()
    }

    /// Drops every callback, timer, task and watch, without running any, and releases the
    /// descriptors.
    ///
    /// An own loop's runtime is shut down. This waits for that where the thread may block: not
    /// inside another loop's callback, and not in an async context of tokio. After a
    /// [`shutdown`](Self::shutdown) it waits no longer than for the rest of the grace. Closing a
    /// closed loop does nothing.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning) inside a callback or while a `run` is held:
    /// nothing is changed.
    pub fn close(&self) -> Result<(), RunError> {
        if self.is_running() {
            return Err(RunError::AlreadyRunning);
        }
        let how = match self.inner.patience.get() {
            _ if local::any_driven() => Shutdown::Background,
            Some(limit) => Shutdown::Until(limit),
            None => Shutdown::Wait,
        };
        self.inner.close(how);
        Ok(())
    }

    /// Whether the loop was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.engine.is_closed()
    }
}

impl IOLoop {
    pub(super) fn begin(&self, mode: Mode) -> Result<Running<'_>, RunError> {
        let BoundToItsThread { engine, hosting, running, .. } = &*self.inner;
        if engine.is_closed() {
            return Err(RunError::Closed);
        }
        if engine.is_forked() {
            return Err(RunError::Forked);
        }
        if running.get() {
            return Err(RunError::AlreadyRunning);
        }
        let blocks = match mode {
            Mode::Attached if !hosting.is_attached() => return Err(RunError::NotAttached),
            Mode::Own | Mode::Embedded { .. } if hosting.is_attached() => {
                return Err(RunError::Attached);
            }
            Mode::Embedded { .. } if !self.is_embeddable() => return Err(RunError::NotEmbeddable),
            Mode::Own => true,
            Mode::Attached => false,
            Mode::Embedded { waits } => waits,
        };
        if blocks && (local::any_driven() || local::is_blocked()) {
            return Err(RunError::OtherLoopRunning);
        }
        running.set(true);
        engine.life.note_driven();
        let sleeps_on = matches!(mode, Mode::Embedded { .. });
        Ok(Running { inner: &self.inner, sleeps_on, _blocked: blocks.then(local::block) })
    }

    fn until_empty(&self) -> UntilEmpty<'_> {
        let BoundToItsThread { engine, hosting, jobs, .. } = &*self.inner;
        UntilEmpty { engine, hosting, jobs }
    }

    fn drive(&self, goal: &mut dyn Goal) -> Result<RunEnd, RunError> {
        let BoundToItsThread { engine, hosting, .. } = &*self.inner;
        let mut driver = Driver::new(engine, hosting, goal);
        let drive = Drive::new(&mut driver);
        let driven = match hosting.backend() {
            Some(backend) => backend.block_on(drive),
            None => {
                drive.park();
                Ok(())
            }
        };
        // Others may drive the executor until this loop is driven next, and polls it again.
        if hosting.drop_tasks(engine) {
            hosting.ask_for_tasks(engine);
        }
        driven?;
        let unfinished = "its `block_on` returned before the `Drive` was done: run it to its end, as a future or by `park`";
        Ok(driver.end.unwrap_or_else(|| RunEnd::Failed(hosting.misused(unfinished))))
    }

    async fn drive_attached(&self, goal: &mut dyn Goal) -> RunEnd {
        let BoundToItsThread { engine, hosting, .. } = &*self.inner;
        let mut driver = Driver::new(engine, hosting, goal);
        poll_fn(|cx| driver.poll(cx)).await;
        driver.end.expect("a drive that is done says how it ended")
    }
}

/// How a loop is about to be driven.
pub(super) enum Mode {
    Own,
    Attached,
    Embedded { waits: bool },
}

/// Held while the loop is driven.
pub(super) struct Running<'a> {
    inner: &'a BoundToItsThread,
    /// The foreign loop sleeps from here to the next turn, which ends the round of hooks.
    sleeps_on: bool,
    /// Held where this thread does nothing else meanwhile.
    _blocked: Option<local::Blocked>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Left between two polls: queued work has to wake the loop itself from here on, and not the
        // host.
        if self.inner.engine.is_entered() {
            self.inner.engine.leave();
        }
        if !self.sleeps_on {
            self.inner.end_round();
        }
        self.inner.engine.set_ends_when_empty(false);
        self.inner.running.set(false);
    }
}

/// The end of a run that has one by itself.
fn until_done(ended: RunEnd) -> Result<(), RunError> {
    match ended {
        RunEnd::Done => Ok(()),
        RunEnd::Stopped => Err(RunError::Stopped),
        RunEnd::Failed(error) => Err(error.into()),
    }
}

/// The value of a future that a loop was driven for.
fn finish<T>(ended: RunEnd, result: Option<std::thread::Result<T>>) -> Result<T, RunError> {
    match (result, ended) {
        (Some(Ok(value)), _) => Ok(value),
        (Some(Err(payload)), _) => resume_unwind(payload),
        (None, RunEnd::Failed(error)) => Err(error.into()),
        (None, RunEnd::Done | RunEnd::Stopped) => Err(RunError::Stopped),
    }
}
