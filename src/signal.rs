//! Signals as callbacks and streams, for anything that implements `Reactor`. Feature `signal`.
//!
//! A signal writes into a socket, which the loop reads: what handles it is an ordinary callback, on
//! the loop's thread, and may do anything. Any number of listeners, on any number of loops and
//! threads, may listen to one signal; each of them hears of it. Signals of one kind that come
//! before the loop gets to them are one, as for the kernel. No thread is started.
//!
//! # Ctrl-C
//!
//! ```no_run
//! use std::time::Duration;
//! use ioloop::{IOLoop, signal};
//!
//! let io_loop = IOLoop::new()?;
//! let interrupted = signal::ctrl_c(&io_loop)?;
//! let weak = io_loop.downgrade();
//! io_loop.spawn(async move {
//!     if interrupted.await.is_err() {
//!         return; // the loop was closed
//!     }
//!     eprintln!("finishing; press Ctrl-C again to end at once");
//!     // Nobody listens any more: the second one has its default effect.
//!     let shutdown = weak.upgrade().map(|io_loop| io_loop.shutdown(Duration::from_secs(10)));
//!     if let Some(shutdown) = shutdown {
//!         shutdown.await;
//!     }
//! });
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Others who listen
//!
//! Whoever had a handler before the first listener came is called as well, and so is whoever sets
//! one later and calls the one before it, as tokio and signal-hook do. After the last listener has
//! gone the signal is handled as it was before the first: ignored, if that is how it was, as
//! `SIGPIPE` is in Rust's programs and `SIGHUP` under `nohup`.
//!
//! A child that was forked and has not executed its program yet is another process: a signal for it
//! reaches no listener here, and has the effect there that it would have without listeners.
//!
//! # Instead of a signalfd
//!
//! A `signalfd` that is watched as a descriptor is told only of what the thread that polls could
//! take itself: a signal for the process, or for that very thread. An attached loop is often polled
//! for by another thread of its host, and then a signal for the loop's thread alone
//! (`pthread_kill`, `raise`, a timer with `SIGEV_THREAD_ID`) stays untold. A listener of this
//! module hears each of them; so does a signalfd on an own loop, which polls on its own thread.
//!
//! # A handler of one's own
//!
//! In a handler that was set with `sigaction`, nothing of a loop may be called: not even
//! [`Handle::add_callback`](crate::Handle::add_callback), which takes a lock and memory that the
//! interrupted code may be holding. Listen here instead. Where a C library insists on its own
//! handler, have that one write to a pipe, a socket or an eventfd, and the loop read it:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use ioloop::{IOLoop, Reactor};
//!
//! let io_loop = IOLoop::new()?;
//! let (mut told, reader) = UnixStream::pair()?;
//! told.set_nonblocking(true)?;
//! io_loop.add_reader(reader, |mut reader| {
//!     reader.read(&mut [0; 64]).unwrap();
//!     IOLoop::current().unwrap().stop();
//! })?;
//! // All that the handler does: write(2) may be called there.
//! told.write_all(b"x")?;
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
pub use libc::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use rustix::io::Errno;

use self::action::Listening;
use crate::error::Closed;
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::guard::Guard;
use crate::reactor::handles::Watch;
use crate::reactor::watcher::Watcher;

/// Calls `callback` on the loop's thread whenever `signal` came.
///
/// While there is a listener the signal does not have its default effect. Dropping the [`Watch`]
/// changes nothing: [`remove`](Watch::remove) it, or hold its guard. Closing the loop removes it. A
/// callback that panics is removed.
///
/// The number may be that of any signal that can be caught, named here or not, and of a real-time
/// one (`libc::SIGRTMIN() + n`). `SIGBUS` is heard once: the handler that the standard library has
/// for it is called as well, and takes both away.
///
/// ```
/// use ioloop::{IOLoop, signal};
///
/// let io_loop = IOLoop::new()?;
/// let handler = signal::add_handler(&io_loop, signal::SIGUSR1, || IOLoop::current().unwrap().stop())?;
/// rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1)?;
/// io_loop.start()?;
/// assert!(handler.remove());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) for what is no signal, for those that cannot be
/// caught, `SIGKILL` and `SIGSTOP`, for those after which a thread cannot go on, `SIGILL`, `SIGFPE`
/// and `SIGSEGV`, and for the two or three that the C library keeps for itself. Otherwise those of
/// [`Reactor::add_reader`], and of making a socket.
#[track_caller]
pub fn add_handler<R: Reactor>(
    reactor: &R,
    signal: i32,
    mut callback: impl FnMut() + 'static,
) -> io::Result<Watch> {
    let watcher = Watcher::uncounted(Listener::new(signal)?, move |listener| {
        if listener.has_come() {
            callback();
        }
    });
    reactor.watch(Direction::Read, watcher)
}

/// A stream of `signal`: an item whenever it came since the last one. It ends when the loop is
/// closed.
///
/// # Errors
///
/// Those of [`add_handler`].
#[track_caller]
pub fn stream<R: Reactor>(reactor: &R, signal: i32) -> io::Result<Signals> {
    let heard = Rc::new(Heard::default());
    let ear = Ear(Rc::clone(&heard));
    let watch = add_handler(reactor, signal, move || ear.0.come())?;
    Ok(Signals { heard, _watch: watch.remove_on_drop() })
}

/// Waits for the first `SIGINT` from this call on.
///
/// # Errors
///
/// Those of [`add_handler`]; [`Closed`], of the future, if the loop was closed before.
#[track_caller]
pub fn ctrl_c<R: Reactor>(
    reactor: &R,
) -> io::Result<impl Future<Output = Result<(), Closed>> + use<R>> {
    let mut signals = stream(reactor, SIGINT)?;
    Ok(async move { signals.recv().await.ok_or(Closed) })
}

/// The stream of a signal; made by [`stream`].
#[must_use = "the signal is heard only while this is there"]
pub struct Signals {
    heard: Rc<Heard>,
    _watch: Guard<Watch>,
}

impl Signals {
    /// Waits until the signal has come since the last time; none if the loop was closed.
    ///
    /// # Cancel safety
    ///
    /// Giving up loses no signal.
    pub async fn recv(&mut self) -> Option<()> {
        std::future::poll_fn(|cx| self.heard.poll(cx)).await
    }
}

impl Stream for Signals {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.heard.poll(cx)
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("pending", &self.heard.pending.get())
            .finish_non_exhaustive()
    }
}

/// What a stream and its handler share.
#[derive(Default)]
struct Heard {
    pending: Cell<bool>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Heard {
    fn come(&self) {
        self.pending.set(true);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<()>> {
        if self.pending.replace(false) {
            return Poll::Ready(Some(()));
        }
        if self.over.get() {
            return Poll::Ready(None);
        }
        let before = self.waker.replace(Some(cx.waker().clone()));
        drop(before);
        Poll::Pending
    }
}

/// Held by the handler; dropped with it.
struct Ear(Rc<Heard>);

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.wake();
    }
}

/// A socket that is readable when a signal has come.
struct Listener {
    stream: Arc<UnixStream>,
    _listening: Listening,
}

/// What cannot be caught, and what a thread cannot go on after.
const FORBIDDEN: [i32; 5] =
    [libc::SIGKILL, libc::SIGSTOP, libc::SIGILL, libc::SIGFPE, libc::SIGSEGV];

impl Listener {
    fn new(signal: i32) -> io::Result<Listener> {
        if FORBIDDEN.contains(&signal) {
            return Err(refused(format!("signal {signal} cannot be handled")));
        }
        let (stream, sender) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let stream = Arc::new(stream);
        match Listening::new(signal, Arc::clone(&stream), sender) {
            Ok(listening) => Ok(Listener { stream, _listening: listening }),
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INVAL) => Err(error),
            // Between the named ones and the real-time ones.
            Err(_) if (libc::SIGSYS..=64).contains(&signal) => {
                Err(refused(format!("the C library keeps signal {signal} for itself")))
            }
            Err(_) => Err(refused(format!("there is no signal {signal}"))),
        }
    }

    /// Takes what has come; says whether anything has.
    fn has_come(&self) -> bool {
        let mut come = false;
        loop {
            match (&*self.stream).read(&mut [0; 64]) {
                Ok(n) if n > 0 => come = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It holds the other end itself, so there is no end of file.
                _ => return come,
            }
        }
    }
}

fn refused(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
