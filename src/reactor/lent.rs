//! A descriptor that other code owns.
#![allow(unsafe_code)]

use crate::system::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor that a C library owns, lent to the loop for the length of its watch.
///
/// libcurl, c-ares, libpq and libraries like them give out bare numbers, and close them when they
/// see fit. The loop owns its sources, so the caller has to promise that such a number stays open.
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
/// # If the promise is broken
///
/// A binding for another language cannot give this promise for its users. If it is broken, the loop
/// stays sound: it reads and writes nothing through a number that it was lent, and passes it only
/// to `epoll_ctl` and to callbacks. What the callbacks do with the number is up to the other
/// language. Beyond that:
///
/// - A closed number is refused with an error.
/// - A reused number never reaches the old callback, with one exception: a watch that was paused
///   when the number was reused, alone on its number, watches the new file once it is resumed.
/// - Events of the old file still reach the callback while a duplicate of that file is open.
/// - [`resume`](crate::Watch::resume) of a watch whose number is another file's by now returns that
///   it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lent(RawFd);

/// Stands for -1, which a `BorrowedFd` cannot hold: a number that is never passed, and never open.
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
        // SAFETY: the number is not -1, and whoever called `new` promised that it stays open.
        unsafe { BorrowedFd::borrow_raw(number) }
    }
}

impl AsRawFd for Lent {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
