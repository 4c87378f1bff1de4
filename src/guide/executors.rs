//! Executors and pools: what runs where, and what it costs.
//!
//! # What runs where
//!
//! | work | `Send` | runs |
//! |---|---|---|
//! | callbacks, timers, watches | no | on the loop's thread |
//! | [`IOLoop::spawn`](crate::IOLoop::spawn) | no | on the loop's thread; from another thread by [`Handle::spawn`](crate::Handle::spawn) |
//! | a task on the [executor](crate::backends::async_io::AsyncIoBackend::executor) of a loop on async-io or smol | yes | on the loop's thread while the loop is driven, between its callbacks; spawned from any thread |
//! | a task on a [local executor](crate::backends::async_io::AsyncIoBackend::with_local_executor) that was given to the loop | no | on the loop's thread, likewise |
//! | a task on the executor of a [pool](crate::LoopPool) | yes | on the thread of whichever of the pool's loops is free, at each of its polls |
//! | `tokio::spawn` in a loop of its own on tokio | yes | on the loop's thread; on one that is attached: on the host's threads |
//! | `smol::spawn` | yes | on smol's own threads, not on the loop's |
//! | [`run_in_executor`](crate::IOLoop::run_in_executor), which may block | yes | on a thread of a pool for blocking jobs |
//!
//! An attached loop drives no executor, since its host drives its own: the executor that polls it,
//! a tokio runtime, smol's threads. A task of another executor is awaited through a
//! [`bridge`](crate::bridge).
//!
//! ```
//! use ioloop::IOLoop;
//! use ioloop::backends::{BackendKind, async_io::AsyncIoBackend};
//!
//! let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
//! let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
//! let elsewhere = std::thread::spawn({
//!     let executor = executor.clone();
//!     move || executor.spawn(async { std::thread::current().id() })
//! });
//! let ran_on = io_loop.run_sync(elsewhere.join().unwrap())?;
//! assert_eq!(ran_on, std::thread::current().id());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A pool
//!
//! [`IOLoop::spawn_threads`](crate::IOLoop::spawn_threads) starts loops on threads of their own
//! that share one executor. What need not stay on a thread goes to the executor, and what must, or
//! should, goes to a loop by its handle. `examples/pool.rs` is a TCP server on all processors in
//! either way. With a task on the shared executor a busy connection cannot hold up others while a
//! processor is free. With a task on one loop a connection stays where its data is cached, needs no
//! lock, and may hold an `Rc`; where connections are many and alike that is the faster one.
//!
//! ```
//! use std::rc::Rc;
//! use std::time::Duration;
//! use futures_lite::future::block_on;
//! use ioloop::{Builder, IOLoop, bridge};
//!
//! let pool = IOLoop::spawn_threads(2, "worker", Builder::build)?;
//! let anywhere = bridge::to_executor(pool.executor(), async { 20 });
//! let second = pool.handles().nth(1).unwrap();
//! let there = bridge::to_loop(&second, || async { *Rc::new(22) });
//! assert_eq!(block_on(anywhere)? + block_on(there)?, 42);
//! pool.shutdown(Duration::from_secs(1))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A task without an end, such as one that accepts connections, uses up the whole grace of a
//! shutdown. Hold it as a guard ([`to_executor`](crate::bridge::to_executor) and
//! [`to_loop`](crate::bridge::to_loop) return one) and drop that first, as `examples/pool.rs` does.
//!
//! # What it costs
//!
//! | | threads | wake-ups | beside it |
//! |---|---|---|---|
//! | a loop whose executor was not asked for | none | none | nothing |
//! | a loop that drives an executor | none | a wake from another thread writes to the loop's eventfd if the loop sleeps; one from its own thread is no system call | an entry of the callback queue for at most eight tasks |
//! | a pool | one a loop | a spawn or wake wakes one loop that sleeps; that one wakes the next, before it runs its task | each loop's descriptors: an epoll instance, an eventfd, and a timerfd once it has a timer |
//! | sockets and timers of async-io in a task | `async-io`, one for the process | each event is one of that thread, and one of the loop that runs the task | async-io's descriptors |
//! | an attached loop | those of its host | each event of the loop is one of the host's | the loop's descriptor in the host's reactor |
//!
//! A loop's own [`Async`](crate::Async) and [`sleep`](crate::sleep) take no detour, but stay on
//! their loop.
//!
//! Eight tasks at most are polled between two callbacks, and all callbacks that are queued between
//! two such polls: neither starves the other. A callback that blocks its loop's thread holds up
//! what runs there, and it may hold up tasks of a shared executor as well: async-executor wakes one
//! sleeping loop at a time, and does not know that this one is blocked in a callback. Blocking work
//! belongs in [`run_in_executor`](crate::IOLoop::run_in_executor).
//!
//! # Panics, and the end
//!
//! The panic of a task resumes where the task is awaited; that is async-executor's rule, which
//! drops the panic of a task that was detached. Spawned by
//! [`bridge::to_executor`](crate::bridge::to_executor), the task gives it as a
//! [`JoinError`](crate::JoinError), and once it is detached, its panic goes to the exception
//! handler of the loop that runs it, as that of a task of the loop's own:
//!
//! ```
//! use ioloop::observe::Origin;
//! use ioloop::{IOLoop, bridge};
//! use ioloop::backends::{BackendKind, async_io::AsyncIoBackend};
//!
//! let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
//! io_loop.set_exception_handler(|exception| {
//!     assert_eq!(exception.origin, Origin::Task);
//!     IOLoop::current().unwrap().stop();
//! });
//! let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
//! bridge::to_executor(&executor, async { panic!("nobody awaits this") }).keep().detach();
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Tasks that no loop runs wait in the executor. They are dropped with the last share in it: a loop
//! drops the one that it made when it is closed, a pool when it was shut down or joined. A
//! destructor that panics then aborts the process, which is async-executor's rule too; of a future
//! under a bridge it does not.
//!
//! # What goes wrong, and how one sees it
//!
//! - *A `Send` task never runs*: nobody drives its executor. An attached loop drives none, and a
//!   loop of its own only while it runs. Spawn where somebody does, or use a pool.
//! - *std prints a panic, and neither an awaiter nor the exception handler hears of it*: the task
//!   was detached, and async-executor drops such panics. Spawn it with
//!   [`bridge::to_executor`](crate::bridge::to_executor).
//! - *All tasks of a pool stand still, although processors are free*: a callback blocks one of its
//!   threads. The report says which: *"a callback held the loop up for 1.5s, from
//!   src/main.rs:20:13"*.
//!
//!   ```
//!   use std::{cell::RefCell, rc::Rc, thread, time::Duration};
//!   use ioloop::{IOLoop, Reactor, sleep};
//!
//!   let io_loop = IOLoop::new()?;
//!   io_loop.set_slow_callback_threshold(Some(Duration::from_millis(10)));
//!   let reports = Rc::new(RefCell::new(Vec::new()));
//!   let log = Rc::clone(&reports);
//!   io_loop.set_report_handler(move |report| log.borrow_mut().push(report.to_string()));
//!   io_loop.call_soon(|| thread::sleep(Duration::from_millis(20))); // the mistake
//!   io_loop.run_sync(sleep(&io_loop, Duration::from_millis(1)))??;
//!   assert!(reports.borrow().iter().any(|report| report.starts_with("a callback held the loop up for ")));
//!   // The way out: a thread that may block.
//!   let job = io_loop.run_in_executor(|| thread::sleep(Duration::from_millis(20)));
//!   io_loop.run_sync(job)??;
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *`Unfinished { tasks: 1, jobs: 0 }`*, after the whole grace: a task without an end, such as
//!   one that accepts. Drop its guard first. A job cannot be interrupted: `jobs: 1` is one that
//!   goes on.
//! - *"this thread is inside an async context, which must not be blocked: use `IOLoop::attach()`,
//!   or a thread of its own"*: `start` or `run_sync` inside of tokio's `block_on` or one of its
//!   tasks.
//! - *"there is no reactor running, must be called from the context of a Tokio 1.x runtime"*:
//!   `tokio::spawn`, or a future of tokio's, on the executor of a loop that is on async-io or smol.
