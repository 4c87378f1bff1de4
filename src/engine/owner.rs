//! The requests of users and their handles: to watch, pause, resume, cancel.

use std::io;
use std::time::Instant;

use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::queue::Other;
use crate::engine::watches::{Displaced, NewWatch, Role, WatchKey};
use crate::observe::origin::Origin;
use crate::reactor::callback::{Callback, Caller};
use crate::reactor::handles::Owner;
use crate::reactor::readiness::Interest;
use crate::reactor::watcher::Watcher;
use crate::system::{AsFd, AsRawFd, BorrowedFd, RawFd};

impl Engine {
    pub(crate) fn watch(
        &self,
        role: Role,
        interest: Interest,
        watcher: Watcher,
    ) -> io::Result<u64> {
        let fd = watcher.as_fd().as_raw_fd();
        match self.watching.add(!self.is_closed(), NewWatch { fd, role, interest, watcher }) {
            Ok((key, displaced)) => {
                self.discard_displaced(displaced);
                Ok(key.bits())
            }
            Err((error, watcher)) => {
                let refused = self.watching.refused(fd, error);
                self.exceptions.discard(watcher);
                Err(refused)
            }
        }
    }

    pub(crate) fn unwatch(&self, role: Role, fd: RawFd) -> bool {
        let key = self.watching.watches.borrow_mut().find(fd, role);
        key.is_some_and(|key| self.end_watch(key))
    }

    /// Changes the interest of the handler of a descriptor number.
    pub(crate) fn update_handler(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.watching.update_handler(fd.as_raw_fd(), interest)
    }

    pub(super) fn end_watch(&self, key: WatchKey) -> bool {
        let removed = self.watching.remove(key);
        let ended = removed.is_some();
        if let Some(displaced) = removed {
            self.discard_displaced(displaced);
            self.note_taken_away();
        }
        ended
    }

    /// Has a watch called again, for `interest` if that is given.
    fn resume(&self, id: u64, interest: Option<Interest>) -> io::Result<bool> {
        let resumed = self.watching.resume(WatchKey::from_bits(id), interest)?;
        Ok(self.unless_gone(resumed))
    }

    /// Whether a watch is still there. Drops the watchers of one whose descriptor was closed behind
    /// the loop's back.
    fn unless_gone(&self, set: Result<bool, Displaced>) -> bool {
        set.unwrap_or_else(|gone| {
            self.discard_displaced(gone);
            false
        })
    }

    #[inline(always)]
    fn discard_displaced(&self, [reader, writer]: Displaced) {
        // No loop here: it would be compiled out of line.
        if let Some(reader) = reader {
            self.exceptions.discard(reader);
        }
        if let Some(writer) = writer {
            self.exceptions.discard(writer);
        }
    }

    /// Makes a part of the kernel's set anew, the rest in turns that follow. Returns whether all of
    /// it is, and with it the descriptor: a host or a foreign loop has to watch the new one.
    pub(crate) fn renew(&self) -> io::Result<bool> {
        let mut gone = Vec::new();
        let renewed = self.watching.renew(&mut gone);
        self.exceptions.discard_all(gone);
        if self.watching.are_moving() {
            // Nobody sleeps until all have been moved: the descriptor is that of the old set. And
            // a part takes as long as a poll is to wait for at the most.
            self.budget.spend();
            if !self.has_queued() {
                self.push_other(Other::Cancelled);
            }
        }
        renewed
    }

    /// Queues a callback and returns its number. On a closed loop it is dropped, and there is no
    /// number.
    #[inline]
    pub(crate) fn call_soon(
        &self,
        location: Caller,
        callback: impl FnOnce() + 'static,
    ) -> Option<u64> {
        if self.is_closed() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push(location, callback)))
    }

    /// As [`call_soon`](Self::call_soon), for a callback without its type.
    pub(crate) fn queue(&self, callback: Callback) -> Option<u64> {
        if self.is_closed() {
            self.exceptions.discard(callback);
            return None;
        }
        Some(self.push(|queue| queue.push_callback(callback)))
    }
}

impl Owner for Engine {
    fn remove_watch(&self, id: u64) -> bool {
        self.end_watch(WatchKey::from_bits(id))
    }

    fn pause_watch(&self, id: u64) -> bool {
        let paused = self.watching.pause(WatchKey::from_bits(id));
        self.note_taken_away();
        self.unless_gone(paused)
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        self.resume(id, None)
    }

    fn set_watch_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        if interest.is_empty() {
            return Ok(self.pause_watch(id));
        }
        let key = WatchKey::from_bits(id);
        if self.watching.watches.borrow_mut().is_other_way(key, interest) {
            let text = "a reader waits for no room to write, and a writer for no input: add a \
                        handler, or a second watch";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.resume(id, Some(interest))
    }

    fn remove_hook(&self, id: u64) -> bool {
        self.hooks.remove(id, &self.exceptions)
    }

    fn watch_descriptor(&self, id: u64) -> Option<RawFd> {
        self.watching.watches.borrow_mut().fd(WatchKey::from_bits(id))
    }

    fn watch_location(&self, id: u64) -> Option<Caller> {
        self.watching.watches.try_borrow_mut().ok()?.location(WatchKey::from_bits(id))
    }

    fn timer_location(&self, id: u64) -> Option<Caller> {
        self.timers.deadlines.try_borrow().ok()?.get(Key::from_bits(id)).map(Callback::location)
    }

    fn callback_location(&self, id: u64) -> Option<Caller> {
        self.callbacks.queue.try_borrow().ok()?.location(id)
    }

    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        if self.is_closed() {
            self.exceptions.discard(callback);
            return None;
        }
        let at = self.timers.nanos(deadline);
        let key = self.change_deadlines(|deadlines| deadlines.insert(at, callback));
        Some(key.bits())
    }

    fn now(&self) -> Instant {
        self.timers.now()
    }

    fn cancel_timer(&self, id: u64) -> bool {
        let cancelled = self.change_deadlines(|deadlines| deadlines.remove(Key::from_bits(id)));
        let was_pending = cancelled.is_some();
        self.exceptions.discard(cancelled);
        was_pending
    }

    fn reset_timer(&self, id: u64, deadline: Instant) -> bool {
        let at = self.timers.nanos(deadline);
        self.change_deadlines(|deadlines| deadlines.reset(Key::from_bits(id), at))
    }

    fn abandon_watch(&self, id: u64, error: io::Error) -> bool {
        let origin = self.watching.watches.borrow_mut().role(WatchKey::from_bits(id));
        let Some(origin) = origin.map(Origin::from) else { return false };
        let location = self.watch_location(id);
        let removed = self.remove_watch(id);
        self.exceptions.report_error(origin, location, error.to_string());
        removed
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let cancelled = self.callbacks.queue.borrow_mut().cancel(id);
        let was_queued = cancelled.is_some();
        self.exceptions.discard(cancelled);
        was_queued
    }
}
