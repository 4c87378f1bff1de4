//! An eventfd: readable after a fire until it is cleared.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, retry_on_intr, write};

pub(super) struct Wire(OwnedFd);

impl Wire {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Wire(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable. Allocates nothing and takes no lock, so a signal handler may call it.
    pub(super) fn ring(&self) {
        // It fails only where the counter is full, and then it is readable.
        let _ = retry_on_intr(|| write(&self.0, &1_u64.to_ne_bytes()));
    }

    pub(super) fn clear(&self) {
        let _ = retry_on_intr(|| read(&self.0, &mut [0; 8]));
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
