//! Futures on a tokio runtime, and in its context.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

#[cfg(feature = "tracing")]
use super::probe::Probe;
use super::spawn::to;
use crate::reactor::guard::Guard;
use crate::task::Task;

/// Runs `future` on a tokio runtime; awaited here, on any executor.
///
/// A *current-thread* runtime makes progress only while a thread is in its `block_on`.
///
/// ```
/// use ioloop::{IOLoop, bridge};
///
/// let runtime = tokio::runtime::Runtime::new()?;
/// let listener = bridge::to_tokio(runtime.handle(), async {
///     tokio::net::TcpListener::bind("127.0.0.1:0").await
/// });
/// let listener = IOLoop::new()?.run_sync(listener)???;
/// assert!(listener.local_addr()?.ip().is_loopback());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the guard cancels the future; see the [module](crate::bridge#what-comes-of-it).
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub fn to_tokio<F>(handle: &Handle, future: F) -> Guard<Task<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // tokio's own handle of it is dropped, which detaches: cancelling goes through the task's
    // waker, as everywhere.
    to(|future| drop(handle.spawn(future)), future)
}

/// Polls `future` here, under whatever executor this is, inside a tokio runtime's context.
///
/// For a future that needs tokio's timers, sockets or `tokio::spawn`, but is `!Send`, or borrows,
/// or should stay on this thread. The runtime is entered in each poll, and while the future is
/// dropped, but not before the first poll. So what needs the runtime when it is *made*, such as
/// `tokio::time::sleep`, belongs in an async block.
///
/// Timers and sockets make progress only while the runtime is driven: a multi-thread one drives
/// itself, a *current-thread* one has to be in a thread's `block_on`. With the feature `tracing` a
/// warning says so when such a runtime has run nothing for a second since the first poll. If the
/// runtime is shut down, its timers panic when polled, and its sockets return errors, as they do in
/// the runtime itself. Signals do not arrive any more. A future that waits for something else of
/// the runtime's, such as a lock or a channel that one of its tasks held, may be pending for ever.
///
/// tokio's cooperative budget does not apply here: a future whose sockets and channels are always
/// ready must yield by itself.
///
/// ```
/// use std::{rc::Rc, time::Duration};
/// use ioloop::{IOLoop, bridge};
///
/// let runtime = tokio::runtime::Runtime::new()?;
/// let io_loop = IOLoop::builder().backend(ioloop::backends::BackendKind::Bare).build()?;
/// let local = Rc::new(42);
/// let answer = io_loop.run_sync(bridge::in_tokio(runtime.handle(), async {
///     tokio::time::sleep(Duration::from_millis(1)).await;
///     *local
/// }))?;
/// assert_eq!(answer, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// Awaiting it goes on with the future's panic.
///
/// # Cancel safety
///
/// That of `future`.
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub fn in_tokio<F: Future>(handle: &Handle, future: F) -> impl Future<Output = F::Output> + use<F> {
    InTokio { handle: handle.clone(), future: Some(future), probe: Default::default() }
}

/// Finds out that the runtime is not driven, if it was sent already.
#[cfg(feature = "tracing")]
type Sent = Option<Option<Probe>>;
#[cfg(not(feature = "tracing"))]
type Sent = ();

pin_project! {
    /// A future that is polled, and dropped, inside the runtime.
    struct InTokio<F> {
        handle: Handle,
        // None once it is done.
        #[pin]
        future: Option<F>,
        probe: Sent,
    }

    impl<F> PinnedDrop for InTokio<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            within(this.handle, || this.future.set(None));
        }
    }
}

impl<F: Future> Future for InTokio<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let polled = within(this.handle, || {
            let future = this.future.as_mut().as_pin_mut();
            let output = ready!(future.expect("polled after its end").poll(cx));
            this.future.set(None);
            Poll::Ready(output)
        });
        #[cfg(feature = "tracing")]
        if polled.is_pending() {
            if let Some(probe) = this.probe.get_or_insert_with(|| Probe::send(this.handle)) {
                probe.look();
            }
        }
        polled
    }
}

/// Runs `code` inside the runtime; without it on a thread that is ending, which has no context any
/// more.
fn within<T>(handle: &Handle, code: impl FnOnce() -> T) -> T {
    let is_ending = Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed());
    let _entered = (!is_ending).then(|| handle.enter());
    code()
}
