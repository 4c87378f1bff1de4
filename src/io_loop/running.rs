//! The futures that drive an attached loop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::RunError;

/// What a loop's future is to the compiler: one type that says in its name why it is not `Send`.
trait StaysOnTheThreadOfItsLoop: Future {}

impl<F: Future> StaysOnTheThreadOfItsLoop for F {}

type Driving<'a, T> = Pin<Box<dyn StaysOnTheThreadOfItsLoop<Output = Result<T, RunError>> + 'a>>;

/// The future of [`IOLoop::run`](crate::IOLoop::run).
///
/// # If the compiler says that it cannot be sent between threads
///
/// A loop stays on its thread, and so does what drives it. `tokio::spawn` and `smol::spawn` want a
/// future that may move. Use instead:
///
/// - what blocks on a future in place: `#[tokio::main]` itself, `Runtime::block_on`,
///   `smol::block_on`;
/// - what spawns on this thread: `tokio::task::spawn_local` in a `LocalSet` or a `LocalRuntime`,
///   `LocalExecutor::spawn`;
/// - a thread of the loop's own, [`IOLoop::spawn_thread`](crate::IOLoop::spawn_thread), whose
///   [`Handle`](crate::Handle) any task may hold.
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use ioloop::{IOLoop, Reactor};
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// tokio::task::LocalSet::new().block_on(&runtime, async {
///     let io_loop = IOLoop::attach()?;
///     io_loop.call_soon(|| IOLoop::current().unwrap().stop());
///     // `tokio::spawn` would not compile.
///     tokio::task::spawn_local(io_loop.run()).await??;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a loop runs only while this is awaited"]
pub struct Run(Driving<'static, ()>);

/// The future of [`IOLoop::run_until`](crate::IOLoop::run_until).
///
/// Where the compiler says that it cannot be sent between threads, do as with [`Run`].
#[must_use = "a loop runs only while this is awaited"]
pub struct RunUntil<'a, T>(Driving<'a, T>);

impl Run {
    pub(super) fn new(driving: impl Future<Output = Result<(), RunError>> + 'static) -> Self {
        Run(Box::pin(driving))
    }
}

impl<'a, T> RunUntil<'a, T> {
    pub(super) fn new(driving: impl Future<Output = Result<T, RunError>> + 'a) -> Self {
        RunUntil(Box::pin(driving))
    }
}

impl Future for Run {
    type Output = Result<(), RunError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> Future for RunUntil<'_, T> {
    type Output = Result<T, RunError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RunUntil<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunUntil").finish_non_exhaustive()
    }
}
