//! What a call returns: a number, and the words for it in a place of the thread's.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ioloop::{Closed, RunError};
use libc::{EMFILE, ENFILE};

/// Declares the statuses of `ioloop.h`, with the text of each.
macro_rules! statuses {
    ($($(#[$doc:meta])* $status:ident = $number:literal, $name:literal, $text:literal;)*) => {
        /// Why a call was refused; the numbers are those of `ioloop.h`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Status {
            $($(#[$doc])* $status = $number,)*
        }

        /// The names and numbers of `ioloop.h`.
        pub const STATUSES: &[(&str, c_int)] = &[$(($name, $number)),*];

        /// What a status means.
        pub(crate) fn text(status: c_int) -> &'static CStr {
            match status {
                $($number => $text,)*
                _ => c"there is no such status",
            }
        }
    };
}

statuses! {
    #[expect(dead_code, reason = "no refusal has it")]
    Ok = 0, "IOLOOP_OK", c"all is well";
    Invalid = 1, "IOLOOP_INVALID", c"an argument is NULL, or none of the values that there are";
    Closed = 2, "IOLOOP_CLOSED", c"the loop is closed, or never was";
    Gone = 3, "IOLOOP_GONE", c"the watch, timer, signal or hook has ended, or never was";
    Busy = 4, "IOLOOP_BUSY", c"a loop is running on this thread";
    Thread = 5, "IOLOOP_THREAD", c"the loop belongs to another thread";
    Forked = 6, "IOLOOP_FORKED", c"the loop is that of the process which this one was forked from";
    Descriptor = 7, "IOLOOP_DESCRIPTOR", c"the descriptor is not open, or is the loop's own";
    Exists = 8, "IOLOOP_EXISTS", c"the descriptor has a watch on this loop already";
    Unsupported = 9, "IOLOOP_UNSUPPORTED", c"files that are always ready cannot be watched";
    Limit = 10, "IOLOOP_LIMIT", c"the limit of watches, or of open descriptors, is reached";
    System = 11, "IOLOOP_SYSTEM", c"the system failed";
    Bug = 12, "IOLOOP_BUG", c"the library has a bug; please report it";
}

/// A refusal in a number and in words.
pub(crate) struct Refusal(Status, String);

impl Refusal {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Refusal(status, message.into())
    }

    /// Why a descriptor cannot be watched.
    pub(crate) fn of_watch(fd: c_int, error: io::Error) -> Self {
        match error.kind() {
            // To users of Rust it tells of handlers beside readers and writers.
            ErrorKind::AlreadyExists => Refusal(
                Status::Exists,
                format!(
                    "cannot watch descriptor {fd}: it has a watch on this loop already; modify that \
                     one, or watch a duplicate of the descriptor"
                ),
            ),
            _ => error.into(),
        }
    }

    /// An error about something else than a descriptor.
    pub(crate) fn of_argument(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput => Refusal(Status::Invalid, error.to_string()),
            _ => error.into(),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::BrokenPipe => Status::Closed,
            ErrorKind::InvalidInput => Status::Descriptor,
            ErrorKind::Unsupported => Status::Unsupported,
            ErrorKind::QuotaExceeded => Status::Limit,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Status::Limit,
            _ => match error.downcast::<RunError>() {
                Ok(error) => return error.into(),
                Err(error) => return Refusal(Status::System, error.to_string()),
            },
        };
        Refusal(status, error.to_string())
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let status = match error {
            RunError::AlreadyRunning => return Refusal::new(Status::Busy, RUNNING),
            RunError::OtherLoopRunning => Status::Busy,
            RunError::Closed => Status::Closed,
            RunError::Forked => Status::Forked,
            _ => Status::System,
        };
        Refusal(status, error.to_string())
    }
}

/// What the library says to users of Rust names functions that C has not.
const RUNNING: &str = "the loop is running already: ioloop_stop it, and wait until it has returned";

impl From<Closed> for Refusal {
    fn from(closed: Closed) -> Self {
        Refusal(Status::Closed, closed.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs the body of a function of `ioloop.h`: nothing unwinds out of it, and what was wrong is kept
/// in words.
pub(crate) fn answer(body: impl FnOnce() -> Result<(), Refusal>) -> c_int {
    let answered = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Refusal::new(Status::Bug, "the library panicked; standard error says where"))
    });
    let Err(Refusal(status, message)) = answered else { return 0 };
    // A name with a NUL in it cannot come from C, and in the last moments of a thread nobody asks
    // any more.
    let message = CString::new(message).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(message));
    status as c_int
}

/// The words for the last refusal of this thread, valid until the next one.
pub(crate) fn last() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"the thread is ending".as_ptr())
}
