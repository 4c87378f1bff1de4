//! Child processes: a callback or a future on their exit, for anything that implements `Reactor`.
//!
//! The exit of a child is an event on a descriptor of its own (Linux's pidfd). So neither `SIGCHLD`
//! nor a `wait` of other code is in the way, and each child is reaped by its number alone, before
//! that can be another process's. Where the kernel has no such descriptor, or a sandbox forbids it,
//! a thread waits for each child, and reaps nothing.
//!
//! # Signals for a child
//!
//! [`wait`] and [`on_exit`] take the child, and give what signals it: a [`ChildHandle`], of which
//! there may be any number, in callbacks too.
//!
//! ```
//! use std::process::Command;
//! use std::time::Duration;
//! use ioloop::{IOLoop, Reactor, process};
//!
//! let io_loop = IOLoop::new()?;
//! let exit = process::wait(&io_loop, Command::new("sleep").arg("60").spawn()?)?;
//! let child = exit.handle();
//! io_loop.call_later(Duration::from_millis(1), move || child.terminate().unwrap());
//! let status = io_loop.run_sync(exit)??;
//! assert_eq!(status.code(), None, "ended by a signal");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A signal reaches this child or no process. With the kernel's descriptor that is certain,
//! whatever else the program does. With a thread it holds as long as no other code of the program
//! reaps children that are not its own, as `waitpid(-1)` and an ignored `SIGCHLD` do: a number that
//! was set free in that way may be another child's.

mod child;
#[cfg_attr(not(target_os = "linux"), path = "process/no_descriptor.rs")]
mod descriptor;
mod number;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::process::Signal;

use self::child::{Waited, Way};
use self::descriptor::best;
use crate::error::Closed;
use crate::reactor::contract::Reactor;
use crate::reactor::guard::{Guard, Release};
use crate::reactor::handles::Watch;

/// Waits for the exit of a child process, and reaps it.
///
/// Take its pipes before: a standard input that was not taken is closed, as by [`Child::wait`]. A
/// child that is stopped has not exited, nor has one that a debugger traces and has not let go. A
/// status that the child holds already is given at once.
///
/// ```
/// use std::process::Command;
/// use ioloop::{IOLoop, process};
///
/// let io_loop = IOLoop::new()?;
/// let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let status = io_loop.run_sync(process::wait(&io_loop, child)?)??;
/// assert_eq!(status.code(), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its output is a file like any other, and a time-out leaves the future to be awaited again after
/// the child was ended:
///
/// ```
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
/// use std::time::Duration;
/// use futures_lite::AsyncReadExt;
/// use ioloop::{Async, IOLoop, process, timeout};
///
/// let io_loop = IOLoop::new()?;
/// let mut child = Command::new("sh").args(["-c", "echo hello; exec sleep 60"]).stdout(Stdio::piped()).spawn()?;
/// let output = File::from(OwnedFd::from(child.stdout.take().unwrap()));
/// let (line, status) = io_loop.run_sync(async {
///     let mut output = Async::new(&io_loop, output)?;
///     let mut exit = process::wait(&io_loop, child)?;
///     let mut line = [0; 6];
///     output.read_exact(&mut line).await?;
///     let status = match timeout(&io_loop, Duration::from_millis(1), &mut exit).await {
///         Ok(status) => status,
///         Err(_) => {
///             exit.handle().terminate()?;
///             exit.await
///         }
///     };
///     std::io::Result::Ok((line, status?))
/// })??;
/// assert_eq!(line, *b"hello\n");
/// assert!(!status.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`Reactor::add_reader`], and of making two descriptors or a thread; the child runs on
/// then. The future's own: [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the loop was closed first;
/// those of reaping, if other code has reaped the child, or the kernel has, as it does where
/// `SIGCHLD` is ignored.
///
/// # Cancel safety
///
/// Dropping the future lets the child run on, as dropping a [`Child`] does: it is not reaped.
#[track_caller]
pub fn wait<R: Reactor>(reactor: &R, child: Child) -> io::Result<Exit> {
    exit_on(reactor, child, best)
}

/// Calls `callback` on the loop's thread when a child process has exited and was reaped.
///
/// It treats the child as [`wait`] does. Dropping what it returns changes nothing; removing it lets
/// the child run on, and drops the callback, as closing the loop does.
///
/// ```
/// use std::process::Command;
/// use ioloop::{IOLoop, process};
///
/// let io_loop = IOLoop::new()?;
/// let child = Command::new("sleep").arg("60").spawn()?;
/// let waiting = process::on_exit(&io_loop, child, |status| {
///     assert!(!status.unwrap().success());
///     IOLoop::current().unwrap().stop();
/// })?;
/// waiting.kill()?;
/// io_loop.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`wait`].
#[track_caller]
pub fn on_exit<R: Reactor>(
    reactor: &R,
    child: Child,
    callback: impl FnOnce(io::Result<ExitStatus>) + 'static,
) -> io::Result<OnExit> {
    let (child, watch) = watch(reactor, child, best, callback)?;
    Ok(OnExit { child, watch })
}

/// Sends signals to a child that is waited for; made by [`Exit::handle`] and [`OnExit::handle`].
///
/// It may be cloned and kept anywhere on its thread. A child that has been reaped gets no signal
/// any more, and the number that it had is left alone: see the [module](self#signals-for-a-child).
#[derive(Clone)]
pub struct ChildHandle {
    waited: Rc<Waited>,
}

impl ChildHandle {
    /// The child's process number.
    pub fn id(&self) -> u32 {
        self.waited.id()
    }

    /// Kills the child, which then exits: `SIGKILL`; nothing if it has.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the child runs as another user.
    pub fn kill(&self) -> io::Result<()> {
        self.waited.send(Signal::KILL)
    }

    /// Asks the child to end: `SIGTERM`; nothing if it has.
    ///
    /// # Errors
    ///
    /// Those of [`kill`](Self::kill).
    pub fn terminate(&self) -> io::Result<()> {
        self.waited.send(Signal::TERM)
    }

    /// Sends the child a signal, by its number; nothing if it has been reaped.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for what is no signal; those of
    /// [`kill`](Self::kill).
    #[doc(alias = "send_signal")]
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.waited.send(number::signal(signal)?)
    }
}

impl fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildHandle").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// A callback that waits for a child; made by [`on_exit`]. It signals the child as its
/// [handle](ChildHandle) does.
#[derive(Debug)]
pub struct OnExit {
    child: ChildHandle,
    watch: Watch,
}

impl OnExit {
    /// Another handle of the child.
    pub fn handle(&self) -> ChildHandle {
        self.child.clone()
    }

    /// Waits no longer, and drops the callback; false if it was called or dropped before. The child
    /// runs on.
    pub fn remove(&self) -> bool {
        self.watch.remove()
    }

    /// A guard that waits no longer when it is dropped.
    pub fn remove_on_drop(self) -> Guard<OnExit> {
        Guard::new(self)
    }
}

impl Release for OnExit {
    fn release(&self) {
        self.remove();
    }
}

impl Deref for OnExit {
    type Target = ChildHandle;

    fn deref(&self) -> &ChildHandle {
        &self.child
    }
}

/// The future of [`wait`]. It signals the child as its [handle](ChildHandle) does.
#[must_use = "futures do nothing unless polled"]
pub struct Exit {
    child: ChildHandle,
    end: Rc<End>,
    _watch: Guard<Watch>,
}

impl Exit {
    /// Another handle of the child, for when the future has gone into its task.
    pub fn handle(&self) -> ChildHandle {
        self.child.clone()
    }
}

impl Deref for Exit {
    type Target = ChildHandle;

    fn deref(&self) -> &ChildHandle {
        &self.child
    }
}

impl Future for Exit {
    type Output = io::Result<ExitStatus>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.end.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                let before = self.end.waker.replace(Some(cx.waker().clone()));
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exit").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// What the future and its callback share.
#[derive(Default)]
struct End {
    result: RefCell<Option<io::Result<ExitStatus>>>,
    waker: RefCell<Option<Waker>>,
}

/// Held by the callback; dropped uncalled, the loop was closed.
struct Ending(Option<Rc<End>>);

impl Ending {
    fn set(&mut self, result: io::Result<ExitStatus>) {
        if let Some(end) = self.0.take() {
            end.result.replace(Some(result));
            let waker = end.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.set(Err(Closed.into()));
    }
}

#[track_caller]
fn exit_on<R: Reactor>(reactor: &R, child: Child, way: Way) -> io::Result<Exit> {
    let end = Rc::new(End::default());
    let mut ending = Ending(Some(Rc::clone(&end)));
    let (child, watch) = watch(reactor, child, way, move |result| ending.set(result))?;
    Ok(Exit { child, end, _watch: watch.remove_on_drop() })
}

#[track_caller]
fn watch<R: Reactor>(
    reactor: &R,
    child: Child,
    way: Way,
    callback: impl FnOnce(io::Result<ExitStatus>) + 'static,
) -> io::Result<(ChildHandle, Watch)> {
    let (waited, exiting) = Waited::new(child, way)?;
    let mut callback = Some(callback);
    // For the callback to end its own watch, which it cannot know before there is one.
    let own = Rc::new(RefCell::new(None::<Watch>));
    let itself = Rc::clone(&own);
    let watch = reactor.add_reader(exiting, move |exiting| {
        // Too early: it is told again.
        let Some(result) = exiting.result() else { return };
        let watch = itself.take();
        if let Some(watch) = watch {
            watch.remove();
        }
        if let Some(callback) = callback.take() {
            callback(result);
        }
    })?;
    own.replace(Some(watch.another()));
    Ok((ChildHandle { waited }, watch))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::child::by_thread;
    use super::*;
    use crate::IOLoop;
    use crate::backends::BackendKind;

    #[test]
    fn a_thread_waits_where_there_is_no_descriptor_of_a_process() {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let exits: Vec<_> = (0..5)
            .map(|code| {
                let mut command = Command::new("sh");
                let child = command.args(["-c", &format!("exit {code}")]).spawn().unwrap();
                exit_on(&io_loop, child, by_thread).unwrap()
            })
            .collect();
        for (code, exit) in exits.into_iter().enumerate() {
            let status = io_loop.run_sync(exit).unwrap().unwrap();
            assert_eq!(status.code(), Some(code as i32));
        }
        assert_eq!(io_loop.metrics().watches, 0);
    }
    #[test]
    fn a_child_that_a_thread_waits_for_is_signalled_until_it_was_reaped() {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut exit = exit_on(&io_loop, child, by_thread).unwrap();
        exit.terminate().unwrap();
        let status = io_loop.run_sync(&mut exit).unwrap().unwrap();
        assert_eq!(status.code(), None);
        // Its number is free, or another process's.
        exit.kill().unwrap();
    }
}
