//! The ways to run a loop, and to end it.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::backends::Shutdown;
use crate::descriptor::Descriptor;
use crate::engine::local;
use crate::engine::turn::{Goal, Wait};
use crate::error::RunError;
use crate::host::backend::{Drive, Driving};
use crate::host::driver::{Completion, Driver, Endless, RunEnd};
use crate::io_loop::{IOLoop, Inner};
use crate::observe::origin::Origin;
use crate::reactor::contract::deadline_after;

/// Running.
impl IOLoop {
    /// Runs an own loop until [`stop`](Self::stop).
    ///
    /// A stop that was requested before makes it run one turn, without waiting.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning), [`OtherLoopRunning`](RunError::OtherLoopRunning),
    /// [`Closed`](RunError::Closed), [`Attached`](RunError::Attached) and
    /// [`InAsyncContext`](RunError::InAsyncContext) change nothing; [`Io`](RunError::Io) if the kernel fails.
    pub fn start(&self) -> Result<(), RunError> {
        let _running = self.begin(Mode::Own)?;
        match self.drive(&mut Endless(&self.inner.hosting))? {
            RunEnd::Failed(error) => Err(error.into()),
            RunEnd::Done | RunEnd::Stopped => Ok(()),
        }
    }

    /// Stops the loop at the end of the present turn; if it is not running, makes the next run one turn long.
    ///
    /// What was queued before is run in this turn, what is queued from here on in the next run. Two stops
    /// count as one.
    pub fn stop(&self) {
        if !self.inner.engine.is_closed() {
            self.inner.engine.request_stop();
        }
    }

    /// Stops the loop before its next callback; if it is not running, the next run ends before its first.
    ///
    /// What is left of the turn waits for the next run, in its order: queued callbacks and polls of tasks, timers that
    /// are due, and descriptors, which are polled again. Hooks around a sleep come in their pairs all the same. Two such
    /// stops count as one, and a [`stop`](Self::stop) beside one as part of it.
    ///
    /// For what must not go on as if nothing had happened: a callback that has met an error which ends the program, or
    /// another language's exception. asyncio ends a run in this way where a callback raises `KeyboardInterrupt` or
    /// `SystemExit`, and has no method for it.
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

    /// Runs an own loop until `future` is done, and returns its value.
    ///
    /// The future need be neither `Send` nor `'static`, and is dropped before this returns. Where the
    /// runtime does not let it be known (async-io, smol), calling this inside an async function blocks its
    /// executor; tokio lets it be known.
    ///
    /// What Tornado's `timeout` limits is a future of its own here: [`timeout`](crate::timeout()).
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
    /// [`Stopped`](RunError::Stopped) if the loop was stopped first; else as for [`start`](Self::start). A
    /// refused call drops the future without polling it.
    ///
    /// # Panics
    ///
    /// With the future's own panic; the loop can be run again.
    #[track_caller]
    pub fn run_sync<F: Future>(&self, future: F) -> Result<F::Output, RunError> {
        let _running = self.begin(Mode::Own)?;
        let mut future = pin!(Some(future));
        let location = Location::caller();
        let Inner { engine, hosting, .. } = &*self.inner;
        let mut goal = Completion::new(engine, hosting, location, future.as_mut());
        let ended = self.drive(&mut goal);
        let result = goal.result.take();
        // Its destructor runs where its polls ran.
        // A destructor that panics must not take the result along.
        let exceptions = &self.inner.engine.exceptions;
        // A backend that does not run it is told so by how the drive ended.
        let _ = self.inner.enter(|| exceptions.guard(Origin::Destructor, || future.set(None)));
        finish(ended?, result)
    }

    /// Drives an attached loop until [`stop`](Self::stop), under whatever executor polls the future.
    ///
    /// **The loop runs while this is awaited, and is woken by the runtime that it was [attached](Self::attach) to.**
    /// That has to be driven: by whoever polls this, or by threads of its own. The future holds the loop: one whose last
    /// handle is dropped meanwhile runs on until it is stopped, or this is dropped.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning), [`Closed`](RunError::Closed) and
    /// [`NotAttached`](RunError::NotAttached) at the first poll; [`Io`](RunError::Io) if the host was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future half way leaves the loop not running and everything in it as it was; it can be
    /// run again.
    pub fn run(&self) -> impl Future<Output = Result<(), RunError>> + use<> {
        let io_loop = self.clone();
        async move {
            let _running = io_loop.begin(Mode::Attached)?;
            match io_loop.drive_attached(&mut Endless(&io_loop.inner.hosting)).await {
                RunEnd::Failed(error) => Err(error.into()),
                RunEnd::Done | RunEnd::Stopped => Ok(()),
            }
        }
    }

    /// Drives an attached loop until `future` is done, and returns its value.
    ///
    /// **The loop runs while this is awaited**, as with [`run`](Self::run): it does not go on beside what is awaited after
    /// this. To let it, spawn its `run` on a local executor of the runtime.
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
    /// [`Stopped`](RunError::Stopped) if the loop was stopped first; else as for [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// With the future's own panic; the loop can be run again.
    ///
    /// # Cancel safety
    ///
    /// As for [`run`](Self::run); the inner future is dropped with it.
    #[track_caller]
    pub fn run_until<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, RunError>> + use<F> {
        let (io_loop, location) = (self.clone(), Location::caller());
        async move {
            let _running = io_loop.begin(Mode::Attached)?;
            let mut future = pin!(Some(future));
            let Inner { engine, hosting, .. } = &*io_loop.inner;
            let mut goal = Completion::new(engine, hosting, location, future.as_mut());
            let ended = io_loop.drive_attached(&mut goal).await;
            let result = goal.result.take();
            let exceptions = &io_loop.inner.engine.exceptions;
            let _ =
                io_loop.inner.enter(|| exceptions.guard(Origin::Destructor, || future.set(None)));
            finish(ended, result)
        }
    }

    /// Runs one turn of a loop that is embedded in a foreign one.
    ///
    /// Waits until there is something to do, for at most `timeout`; for ever without one, and not at all if
    /// it is zero. Afterwards the [`descriptor`](Self::descriptor) is readable whenever there is something
    /// to do, and only then: [`Turn::work_left`] says that there is already.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning), [`Closed`](RunError::Closed),
    /// [`Attached`](RunError::Attached) and [`NotEmbeddable`](RunError::NotEmbeddable) change nothing;
    /// so does [`OtherLoopRunning`](RunError::OtherLoopRunning), which only a turn that would wait meets.
    /// [`Io`](RunError::Io) if the kernel fails.
    pub fn turn(&self, timeout: Option<Duration>) -> Result<Turn, RunError> {
        let _running = self.begin(Mode::Embedded { waits: timeout != Some(Duration::ZERO) })?;
        let wait = match timeout {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Never,
            Some(timeout) => Wait::Until(deadline_after(Instant::now(), timeout)),
        };
        let Inner { engine, hosting, .. } = &*self.inner;
        let turned = hosting.enter(|| {
            let _current = local::enter(engine);
            engine.rouse();
            engine.after_wake();
            engine.budget.spend();
            let ran = engine.turn(wait, &mut Endless(hosting));
            ran.map(|ran| {
                // Where it cannot be renewed, for want of a descriptor, the next turn tries again.
                let renewed = engine.is_astray() && engine.renew().is_ok();
                let stopped = engine.take_stop();
                if ran.idle && !stopped {
                    engine.jump();
                }
                let work_left = engine.leave_awake(engine.stays_awake());
                if !work_left {
                    engine.counters.asleep.begin();
                }
                Turn { work_left, stopped, renewed }
            })
        });
        Ok(turned??)
    }

    /// The descriptor that is readable while an embedded loop has something to do, for a foreign loop to
    /// watch.
    ///
    /// On Linux it becomes readable at the next deadline too; elsewhere the foreign loop waits no longer than
    /// until [`host_deadline`](Self::host_deadline) as well. With more than 64 distant timers it
    /// can become readable before the first is due; that `turn` does nothing.
    ///
    /// It is a share in the loop's own, and stays open while it is held, also after the loop was closed. It is the
    /// same one until a [`turn`](Self::turn) says [`renewed`](Turn::renewed): should the loop have to make its kernel set
    /// anew, because a descriptor was closed behind its back while a duplicate lives on, it has a new descriptor from
    /// then on, which the foreign loop has to watch instead. One on poll(2) asks for it before each wait.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe): the loop is closed.
    #[doc(alias = "AsFd")]
    pub fn descriptor(&self) -> io::Result<Descriptor> {
        Ok(self.inner.engine.descriptor().ok_or(crate::error::Closed)?)
    }

    /// Until when a foreign loop may wait for the [`descriptor`](Self::descriptor), on the system's clock; none if it may
    /// wait for ever, because the descriptor becomes readable at the next deadline by itself.
    ///
    /// Whoever embeds a loop asks before each wait, and calls [`turn`](Self::turn) when the descriptor is readable or this
    /// instant has come. A timer that is set meanwhile makes the descriptor readable, so the question is asked anew.
    ///
    /// On Linux it is always none, since the descriptor holds the deadline. On a loop with a
    /// [`ManualClock`](crate::ManualClock) it is none everywhere: moving the clock makes the descriptor readable.
    /// ([`next_deadline`](Self::next_deadline) is another question: when the next timer is due on the loop's clock, for
    /// whoever wants to know.) It may lie somewhat before the next deadline, for a turn that finds nothing to do.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ioloop::{IOLoop, Reactor, backends::BackendKind};
    /// use rustix::event::{PollFd, PollFlags, Timespec, poll};
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
    /// loop {
    ///     let descriptor = io_loop.descriptor()?;
    ///     let left = io_loop.host_deadline().map(|at| at.saturating_duration_since(Instant::now()));
    ///     let timeout = left.map(|left| Timespec::try_from(left).unwrap());
    ///     poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], timeout.as_ref())?;
    ///     if io_loop.turn(Some(Duration::ZERO))?.stopped {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn host_deadline(&self) -> Option<Instant> {
        self.inner.engine.timers.deadline_for_host()
    }

    /// When the next timer is due on the loop's [clock](Reactor::now), at most three centuries from when the loop
    /// was made; none if there is none.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.inner.engine.timers.next_deadline()
    }

    /// Whether somebody is inside `start`, `run_sync` or `turn`, or holds a `run` that was polled.
    pub fn is_running(&self) -> bool {
        self.inner.running.get()
    }

    /// Drops every callback, timer, task and watch, without running any, and releases the descriptors.
    ///
    /// An own loop's runtime is shut down, and waited for where this thread may block: not inside another
    /// loop's callback, nor in an async context of tokio; and after a [`shutdown`](Self::shutdown) no longer than for what
    /// was left of its grace. A loop that is closed already stays so.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning) inside a callback or while a `run` is held: nothing is
    /// changed.
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

    /// Whether [`turn`](Self::turn) may drive this loop: it is attached to nothing, and its backend makes progress by
    /// itself.
    ///
    /// ```
    /// use ioloop::{IOLoop, backends::BackendKind};
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// assert!(io_loop.is_embeddable());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_embeddable(&self) -> bool {
        let hosting = &self.inner.hosting;
        !hosting.is_attached() && hosting.backend().is_none_or(|host| host.is_embeddable())
    }

    fn begin(&self, mode: Mode) -> Result<Running<'_>, RunError> {
        let Inner { engine, hosting, running, .. } = &*self.inner;
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

    fn drive(&self, goal: &mut dyn Goal) -> Result<RunEnd, RunError> {
        let Inner { engine, hosting, .. } = &*self.inner;
        let mut driver = Driver::new(engine, hosting, goal);
        let drive = Drive::new(&mut driver);
        let driven = match hosting.backend() {
            Some(backend) => backend.block_on(drive),
            None => {
                drive.park();
                Ok(())
            }
        };
        // Others may drive the executor meanwhile. This loop polls it again when it is driven next.
        if hosting.drop_tasks(engine) {
            hosting.ask_for_tasks(engine);
        }
        driven?;
        let unfinished = "its `block_on` returned before the `Drive` was done: run it to its end, as a future or by `park`";
        Ok(driver.end.unwrap_or_else(|| RunEnd::Failed(hosting.misused(unfinished))))
    }

    async fn drive_attached(&self, goal: &mut dyn Goal) -> RunEnd {
        let Inner { engine, hosting, .. } = &*self.inner;
        let mut driver = Driver::new(engine, hosting, goal);
        poll_fn(|cx| driver.poll(cx)).await;
        driver.end.expect("a drive that is done says how it ended")
    }
}

/// How a loop is about to be driven.
enum Mode {
    Own,
    Attached,
    Embedded { waits: bool },
}

/// Held while somebody drives the loop.
struct Running<'a> {
    inner: &'a Inner,
    /// The foreign loop sleeps from here to the next turn, which ends the round of hooks.
    sleeps_on: bool,
    /// Held where this thread does nothing else meanwhile.
    _blocked: Option<local::Blocked>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Left between two polls: what is queued has to make itself known again, and no longer to the host.
        if self.inner.engine.is_entered() {
            self.inner.engine.leave();
        }
        if !self.sleeps_on {
            self.inner.end_round();
        }
        self.inner.running.set(false);
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

/// What a [`turn`](IOLoop::turn) left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Callbacks are queued or a timer is due: the descriptor is readable, and the next turn will not wait.
    pub work_left: bool,
    /// [`stop`](IOLoop::stop) was called, in this turn or before it.
    pub stopped: bool,
    /// The kernel set was made anew: the loop has another [`descriptor`](IOLoop::descriptor), for the foreign loop to
    /// watch instead of the one before.
    pub renewed: bool,
}
