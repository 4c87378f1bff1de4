//! Writing a library that does not choose its users' runtime.
//!
//! Be generic over [`Reactor`](crate::Reactor), and depend on `ioloop` with
//! `default-features = false`: then your library compiles no runtime at all, and its users bring
//! theirs ([forward](super::features#libraries) features, never choose). There are three styles,
//! which go together:
//!
//! # Callbacks
//!
//! Where you are handed descriptors, or want no futures: see [the page on C
//! libraries](super::c_libraries).
//!
//! # Futures
//!
//! [`Async`](crate::Async), [`sleep`](crate::sleep), [`timeout`](crate::timeout) and
//! [`interval`](crate::interval()) work on any reactor and are awaited on any executor that polls
//! on the loop's thread. [`spawn`](crate::spawn) makes a task of a future on any reactor.
//! None of these holds the reactor, nor does a [`Timer`](crate::Timer), a
//! [`PeriodicCallback`](crate::PeriodicCallback) or a [`Trigger`](crate::Trigger).
//!
//! ```
//! use std::io;
//! use std::net::{SocketAddr, TcpListener, TcpStream};
//! use std::time::Duration;
//! use futures_lite::{AsyncReadExt, AsyncWriteExt};
//! use ioloop::{Async, IOLoop, Reactor, timeout};
//!
//! /// Sends a line, and gives the answer; or gives up after a second. Knows no runtime.
//! async fn ask<R: Reactor>(reactor: &R, server: SocketAddr, question: &str) -> io::Result<String> {
//!     let asking = async {
//!         let mut stream = Async::<TcpStream>::connect(reactor, server).await?;
//!         stream.write_all(question.as_bytes()).await?;
//!         stream.close().await?; // the writing half: the server reads the end
//!         let mut answer = String::new();
//!         stream.read_to_string(&mut answer).await?;
//!         Ok(answer)
//!     };
//!     timeout(reactor, Duration::from_secs(1), asking).await?
//! }
//!
//! // A user, and a server of theirs.
//! let io_loop = IOLoop::new()?;
//! let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0")?;
//! let server = listener.get_ref().local_addr()?;
//! // A task of the loop gets the loop in the form that does not keep it.
//! let reactor = io_loop.downgrade();
//! io_loop.spawn_logged(async move {
//!     let (mut stream, _) = listener.accept(&reactor).await?;
//!     let mut question = String::new();
//!     stream.read_to_string(&mut question).await?;
//!     stream.write_all(question.to_uppercase().as_bytes()).await
//! });
//! assert_eq!(io_loop.run_sync(ask(&io_loop, server, "hello"))??, "HELLO");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Stored without a type parameter
//!
//! `Rc<dyn Reactor>` is a reactor too, for a struct that should not be generic:
//!
//! ```
//! use std::{rc::Rc, time::Duration};
//! use ioloop::{Guard, IOLoop, Reactor, TimerHandle};
//!
//! struct Keepalive {
//!     reactor: Rc<dyn Reactor>,
//!     timer: Option<Guard<TimerHandle>>,
//! }
//!
//! impl Keepalive {
//!     fn begin(&mut self, ping: impl FnOnce() + 'static) {
//!         self.timer = Some(self.reactor.call_later(Duration::from_millis(1), ping).cancel_on_drop());
//!     }
//! }
//!
//! let io_loop = IOLoop::new()?;
//! let mut keepalive = Keepalive { reactor: Rc::new(io_loop.clone()), timer: None };
//! keepalive.begin(|| IOLoop::current().unwrap().stop());
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rules that keep it neutral
//!
//! - A future or a struct of yours that holds its reactor does not know whose task it will be. Say
//!   in its docs that a task of the loop passes a [`WeakIOLoop`](crate::WeakIOLoop): an
//!   [`IOLoop`](crate::IOLoop) there would keep its own loop, and its descriptors, until the loop
//!   is closed. Whatever is generic over `Reactor` takes either.
//! - Take the reactor as an argument. Detection belongs to whoever makes the loop, once, and not
//!   into a library.
//! - Do not spawn: return a future, and let the user decide where it runs. What has to run beside
//!   it can be polled in the same future.
//! - Test on none of them what needs none: on [a fake reactor](super::testing#a-fake-reactor),
//!   where seconds pass at once. And test on all of them, once, that the whole thing talks.
//!
//! The folder `template` of the repository is a library to copy: SNTP in a hundred lines, with its
//! features, tests on the fake and on each runtime, an example and its own CI.
//! `integration/line-protocol` is a larger one, a client and a server, with the list of loops that
//! its tests go through.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"no method named `call_later` found"*, with the note *"trait `Reactor` which provides
//!   `call_later` is implemented but not in scope"*: `use ioloop::Reactor`.
//! - *"`tokio::runtime::Handle` is not a `Reactor`"*: a runtime is none, a loop on it is. The note
//!   says how to have one.
//! - *"the `call_soon` method cannot be invoked on a trait object"*: what takes a closure is a
//!   method of the reference, which is a reactor as well: `(&reactor).call_soon(..)`.
//! - *Loops are dropped, and the process runs out of descriptors* ("Too many open files"): each is
//!   kept by a task of its own that holds an [`IOLoop`](crate::IOLoop), so it was never closed. Its
//!   tasks count:
//!
//!   ```
//!   use std::{future::pending, io, os::unix::net::UnixStream};
//!   use ioloop::{IOLoop, Reactor, sleep};
//!
//!   /// Yours: it holds its reactor for as long as it waits.
//!   async fn serve<R: Reactor>(reactor: R, socket: UnixStream) -> io::Result<()> {
//!       sleep(&reactor, std::time::Duration::MAX).await?;
//!       Ok(drop(socket))
//!   }
//!
//!   /// Whether a loop is closed by its drop: the other end of a socket that it holds hears that.
//!   fn is_closed_when_dropped(spawn: impl FnOnce(&IOLoop, UnixStream)) -> io::Result<bool> {
//!       let (ours, theirs) = UnixStream::pair()?;
//!       ours.set_nonblocking(true)?;
//!       let io_loop = IOLoop::new()?;
//!       spawn(&io_loop, theirs);
//!       io_loop.run_sync(async {})?;
//!       drop(io_loop);
//!       Ok(io::Read::read(&mut &ours, &mut [0]).is_ok())
//!   }
//!
//!   // A `WeakIOLoop` is a reactor as well, and does not keep the loop.
//!   assert!(is_closed_when_dropped(|io_loop, socket| {
//!       io_loop.spawn_logged(serve(io_loop.downgrade(), socket));
//!   })?);
//!   # let mut kept = None;
//!   assert!(!is_closed_when_dropped(|io_loop, socket| {
//!       io_loop.spawn_logged(serve(io_loop.clone(), socket)); // a cycle, until `close`
//!       # kept = Some(io_loop.downgrade());
//!   })?);
//!   # kept.and_then(|weak| weak.upgrade()).map(|io_loop| io_loop.close()).transpose()?;
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *"the loop is closed"*, an error of the kind `BrokenPipe` in the middle of a request: whoever
//!   owns the loop has dropped or closed it. Hand it on; there is nothing to repeat it on.
//! - *A future of the library never ends*: it is awaited where its loop does not run. A loop runs
//!   while [`run`](crate::IOLoop::run) or [`run_until`](crate::IOLoop::run_until) is awaited, and
//!   not after it. If it never did, there is a report: *"a task is awaited, and nobody has ever
//!   driven the loop: 1 thing to do"*.
//! - *"the watch of descriptor 7 has ended: another watch of the same descriptor and direction has
//!   replaced it; share one `Async` in an `Rc`"*: the library and its user each made one of the
//!   same descriptor. (A duplicate, as of `try_clone`, has a number of its own, and may have one.)
//! - *It works on one backend alone*: the tests ran on no other. `reactor_suite!` and the list of
//!   loops of `integration/line-protocol` try a library on all of them.
