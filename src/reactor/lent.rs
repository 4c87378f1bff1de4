//! A descriptor that the loop does not own.
#![allow(unsafe_code)]

use crate::system::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor that a C library owns, lent to the loop for the length of its watch.
///
/// libcurl, c-ares, libpq and their kin give out bare numbers and close them when they see fit. The
/// loop owns its sources, so for such a number it needs a promise that it stays open: yours.
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
/// # What is promised where the promise is broken
///
/// A binding that offers the loop to users of a safe language cannot give this promise on their
/// behalf. If it is broken the loop stays sound all the same: it reads and writes nothing through a
/// number that it was lent, and hands it to `epoll_ctl` and to callbacks alone. What your callbacks
/// do with it is the language's affair, as it is there with any number. Beyond that,
///
/// - a number that is not open is refused with an error;
/// - the callback of one that was closed is not called for what comes on the file that has its
///   number next, with one exception: one that was paused, alone on its number, watches the new
///   file once it is resumed;
/// - it still is called for what comes on the old file, where a duplicate of that lives;
/// - [`resume`](crate::Watch::resume) of one whose number is another file's by now says that the
///   watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lent(RawFd);

/// In place of -1, which a `BorrowedFd` cannot be: a number that no system call returns, and that
/// is never open.
const MINUS_ONE: RawFd = RawFd::MIN;

/// The number that the caller passed.
pub(crate) fn as_passed(fd: RawFd) -> RawFd {
    if fd == MINUS_ONE { -1 } else { fd }
}

impl Lent {
    /// Lends a descriptor by its number.
    ///
    /// # Safety
    ///
    /// The descriptor stays open, and the same file, until the watch that this is given to was
    /// removed, and as long as a `BorrowedFd` that was taken from it lives. Closing it inside the
    /// watch's own callback, once the watch was removed, is fine.
    ///
    /// A library that closes its socket inside of a call of its own leaves no choice but the other
    /// order, which is fine too: remove the watch after that call, before the loop is driven on,
    /// and before this thread opens anything else that is watched.
    pub const unsafe fn new(fd: RawFd) -> Self {
        Lent(fd)
    }
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let number = if self.0 == -1 { MINUS_ONE } else { self.0 };
        // SAFETY: the number is not -1, and the caller of `new` promised that it stays open.
        unsafe { BorrowedFd::borrow_raw(number) }
    }
}

impl AsRawFd for Lent {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
