//! System calls on bare descriptor numbers, which need `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};

use crate::reactor::readiness::Events;

/// A watched descriptor, by its number, for the length of one `epoll_ctl`.
pub(super) fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number was a `BorrowedFd`'s, so it is not -1. The loop owns the source until its
    // watch has ended, so the number is open. Where that promise was broken (see `Lent`), epoll_ctl
    // is harmless: it reads nothing from the file, and returns EBADF or ENOENT, or changes our own
    // set alone. Reading the descriptor's flags is harmless too.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Whether a number that was refused is open nevertheless.
pub(crate) fn is_open(fd: RawFd) -> bool {
    fd >= 0 && rustix::io::fcntl_getfd(borrow(fd)).is_ok()
}

/// How many bytes can be read from a watched descriptor, if the kernel knows.
pub(crate) fn readable_bytes(fd: RawFd) -> Option<u64> {
    rustix::io::ioctl_fionread(borrow(fd)).ok()
}

/// Whether a watched descriptor has no `O_NONBLOCK`.
pub(crate) fn blocks(fd: RawFd) -> bool {
    fcntl_getfl(borrow(fd)).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
}

/// Whether a watched descriptor is ready for any of `events` now.
pub(crate) fn is_ready(fd: RawFd, events: Events) -> bool {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, events.contains(Events::READ));
    flags.set(PollFlags::OUT, events.contains(Events::WRITE));
    flags.set(PollFlags::PRI, events.contains(Events::PRIORITY));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    flags.set(PollFlags::RDHUP, events.contains(Events::READ_CLOSED));
    let descriptor = borrow(fd);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&descriptor, flags)], Some(&now)).is_ok_and(|ready| ready > 0)
}
