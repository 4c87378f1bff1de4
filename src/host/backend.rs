//! The contract between a loop and the runtime that hosts it.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::descriptor::Descriptor;
use crate::error::RunError;

/// A runtime that can host a loop.
///
/// Only [`name`](Self::name) and [`register`](Self::register) have to be written. The rest has
/// defaults that suit a runtime whose reactor makes progress by itself, on whatever thread.
///
/// Every method is called on the loop's thread. The registration is made, polled and dropped inside
/// [`enter`](Self::enter). Some of these calls are made outside of the runtime's own `block_on`: an
/// attached loop is registered where it is made, and may be closed or dropped after its host is
/// gone. A runtime whose reactor exists only inside its `block_on`, as that of a thread-local
/// runtime may, puts the work of `register` off until the first
/// [`poll_ready`](Registration::poll_ready), and finds nothing left to do when the registration is
/// dropped late.
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
/// The mistake to avoid is returning [`Poll::Pending`] without having arranged for the wake: see
/// [`Registration::poll_ready`].
pub trait Backend: 'static {
    /// The runtime's name, for messages and metrics.
    fn name(&self) -> &str;

    /// Registers the loop's descriptor with the runtime, for reading. Called inside
    /// [`enter`](Self::enter).
    ///
    /// The descriptor is one open file for as long as the registration holds it. A loop that makes
    /// its kernel set anew drops the registration, and registers the new descriptor.
    ///
    /// Dropping the registration ends it at once: when the drop returns, the runtime holds neither
    /// the descriptor nor a share in it, and makes no wake for it. In a runtime on completions, the
    /// kernel keeps the file of an operation until that has completed. Such a registration cancels
    /// its operation in the drop, and has the runtime take note of it (one poll that does not
    /// wait). Where the runtime cannot do that, the descriptor is given back when it waits next,
    /// and the kernel objects of a closed loop live until then. Tell the suite so by
    /// `Rig::gives_back_late` (crate `ioloop-conformance`).
    ///
    /// # Errors
    ///
    /// Whatever the runtime returns; constructing the loop fails with it.
    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>>;

    /// Runs an own loop on this thread until it stops, parked as suits the runtime.
    ///
    /// By default it parks in its own descriptor, which is the fastest way. A runtime that makes
    /// progress only while its own `block_on` is entered overrides this, and runs the [`Drive`] as
    /// the future that it is. Then [`is_embeddable`](Self::is_embeddable) is false too. If this
    /// returns before the drive is done, the run ends with an [error](RunError::Io) that says so.
    ///
    /// # Errors
    ///
    /// [`RunError::InAsyncContext`] where the thread must not be blocked. Nothing was run then.
    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        drive.park();
        Ok(())
    }

    /// Runs its argument, once, before it returns, inside the runtime's context, so callbacks may
    /// use the runtime's types.
    ///
    /// The argument makes some turns of the loop, or is that of
    /// [`IOLoop::enter`](crate::IOLoop::enter), where the loop may not be running. So the runtime's
    /// `block_on` need not be further up on the stack, and the thread may be one that must not be
    /// blocked. The context may be entered already, and is entered again by what runs inside.
    ///
    /// If a backend runs it twice, or never, the run ends with an [error](RunError::Io) that says
    /// so. A panic of the argument passes through.
    fn enter(&self, turns: &mut dyn FnMut()) {
        turns();
    }

    /// The tasks of the runtime's executor, which are polled while an own or embedded loop is
    /// driven. By default there are none.
    ///
    /// Called on the loop's thread, when the loop is made and after each of its runs. The future is
    /// polled while the loop is driven, inside [`enter`](Self::enter), as one of the callbacks. It
    /// returns [`Pending`](Poll::Pending) after a few tasks, having woken its waker, so the loop's
    /// callbacks have their share. It never ends by itself. The loop drops it at the end of a run,
    /// and the executor's tasks wait for the next driver of the executor. If it panics, the panic
    /// is reported, and this is called again.
    ///
    /// Waking `waker` has the loop call this again, for an executor that is made later or has no
    /// task yet. A loop whose backend returns none polls nothing. It is not called for an attached
    /// loop, whose host drives its own tasks.
    fn run_tasks(&self, _waker: &Waker) -> Option<RuntimeTasks> {
        None
    }

    /// Wakes `cx`'s waker, so a busy loop is polled again after everything else that is ready in
    /// the runtime.
    ///
    /// Called instead of a sleep, where the loop has more to do and its host has waited long
    /// enough. By default it wakes the waker at once. A runtime that polls a task that wakes itself
    /// many times before it polls its driver, as tokio does, overrides this, so its timers and
    /// sockets go first. The wake must arrive by itself.
    fn yield_now(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Runs a job that may block, on the runtime's own pool of threads; gives it back if the
    /// runtime has none.
    ///
    /// It must not block itself. The job has to begin by itself, and soon, also while the loop's
    /// thread is blocked or asleep: its caller may be waiting for it on that thread. A job that is
    /// dropped returns closed. Called for
    /// [`IOLoop::run_in_executor`](crate::IOLoop::run_in_executor). A job that is given back runs
    /// on the library's default pool.
    ///
    /// # Errors
    ///
    /// The job itself.
    fn execute(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }

    /// Whether an own loop may be driven by [`turn`](crate::IOLoop::turn), in a foreign loop.
    ///
    /// False for a runtime that makes progress only while its own `block_on` is entered: one whose
    /// [`block_on`](Self::block_on) runs the drive as a future. Hooks around a sleep are refused
    /// there, too.
    fn is_embeddable(&self) -> bool {
        true
    }

    /// Ends a runtime that was made for this loop. A host is left alone.
    fn shutdown(&self, _how: Shutdown) {}

    /// Makes the same backend anew on another thread, for an own loop that [goes
    /// there](crate::IOLoop::into_sendable). None, as by default, if the backend is bound to its
    /// thread.
    fn rebuild(&self) -> Option<Rebuild> {
        None
    }

    /// The backend as itself, for [`IOLoop::backend`](crate::IOLoop::backend).
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// The result of [`Backend::run_tasks`].
pub type RuntimeTasks = Pin<Box<dyn Future<Output = ()>>>;

/// A loop's descriptor in a runtime's reactor, until it is [dropped](Backend::register).
pub trait Registration {
    /// Whether the descriptor may have become readable since this last returned ready.
    ///
    /// `Ready` says so, and is consumed; then the loop polls its descriptors. `Pending` arranges
    /// for `cx`'s waker to be woken when the descriptor becomes readable, or is readable already. A
    /// wake too many costs a poll, one too few hangs the loop. The waker of the latest call counts,
    /// and no earlier one: a run may be polled by one executor now and by another one later.
    ///
    /// The deadline is the loop's next one. Where the descriptor becomes readable at the deadline
    /// by itself, as on Linux, it may be ignored.
    ///
    /// # Errors
    ///
    /// The runtime was shut down, or failed; `run` ends with the error.
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>>;

    /// Whether the first [`poll_ready`](Self::poll_ready) after a wake that it arranged always
    /// returns `Ready`.
    ///
    /// Then `Pending` after a wake says that no descriptor is ready: a post, or another wake, has
    /// woken the loop. The loop does not poll its descriptors then, which makes a post to a
    /// sleeping loop a third cheaper. By default it does not rely on this, and polls after each
    /// wake.
    ///
    /// Return true only if the wake and the result come from one state, which is set before the
    /// waker is woken. If a registration says so and then returns `Pending` to its own wake, the
    /// loop loses events.
    fn is_exact(&self) -> bool {
        false
    }
}

/// Makes a backend on the thread that calls it; see [`Backend::rebuild`].
pub type Rebuild = Box<dyn FnOnce() -> Box<dyn Backend> + Send>;

/// How a runtime is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Wait for the work on its threads.
    Wait,
    /// Wait for it, but no longer than until this instant: the loop was shut down, with a grace
    /// that ends then.
    Until(Instant),
    /// Do not wait: the loop was dropped, perhaps inside an async context, or closed in another
    /// loop's callback.
    Background,
}

/// A piece of blocking work for an executor. If it is dropped instead of run, its task returns an
/// error that is [closed](crate::JoinError::is_closed).
pub type Job = Box<dyn FnOnce() + Send>;

/// An own loop that is about to run, as [`Backend::block_on`] receives it.
///
/// A runtime that has to drive itself runs it as the future that it is. Any other runtime lets it
/// [`park`](Self::park).
#[must_use = "a loop runs only while it is driven"]
pub struct Drive<'a>(&'a mut dyn Driving);

/// The two ways in which a loop is driven.
pub(crate) trait Driving {
    /// Runs the loop to its end, parked in its own descriptor.
    fn park(&mut self);

    /// Makes turns while there is work, until the host has waited long enough.
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
