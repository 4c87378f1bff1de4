//! The contract between a loop and the runtime that hosts it.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::descriptor::Descriptor;
use crate::error::RunError;

/// What a runtime provides to host a loop.
///
/// Only [`name`](Self::name) and [`register`](Self::register) have to be written. The rest has defaults
/// that suit a runtime whose reactor makes progress by itself, on whatever thread.
///
/// Every method is called on the loop's thread. The registration is made, polled and dropped inside
/// [`enter`](Self::enter), which for some of these calls is entered outside of the runtime's own `block_on`: an attached
/// loop is registered where it is made, and may be closed or dropped after its host has gone. A runtime whose reactor is
/// there only inside its `block_on`, as that of a thread-local runtime may be, puts the work of `register` off until the
/// first [`poll_ready`](Registration::poll_ready), and finds nothing left to do when the registration is dropped late.
///
/// ```
/// use std::io;
/// use std::task::{Context, Poll};
/// use std::time::Instant;
/// use ioloop::backends::{Backend, Descriptor, Registration};
/// use ioloop::IOLoop;
///
/// /// Hosts a loop on async-io's reactor.
/// struct Mine;
///
/// impl Backend for Mine {
///     fn name(&self) -> &str {
///         "mine"
///     }
///
///     fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
///         Ok(Box::new(Registered(async_io::Async::new_nonblocking(descriptor)?)))
///     }
/// }
///
/// struct Registered(async_io::Async<Descriptor>);
///
/// impl Registration for Registered {
///     fn poll_ready(&mut self, cx: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
///         self.0.poll_readable(cx)
///     }
/// }
///
/// let io_loop = IOLoop::builder().host(Mine).attach()?;
/// assert_eq!(io_loop.backend_name(), "mine");
/// assert_eq!(async_io::block_on(io_loop.run_until(async { 7 }))?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The mistake to avoid is answering [`Poll::Pending`] without having arranged for the wake: see
/// [`Registration::poll_ready`].
pub trait Backend: 'static {
    /// The runtime's name, for messages and metrics.
    fn name(&self) -> &str;

    /// Registers the loop's descriptor with the runtime, for reading. Called inside [`enter`](Self::enter).
    ///
    /// The descriptor is one open file for as long as the registration holds it; a loop that makes its kernel set anew
    /// drops the registration, and registers the new descriptor.
    ///
    /// Dropping the registration ends it at once: when the drop returns, the runtime holds neither the descriptor nor a
    /// share in it, and wakes nobody for it. A runtime on completions, whose kernel keeps what an operation waits for until
    /// that has completed, does not do so by itself: cancel the operation in the drop, and have the runtime take note of it
    /// (one poll that does not wait). Where that cannot be had, the descriptor is given back when the runtime waits next,
    /// and the kernel objects of a closed loop live until then. The suite is told by
    /// `Rig::gives_back_late` (crate `ioloop-conformance`).
    ///
    /// # Errors
    ///
    /// Whatever the runtime returns; constructing the loop fails with it.
    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>>;

    /// Runs an own loop on this thread until it stops, parked as suits the runtime.
    ///
    /// By default it parks in its own descriptor, which is the fastest way. A runtime that makes progress
    /// only while its own `block_on` is entered overrides this, and runs the [`Drive`] as the future that
    /// it is; then [`is_embeddable`](Self::is_embeddable) is false too. Whoever returns before the drive is done makes the
    /// run end with an [error](RunError::Io) that says so.
    ///
    /// # Errors
    ///
    /// [`RunError::InAsyncContext`] where the thread must not be blocked. Nothing was run then.
    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        drive.park();
        Ok(())
    }

    /// Runs what it is given, once, before it returns, inside the runtime's context, so callbacks may use its types.
    ///
    /// That is mostly some turns of the loop, but also whatever runs in [`IOLoop::enter`](crate::IOLoop::enter), of a loop
    /// that does not run and that nothing awaits: that the runtime is entered does not tell that its `block_on` is further
    /// up on the stack, or that this thread must not be blocked. It may be entered already, and again by what runs inside.
    ///
    /// A backend that runs it twice, or never, makes the run end with an [error](RunError::Io) that says so. A panic of
    /// what it runs passes through.
    fn enter(&self, turns: &mut dyn FnMut()) {
        turns();
    }

    /// The tasks of the runtime's executor, to be polled while an own or embedded loop is driven; by default
    /// there are none.
    ///
    /// Asked for on the loop's thread, when the loop is made and after each of its runs. The future is polled
    /// while the loop is driven, inside [`enter`](Self::enter), between callbacks, each of its polls being one
    /// of them. It is to return [`Pending`](Poll::Pending) after a few tasks, having woken its waker, so
    /// the loop's callbacks have their share. It never ends by itself: the loop drops it at the end of a run,
    /// and what it has not run is left for whoever drives the executor next. One that panics is reported, and
    /// asked for anew.
    ///
    /// `waker` has the loop ask again, for an executor that is made later, or that has no task yet: a loop whose
    /// backend returns none does nothing for it. An attached loop asks for none: its host drives its own tasks.
    fn run_tasks(&self, _waker: &Waker) -> Option<RuntimeTasks> {
        None
    }

    /// Wakes `cx`'s waker so that a busy loop is polled again, after whatever else is ready in the runtime.
    ///
    /// Called instead of a sleep, where the loop has more to do and its host has waited long enough. By default it
    /// wakes the waker at once. A runtime that polls a task that wakes itself many times before it polls its
    /// driver, as tokio does, overrides this, so its timers and sockets are told first. The wake must arrive
    /// by itself.
    fn yield_now(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Runs a job that may block, on the runtime's own pool of threads; gives it back if the runtime has none.
    ///
    /// Must not block itself, and the job has to begin by itself: soon, and also while the loop's thread is blocked or
    /// sleeps, since whoever asked for it may be waiting on that thread. A job that is dropped returns closed. Called for
    /// [`IOLoop::run_in_executor`](crate::IOLoop::run_in_executor); given back, the job runs on the library's default pool.
    ///
    /// # Errors
    ///
    /// The job itself.
    fn execute(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }

    /// Whether an own loop may be driven by [`turn`](crate::IOLoop::turn), in a foreign loop.
    ///
    /// False for a runtime that makes progress only while its own `block_on` is entered: wherever
    /// [`block_on`](Self::block_on) runs the drive as a future. Hooks around a sleep are refused there, too.
    fn is_embeddable(&self) -> bool {
        true
    }

    /// Ends a runtime that was made for this loop; a host is left alone.
    fn shutdown(&self, _how: Shutdown) {}

    /// Makes the same backend anew on another thread, for an own loop that [goes
    /// there](crate::IOLoop::into_sendable); none, as by default, for what is bound to its thread.
    fn rebuild(&self) -> Option<Rebuild> {
        None
    }

    /// The backend as itself, for [`IOLoop::backend`](crate::IOLoop::backend).
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// What [`Backend::run_tasks`] gives.
pub type RuntimeTasks = Pin<Box<dyn Future<Output = ()>>>;

/// A loop's descriptor in a runtime's reactor, until it is [dropped](Backend::register).
pub trait Registration {
    /// Whether the descriptor may have become readable since this last returned ready.
    ///
    /// `Ready` says so, and is used up; the loop then looks at what there is. `Pending` arranges for
    /// `cx`'s waker to be woken when the descriptor becomes readable, or is readable already; a wake too
    /// many costs a look, one too few hangs the loop. The waker of the latest call counts, and none before: a run may be
    /// polled by one executor now and by another one later.
    ///
    /// The deadline is the loop's next; it is held in the descriptor where the platform allows, as Linux
    /// does, and need not be heeded then.
    ///
    /// # Errors
    ///
    /// The runtime was shut down, or failed; `run` ends with the error.
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>>;

    /// Whether the first [`poll_ready`](Self::poll_ready) after a wake that it arranged always returns `Ready`.
    ///
    /// Then `Pending` after a wake says that no descriptor is ready and that somebody else, such as a post, woke the
    /// loop. The loop does not poll its descriptors for that, as long as each wake is such a one, which makes a post to a
    /// sleeping loop a third cheaper. By default it does not rely on this, and polls after each wake.
    ///
    /// Return true only if the wake and the answer come from one state, set before the waker is woken: of a
    /// registration that says so and then returns `Pending` to its own wake the loop loses events.
    fn is_exact(&self) -> bool {
        false
    }
}

/// Makes a backend on the thread that calls it; see [`Backend::rebuild`].
pub type Rebuild = Box<dyn FnOnce() -> Box<dyn Backend> + Send>;

/// How a runtime is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Wait for what still runs on its threads.
    Wait,
    /// Wait for it, but no longer than until this instant: the loop was shut down with a grace that ends then.
    Until(Instant),
    /// Do not wait: the loop was dropped, perhaps inside an async context, or closed in another loop's
    /// callback.
    Background,
}

/// A piece of blocking work, as an executor gets it. If it is dropped instead of run, its task
/// returns an error that is [closed](crate::JoinError::is_closed).
pub type Job = Box<dyn FnOnce() + Send>;

/// An own loop that is about to run; what [`Backend::block_on`] gets.
///
/// A runtime that has to drive itself runs it as the future that it is; any other lets it
/// [`park`](Self::park).
#[must_use = "a loop runs only while it is driven"]
pub struct Drive<'a>(&'a mut dyn Driving);

/// The two ways in which a loop is driven.
pub(crate) trait Driving {
    /// Runs the loop to its end, parked in its own descriptor.
    fn park(&mut self);

    /// Makes as many turns as there is work for, up to the point where the host has waited enough.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<'a> Drive<'a> {
    pub(crate) fn new(driving: &'a mut dyn Driving) -> Self {
        Drive(driving)
    }

    /// Runs the loop to its end, parked in its own descriptor.
    pub fn park(self) {
        self.0.park();
    }
}

impl Future for Drive<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}
