//! What the poller does with bare descriptor numbers, which needs `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::reactor::readiness::Events;

/// A watched descriptor, by its number, for the length of one `epoll_ctl`.
pub(super) fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number came from a `BorrowedFd`, so that it is not -1. The loop owns the source
    // until its watch has ended, so that it is open; where that promise was broken (see `Lent`),
    // epoll_ctl is harmless: it reads nothing from the file, and returns EBADF or ENOENT, or acts on
    // our own set alone. So is reading the descriptor's flags.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Whether a number that was refused is open all the same.
pub(crate) fn is_open(fd: RawFd) -> bool {
    fd >= 0 && rustix::io::fcntl_getfd(borrow(fd)).is_ok()
}

/// How many bytes can be read from a watched descriptor, where the kernel tells.
pub(crate) fn readable_bytes(fd: RawFd) -> Option<u64> {
    rustix::io::ioctl_fionread(borrow(fd)).ok()
}

/// Whether a watched descriptor is ready for any of `events` at this moment.
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
