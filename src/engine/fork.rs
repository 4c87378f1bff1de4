//! Whether this process is a forked child of the one that made a loop.
//!
//! A forked child shares the loop's epoll instance, timerfd and eventfd with its parent, and the
//! host's too. A change that the child made would change the parent's loop. So all code that
//! reaches them asks here first. The C library counts the forks, in each child, so the test is a
//! load and a comparison; `getpid` would be a system call.
//!
//! A process that is cloned without the C library, by the system call `clone`, is not noticed.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many forks have led to this process, each in the child of the one before, since they are
/// counted.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which something was made.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The process that began to count.
    pub(crate) const FIRST: Process = Process(0);

    /// This process. There is a loop, so its forks are counted already.
    pub(crate) fn now() -> Process {
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// This process. From here on its forks are counted.
    pub(crate) fn this() -> io::Result<Process> {
        static COUNTING: AtomicBool = AtomicBool::new(false);
        if !COUNTING.load(Ordering::Relaxed) {
            // SAFETY: the function that is called in the child is never unloaded, and calls nothing
            // but an atomic, which a forked child may. Two threads that arrive here at once make
            // each fork count twice, which changes nothing.
            match unsafe { pthread_atfork(None, None, Some(count)) } {
                0 => COUNTING.store(true, Ordering::Relaxed),
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
        Ok(Process(FORKS.load(Ordering::Relaxed)))
    }

    /// Whether it is this process, and not one that this was forked from.
    #[inline]
    pub(crate) fn is_this(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

// A POSIX function of the C library that std is linked to. The default build on Linux needs the
// crate libc for nothing else.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}
