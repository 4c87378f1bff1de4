//! The errors of descriptors that are not, or no longer, watched.

use std::error;
use std::fmt;
use std::io;

use crate::error::Closed;
use crate::reactor::lent::as_passed;
use crate::reactor::watcher::Ended;
use crate::system::{Errno, RawFd};

/// A descriptor that could not be watched, and why.
#[derive(Debug)]
struct WatchError {
    fd: RawFd,
    reason: &'static str,
    cause: io::Error,
}

impl WatchError {
    fn refuse(fd: RawFd, kind: io::ErrorKind, reason: &'static str, cause: io::Error) -> io::Error {
        io::Error::new(kind, WatchError { fd: as_passed(fd), reason, cause })
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot watch descriptor {}: ", self.fd)?;
        match self.reason {
            "" => write!(f, "{}", self.cause),
            reason => f.write_str(reason),
        }
    }
}

impl error::Error for WatchError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// What is known of a refused descriptor, beside the kernel's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Nothing,
    /// It is the loop's own.
    Own,
    /// It is open.
    Open,
}

/// Says on which descriptor the kernel refused, why, and what to do.
pub(crate) fn cannot_watch(fd: RawFd, known: Known, cause: io::Error) -> io::Error {
    let (kind, reason) = match (Errno::from_io_error(&cause), known) {
        (Some(Errno::BADF), Known::Open) => (
            io::ErrorKind::InvalidInput,
            "it was opened with O_PATH, so nothing can be read or written; open it without",
        ),
        (Some(Errno::BADF), _) => (io::ErrorKind::InvalidInput, "it is not open"),
        (Some(Errno::NOENT), _) => (
            io::ErrorKind::InvalidInput,
            "it was closed while it was watched, and its number is another file's now",
        ),
        (Some(Errno::PERM), _) => (
            io::ErrorKind::Unsupported,
            "regular files, directories and devices like /dev/null are always ready, and epoll refuses them; use a blocking thread",
        ),
        (Some(Errno::INVAL), Known::Own) => {
            (io::ErrorKind::InvalidInput, "it is the loop's own, which would wait for itself")
        }
        (Some(Errno::INVAL), _) => (
            io::ErrorKind::QuotaExceeded,
            "more loops watch it than the kernel allows (a thousand, or five hundred that are attached); have one watch it, and tell the others through their handles",
        ),
        (Some(Errno::LOOP), _) => (
            io::ErrorKind::InvalidInput,
            "it waits for this loop, or is nested too deep to be waited for",
        ),
        (Some(Errno::NOSPC), _) => (
            io::ErrorKind::QuotaExceeded,
            "the user's limit of watches is reached (/proc/sys/fs/epoll/max_user_watches)",
        ),
        _ if cause.kind() == io::ErrorKind::AlreadyExists => (
            cause.kind(),
            "it is watched already, and a handler shares its descriptor with nobody; remove the one there first",
        ),
        _ => (cause.kind(), ""),
    };
    WatchError::refuse(fd, kind, reason, cause)
}

/// The error of `update_handler` on a descriptor that has none.
pub(crate) fn no_handler(fd: RawFd) -> io::Error {
    let cause = io::Error::from(io::ErrorKind::NotFound);
    let reason = "it has no handler; add one with add_handler first";
    WatchError::refuse(fd, cause.kind(), reason, cause)
}

/// The error for whoever waits on a watch that has ended; no reason means that it was removed.
pub(crate) fn watch_ended(fd: RawFd, why: Option<Ended>) -> io::Error {
    let (kind, reason) = match why {
        Some(Ended::Closed) => return Closed.into(),
        Some(Ended::Replaced) => (
            io::ErrorKind::ResourceBusy,
            "another watch of the same descriptor and direction has replaced it; share one `Async` in an `Rc`",
        ),
        Some(Ended::Gone) => {
            (io::ErrorKind::InvalidInput, "its number was closed while it was watched")
        }
        None => {
            (io::ErrorKind::Other, "somebody removed it, or a waker that it called has panicked")
        }
    };
    let fd = as_passed(fd);
    io::Error::new(kind, format!("the watch of descriptor {fd} has ended: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::os_error;

    #[test]
    fn a_refusal_names_the_descriptor_the_reason_and_the_way_out() {
        // In the words of the C library.
        let no_memory = format!("cannot watch descriptor 7: {}", io::Error::from(Errno::NOMEM));
        let nothing = Known::Nothing;
        for (errno, known, kind, text) in [
            (
                Errno::NOSPC,
                nothing,
                io::ErrorKind::QuotaExceeded,
                "cannot watch descriptor 7: the user's limit of watches is reached \
                 (/proc/sys/fs/epoll/max_user_watches)",
            ),
            (
                Errno::BADF,
                nothing,
                io::ErrorKind::InvalidInput,
                "cannot watch descriptor 7: it is not open",
            ),
            (
                Errno::BADF,
                Known::Open,
                io::ErrorKind::InvalidInput,
                "cannot watch descriptor 7: it was opened with O_PATH, so nothing can be read or \
                 written; open it without",
            ),
            (
                Errno::INVAL,
                Known::Own,
                io::ErrorKind::InvalidInput,
                "cannot watch descriptor 7: it is the loop's own, which would wait for itself",
            ),
            (Errno::NOMEM, nothing, io::ErrorKind::OutOfMemory, &no_memory),
        ] {
            let error = cannot_watch(7, known, errno.into());
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
            // What the kernel said is not lost.
            assert_eq!(os_error(&error), Some(errno.raw_os_error()));
        }
    }

    #[test]
    fn one_that_waits_is_told_what_became_of_its_watch() {
        for (why, kind, text) in [
            (Some(Ended::Closed), io::ErrorKind::BrokenPipe, "the loop is closed"),
            (Some(Ended::Replaced), io::ErrorKind::ResourceBusy, "has replaced it"),
            (Some(Ended::Gone), io::ErrorKind::InvalidInput, "was closed while it was watched"),
            (None, io::ErrorKind::Other, "removed it"),
        ] {
            let error = watch_ended(7, why);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_loop_that_is_closed_is_a_broken_pipe() {
        let error = cannot_watch(7, Known::Nothing, Closed.into());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(error.to_string(), "cannot watch descriptor 7: the loop is closed");
    }
}
