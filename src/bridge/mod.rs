//! Futures across runtimes: run one over there and await it here, or poll it here in its own
//! context.
//!
//! A future that uses a runtime's timers or sockets has to be polled in that runtime's context. A
//! `!Send` one stays on the thread that made it. And a task that one executor runs is awaited on
//! another.
//!
//! - [`to_tokio`], [`to_smol`], [`to_executor`] and [`to_loop`] run a future *over there*; [`to`]
//!   runs it on any other executor, by a closure that spawns it. What they return is awaited here,
//!   on any executor, and behaves like the future itself: dropping it cancels it over there.
//! - [`in_tokio`] polls a future *here*, inside a tokio runtime's context. It may be `!Send`, and
//!   may borrow.
//! - [`IOLoop::add_future`](crate::IOLoop::add_future) and [`deferred`](crate::deferred()) make a
//!   loop the place where they meet.
//!
//! ```
//! # #[cfg(all(feature = "tokio", feature = "smol"))] {
//! use std::time::Duration;
//! use ioloop::bridge;
//!
//! let tokio = tokio::runtime::Runtime::new()?;
//! let answer = smol::block_on(async {
//!     // On a thread of tokio's, awaited here.
//!     let half = bridge::to_tokio(tokio.handle(), async { 21 }).await?;
//!     // On this thread, in tokio's context.
//!     let nap = async { tokio::time::sleep(Duration::from_millis(1)).await };
//!     bridge::in_tokio(tokio.handle(), nap).await;
//!     Ok::<_, ioloop::JoinError>(2 * half)
//! })?;
//! assert_eq!(answer, 42);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which bridge
//!
//! | awaited on | a future of tokio | of smol or async-io | of a loop (`!Send`) | of no runtime |
//! |---|---|---|---|---|
//! | tokio | await it; of another runtime: `in_tokio`, `to_tokio` | await it, or `to_smol`, `to_executor` | `to_loop` | await it |
//! | smol, async-io | `in_tokio`, `to_tokio` | await it | `to_loop` | await it |
//! | a loop on tokio | await it; of another runtime: `in_tokio`, `to_tokio` | await it, or `to_smol`, `to_executor` | its own: await it; another's: `to_loop` | await it |
//! | any other loop | `in_tokio`, `to_tokio` | await it, or `to_smol`, `to_executor` | its own: await it; another's: `to_loop` | await it |
//! | none: a plain `block_on` | `in_tokio`, `to_tokio` | await it, or `to_smol`, `to_executor` | `to_loop` | await it |
//!
//! Futures of smol and async-io need no context: their one reactor wakes any executor. It has a
//! thread of its own for when no other drives it.
//!
//! # What it costs
//!
//! | bridge | polled, and dropped, on | allocations | of which the handle |
//! |---|---|--:|--:|
//! | [`to_tokio`] | a thread of the runtime | 2 | 1 |
//! | [`to_smol`] | a thread of smol's global executor | 2 | 1 |
//! | [`to_executor`] | a thread that drives the executor | 2 | 1 |
//! | [`to`] | wherever the closure has it polled | what the closure allocates, and 1 | 1 |
//! | [`to_loop`] in a callback of that loop | that loop's thread, from the next turn on | 3, as [`IOLoop::spawn`](crate::IOLoop::spawn) | 1 |
//! | [`to_loop`] from elsewhere | that loop's thread; first polled one turn after the loop receives it | 3; 4 if the closure captures anything | 1 |
//! | [`in_tokio`] | the thread that polls it | 0 | 0 |
//! | [`deferred`](crate::deferred()) | nowhere | 1 | 1 |
//!
//! A loop keeps the wakers of tasks that have ended for those that come, which saves one of its
//! allocations.
//!
//! There is a wake of the far side at the start, one of the near side at the end, and nothing in
//! between. No thread is started but smol's, at the first use of its executor.
//!
//! # What comes of it
//!
//! | | the task gives |
//! |---|---|
//! | the future is done | its value, whatever its type: an error crosses unchanged |
//! | it panics | an error with its payload: [`resume_panic`](crate::JoinError::resume_panic) goes on with it here |
//! | the [`Guard`] is dropped | the future is dropped on the far side, without another poll, as soon as that gets to it |
//! | [`cancel`](Task::cancel) is called | the same, and an error that is [cancelled](crate::JoinError::is_cancelled); a value that was there already stays |
//! | [`keep`](Guard::keep) is called, and the task dropped | the future runs on, detached |
//! | the far side is shut down, or was, and drops its tasks | the future is dropped, and an error that is [closed](crate::JoinError::is_closed); not of [`in_tokio`], which may stay pending for ever: see below |
//! | its value is there, and the task is dropped | the value is dropped with it, here; over there if the task was dropped first |
//! | the near side is shut down | it drops the `Guard`, which cancels |
//!
//! A panic in the destructor of a future that is cancelled reaches neither this error nor the
//! loop's exception handler, unless a loop runs it: it is caught over there, after the standard
//! library's hook has printed it. A child process of tokio's that is killed by dropping its future
//! stays a zombie until tokio reaps it, under [`in_tokio`] too. tokio promises no time for that.
//!
//! A far side that is not driven makes no progress: a loop that does not run, an executor of
//! async-executor without a thread, and a tokio *current-thread* runtime while no thread is in its
//! `block_on`. tokio gives no means to find that out beforehand. The same holds for the timers and
//! sockets of [`in_tokio`]; with the feature `tracing` it warns when a runtime has run nothing for
//! a second.
//!
//! [`in_tokio`] polls its future here, so the end of the runtime does not end it. Timers of the
//! runtime panic then, and its sockets return errors. A future that waits for a channel whose other
//! end a task of the runtime had, or for anything else that only the runtime would have done, may
//! wait for ever. Where the runtime can go first, use [`to_tokio`], or race the future with one
//! that ends with the runtime.
//!
//! # Streams and I/O
//!
//! A stream crosses item by item, as the future of its next item under [`in_tokio`], or through a
//! channel of any runtime. tokio's I/O traits and the futures-io ones are turned into each other by
//! tokio-util's `compat`, whose reads and writes are futures like any other.
#![cfg_attr(not(all(feature = "tokio", feature = "smol")), allow(rustdoc::broken_intra_doc_links))]

#[cfg(any(feature = "async-io", feature = "smol"))]
mod executor;
#[cfg(all(feature = "tokio", feature = "tracing"))]
mod probe;
#[cfg(feature = "smol")]
mod smol;
mod spawn;
#[cfg(feature = "tokio")]
mod tokio;

use std::future::Future;

#[cfg(any(feature = "async-io", feature = "smol"))]
pub use self::executor::to_executor;
#[cfg(feature = "smol")]
pub use self::smol::to_smol;
pub use self::spawn::{Run, to};
#[cfg(feature = "tokio")]
pub use self::tokio::{in_tokio, to_tokio};
use crate::io_loop::handle::Handle;
use crate::reactor::guard::Guard;
use crate::task::Task;

/// Runs the future that `make` makes on a loop's thread, where it may be `!Send`; awaited here, on
/// any executor.
///
/// ```
/// use std::{rc::Rc, time::Duration};
/// use ioloop::{IOLoop, WeakIOLoop, bridge, sleep};
///
/// let worker = IOLoop::spawn_thread("worker", IOLoop::new)?;
/// let far = bridge::to_loop(&worker.handle(), || async {
///     let answer = Rc::new(42);
///     sleep(&WeakIOLoop::current().unwrap(), Duration::from_millis(1)).await?;
///     Ok::<_, ioloop::Closed>(*answer)
/// });
/// assert_eq!(IOLoop::new()?.run_sync(far)???, 42);
/// # worker.handle().stop()?;
/// # worker.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the guard cancels the future; see the [module](self#what-comes-of-it).
/// [`Handle::spawn`] is the same without the guard.
pub fn to_loop<F, M>(handle: &Handle, make: M) -> Guard<Task<F::Output>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    handle.spawn(make).cancel_on_drop()
}
