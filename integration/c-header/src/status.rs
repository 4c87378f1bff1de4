//! What a call answers: a number, and the words for it in a place of the thread's.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ioloop::{Closed, RunError};

/// Why a call was refused; the numbers are those of `ioloop.h`.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    Invalid = 1,
    Closed = 2,
    Gone = 3,
    Busy = 4,
    Thread = 5,
    Descriptor = 6,
    Unsupported = 7,
    Limit = 8,
    System = 9,
    Bug = 10,
}

/// A refusal in a number and in words.
pub(crate) struct Refusal(Status, String);

impl Refusal {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Refusal(status, message.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::BrokenPipe => Status::Closed,
            ErrorKind::InvalidInput => Status::Descriptor,
            ErrorKind::Unsupported => Status::Unsupported,
            ErrorKind::QuotaExceeded => Status::Limit,
            _ => Status::System,
        };
        Refusal(status, error.to_string())
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let status = match error {
            RunError::AlreadyRunning | RunError::OtherLoopRunning => Status::Busy,
            RunError::Closed => Status::Closed,
            _ => Status::System,
        };
        Refusal(status, error.to_string())
    }
}

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
