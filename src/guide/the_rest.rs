//! And for the rest: what Tornado and asyncio have above the loop, and which crate serves for it here.
//!
//! A loop polls `!Send` futures and needs nothing of a runtime, so whatever crate needs no runtime
//! either works on every backend, own and attached. Those below do, and each example is compiled
//! and run.
//!
//! | Tornado | asyncio | here |
//! |---|---|---|
//! | `queues.Queue` | `Queue` | [async-channel](https://docs.rs/async-channel): [below](#queues) |
//! | `locks.Lock`, `Semaphore`, `Event`, `Condition` | the same | [async-lock](https://docs.rs/async-lock), [event-listener](https://docs.rs/event-listener): [below](#locks) |
//! | `gen.multi`, `multi_future` | `gather` | `join_all` and `try_join_all` of [futures-util](https://docs.rs/futures-util): [below](#many-at-once) |
//! | `gen.WaitIterator` | `as_completed`, `wait` | `FuturesUnordered` of futures-util |
//! | | `TaskGroup` | tasks of [`spawn`](crate::spawn) as [guards](crate::Task::cancel_on_drop), awaited by `try_join_all`: [below](#a-group-of-tasks) |
//! | `gen.with_timeout` | `wait_for`, `timeout` | [`timeout`](crate::timeout) |
//! | `gen.sleep` | `sleep` | [`sleep`](crate::sleep) |
//! | `iostream.IOStream`, `tcpclient`, `tcpserver` | `open_connection`, `start_server` | [`Async`](crate::Async) with the traits of futures-io: [below](#streams-and-servers) |
//! | `simple_httpclient`, `curl_httpclient` | | `ioloop-curl`, in `drivers/` of the repository |
//! | `httpserver`, `web` | | [hyper](https://docs.rs/hyper) with `ioloop-hyper`, in `drivers/` of the repository |
//! | `websocket` | | [async-tungstenite](https://docs.rs/async-tungstenite), over anything with the traits of futures-io |
//! | `netutil.Resolver` | `getaddrinfo` | `ioloop-c-ares`, or std's in [`run_in_executor`](crate::IOLoop::run_in_executor) |
//! | `process.Subprocess` | `create_subprocess_exec` | [`process`](crate::process), and the child's pipes as `Async<File>`: [below](#subprocesses) |
//! | `testing.AsyncTestCase`, `gen_test` | `IsolatedAsyncioTestCase` | a `#[test]` with [`run_sync`](crate::IOLoop::run_sync), and a [`ManualClock`](crate::ManualClock): [testing](super::testing) |
//! | `add_callback` from a thread | `run_coroutine_threadsafe` | [`Handle::spawn`](crate::Handle::spawn), [`Handle::call`](crate::Handle::call) |
//! | `run_sync` | `run` | [`run_sync`](crate::IOLoop::run_sync) |
//! | `ioloop.PeriodicCallback` | | [`PeriodicCallback`](crate::PeriodicCallback), [`interval`](crate::interval()) |
//! | `autoreload`, `log`, `options`, `template` | | not a loop's: cargo-watch, tracing, clap, any template crate |
//!
//! # Queues
//!
//! A bounded channel is a `Queue(maxsize)`. Both ends may be on other threads.
//!
//! ```
//! use ioloop::IOLoop;
//!
//! let io_loop = IOLoop::new()?;
//! let (sender, receiver) = async_channel::bounded(2);
//! io_loop.spawn(async move {
//!     for number in 1..=4 {
//!         sender.send(number).await.unwrap(); // waits while two are queued
//!     }
//! });
//! let sum = io_loop.run_sync(async move {
//!     let mut sum = 0;
//!     while let Ok(number) = receiver.recv().await {
//!         sum += number;
//!     }
//!     sum
//! })?;
//! assert_eq!(sum, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Locks
//!
//! What one callback or one poll does is not interrupted, so most state needs no lock but a
//! `RefCell`. What is held across an `await` does:
//!
//! ```
//! use std::rc::Rc;
//! use std::time::Duration;
//! use async_lock::Semaphore;
//! use futures_util::future::join_all;
//! use ioloop::{IOLoop, sleep};
//!
//! let io_loop = IOLoop::new()?;
//! let at_most_two = Semaphore::new(2);
//! let work = (0..6).map(async |_| {
//!     let _permit = at_most_two.acquire().await;
//!     sleep(&io_loop, Duration::from_millis(1)).await
//! });
//! io_loop.run_sync(join_all(work))?.into_iter().collect::<Result<(), _>>()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Many at once
//!
//! ```
//! use std::time::Duration;
//! use futures_util::future::{join_all, try_join_all};
//! use futures_util::stream::{FuturesUnordered, StreamExt};
//! use ioloop::{IOLoop, sleep};
//!
//! let io_loop = IOLoop::new()?;
//! let after = async |millis| {
//!     sleep(&io_loop, Duration::from_millis(millis)).await.map(|()| millis)
//! };
//! io_loop.run_sync(async {
//!     // All of them, in the order given; the second form ends with the first error.
//!     assert_eq!(join_all([4, 2].map(after)).await, [Ok(4), Ok(2)]);
//!     assert_eq!(try_join_all([4, 2].map(after)).await?, [4, 2]);
//!     // Each as soon as it is done.
//!     let mut done: FuturesUnordered<_> = [40, 2].map(after).into_iter().collect();
//!     assert_eq!(done.next().await, Some(Ok(2)));
//!     Ok::<(), ioloop::Closed>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A group of tasks
//!
//! Where one fails the others are cancelled, as in a `TaskGroup`: the guards go with the future that
//! awaits them.
//!
//! ```
//! use std::io;
//! use futures_util::future::try_join_all;
//! use ioloop::{IOLoop, Task};
//!
//! let io_loop = IOLoop::new()?;
//! let failed: Result<Vec<()>, io::Error> = io_loop.run_sync(async {
//!     let waits = io_loop.spawn(std::future::pending::<io::Result<()>>()).cancel_on_drop();
//!     let fails = io_loop.spawn(async { Err(io::Error::other("no answer")) }).cancel_on_drop();
//!     try_join_all([waits, fails].map(async |task| task.await.map_err(io::Error::other)?)).await
//! })?;
//! assert_eq!(failed.unwrap_err().to_string(), "no answer");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Streams and servers
//!
//! `read_until`, `read_line`, `copy` and the rest are extension traits of futures-util (or of
//! futures-lite, smol's). An `Async` can be read and written by two tasks at once, by reference.
//!
//! ```
//! use std::net::{TcpListener, TcpStream};
//! use futures_util::{AsyncBufReadExt, AsyncWriteExt, io::BufReader};
//! use ioloop::{Async, IOLoop};
//!
//! let io_loop = IOLoop::new()?;
//! let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0")?;
//! let address = listener.get_ref().local_addr()?;
//! let weak = io_loop.downgrade();
//! io_loop.spawn_logged(async move {
//!     let (mut stream, _peer) = listener.accept(&weak).await?;
//!     stream.write_all(b"one line\nand the rest").await?;
//!     stream.close().await
//! });
//! let line = io_loop.run_sync(async {
//!     let stream = Async::<TcpStream>::connect(&io_loop, address).await?;
//!     let mut line = String::new();
//!     BufReader::new(stream).read_line(&mut line).await?;
//!     Ok::<_, std::io::Error>(line)
//! })??;
//! assert_eq!(line, "one line\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Subprocesses
//!
//! ```
//! use std::fs::File;
//! use std::os::fd::OwnedFd;
//! use std::process::{Command, Stdio};
//! use std::time::Duration;
//! use futures_util::AsyncReadExt;
//! use ioloop::{Async, IOLoop, process, timeout};
//!
//! let io_loop = IOLoop::new()?;
//! let said = io_loop.run_sync(async {
//!     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
//!     let stdout = File::from(OwnedFd::from(child.stdout.take().expect("it is piped")));
//!     let (mut stdout, mut said) = (Async::new(&io_loop, stdout)?, String::new());
//!     let exit = process::wait(&io_loop, child)?;
//!     timeout(&io_loop, Duration::from_secs(60), stdout.read_to_string(&mut said)).await??;
//!     assert!(exit.await?.success());
//!     Ok::<_, std::io::Error>(said)
//! })??;
//! assert_eq!(said, "hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What goes wrong, and how one sees it
//!
//! - *"there is no reactor running, must be called from the context of a Tokio 1.x runtime"*: a
//!   crate that needs tokio's reactor, on a loop that is not on tokio. Attach the loop to a runtime
//!   of tokio's, or take the crate's futures through [`bridge`](crate::bridge).
//! - *Everything stands still for a moment, again and again*: a future blocks (a lock of std's,
//!   held across an `await`; a file on a slow disk).
//!   [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) names it: *"a task
//!   held the loop up for 1.5s, from src/main.rs:20:13"*.
//! - *A deadlock on one thread*: a lock of std's is held across an `await`, and another task of the
//!   thread waits for it. Use async-lock's there.
//! - *"already borrowed: BorrowMutError"*, in recent versions of Rust *"RefCell already borrowed"*:
//!   a borrow was held across an `await`. End it before; clippy's `await_holding_refcell_ref` finds
//!   it.
//! - *Memory grows, and nothing is said*: a queue without a bound, whose reader is slower than its
//!   writer. Bound it.
//! - *A child is a zombie, or never ends*: its [`Exit`](crate::process::Exit) was dropped, which
//!   lets it run; or its output is a pipe that nobody reads, which holds 64 KiB. Read while it
//!   runs:
//!
//!   ```
//!   use std::fs::File;
//!   use std::os::fd::OwnedFd;
//!   use std::process::{Command, Stdio};
//!   use futures_util::{AsyncReadExt, future::join};
//!   use ioloop::{Async, IOLoop, process};
//!
//!   let io_loop = IOLoop::new()?;
//!   let mut child =
//!       Command::new("head").args(["-c", "1000000", "/dev/zero"]).stdout(Stdio::piped()).spawn()?;
//!   let stdout = File::from(OwnedFd::from(child.stdout.take().expect("it is piped")));
//!   let (mut stdout, mut output) = (Async::new(&io_loop, stdout)?, Vec::new());
//!   let exit = process::wait(&io_loop, child)?; // awaited alone, it would never end
//!   let (status, read) = io_loop.run_sync(join(exit, stdout.read_to_end(&mut output)))?;
//!   assert!(status?.success());
//!   assert_eq!(read?, 1_000_000);
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
