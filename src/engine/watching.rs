//! Watches, between their users and the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use crate::engine::Engine;
use crate::engine::poller::{Poller, is_open};
use crate::engine::watches::{Displaced, NewWatch, Role, WatchKey, Watches};
use crate::reactor::Watcher;
use crate::reactor::readiness::Interest;
use crate::reactor::refused::{Known, cannot_watch, no_handler};

impl Engine {
    /// How many watches there are.
    pub(crate) fn watches(&self) -> usize {
        self.watches.borrow().len()
    }

    pub(crate) fn watch(
        &self,
        role: Role,
        interest: Interest,
        watcher: Watcher,
    ) -> io::Result<u64> {
        let fd = watcher.as_fd().as_raw_fd();
        self.unseen.set(true);
        let added = match self.poller().as_mut() {
            // While the loop is being closed there is a poller still.
            Some(poller) if !self.closed.get() => {
                let new = NewWatch { fd, role, interest, watcher };
                let mut watches = self.watches.borrow_mut();
                let added = watches.add(poller, new);
                self.note(&watches);
                added
            }
            _ => Err((self.gone(), watcher)),
        };
        match added {
            Ok((key, displaced)) => {
                self.discard_displaced(displaced);
                Ok(key.bits())
            }
            Err((error, watcher)) => {
                let refused = self.refused(fd, error);
                self.exceptions.discard(watcher);
                Err(refused)
            }
        }
    }

    /// Says what is wrong with a descriptor that the kernel refused.
    #[cold]
    pub(super) fn refused(&self, fd: RawFd, error: io::Error) -> io::Error {
        let known = match Errno::from_io_error(&error) {
            Some(Errno::BADF) if is_open(fd) => Known::Open,
            Some(Errno::INVAL) => match self.poller().as_ref() {
                Some(poller) if poller.is_own(self.inbox.bell(), fd) => Known::Own,
                _ => Known::Nothing,
            },
            _ => Known::Nothing,
        };
        cannot_watch(fd, known, error)
    }

    pub(crate) fn unwatch(&self, role: Role, fd: RawFd) -> bool {
        let key = self.watches.borrow_mut().find(fd, role);
        key.is_some_and(|key| self.end_watch(key))
    }

    /// Changes what the handler of a descriptor number waits for.
    pub(crate) fn update_handler(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd();
        self.unseen.set(true);
        let updated = self.with_watches(|watches, poller| {
            let key = watches.find(number, Role::Handler)?;
            Some(watches.update(poller, key, interest))
        });
        match updated {
            None => Err(self.refused(number, self.gone())),
            Some(None) => Err(no_handler(number)),
            Some(Some(updated)) => updated.map(drop).map_err(|error| self.refused(number, error)),
        }
    }

    /// Has a watch called again, for `interest` if that is given.
    pub(super) fn set_watch(&self, id: u64, interest: Option<Interest>) -> io::Result<bool> {
        self.unseen.set(true);
        let key = WatchKey::from_bits(id);
        let set = self.with_watches(|watches, poller| {
            (watches.fd(key), watches.resume(poller, key, interest))
        });
        match set {
            Some((_, Ok(Ok(resumed)))) => Ok(resumed),
            Some((_, Ok(Err(gone)))) => {
                self.discard_displaced(gone);
                Ok(false)
            }
            Some((fd, Err(error))) => Err(self.refused(fd.unwrap_or(-1), error)),
            None if self.is_forked() => Err(self.gone()),
            None => Ok(false),
        }
    }

    pub(super) fn end_watch(&self, key: WatchKey) -> bool {
        let removed = self.with_watches(|watches, poller| watches.remove(poller, key)).flatten();
        let ended = removed.is_some();
        if let Some(displaced) = removed {
            self.discard_displaced(displaced);
        }
        ended
    }

    #[inline(always)]
    pub(super) fn discard_displaced(&self, [reader, writer]: Displaced) {
        // Not in a loop, which is made out of line.
        if let Some(reader) = reader {
            self.exceptions.discard(reader);
        }
        if let Some(writer) = writer {
            self.exceptions.discard(writer);
        }
    }

    pub(super) fn with_watches<T>(
        &self,
        act: impl FnOnce(&mut Watches, &mut Poller) -> T,
    ) -> Option<T> {
        let mut poller = self.poller();
        let mut watches = self.watches.borrow_mut();
        let done = act(&mut watches, poller.as_mut()?);
        self.note(&watches);
        Some(done)
    }

    /// Notes whether the kernel has to be told anew what it is to watch.
    pub(super) fn note(&self, watches: &Watches) {
        if watches.is_astray() {
            self.orphaned.set(true);
        }
    }

    /// Whether the kernel's set holds an entry that cannot be removed, and has to be renewed.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.get()
    }

    /// Makes the kernel's set anew, and with it the descriptor: whoever watches the old one has to take the new one
    /// instead.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let renewed = self.with_watches(|watches, poller| watches.renew(poller, self.inbox.bell()));
        let gone = renewed.transpose()?;
        self.orphaned.set(false);
        self.exceptions.discard_all(gone.into_iter().flatten());
        Ok(())
    }
}
