//! Signals as callbacks and streams, for anything that implements `Reactor`. Feature `signal`.
//!
//! A signal writes into a socket, which the loop reads: what handles it is an ordinary callback, on the loop's thread,
//! and may do anything. Any number of listeners, on any number of loops and threads, may listen to one signal; each of
//! them hears of it. Signals of one kind that come before the loop gets to them are one, as for the kernel. No thread
//! is started.
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
//!     interrupted.await;
//!     eprintln!("finishing; press Ctrl-C again to end at once");
//!     // Nobody listens any more: the second one has its default effect.
//!     if let Some(io_loop) = weak.upgrade() {
//!         io_loop.shutdown(Duration::from_secs(10)).await;
//!     }
//! });
//! io_loop.start()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Others who listen
//!
//! It is all done through `signal-hook`, whose registry tokio, async-signal and others share: they hear of the signal
//! as well. With the last listener *of this module* the signal gets its default effect back, as in asyncio, and nobody
//! can see whether somebody else listens: while they do, keep a listener here, or do not add one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use signal_hook::consts::FORBIDDEN;
pub use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::{SigId, flag, low_level};

use crate::guard::Guard;
use crate::handles::Watch;
use crate::io_loop::IOLoop;
use crate::reactor::Reactor;

/// Calls `callback` on the loop's thread whenever `signal` came.
///
/// While there is a listener the signal does not have its default effect. Dropping the [`Watch`] changes nothing:
/// [`remove`](Watch::remove) it, or hold its guard. Closing the loop removes it. A callback that panics is removed.
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
/// [`InvalidInput`](ErrorKind::InvalidInput) for what is no signal, for those that cannot be caught, `SIGKILL` and
/// `SIGSTOP`, and for those after which a thread cannot go on: `SIGILL`, `SIGFPE` and `SIGSEGV`. Else those of
/// [`Reactor::add_reader`], and of making a socket.
pub fn add_handler<R: Reactor>(
    reactor: &R,
    signal: i32,
    mut callback: impl FnMut() + 'static,
) -> io::Result<Watch> {
    reactor.add_reader(Listener::new(signal)?, move |listener| {
        if listener.has_come() {
            callback();
        }
    })
}

impl IOLoop {
    /// Calls `callback` on this loop's thread whenever a signal came; [`signal::add_handler`](crate::signal::add_handler),
    /// under asyncio's name.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_signal_handler(
        &self,
        signal: i32,
        callback: impl FnMut() + 'static,
    ) -> io::Result<Watch> {
        add_handler(self, signal, callback)
    }
}

/// A stream of `signal`: an item whenever it came since the last one. It ends when the loop is closed.
///
/// # Errors
///
/// Those of [`add_handler`].
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
/// Those of [`add_handler`].
pub fn ctrl_c<R: Reactor>(reactor: &R) -> io::Result<impl Future<Output = ()> + use<R>> {
    let mut signals = stream(reactor, SIGINT)?;
    Ok(async move {
        signals.recv().await;
    })
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
    stream: UnixStream,
    id: SigId,
    signal: i32,
}

impl Listener {
    fn new(signal: i32) -> io::Result<Listener> {
        if FORBIDDEN.contains(&signal) {
            let message = format!("signal {signal} cannot be handled");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let (stream, sender) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let mut signals = signals();
        let effect = match signals.get_mut(&signal) {
            Some(effect) => effect,
            None => {
                let effect = DefaultEffect::new(signal).map_err(|error| {
                    let message = format!("there is no signal {signal}: {error}");
                    io::Error::new(ErrorKind::InvalidInput, message)
                })?;
                signals.entry(signal).or_insert(effect)
            }
        };
        let id = low_level::pipe::register(signal, sender)?;
        effect.listeners += 1;
        effect.applies.store(false, Ordering::SeqCst);
        Ok(Listener { stream, id, signal })
    }

    /// Takes what has come; says whether anything has.
    fn has_come(&self) -> bool {
        let mut come = false;
        loop {
            match (&self.stream).read(&mut [0; 64]) {
                Ok(n) if n > 0 => come = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It holds the other end itself, so that there is no end of file.
                _ => return come,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut signals = signals();
        low_level::unregister(self.id);
        if let Some(effect) = signals.get_mut(&self.signal) {
            effect.listeners -= 1;
            effect.applies.store(effect.listeners == 0, Ordering::SeqCst);
        }
    }
}

/// What a signal does while nobody listens: what it did before anybody has.
struct DefaultEffect {
    applies: Arc<AtomicBool>,
    listeners: usize,
}

impl DefaultEffect {
    /// Once for each signal and process: the registry cannot give the signal back to the system.
    fn new(signal: i32) -> io::Result<DefaultEffect> {
        let applies = Arc::new(AtomicBool::new(false));
        flag::register_conditional_default(signal, Arc::clone(&applies))?;
        Ok(DefaultEffect { applies, listeners: 0 })
    }
}

static SIGNALS: Mutex<BTreeMap<i32, DefaultEffect>> = Mutex::new(BTreeMap::new());

fn signals() -> MutexGuard<'static, BTreeMap<i32, DefaultEffect>> {
    SIGNALS.lock().unwrap_or_else(PoisonError::into_inner)
}
