//! Which way of attaching is the fastest for what.
//!
//! What differs is who waits in the kernel, and who wakes whom. An event that wakes a loop costs
//! this much, beside what its callback does:
//!
//! | the loop | waits in | system calls an event | system calls a timer | threads that wake up |
//! |---|---|---|---|---|
//! | of its own: bare, on async-io or on smol | its own epoll | 1 | 2 | 1 |
//! | of its own, in the context of a multi-thread tokio | its own epoll | 1 | 2 | 1 |
//! | of its own, on tokio (a `LocalRuntime`) | the runtime's epoll | 3 | 4 | 1 |
//! | attached to a current-thread tokio | the runtime's epoll | 3 | 4 | 1 |
//! | attached to a multi-thread tokio | a worker's epoll | 5 | 6 | 2 |
//! | attached to async-io or smol, under their `block_on` | their epoll | 11 to 15 | 9 | 1 |
//!
//! These are counts, of one descriptor or timer at a time. Under load they come together: a busy
//! loop takes many events from the kernel at once, leaves its host's epoll meanwhile, and costs the
//! same everywhere but on a multi-thread tokio, where a second thread makes each system call that
//! looks up a descriptor dearer. `PERFORMANCE.md` in the repository has the times.
//!
//! # What to take
//!
//! - *The program is on a current-thread tokio*: attach, and await
//!   [`run_until`](crate::IOLoop::run_until) in `block_on`, or spawn [`run`](crate::IOLoop::run) on
//!   a `LocalSet` where other tasks run beside it. The
//!   system calls are the same. A task of a `LocalSet` costs 850 instructions more for each wake
//!   (5,510 in place of 4,660 for a timer), so `block_on` is the better place for a loop that is
//!   most of the program.
//! - *The program is on a multi-thread tokio, and the loop may have a thread*: make a loop of its
//!   own in the runtime's context, as below. It costs what a bare loop does (2,083 instructions for
//!   a timer, 2,070 there; the attached one 4,723), and its callbacks and tasks use the runtime.
//! - *It is on a multi-thread tokio, and the loop has to share a future with others* (`select!`,
//!   `join!`): attach, and await `run` in the `block_on` of `main`. A worker finds each event and
//!   wakes that thread, so a timer is some thirty microseconds later than elsewhere. A `LocalSet`
//!   on a worker is no better (6 calls, two threads, 5,554 instructions): the thread that polls it
//!   is not the one that waits in the kernel either.
//! - *The loop need not know tokio, and a few futures do*: any loop on a thread of its own, and a
//!   [`bridge`](crate::bridge). An event of the loop costs one system call then. A future
//!   that is run [on tokio](crate::bridge::to_tokio) and awaited here costs two writes and two
//!   waits, one of each on either thread, if both have gone to sleep.
//! - *Latency is all that counts*: a bare loop.
//!
//! # A loop of its own in tokio's context
//!
//! ```
//! # #[cfg(feature = "tokio")] {
//! use std::time::Duration;
//! use ioloop::backends::tokio::TokioBackend;
//! use ioloop::{IOLoop, Reactor};
//!
//! let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! let handle = runtime.handle().clone();
//! let looping = IOLoop::spawn_thread("loop", move || {
//!     let io_loop = IOLoop::builder().host(TokioBackend::attached(handle)).build()?;
//!     io_loop.call_soon(|| {
//!         // On one of the runtime's threads.
//!         tokio::spawn(async { println!("from a callback") });
//!     });
//!     Ok(io_loop)
//! })?;
//! // A task of the loop awaits what is tokio's.
//! let slept = looping.handle().spawn(|| async {
//!     tokio::time::sleep(Duration::from_millis(1)).await;
//!     "slept on the loop's thread"
//! });
//! assert_eq!(runtime.block_on(slept)?, "slept on the loop's thread");
//! looping.shutdown(Duration::from_secs(1))?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A driver's client stays on the loop's thread, and a task that tokio moves between its threads
//! cannot hold it. Keep it in a thread-local, and ask from tokio's tasks by the loop's handle:
//!
//! ```
//! # #[cfg(feature = "tokio")] {
//! use std::cell::RefCell;
//! use std::rc::Rc;
//! use std::time::Duration;
//! use ioloop::IOLoop;
//! use ioloop::backends::tokio::TokioBackend;
//!
//! /// In place of a driver's: it is neither `Send` nor `Sync`.
//! #[derive(Clone)]
//! struct Client(Rc<str>);
//! impl Client {
//!     async fn ask(&self, what: u32) -> String {
//!         ioloop::sleep(&IOLoop::current().unwrap(), Duration::from_millis(1)).await;
//!         format!("{} says {what}", self.0)
//!     }
//! }
//! thread_local!(static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) });
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let tokio = tokio::runtime::Handle::current();
//! let looping = IOLoop::spawn_thread("client", move || {
//!     CLIENT.set(Some(Client(Rc::from("it"))));
//!     IOLoop::builder().host(TokioBackend::attached(tokio)).build()
//! })?;
//! let (handle, ending) = (looping.handle(), looping.handle());
//! let asking = tokio::spawn(async move {
//!     let answer = handle.spawn(|| {
//!         let client = CLIENT.with_borrow(|client| client.clone().unwrap());
//!         async move { client.ask(42).await }
//!     });
//!     answer.await
//! });
//! assert_eq!(asking.await??, "it says 42");
//! // A driver's client has a task of the loop while it lives, which a shutdown waits for.
//! ending.call(|| drop(CLIENT.take())).await?;
//! // It blocks until the thread has ended.
//! tokio::task::spawn_blocking(|| looping.shutdown(Duration::from_secs(1))).await??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The thread of a `#[tokio::main]` will do as well, if nothing else is awaited there: `block_in_place`
//! allows it to block. In a spawned task too, and tokio starts another worker in its place:
//!
//! ```
//! # #[cfg(feature = "tokio")] {
//! use ioloop::backends::tokio::TokioBackend;
//! use ioloop::{IOLoop, Reactor};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! tokio::task::block_in_place(|| -> Result<(), Box<dyn std::error::Error>> {
//!     let io_loop = IOLoop::builder().host(TokioBackend::current()?).build()?;
//!     io_loop.call_soon(|| IOLoop::current().unwrap().stop());
//!     io_loop.start()?;
//!     Ok(())
//! })
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What goes wrong, and how one sees it
//!
//! - *"this thread is inside an async context, which must not be blocked: use `IOLoop::attach()`,
//!   or a thread of its own"*: [`start`](crate::IOLoop::start) in a task or in `block_on`, without
//!   `block_in_place`.
//! - *"the loop is driven by its host: make it with `attach()`, and await `run()` or
//!   `run_until()`; for a thread of its own make it with `build()`, on the handle of a multi-thread
//!   runtime or on none"*, from `start` or [`spawn_thread`](crate::IOLoop::spawn_thread): the loop
//!   was made with `attach`, or the handle is that of a current-thread runtime, which nobody would
//!   drive while the loop's thread sleeps.
//! - *Something else that is awaited beside the loop stands still*: it is in the same `block_on`,
//!   under `block_in_place`. Spawn it, or attach the loop.
//! - *`spawn_local` panics in a callback*: a multi-thread runtime has no local tasks. The loop has:
//!   [`spawn`](crate::IOLoop::spawn).
