//! The errors, and how to get on after each.

use std::{error, fmt, io};

use crate::system::Errno;

/// The loop was closed, so nothing can be posted to it any more.
///
/// Whoever implements [`Post`](crate::reactor::post::Post) returns it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loop is closed")
    }
}

impl error::Error for Closed {}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, closed)
    }
}

/// Why a loop did not run, or did not run to the end.
///
/// The refusals change nothing: a loop that runs goes on, and every watch, timer and callback is
/// where it was.
///
/// Its `Debug` form has the text as well: a `main` that returns the error prints that form.
#[non_exhaustive]
pub enum RunError {
    /// The loop is running already: `start`, `run_sync`, `turn` or `close` inside one of its
    /// callbacks, or a second `run`.
    AlreadyRunning,
    /// Another loop runs a callback on this thread, which would stand still meanwhile.
    OtherLoopRunning,
    /// The loop is closed.
    Closed,
    /// `stop` was called before the future was done, perhaps before this run began.
    Stopped,
    /// A [`LoopThread`](crate::LoopThread) was blocked, and had not ended a second after the grace
    /// of its shutdown.
    TimedOut,
    /// `start`, `run_sync` or `turn` on a loop that its host drives: one that was made with
    /// `attach`, or with `build` and a current-thread runtime of somebody else's. Make it with
    /// `attach`, and await `run()` or `run_until()`. For a thread of its own make it with `build`,
    /// on the handle of a multi-thread runtime or on none.
    Attached,
    /// `run` or `run_until` on a loop of its own: call `start()` or `run_sync()`, or make it with
    /// `IOLoop::attach()`.
    NotAttached,
    /// `turn` on a loop whose runtime makes progress only in its own `block_on`: call `start()` or
    /// `run_sync()`, or name [`Bare`](crate::backends::BackendKind::Bare) as the backend of a loop
    /// that is to be embedded.
    NotEmbeddable,
    /// The thread is inside an async context of the runtime, which must not be blocked: attach a
    /// loop to that runtime, or start this one on a thread of its own.
    InAsyncContext,
    /// This process was forked from the one that made the loop, and shares its kernel objects: make
    /// a new loop here, or execute another program.
    Forked,
    /// The kernel or the host runtime failed; also if the host was shut down.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunError::AlreadyRunning => {
                "the loop is running already: inside of it `spawn` the future, or `stop` the loop and wait until it has returned"
            }
            RunError::OtherLoopRunning => {
                "another loop is running a callback on this thread; start this one on a thread of its own"
            }
            RunError::Closed => "the loop is closed",
            RunError::Stopped => "the loop was stopped before the future was done",
            RunError::TimedOut => "the loop's thread is blocked, and had not ended when the time for it was over",
            RunError::Attached => {
                "the loop is driven by its host: make it with `attach()`, and await `run()` or `run_until()`; for a thread \
                 of its own make it with `build()`, on the handle of a multi-thread runtime or on none"
            }
            RunError::NotAttached => {
                "a loop of its own is driven by `start()` or `run_sync()`; to await it, make it with `IOLoop::attach()`"
            }
            RunError::NotEmbeddable => {
                "the loop's runtime has to drive it: call `start()` or `run_sync()`, or name the backend of a loop that is to be \
                 embedded: IOLoop::builder().backend(BackendKind::Bare)"
            }
            RunError::InAsyncContext => {
                "this thread is inside an async context, which must not be blocked: use `IOLoop::attach()`, or a thread of its own"
            }
            RunError::Forked => {
                "the loop is that of the process which this one was forked from: make a new loop here, or execute another program"
            }
            RunError::Io(error) => return write!(f, "the loop cannot run: {error}"),
        })
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunError({self})")
    }
}

impl error::Error for RunError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RunError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        // What was a `RunError` before is the same again.
        error.downcast().unwrap_or_else(RunError::Io)
    }
}

impl From<RunError> for io::Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Io(error) => error,
            RunError::TimedOut => io::Error::new(io::ErrorKind::TimedOut, error),
            other => io::Error::other(other),
        }
    }
}

/// The kernel's number of an error (`EPERM` and its like), also where the library has put its words
/// around it.
///
/// An `io::Error` has either a number or words. Those of this library that refuse a descriptor have
/// the words, and a [kind](io::Error::kind) that is promised: which descriptor it was, why, and
/// what to do. The number is in their [source](error::Error::source), where this finds it. All
/// other errors that the kernel gave keep it, and their `raw_os_error` is the same.
///
/// ```
/// use std::fs::File;
/// use ioloop::{IOLoop, Reactor, os_error};
///
/// let io_loop = IOLoop::new()?;
/// let refused = io_loop.add_reader(File::open("/dev/null")?, |_| ()).unwrap_err();
/// assert!(refused.to_string().contains("always ready"));
/// assert_eq!(os_error(&refused), Some(1), "EPERM");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn os_error(error: &(dyn error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>() {
            Some(error) if error.raw_os_error().is_some() => return error.raw_os_error(),
            // Its source would be that of what is inside.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The error of a host that refused the loop's own descriptor.
pub(crate) fn not_hosted(cause: io::Error) -> io::Error {
    if Errno::from_io_error(&cause) != Some(Errno::LOOP) {
        return cause;
    }
    io::Error::new(io::ErrorKind::InvalidInput, NestedTooDeep(cause))
}

/// Why a host cannot watch the loop's descriptor.
#[derive(Debug)]
struct NestedTooDeep(io::Error);

impl fmt::Display for NestedTooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the loop watches a descriptor that waits for others (an epoll, or another loop), and these are nested too \
             deep for a host to watch the loop; nest fewer, or use a loop on `BackendKind::Bare`, which has no host",
        )
    }
}

impl error::Error for NestedTooDeep {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_run_error_becomes_an_io_error_that_still_says_what_it_was() {
        let timed_out = io::Error::from(RunError::TimedOut);
        assert_eq!(timed_out.kind(), io::ErrorKind::TimedOut);
        let stopped = io::Error::from(RunError::Stopped);
        let inner = stopped.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(RunError::Stopped)));
        assert!(matches!(RunError::from(stopped), RunError::Stopped));
        // One that was an I/O error before is the same again.
        let cause = io::Error::from(io::ErrorKind::BrokenPipe);
        let wrapped = RunError::from(cause);
        assert!(wrapped.source().is_some());
        assert_eq!(io::Error::from(wrapped).kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_main_that_returned_a_run_error_printed_a_name_and_no_way_out() {
        let refused = RunError::InAsyncContext;
        let printed = format!("{refused:?}");
        assert!(printed.contains(&refused.to_string()), "{printed}");
    }

    #[test]
    fn a_loop_that_is_closed_is_a_broken_pipe() {
        let error = io::Error::from(Closed);
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Closed>()));
    }

    #[test]
    fn the_kernels_number_is_found_however_deep_it_is() {
        let number = Errno::PERM.raw_os_error();
        let cause = || io::Error::from(Errno::PERM);
        assert_eq!(os_error(&cause()), Some(number));
        assert_eq!(os_error(&io::Error::other(cause())), Some(number));
        let nested = Errno::LOOP.raw_os_error();
        assert_eq!(os_error(&RunError::Io(not_hosted(Errno::LOOP.into()))), Some(nested));
        assert_eq!(os_error(&io::Error::from(Closed)), None);
        assert_eq!(os_error(&Closed), None);
    }
}
