//! tokio: the entered runtime, one given by its handle, or a `LocalRuntime` of the loop's own.
//!
//! A current-thread runtime makes progress only while it is driven, so an own loop on one parks in
//! its `block_on`: parked elsewhere, what another thread spawns on the handle would never run. A
//! multi-thread runtime has threads that drive it, so a loop in its context parks in its own
//! descriptor.

mod registration;
mod undriven;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio::task::coop;

use self::registration::Registered;
use self::undriven::{Polled, drives_itself};
use crate::RunError;
use crate::backends::{Backend, Descriptor, Drive, Job, Rebuild, Registration, Shutdown};

/// Hosts a loop on a tokio runtime.
///
/// tokio's cooperative budget does not apply to what the loop polls: a task of the loop whose
/// channels and sockets are always ready has to yield by itself, as under
/// [`in_tokio`](crate::bridge::in_tokio). tokio's own tasks keep it.
#[derive(Debug)]
pub struct TokioBackend {
    handle: Handle,
    /// Only of an own loop, until it is closed.
    runtime: RefCell<Option<LocalRuntime>>,
    polled: Rc<Polled>,
}

impl TokioBackend {
    /// A `LocalRuntime` of the loop's own, with I/O and time enabled: `tokio::spawn` and
    /// `tokio::task::spawn_local` both work in its callbacks.
    ///
    /// # Errors
    ///
    /// Those of making the runtime.
    pub fn own() -> io::Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        Ok(TokioBackend::with_runtime(runtime))
    }

    /// A `LocalRuntime` that was built elsewhere, given to the loop for its own; it needs I/O
    /// enabled.
    pub fn with_runtime(runtime: LocalRuntime) -> Self {
        TokioBackend::new(runtime.handle().clone(), Some(runtime))
    }

    /// The runtime that this thread has entered.
    ///
    /// # Errors
    ///
    /// None is entered.
    pub fn current() -> io::Result<Self> {
        let handle = Handle::try_current().map_err(|_| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no tokio runtime is entered on this thread; attach inside `block_on` or a task, or give \
                 the runtime by its handle: IOLoop::builder().host(TokioBackend::attached(handle))",
            )
        })?;
        Ok(TokioBackend::attached(handle))
    }

    /// The runtime of a handle, entered or not.
    ///
    /// It is the backend that is attached to a runtime. Whether the loop is, the builder decides:
    /// [`attach`](crate::Builder::attach) makes a loop that the runtime wakes. If the runtime is a
    /// multi-thread one, [`build`](crate::Builder::build) makes a loop of its own that lives in the
    /// runtime's context: its callbacks and tasks use the runtime, as in an attached loop, and it
    /// waits for its descriptors by itself, as a bare loop does. That is the faster way for a
    /// thread that has nothing else to do; see [which way is the fastest for
    /// what](crate::guide::hosts). It may be [driven by turns](crate::IOLoop::turn) as well.
    ///
    /// On a current-thread runtime, such a loop does not start
    /// ([`Attached`](RunError::Attached)): nobody would drive the runtime meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::IOLoop;
    /// use ioloop::backends::tokio::TokioBackend;
    ///
    /// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    /// let backend = TokioBackend::attached(runtime.handle().clone());
    /// let io_loop = IOLoop::builder().host(backend).build()?;
    /// let answer = io_loop.run_sync(async {
    ///     tokio::time::sleep(Duration::from_millis(1)).await; // told by a thread of tokio's
    ///     tokio::spawn(async { 42 }).await // runs on one
    /// })?;
    /// assert_eq!(answer?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attached(handle: Handle) -> Self {
        TokioBackend::new(handle, None)
    }

    fn new(handle: Handle, runtime: Option<LocalRuntime>) -> Self {
        TokioBackend { handle, runtime: RefCell::new(runtime), polled: Rc::default() }
    }

    /// The runtime's handle.
    ///
    /// ```
    /// use ioloop::IOLoop;
    /// use ioloop::backends::{BackendKind, tokio::TokioBackend};
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build()?;
    /// let handle = io_loop.backend::<TokioBackend>().unwrap().handle();
    /// let task = handle.spawn(async { 7 });
    /// assert_eq!(io_loop.run_sync(task)??, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Backend for TokioBackend {
    fn name(&self) -> &str {
        "tokio"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered::new(&self.handle, descriptor, &self.polled)?))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        if is_in_task() {
            return Err(RunError::InAsyncContext);
        }
        if drives_itself(&self.handle) {
            drive.park();
            return Ok(());
        }
        let runtime = self.runtime.borrow();
        let Some(runtime) = &*runtime else { return Err(RunError::Attached) };
        let (entered, ended) = (Cell::new(false), Cell::new(false));
        let blocked = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                entered.set(true);
                drive.await;
                ended.set(true);
            });
        }));
        blocked.or_else(|panic| match (entered.get(), ended.get()) {
            // What polls unconstrained cannot be told from what does not poll: there tokio says so
            // by a panic.
            (false, _) => Err(RunError::InAsyncContext),
            (true, false) => resume_unwind(panic),
            // tokio's own guard, as in `enter`; the runtime can be used again.
            (true, true) => Ok(()),
        })
    }

    fn enter(&self, turns: &mut dyn FnMut()) {
        let entered = match Handle::try_current() {
            // The thread that is in the runtime's `block_on` polls the loop.
            Ok(current) if current.id() == self.handle.id() => None,
            // A thread that is ending has no context to enter any more; a loop dropped there is
            // closed without.
            Err(error) if error.is_thread_local_destroyed() => return turns(),
            _ => Some(self.handle.enter()),
        };
        let is_outermost = self.polled.begin(entered.is_none());
        // The loop itself is fair to its host; tokio's budget would return "pending" to most of
        // what the callbacks poll.
        let mut turns = pin!(coop::unconstrained(poll_fn(|_| {
            turns();
            Poll::Ready(())
        })));
        let _ = turns.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if is_outermost {
            self.polled.end();
        }
        // Dropped, it panics if a callback forgot a guard of tokio's own: that must not reach the
        // host. There is no means to leave the context that was forgotten.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(entered)));
    }

    fn yield_now(&self, cx: &mut Context<'_>) {
        // At its first poll it hands the waker to the scheduler, which wakes it after its driver's
        // turn.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }

    fn execute(&self, job: Job) -> Result<(), Job> {
        drop(self.handle.spawn_blocking(job));
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        drives_itself(&self.handle)
    }

    fn shutdown(&self, how: Shutdown) {
        // It is borrowed while the loop runs, and goes on then.
        let runtime = self.runtime.try_borrow_mut().ok().and_then(|mut runtime| runtime.take());
        match (runtime, how) {
            (Some(runtime), Shutdown::Wait | Shutdown::Until(_)) if !is_in_task() => {
                let patience = match how {
                    Shutdown::Until(limit) => limit.saturating_duration_since(Instant::now()),
                    _ => Duration::MAX,
                };
                // As in `block_on`: where it must not wait and could not be told so, tokio panics,
                // and the runtime ends without waiting.
                let waited = AssertUnwindSafe(|| runtime.shutdown_timeout(patience));
                let _ = catch_unwind(waited);
            }
            (Some(runtime), _) => runtime.shutdown_background(),
            (None, _) => {}
        }
    }

    fn rebuild(&self) -> Option<Rebuild> {
        // A `LocalRuntime` is bound to its thread.
        let handle = drives_itself(&self.handle).then(|| self.handle.clone())?;
        Some(Box::new(move || Box::new(TokioBackend::attached(handle))))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl Drop for TokioBackend {
    /// No loop was made of it, or could be: tokio would wait for the runtime, and panic in an async
    /// context.
    fn drop(&mut self) {
        self.shutdown(Shutdown::Background);
    }
}

/// Whether a tokio runtime is entered on this thread.
pub(crate) fn is_entered() -> bool {
    Handle::try_current().is_ok()
}

/// Whether this thread is polling for a tokio runtime, where blocking makes tokio panic.
///
/// tokio has no question for it, and being entered is not it: a blocking thread is entered too. But
/// only what a runtime polls has a budget, so a budget that can be exhausted tells. What is taken
/// from it is given back.
fn is_in_task() -> bool {
    /// More than any budget: tokio's is 128, and its type ends at 255.
    const ENOUGH: usize = 256;
    let mut cx = Context::from_waker(Waker::noop());
    // Puts the budget back to where it was when dropped, which is after the loop.
    let Poll::Ready(_restore) = coop::poll_proceed(&mut cx) else {
        return true;
    };
    (0..ENOUGH).any(|_| match coop::poll_proceed(&mut cx) {
        Poll::Ready(step) => {
            step.made_progress();
            false
        }
        Poll::Pending => true,
    })
}
