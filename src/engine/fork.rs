//! Whether this process is the one that made a loop.
//!
//! A forked child shares the loop's epoll instance, timerfd and eventfd with its parent, and so do
//! the host's: what it told them, the parent's loop would suffer. So everything that reaches them
//! asks here first. The C library counts the forks, in each child, which makes the question a load
//! and a comparison; `getpid` is a system call.
//!
//! A process that is cloned past the C library, by a bare `clone`, is not noticed.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many forks, one in the child of another, have led to this process since it began to count.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that something was made in.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The one that began to count.
    pub(crate) const FIRST: Process = Process(0);

    /// This one, where its forks are counted already: where there is a loop.
    pub(crate) fn now() -> Process {
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// This one; from here on its forks are counted.
    pub(crate) fn this() -> io::Result<Process> {
        static COUNTING: AtomicBool = AtomicBool::new(false);
        if !COUNTING.load(Ordering::Relaxed) {
            // SAFETY: what is called in the child is a function for good, and calls nothing but an
            // atomic, which a forked child may. Two threads that come here at once make each fork
            // count twice.
            match unsafe { pthread_atfork(None, None, Some(count)) } {
                0 => COUNTING.store(true, Ordering::Relaxed),
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
        Ok(Process(FORKS.load(Ordering::Relaxed)))
    }

    /// Whether it is this one, and not one that this was forked from.
    #[inline]
    pub(crate) fn is_this(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

// POSIX's, of the C library that std is linked to; nothing else of the default build on Linux needs
// the crate libc.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}
