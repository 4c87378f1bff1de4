//! Futures on an executor of async-executor, which smol's executors are too.

use std::future::Future;

use super::spawn::to;
use crate::backends::executors::Executor;
use crate::reactor::guard::Guard;
use crate::task::Task;

/// Runs `future` on an executor of async-executor, on whatever thread drives it; awaited here, on
/// any executor.
///
/// smol's `Executor` is the same type. It makes progress only while it is driven: by a loop
/// [that has it](crate::backends::async_io::AsyncIoBackend::with_executor), a
/// [pool](crate::IOLoop::spawn_threads) of them, or a thread in its `run`.
///
/// ```
/// use ioloop::backends::BackendKind;
/// use ioloop::backends::async_io::AsyncIoBackend;
/// use ioloop::{IOLoop, bridge};
///
/// let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
/// let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
/// let answer = bridge::to_executor(&executor, async { 6 * 7 });
/// assert_eq!(io_loop.run_sync(answer)??, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the guard cancels the future; see the [module](crate::bridge#what-comes-of-it).
#[cfg_attr(docsrs, doc(cfg(any(feature = "async-io", feature = "smol"))))]
pub fn to_executor<'a, F>(executor: &Executor<'a>, future: F) -> Guard<Task<F::Output>>
where
    F: Future + Send + 'a,
    F::Output: Send + 'a,
{
    to(|future| executor.spawn(future).detach(), future)
}
