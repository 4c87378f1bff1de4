//! A loop on a thread of its own.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::RunError;
use crate::io_loop::IOLoop;
use crate::io_loop::handle::Handle;
use crate::io_loop::shutdown::Unfinished;
use crate::reactor::contract::deadline_after;
use crate::task::Task;

/// A loop on a thread of its own.
impl IOLoop {
    /// Starts a thread called `name`, makes a loop on it with `make`, and runs it there until it is
    /// stopped; it is closed then.
    ///
    /// What `make` adds to the loop before it returns it is there from the first turn on. See
    /// [`Handle`] for an example.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the name holds a zero byte, which a
    /// thread's cannot; the thread cannot be started; what `make` returned; or
    /// [`RunError::Attached`], inside of the error, if the loop that it made is attached.
    pub fn spawn_thread(
        name: &str,
        make: impl FnOnce() -> io::Result<IOLoop> + Send + 'static,
    ) -> io::Result<LoopThread> {
        LoopThread::spawn(name, make)
    }
}

/// A loop that runs on a thread of its own; made by [`IOLoop::spawn_thread`].
///
/// Dropping it lets the thread run on. Stop the loop through its [`handle`](Self::handle), and
/// [`join`](Self::join) the thread.
#[derive(Debug)]
pub struct LoopThread {
    handle: Handle,
    thread: JoinHandle<Result<(), RunError>>,
    /// Hung up when the thread ends. The lock makes this `Sync`; it is never contended.
    ended: Mutex<Receiver<Infallible>>,
}

thread_local! {
    /// Hangs up when the thread ends. The first thread-local of a loop's thread is destroyed last,
    /// so the destructors of all others have run by then.
    static ENDS: Cell<Option<Sender<Infallible>>> = const { Cell::new(None) };
}

/// For so long after its grace a loop's thread may take to end. One that is not blocked takes far
/// less.
const LATE: Duration = Duration::from_secs(1);

/// Until when threads are waited for whose grace begins now.
pub(crate) fn late(grace: Duration) -> Instant {
    deadline_after(Instant::now(), grace.saturating_add(LATE))
}

impl LoopThread {
    pub(crate) fn spawn(
        name: &str,
        make: impl FnOnce() -> io::Result<IOLoop> + Send + 'static,
    ) -> io::Result<LoopThread> {
        if name.contains('\0') {
            let text = format!("a thread cannot be called {name:?}: the name holds a zero byte");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (ends, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            ENDS.set(Some(ends));
            let made = make().and_then(|io_loop| match io_loop.is_attached() {
                true => Err(RunError::Attached.into()),
                false => Ok(io_loop),
            });
            let io_loop = match made {
                Ok(io_loop) => io_loop,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return Ok(());
                }
            };
            let _ = sender.send(Ok(io_loop.handle()));
            drop(sender);
            let run = io_loop.start();
            io_loop.close()?;
            run
        })?;
        match receiver.recv() {
            Ok(made) => Ok(LoopThread { handle: made?, thread, ended: Mutex::new(ended) }),
            Err(_) => Err(io::Error::other("the closure that makes the thread's loop panicked")),
        }
    }

    /// The loop's handle.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the loop in order, as [`IOLoop::shutdown`] does, and waits until it was closed and its
    /// thread has ended.
    ///
    /// It blocks the thread that calls it, so in async code call it in `spawn_blocking`, or end
    /// the loop with [`Handle::stop`].
    ///
    /// What blocks a thread of [`run_in_executor`](IOLoop::run_in_executor) or of the loop's
    /// runtime, such as a read of the terminal, is left to itself after the grace.
    ///
    /// # Errors
    ///
    /// What `start` returned; [`Closed`](RunError::Closed) if the loop was ended in another way
    /// meanwhile. [`TimedOut`](RunError::TimedOut) a second after the grace, if a callback or
    /// destructor, also that of a thread-local, blocks the loop's own thread. That is left to
    /// itself then, and ends the loop once it is no longer blocked.
    pub fn shutdown(self, grace: Duration) -> Result<Unfinished, RunError> {
        let shutdown = self.handle.spawn(move || async move {
            match IOLoop::current() {
                Some(io_loop) => io_loop.shutdown(grace).await,
                None => Unfinished::default(),
            }
        });
        // At once, so threads that post without a pause do not keep the loop from beginning.
        self.handle.refuse();
        self.end(shutdown, late(grace))
    }

    /// Waits for a shutdown that was begun, and for the thread.
    pub(crate) fn end(
        mut self,
        shutdown: Task<Unfinished>,
        limit: Instant,
    ) -> Result<Unfinished, RunError> {
        let patience = limit.saturating_duration_since(Instant::now());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            shutdown.detach();
            return Err(RunError::TimedOut);
        }
        self.join()?;
        // The thread has ended: the result is there.
        match pin!(shutdown).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(unfinished)) => Ok(unfinished),
            _ => Err(RunError::Closed),
        }
    }

    /// Waits until the loop was stopped, closed, and its thread has ended.
    ///
    /// It blocks the thread that calls it, as [`shutdown`](Self::shutdown) does.
    ///
    /// # Errors
    ///
    /// What `start` returned; [`AlreadyRunning`](RunError::AlreadyRunning) on the thread itself, which
    /// runs on.
    pub fn join(self) -> Result<(), RunError> {
        // std panics where a thread would wait for itself.
        if self.thread.thread().id() == thread::current().id() {
            return Err(RunError::AlreadyRunning);
        }
        self.thread.join().unwrap_or_else(|_| {
            Err(RunError::Io(io::Error::other(
                "the loop's thread panicked outside of its callbacks",
            )))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::Reactor;
    use crate::backends::BackendKind;

    fn bare() -> io::Result<IOLoop> {
        IOLoop::builder().backend(BackendKind::Bare).build()
    }

    #[test]
    fn what_make_adds_runs_first_on_a_thread_of_that_name() {
        let (sender, receiver) = mpsc::channel();
        let made = IOLoop::spawn_thread("a loop", move || {
            let io_loop = bare()?;
            let (first, name) = (sender.clone(), thread::current().name().map(str::to_owned));
            io_loop.call_soon(move || first.send(name).unwrap());
            io_loop.call_soon(move || sender.send(Some(String::from("second"))).unwrap());
            Ok(io_loop)
        });
        let thread = made.unwrap();
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("a loop"));
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("second"));
        assert!(!thread.handle().is_closed());
        thread.handle().stop().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn it_is_closed_when_it_was_stopped() {
        let thread = IOLoop::spawn_thread("closed", bare).unwrap();
        let handle = thread.handle();
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let pending = Counts(Arc::clone(&dropped));
        handle
            .spawn(move || async move {
                std::future::pending::<()>().await;
                drop(pending);
            })
            .detach();
        handle.stop().unwrap();
        thread.join().unwrap();
        assert!(handle.is_closed());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_thread_that_joined_itself_panicked() {
        let thread = IOLoop::spawn_thread("itself", bare).unwrap();
        let handle = thread.handle();
        let (sender, receiver) = mpsc::channel();
        handle.add_callback(move || sender.send(thread.join()).unwrap()).unwrap();
        assert!(matches!(receiver.recv(), Ok(Err(RunError::AlreadyRunning))));
        handle.stop().unwrap();
    }

    #[test]
    fn dropping_it_lets_the_thread_run_on() {
        let thread = IOLoop::spawn_thread("dropped", bare).unwrap();
        let handle = thread.handle();
        drop(thread);
        let (sender, receiver) = mpsc::channel();
        handle.add_callback(move || sender.send(()).unwrap()).unwrap();
        receiver.recv().unwrap();
        handle.stop().unwrap();
    }

    #[test]
    fn a_loop_that_cannot_be_made_or_run_is_an_error() {
        let refused = IOLoop::spawn_thread("refused", || Err(io::Error::other("no loop")));
        assert_eq!(refused.unwrap_err().to_string(), "no loop");
        let unnamed = IOLoop::spawn_thread("a\0b", bare).unwrap_err();
        assert_eq!(unnamed.kind(), io::ErrorKind::InvalidInput);
        assert!(unnamed.to_string().contains(r#""a\0b""#), "{unnamed}");
        let panicked = IOLoop::spawn_thread("panics", || panic!("while it makes a loop"));
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
        let closed = IOLoop::spawn_thread("closed", || {
            let io_loop = bare()?;
            io_loop.close()?;
            Ok(io_loop)
        });
        assert!(matches!(closed.unwrap().join(), Err(RunError::Closed)));
    }
}
