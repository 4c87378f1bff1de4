//! Descriptor numbers that are lent to a loop, and change their file behind its back.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, dup2, fcntl_setfd};

use ioloop::Lent;

/// A descriptor number that the case owns and lends.
pub(super) struct Number(OwnedFd);

impl Number {
    /// The number of an open file.
    pub(super) fn of(file: impl Into<OwnedFd>) -> Self {
        Number(file.into())
    }

    pub(super) fn lend(&self) -> Lent {
        lend(self.0.as_raw_fd())
    }

    /// Lets another file have the number; the one that had it is closed.
    ///
    /// In one step, so no other thread's file can get the number in between.
    pub(super) fn reuse(&mut self, file: impl Into<OwnedFd>) {
        // Not dup3, which macOS has not.
        dup2(file.into(), &mut self.0).expect("dup2 onto an open number");
        fcntl_setfd(&self.0, FdFlags::CLOEXEC).expect("an open descriptor");
    }

    /// Closes the file, and still lends its number: only where no other thread opens anything.
    pub(super) fn close(self) -> Lent {
        let lent = self.lend();
        drop(self.0);
        lent
    }
}

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A number that is never open.
pub(super) fn never_open() -> Lent {
    lend(RawFd::MAX)
}

/// Numbers that no file can have.
pub(super) fn negative() -> [Lent; 3] {
    [-1, -2, -4711].map(lend)
}

fn lend(number: RawFd) -> Lent {
    // SAFETY: the promise that the number stays the same open file is broken on purpose: what a
    // loop makes of that is what the cases are about. Nobody reads or writes through a lent number,
    // and epoll_ctl, which is all that the loop does with it, harms no file.
    unsafe { Lent::new(number) }
}
