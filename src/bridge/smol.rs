//! Futures on smol's executor.

use std::future::Future;

use super::spawn::to;
use crate::reactor::guard::Guard;
use crate::task::Task;

/// Runs `future` on smol's global executor; awaited here, on any executor.
///
/// ```
/// use ioloop::{IOLoop, bridge};
///
/// let thread = bridge::to_smol(async { std::thread::current().id() });
/// assert_ne!(IOLoop::new()?.run_sync(thread)??, std::thread::current().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the guard cancels the future; see the [module](crate::bridge#what-comes-of-it).
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
pub fn to_smol<F>(future: F) -> Guard<Task<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    to(|future| smol::spawn(future).detach(), future)
}
