//! The kernel side of a turn: one object that holds every descriptor, the next deadline and the
//! waker.
//!
//! Each platform file defines a `Poller` and a `PollWaker` with the same methods. Nothing here
//! knows callbacks.
//!
//! | | `epoll` (Linux) | `portable` (elsewhere, or with `--cfg ioloop_portable`) |
//! |---|---|---|
//! | descriptors | epoll, level-triggered | the `polling` crate, level-triggered |
//! | next deadline | a timerfd, in the set | a time-out of the wait; a host asks for it |
//! | waker | an eventfd, edge-triggered, never read | a pair of sockets |

#[cfg(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable)))]
mod epoll;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable))))]
mod portable;
mod raw;
mod sets;

pub(crate) use raw::{blocks, is_open, is_ready, readable_bytes};

use rustix::io::Errno;

use crate::reactor::readiness::Events;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable)))]
pub(crate) use epoll::{Idle, PollWaker, Poller};
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable))))]
pub(crate) use portable::{Idle, PollWaker, Poller};

/// A ready descriptor: its key and its events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) ready: Events,
}

/// Whether an error of changing or deleting an entry says that its number was closed: the number is
/// not open, not in the set, a file that cannot be watched, or the set itself.
pub(crate) fn tells_gone(error: Errno) -> bool {
    matches!(error, Errno::BADF | Errno::NOENT | Errno::PERM | Errno::INVAL)
}
