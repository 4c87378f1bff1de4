//! A pair of sockets, where there is no eventfd: readable after a fire until it is cleared.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

pub(super) struct Wire {
    end: UnixStream,
    ringer: UnixStream,
}

impl Wire {
    pub(super) fn new() -> io::Result<Self> {
        let (end, ringer) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        Ok(Wire { end, ringer })
    }

    /// Makes it readable. Allocates nothing and takes no lock, so a signal handler may call it.
    pub(super) fn ring(&self) {
        // It fails only where the buffer is full, and then the end is readable.
        while (&self.ringer)
            .write(b"!")
            .is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
        {}
    }

    pub(super) fn clear(&self) {
        // Two at the most were written: one for a fire, one for the last share.
        let _ = (&self.end).read(&mut [0; 64]);
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
