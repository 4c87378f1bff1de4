//! Child processes: a callback or a future on their exit, for anything that implements `Reactor`.
//!
//! The exit of a child is an event on a descriptor of its own (Linux's pidfd), so that neither `SIGCHLD` nor anybody
//! else's `wait` is in the way, and each child is reaped by its number alone while nobody else can have it. Where the
//! kernel has no such descriptor, or a sandbox forbids it, a thread waits for each child, and reaps nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::error::Closed;
use crate::guard::Guard;
use crate::handles::Watch;
use crate::reactor::Reactor;

/// Waits for the exit of a child process, and reaps it.
///
/// Take its pipes before. A child that is stopped has not exited.
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
/// # Errors
///
/// Those of [`Reactor::add_reader`], and of making a descriptor or a thread; the child runs on then. The future's
/// own: [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the loop was closed first; those of reaping, such as that somebody
/// else has reaped the child.
///
/// # Cancel safety
///
/// Dropping the future lets the child run on, as dropping a [`Child`] does: nobody reaps it.
pub fn wait<R: Reactor>(reactor: &R, child: Child) -> io::Result<Exit> {
    exit_on(reactor, child, descriptor)
}

/// Calls `callback` on the loop's thread when a child process has exited and was reaped.
///
/// Dropping the [`Watch`] changes nothing; removing it lets the child run on, and drops the callback, as closing the
/// loop does.
///
/// # Errors
///
/// Those of [`wait`].
pub fn on_exit<R: Reactor>(
    reactor: &R,
    child: Child,
    callback: impl FnOnce(io::Result<ExitStatus>) + 'static,
) -> io::Result<Watch> {
    watch(reactor, Rc::new(RefCell::new(child)), descriptor, callback)
}

/// The future of [`wait`].
#[must_use = "futures do nothing unless polled"]
pub struct Exit {
    child: Rc<RefCell<Child>>,
    end: Rc<End>,
    _watch: Guard<Watch>,
}

impl Exit {
    /// The child's process number.
    pub fn id(&self) -> u32 {
        self.child.borrow().id()
    }

    /// Kills the child, which then exits; nothing if it has.
    ///
    /// # Errors
    ///
    /// Those of [`Child::kill`].
    pub fn kill(&self) -> io::Result<()> {
        self.child.borrow_mut().kill()
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

fn exit_on<R: Reactor>(
    reactor: &R,
    child: Child,
    descriptor: fn(&Child) -> io::Result<OwnedFd>,
) -> io::Result<Exit> {
    let (child, end) = (Rc::new(RefCell::new(child)), Rc::new(End::default()));
    let mut ending = Ending(Some(Rc::clone(&end)));
    let watch = watch(reactor, Rc::clone(&child), descriptor, move |result| ending.set(result))?;
    Ok(Exit { child, end, _watch: watch.remove_on_drop() })
}

fn watch<R: Reactor>(
    reactor: &R,
    child: Rc<RefCell<Child>>,
    descriptor: fn(&Child) -> io::Result<OwnedFd>,
    callback: impl FnOnce(io::Result<ExitStatus>) + 'static,
) -> io::Result<Watch> {
    let exit = descriptor(&child.borrow())?;
    let mut callback = Some(callback);
    // For the callback to end its own watch, which it cannot know before there is one.
    let own = Rc::new(RefCell::new(None::<Watch>));
    let itself = Rc::clone(&own);
    let watch = reactor.add_reader(Exiting { exit, child }, move |exiting| {
        let reaped = exiting.child.borrow_mut().try_wait();
        let result = match reaped {
            // Too early; it is told again.
            Ok(None) => return,
            Ok(Some(status)) => Ok(status),
            Err(error) => Err(error),
        };
        let watch = itself.take();
        if let Some(watch) = watch {
            watch.remove();
        }
        if let Some(callback) = callback.take() {
            callback(result);
        }
    })?;
    own.replace(Some(watch.another()));
    Ok(watch)
}

/// The source of the watch: readable when the child has exited.
struct Exiting {
    exit: OwnedFd,
    child: Rc<RefCell<Child>>,
}

impl AsFd for Exiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

fn pid(child: &Child) -> io::Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    number.and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(target_os = "linux")]
fn descriptor(child: &Child) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    match pidfd_open(pid(child)?, PidfdFlags::empty()) {
        // An old kernel, or a sandbox.
        Err(Errno::NOSYS | Errno::PERM) => waited(child),
        opened => Ok(opened?),
    }
}

#[cfg(not(target_os = "linux"))]
fn descriptor(child: &Child) -> io::Result<OwnedFd> {
    waited(child)
}

/// A descriptor that a thread makes readable when the child has exited.
fn waited(child: &Child) -> io::Result<OwnedFd> {
    let pid = pid(child)?;
    let (reader, writer) = UnixStream::pair()?;
    let wait = move || {
        // Left to be reaped: until then its number stays its own.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        drop(writer);
    };
    thread::Builder::new().name(format!("ioloop-wait-{}", child.id())).spawn(wait)?;
    Ok(reader.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

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
                exit_on(&io_loop, child, waited).unwrap()
            })
            .collect();
        for (code, exit) in exits.into_iter().enumerate() {
            let status = io_loop.run_sync(exit).unwrap().unwrap();
            assert_eq!(status.code(), Some(code as i32));
        }
        assert_eq!(io_loop.metrics().watches, 0);
    }
}
