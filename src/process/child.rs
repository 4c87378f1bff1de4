//! A child that is waited for: how its exit is learned, its reaping, and its signals.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::descriptor::Process;

/// How the exit of a child is learned.
pub(super) type Way = fn(&Child) -> io::Result<Told>;

/// Where the exit of a child is told.
pub(super) struct Told {
    /// Readable when the child may have exited.
    pub(super) exit: OwnedFd,
    /// The child itself, where the kernel has a descriptor for it.
    pub(super) process: Option<Process>,
}

/// A child that only the loop reaps.
pub(super) struct Waited {
    id: u32,
    child: RefCell<Child>,
    process: Option<Process>,
    /// What reaping has returned before the first wait.
    known: RefCell<Option<io::Result<ExitStatus>>>,
    /// The child was reaped, so its number may be another's.
    over: Cell<bool>,
}

impl Waited {
    /// The child, and the source of the watch for its exit.
    pub(super) fn new(mut child: Child, way: Way) -> io::Result<(Rc<Waited>, Exiting)> {
        // It would wait for the end of a pipe that no one can write to. The standard library closes
        // it before it waits, too.
        drop(child.stdin.take());
        let known = child.try_wait().transpose();
        let over = known.is_some();
        // Once it was reaped there is nothing to wait for, and its number may be another's.
        let Told { exit, process } = if over { ended()? } else { way(&child)? };
        let id = child.id();
        let (child, known, over) = (RefCell::new(child), RefCell::new(known), Cell::new(over));
        let waited = Rc::new(Waited { id, child, process, known, over });
        Ok((Rc::clone(&waited), Exiting { exit, waited }))
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Reaps the child if it has exited; returns the status once.
    pub(super) fn reap(&self) -> Option<io::Result<ExitStatus>> {
        let reaped = self.known.take().or_else(|| {
            match self.process.as_ref().map(Process::state) {
                // Not yet; or the process that traces it has not seen its end.
                Some(Ok(None)) => None,
                // Reaped by other code. Its number may be that of another child.
                Some(Err(Errno::CHILD)) => Some(Err(Errno::CHILD.into())),
                _ => self.child.borrow_mut().try_wait().transpose(),
            }
        });
        self.over.set(self.over.get() || reaped.is_some());
        reaped
    }

    /// Sends a signal, unless the child was reaped.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        if self.over.get() {
            return Ok(());
        }
        let sent = self.process.as_ref().map_or(Err(Errno::NOSYS), |process| process.send(signal));
        let sent = match sent {
            Err(Errno::NOSYS) => self.send_to_number(signal),
            sent => sent,
        };
        match sent {
            // It has exited, and other code has reaped it.
            Err(Errno::SRCH | Errno::CHILD) => Ok(()),
            sent => Ok(sent?),
        }
    }

    fn send_to_number(&self, signal: Signal) -> rustix::io::Result<()> {
        let pid = number(self.id).ok_or(Errno::SRCH)?;
        // It is a child of this process, which has not reaped it: its number is its own.
        state(WaitId::Pid(pid))?;
        kill_process(pid, signal)
    }
}

/// Whether a child can be reaped, which is not done.
pub(super) fn state(child: WaitId<'_>) -> rustix::io::Result<Option<()>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(child, options).map(|state| state.map(drop))
}

fn number(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

pub(super) fn pid(child: &Child) -> io::Result<Pid> {
    number(child.id()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The source of the watch: readable when the child may have exited.
pub(super) struct Exiting {
    exit: OwnedFd,
    waited: Rc<Waited>,
}

impl Exiting {
    /// What has become of the child, once it has ended.
    pub(super) fn result(&self) -> Option<io::Result<ExitStatus>> {
        if let Some(process) = &self.waited.process {
            process.take_edge(&self.exit);
        }
        self.waited.reap()
    }
}

impl AsFd for Exiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

/// A thread waits for the child, and makes a descriptor readable.
pub(super) fn by_thread(child: &Child) -> io::Result<Told> {
    let pid = pid(child)?;
    let (exit, writer) = UnixStream::pair()?;
    let wait = move || {
        // Left to be reaped: until then its number stays its own.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        drop(writer);
    };
    thread::Builder::new().name(format!("ioloop-wait-{}", child.id())).spawn(wait)?;
    Ok(Told { exit: exit.into(), process: None })
}

/// Nothing is waited for: readable from the start.
fn ended() -> io::Result<Told> {
    let (exit, _) = UnixStream::pair()?;
    Ok(Told { exit: exit.into(), process: None })
}
