//! Linux: a process as a descriptor, which names it whatever becomes of its number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, WaitId, pidfd_open, pidfd_send_signal};

use super::child::{Told, by_thread, pid, state};

pub(super) struct Process(OwnedFd);

impl Process {
    /// Takes from `exit` what was told there: before the child is looked at, so what arrives
    /// later is told again.
    pub(super) fn take_edge(&self, exit: &OwnedFd) {
        let mut room = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        // What it says is found out from the child, and a failure leaves the edge for the next
        // turn.
        let _ = epoll::wait(exit, &mut room[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }

    /// Whether it can be reaped.
    pub(super) fn state(&self) -> rustix::io::Result<Option<()>> {
        state(WaitId::PidFd(self.0.as_fd()))
    }

    pub(super) fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        pidfd_send_signal(&self.0, signal)
    }
}

/// In an epoll instance of its own, edge-triggered: a child that a debugger traces cannot be reaped
/// before the debugger has seen its end, and until then its descriptor would be readable in each
/// turn. The kernel tells both.
pub(super) fn best(child: &Child) -> io::Result<Told> {
    let process = match pidfd_open(pid(child)?, PidfdFlags::empty()) {
        // An old kernel, or a sandbox.
        Err(Errno::NOSYS | Errno::PERM) => return by_thread(child),
        opened => Process(opened?),
    };
    // Reaped by other code just now, so the number may be another process's already.
    if process.state() == Err(Errno::CHILD) {
        return Err(Errno::CHILD.into());
    }
    let exit = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&exit, &process.0, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
    Ok(Told { exit, process: Some(process) })
}
