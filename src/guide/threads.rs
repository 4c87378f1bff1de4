//! Several threads, and ending them in order.
//!
//! A loop stays on the thread that made it, and so do its callbacks and tasks, which need not be
//! `Send`. What crosses is a [`Handle`](crate::Handle): `Send`, `Sync`, cheap to clone.
//!
//! | from another thread | what comes back |
//! |---|---|
//! | [`add_callback`](crate::Handle::add_callback) | `Closed` if the loop has gone |
//! | [`call`](crate::Handle::call) | a future of the closure's value, awaited on any executor |
//! | [`spawn`](crate::Handle::spawn) | the same for a future, which is made over there and may be `!Send` |
//! | [`stop`](crate::Handle::stop) | `Closed` if the loop has gone |
//! | [`Trigger::fire`](crate::Trigger::fire) | the same; calls a `!Send` callback of the loop's thread, once for many fires |
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
//! [`IOLoop::spawn_threads`](crate::IOLoop::spawn_threads) does so for a whole pool, with an
//! executor that its loops share: see [`executors`](super::executors).
//!
//! # A loop that goes to another thread
//!
//! Nothing of a loop is `Send`, for that would cost each callback; but a loop that holds nothing
//! can be taken apart and made anew elsewhere: [`into_sendable`](crate::IOLoop::into_sendable)
//! here, [`into_loop`](crate::embed::SendableLoop::into_loop) there. It is refused, with the
//! reason, while the loop holds anything or another clone of it exists, of a loop on tokio, and of
//! one that is attached.
//!
//! `Watch`, `TimerHandle` and their like stay on their thread, and have to be dropped there. A
//! language whose collector drops things on any thread gives them to
//! [`portable`](crate::IOLoop::portable): the loop keeps them, and has one dropped on its own
//! thread when the [`Portable`](crate::embed::Portable) that stands for it is dropped, wherever
//! that is.
//!
//! What a loop holds cannot be visited, so a collector does not see a cycle that goes through it: a
//! callback that holds the object that holds the loop keeps both. Close the loop in time (a `with`
//! block, a finalizer of the thread), or give callbacks weak references.
//!
//! # The ways to end
//!
//! - *[`stop`](crate::IOLoop::stop)* ends the run at the end of the present turn. Everything stays,
//!   and the loop can be run again.
//! - *[`close`](crate::IOLoop::close)* drops everything, without running any of it. Whatever waits
//!   for something of the loop returns "closed"; nothing hangs. Dropping the last clone of a loop
//!   closes it, so give tasks and callbacks a [`WeakIOLoop`](crate::WeakIOLoop), which is not a
//!   clone and still a [`Reactor`](crate::Reactor).
//! - *[`shutdown`](crate::IOLoop::shutdown)* is for programs: it takes no new work, lets tasks and
//!   jobs finish for a while, and says what did not. Then close. It waits for no timer and no
//!   callback.
//!
//! A program of callbacks ends in order by a fourth: it removes the watches that bring new work,
//! and lets [`run_until_empty`](crate::IOLoop::run_until_empty) (an own loop:
//! [`start_until_empty`](crate::IOLoop::start_until_empty)) do what is left, with a time-out of the
//! host's around it. Then close.
//!
//! # Files that tell a change once
//!
//! Readiness is a state, and stays until it is dealt with; so a loop may be polled by its host, and
//! then poll for itself. For a few of Linux's files it is not: whoever polls first is told of a
//! change, and whoever polls next is not. They are
//!
//! - the table of mounts, `/proc/self/mounts` and `mountinfo`, and `/proc/swaps`;
//! - the files under `/proc/sys` that can be polled, such as `kernel/hostname`;
//! - pressure triggers, on `/proc/pressure/*` and a cgroup's `*.pressure`;
//! - the rings of `perf_event_open`, and so BPF's perf arrays. (Its ring buffers are as other
//!   files.)
//!
//! Where a loop is polled by its host they are never told: attached, embedded, or an own loop on
//! tokio. An own loop that is bare, on async-io or on smol, or in the context of a multi-thread
//! tokio, tells each change, while the watch is not paused; what comes before
//! [`resume`](crate::Watch::resume) is lost, since that polls, too. So give them a thread with a
//! bare loop, and have it tell yours:
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use std::fs::File;
//! use ioloop::backends::BackendKind;
//! use ioloop::{IOLoop, Interest, Reactor};
//!
//! let io_loop = IOLoop::new()?;
//! let handle = io_loop.handle();
//! let mounts = IOLoop::spawn_thread("mounts", move || {
//!     let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
//!     let table = File::open("/proc/self/mounts")?;
//!     io_loop.add_handler(table, Interest::PRIORITY, move |_, _| {
//!         // On the thread of the first loop; an error says that it was closed.
//!         let _ = handle.add_callback(|| println!("something was mounted or unmounted"));
//!     })?;
//!     Ok(io_loop)
//! })?;
//! # mounts.handle().stop()?;
//! # mounts.join()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A forked child
//!
//! A child that is forked, and executes no other program, has copies of its parent's loops. They
//! are dead there: they answer [`Forked`](crate::RunError::Forked), or do nothing, and the parent's
//! go on unharmed. What the child may have depends on what its parent has used:
//!
//! | in the child | works |
//! |---|---|
//! | an own loop: bare, on async-io or on smol | always, also in the callback that has forked |
//! | an own loop on tokio | the same; where the thread was inside a tokio runtime when it forked, on a new thread only: tokio lets a thread be in one runtime at a time, and answers [`InAsyncContext`](crate::RunError::InAsyncContext) |
//! | a loop attached to tokio | on a runtime that was made in the child. On one of the parent's it hangs, and neither tokio nor the loop can tell |
//! | a loop attached to async-io or smol | if no process before it has used their reactor, which has a thread that the child lacks. Where a loop was attached to it, `attach` says so; where other code has used it, the loop hangs, as async-io by itself does |
//! | blocking jobs | on threads of the child's |
//! | a [watchdog](crate::IOLoop::set_watchdog) | on the child's own loops; the thread of a parent's is not there |
//!
//! So a daemon forks first, and makes its loop afterwards.
//!
//! # Until nothing is left
//!
//! libuv and Node return when there is nothing left to wait for. Here a hook before the sleep may
//! ask the [`metrics`](crate::IOLoop::metrics); the end of the last job wakes the loop for it:
//!
//! ```
//! use ioloop::hooks::BeforeSleep;
//! use ioloop::IOLoop;
//!
//! let io_loop = IOLoop::new()?;
//! io_loop.before_sleep(|| {
//!     let io_loop = IOLoop::current().unwrap();
//!     let left = io_loop.metrics();
//!     if (left.watches, left.timers, left.tasks, left.jobs) == (0, 0, 0, 0) {
//!         io_loop.stop();
//!     }
//!     BeforeSleep::Sleep
//! });
//! io_loop.spawn(async {
//!     let job = IOLoop::current().unwrap().run_in_executor(|| 6 * 7);
//!     println!("{}", job.await.unwrap());
//! });
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is not supported
//!
//! - *Waiting, on the loop's own thread, for what a `call` to that loop gives*: that deadlocks, as
//!   it must. Await it.
//! - *Moving an attached loop's future between threads*: it is `!Send`. Drive it in `block_on`, in
//!   a `LocalSet` or a `LocalRuntime`.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"`Rc<ioloop::io_loop::BoundToItsThread>` cannot be sent between threads safely"*: a loop, or
//!   something that holds one, was to go to another thread. Send its [`Handle`](crate::Handle).
//! - *"required because it appears within the type `ioloop::run::Run`"*, at
//!   `tokio::spawn(io_loop.run())`: [`Run`](crate::run::Run) says what to do.
//! - *"a callback has held the loop up for 5s on thread worker, and has not returned, from
//!   src/main.rs:20:13"*, from the [watchdog](crate::IOLoop::set_watchdog): it waits, in a `block_on`
//!   or a `recv`, for a `call` of its own loop. Await that instead.
//! - *"the loop is closed"*, from a `Handle`: the loop has gone; what was posted is dropped, here.
//!   And *"there is no value: its loop was closed, its runtime shut down, or its resolver
//!   dropped"*, from what is awaited:
//!
//!   ```
//!   use ioloop::{Closed, IOLoop};
//!
//!   let io_loop = IOLoop::new()?;
//!   let handle = io_loop.handle();
//!   let pending = handle.call(|| 42);
//!   io_loop.close()?;
//!   assert_eq!(handle.add_callback(|| ()), Err(Closed));
//!   let error = futures_lite::future::block_on(pending).unwrap_err();
//!   assert!(error.is_closed());
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *"the loop's thread is blocked, and had not ended when the time for it was over"*, from
//!   [`LoopThread::shutdown`](crate::LoopThread::shutdown): a callback on that thread blocks. Set
//!   [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) to learn which:
//!   *"a callback held the loop up for 1.5s, from src/main.rs:20:13"*.
//! - *"the loop on thread main sleeps under a current-thread tokio runtime that has run nothing for
//!   1s, so the loop is told of no descriptor and no timer; await `run` inside that runtime's
//!   `Runtime::block_on`, or attach the loop to the runtime that it runs under"*:
//!   `Handle::block_on` of a runtime that nobody drives, or another executor than the one that was
//!   attached to.
//! - *"the loop cannot go to another thread: there is another clone of it, or it is current"*, and
//!   other reasons, from [`into_sendable`](crate::IOLoop::into_sendable).
//! - *"the loop is that of the process which this one was forked from: make a new loop here, or
//!   execute another program"*: see [above](#a-forked-child).
//! - *A mount, or a pressure trigger, is never told*: see [above](#files-that-tell-a-change-once).
