//! Registering a bare descriptor number with the `polling` crate, which needs `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use polling::{Event, PollMode, Poller};

pub(super) fn register(poller: &Poller, fd: RawFd, event: Event) -> io::Result<()> {
    // SAFETY: the loop owns the source until its watch has ended, which deletes it here first.
    // Where that promise was broken (see `Lent`), the kernel has deleted it already.
    unsafe { poller.add_with_mode(fd, event, PollMode::Level) }
}
