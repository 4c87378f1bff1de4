//! Several threads, and ending them in order.
//!
//! A loop stays on the thread that made it, and so do its callbacks and tasks, which need not be `Send`. What crosses is a
//! [`Handle`](crate::Handle): `Send`, `Sync`, cheap to clone.
//!
//! | from another thread | what comes back |
//! |---|---|
//! | [`add_callback`](crate::Handle::add_callback) | `Closed` if the loop has gone |
//! | [`call`](crate::Handle::call) | a future of the closure's value, awaited on any executor |
//! | [`spawn`](crate::Handle::spawn) | the same for a future, which is made over there and may be `!Send` |
//! | [`stop`](crate::Handle::stop) | `Closed` if the loop has gone |
//!
//! # A loop a core
//!
//! ```
//! use ioloop::{IOLoop, LoopThread};
//! use std::time::Duration;
//!
//! let workers: Vec<LoopThread> = (0..2)
//!     .map(|n| IOLoop::spawn_thread(&format!("worker {n}"), IOLoop::new))
//!     .collect::<Result<_, _>>()?;
//! let squares: Vec<_> =
//!     workers.iter().zip([3, 4]).map(|(worker, n)| worker.handle().call(move || n * n)).collect();
//! let io_loop = IOLoop::new()?;
//! let sum = io_loop.run_sync(async {
//!     let mut sum = 0;
//!     for square in squares {
//!         sum += square.await?;
//!     }
//!     Ok::<_, ioloop::JoinError>(sum)
//! })??;
//! assert_eq!(sum, 25);
//! for worker in workers {
//!     let unfinished = worker.shutdown(Duration::from_secs(1))?;
//!     assert_eq!(unfinished.tasks, 0);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The three ways to end
//!
//! - *[`stop`](crate::IOLoop::stop)* ends the run at the end of the present turn. Everything stays, and the loop can be run again.
//! - *[`close`](crate::IOLoop::close)* drops everything, without running any of it. Whoever waits for something is answered "closed";
//!   nothing hangs. Dropping the last clone of a loop closes it, so give tasks and callbacks a
//!   [`WeakIOLoop`](crate::WeakIOLoop), which is not a clone and still a [`Reactor`](crate::Reactor).
//! - *[`shutdown`](crate::IOLoop::shutdown)* is for programs: it takes no new work, lets tasks and jobs finish for a while, and says
//!   what did not. Then close.
//!
//! # What is not supported
//!
//! - *fork without exec*: a child shares the kernel's set with its parent.
//! - *Waiting, on the loop's own thread, for what a `call` to that loop gives*: that deadlocks, as it must. Await it.
//! - *Moving an attached loop's future between threads*: it is `!Send`. Drive it in `block_on`, in a `LocalSet` or a
//!   `LocalRuntime`.
