//! What the system calls that which a loop watches, and its errors: on Unix descriptors, and
//! `errno`.
//!
//! The trait, the engine and `IOLoop` take these names from here. So a system with other names
//! changes this file, the [poller](crate::engine::poller) and the
//! [trigger](crate::reactor::trigger), and none of what is between them.

pub(crate) use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

pub(crate) use rustix::io::Errno;
