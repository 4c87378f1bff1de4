//! A descriptor that somebody else owns.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// A descriptor that a C library owns, lent to the loop for the length of its watch.
///
/// libcurl, c-ares, libpq and their kin give out bare numbers and close them when they see fit. The
/// loop owns its sources, so such a number needs somebody's word that it stays open: yours.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
/// use ioloop::{IOLoop, Lent, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// let (library, _peer) = UnixStream::pair()?;
/// // SAFETY: `library` is closed below, after its watch was removed.
/// let lent = unsafe { Lent::new(library.as_raw_fd()) };
/// let watch = io_loop.add_reader(lent, |lent| println!("{} is readable", lent.as_raw_fd()))?;
/// watch.remove();
/// drop(library);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// If the promise is broken, a closed number is refused, and a reused one never reaches the old callback.
/// There are two exceptions: events of the old file while a duplicate of it is open; and a watch that was
/// paused when the number was reused watches the new file once it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lent(RawFd);

impl Lent {
    /// Lends a descriptor by its number.
    ///
    /// # Safety
    ///
    /// The descriptor stays open, and the same file, until the watch that this is given to was removed, and
    /// as long as a `BorrowedFd` that was taken from it lives. Closing it inside the watch's own callback, once
    /// the watch was removed, is fine.
    pub const unsafe fn new(fd: RawFd) -> Self {
        // A `BorrowedFd` cannot be -1. The largest number is never open either, and is refused the same way.
        Lent(if fd < 0 { RawFd::MAX } else { fd })
    }
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is not -1, and whoever called `new` promised that it stays open.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl std::os::fd::AsRawFd for Lent {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
