//! The kernel's set of watches, and the one that takes its place while watches are moved there.

use std::io;

use rustix::io::Errno;

use super::tells_gone;
use crate::reactor::readiness::Interest;
use crate::system::RawFd;

/// A set of the kernel's.
pub(super) trait Set {
    fn insert(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()>;

    fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()>;

    fn delete(&self, fd: RawFd) -> io::Result<()>;

    #[inline(always)]
    fn add(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        match self.insert(fd, key, interest) {
            // Left over from a watch whose number named another file when it was removed.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {
                self.modify(fd, key, interest)
            }
            done => done,
        }
    }
}

/// The set in use. An entry whose descriptor was closed while a duplicate exists can be removed
/// from it by nothing but a new set, and to move all watches there at once would hold a turn up.
/// Until all have been moved each watch is in one of the two, and both are polled.
pub(super) struct Sets<S> {
    pub(super) current: S,
    next: Option<S>,
    /// How many slots were moved: the next set has the watches of those below.
    moved: u32,
    /// Whether the next set came first in the last poll.
    was_first: bool,
}

impl<S: Set> Sets<S> {
    pub(super) fn new(current: S) -> Self {
        Sets { current, next: None, moved: 0, was_first: false }
    }

    /// The set for the watch with this key.
    #[inline(always)]
    pub(super) fn of(&self, key: u64) -> &S {
        match &self.next {
            Some(next) if (key as u32) < self.moved => next,
            _ => &self.current,
        }
    }

    /// Begins to move, if that has not begun.
    pub(super) fn begin(&mut self, make: impl FnOnce() -> io::Result<S>) -> io::Result<()> {
        if self.next.is_none() {
            self.next = Some(make()?);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn are_moving(&self) -> bool {
        self.next.is_some()
    }

    /// The first slot that was not moved.
    pub(super) fn moved(&self) -> u32 {
        self.moved
    }

    /// Moves the watch of the slot [`moved`](Self::moved), if it has one. Returns whether the watch
    /// goes on: its number was closed otherwise, and may be another file's now. After an error it
    /// is where it was.
    pub(super) fn move_next(&mut self, watch: Option<(RawFd, u64, Interest)>) -> io::Result<bool> {
        let goes_on = match (watch, &self.next) {
            (Some((fd, key, interest)), Some(next)) => {
                transfer(&self.current, next, fd, key, interest)?
            }
            _ => true,
        };
        self.moved += 1;
        Ok(goes_on)
    }

    /// Both, the one in use first.
    #[cfg(all(test, any(target_os = "linux", target_os = "android"), not(ioloop_portable)))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        std::iter::once(&self.current).chain(&self.next)
    }

    /// Takes the next set into use. What the one before holds still is gone with it.
    pub(super) fn end(&mut self) {
        if let Some(next) = self.next.take() {
            self.current = next;
        }
        self.moved = 0;
    }

    /// The sets to poll, in their order. They take turns in coming first, since there may be no
    /// room for the events of the second.
    pub(super) fn in_turn(&mut self) -> impl Iterator<Item = &S> {
        self.was_first = !self.was_first;
        let (current, next) = (Some(&self.current), self.next.as_ref());
        let order = if self.was_first { [next, current] } else { [current, next] };
        order.into_iter().flatten()
    }
}

/// Adds a watch to one set, and deletes it from the other. It is in both if only the first call
/// succeeds, and both are polled.
fn transfer<S: Set>(from: &S, to: &S, fd: RawFd, key: u64, interest: Interest) -> io::Result<bool> {
    let added = to.add(fd, key, interest);
    // The set that it was in knows whether the number still means the same file.
    let left = match added {
        Ok(()) => from.delete(fd),
        Err(_) => from.modify(fd, key, interest),
    };
    let is_gone = |error: &io::Error| Errno::from_io_error(error).is_some_and(tells_gone);
    match (added, left) {
        (_, Err(error)) if is_gone(&error) => {
            // That was another file.
            let _ = to.delete(fd);
            Ok(false)
        }
        (_, Err(error)) => Err(error),
        (Ok(()), Ok(())) => Ok(true),
        // There may be no room for both: so many loops watch its file, or the user has no more.
        (Err(_), Ok(())) => {
            from.delete(fd)?;
            let added = to.add(fd, key, interest);
            if added.is_err() {
                from.add(fd, key, interest)?;
            }
            added.map(|()| true)
        }
    }
}
