//! The watch table and the poller, which learns its changes.
//!
//! Nothing here runs user code: a watcher that leaves the table is returned, and dropped by the
//! caller.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::sync::Arc;

use super::deadlines::Nanos;
use super::inbox::Inbox;
use super::poller::{Event, Idle, Poller, is_open};
use super::tuning::MOVED_PER_TURN;
use super::watches::{Displaced, NewWatch, Role, WatchKey, Watches};
use crate::descriptor::Descriptor;
use crate::error::{Closed, RunError};
use crate::reactor::readiness::Interest;
use crate::reactor::refused::{Known, cannot_watch, no_handler};
use crate::reactor::watcher::Watcher;
use crate::system::{Errno, RawFd};

pub(super) struct Watching {
    pub(super) watches: RefCell<Watches>,
    /// Absent once the loop is closed, and in a forked child.
    poller: RefCell<Option<Poller>>,
    /// Set when a watch is added, resumed or changed, since its descriptor may be ready; cleared by
    /// the next poll. While it is set a turn polls, even if its host says that no descriptor has
    /// become ready.
    unpolled: Cell<bool>,
    /// Holds the waker that is in the kernel's set, and knows a forked child.
    inbox: Arc<Inbox>,
}

impl Watching {
    pub(super) fn new(poller: Poller, inbox: Arc<Inbox>) -> Self {
        let (watches, poller) = (RefCell::new(Watches::new()), RefCell::new(Some(poller)));
        Watching { watches, poller, unpolled: Cell::new(false), inbox }
    }

    /// The poller. In a forked child its calls would reach the parent's set, so there is none.
    #[inline(always)]
    fn poller(&self) -> RefMut<'_, Option<Poller>> {
        self.abandon_if_forked();
        self.poller.borrow_mut()
    }

    /// In a forked child, gives up its share in the poller, which changes nothing for the parent.
    #[inline]
    pub(super) fn abandon_if_forked(&self) {
        if self.inbox.is_forked() {
            self.poller.take().into_iter().for_each(Poller::abandon);
        }
    }

    /// Why there is no poller.
    #[cold]
    pub(super) fn gone(&self) -> io::Error {
        if self.inbox.is_forked() { RunError::Forked.into() } else { Closed.into() }
    }

    /// The descriptor that becomes readable when there is something to do; none once closed.
    pub(super) fn descriptor(&self) -> Option<Descriptor> {
        self.poller().as_ref().map(Poller::descriptor)
    }

    /// Takes the poller out, for an engine on another thread.
    pub(super) fn take_poller(&self) -> Option<Idle> {
        self.poller().take().map(Idle::from)
    }

    /// Takes everything out, for a loop that is closed.
    pub(super) fn close(&self) -> Vec<Watcher> {
        let watchers = self.watches.replace(Watches::new()).drain();
        // That ends all registrations in the kernel at once.
        self.poller().take();
        watchers
    }

    /// Adds a watch; refused if `is_open` is false, as while the loop is being closed: there is a
    /// poller still.
    ///
    /// Returns the watchers that it displaces. An error returns the watcher, with the kernel's
    /// error.
    #[inline(always)]
    pub(super) fn add(
        &self,
        is_open: bool,
        new: NewWatch,
    ) -> Result<(WatchKey, Displaced), (io::Error, Watcher)> {
        self.unpolled.set(true);
        match self.poller().as_mut() {
            Some(poller) if is_open => self.watches.borrow_mut().add(poller, new),
            _ => Err((self.gone(), new.watcher)),
        }
    }

    /// Explains why the kernel refused a descriptor.
    #[cold]
    pub(super) fn refused(&self, fd: RawFd, error: io::Error) -> io::Error {
        let known = match Errno::from_io_error(&error) {
            Some(Errno::BADF) if is_open(fd) => Known::Open,
            Some(Errno::INVAL) => match self.poller().as_ref() {
                Some(poller) if poller.is_own(self.inbox.waker(), fd) => Known::Own,
                _ => Known::Nothing,
            },
            _ => Known::Nothing,
        };
        cannot_watch(fd, known, error)
    }

    /// Changes the interest of the handler of a descriptor number.
    pub(super) fn update_handler(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.unpolled.set(true);
        let updated = self.with_poller(|watches, poller| {
            let key = watches.find(fd, Role::Handler)?;
            Some(watches.update(poller, key, interest))
        });
        match updated {
            None => Err(self.refused(fd, self.gone())),
            Some(None) => Err(no_handler(fd)),
            Some(Some(updated)) => updated.map(drop).map_err(|error| self.refused(fd, error)),
        }
    }

    /// Has a watch called again, for `interest` if that is given; false if it has ended. The inner
    /// error is that of [`pause`](Self::pause).
    pub(super) fn resume(
        &self,
        key: WatchKey,
        interest: Option<Interest>,
    ) -> io::Result<Result<bool, Displaced>> {
        self.unpolled.set(true);
        let set = self.with_poller(|watches, poller| {
            (watches.fd(key), watches.resume(poller, key, interest))
        });
        match set {
            Some((_, Ok(resumed))) => Ok(resumed),
            Some((fd, Err(error))) => Err(self.refused(fd.unwrap_or(-1), error)),
            None if self.inbox.is_forked() => Err(self.gone()),
            None => Ok(Ok(false)),
        }
    }

    /// Pauses a watch; false if it has ended. An error says that its descriptor was closed behind
    /// the loop's back: the watch ends with it.
    pub(super) fn pause(&self, key: WatchKey) -> Result<bool, Displaced> {
        self.with_poller(|watches, poller| watches.pause(poller, key)).unwrap_or(Ok(false))
    }

    /// Ends a watch; none if it has ended.
    #[inline(always)]
    pub(super) fn remove(&self, key: WatchKey) -> Option<Displaced> {
        self.with_poller(|watches, poller| watches.remove(poller, key)).flatten()
    }

    #[inline(always)]
    fn with_poller<T>(&self, act: impl FnOnce(&mut Watches, &mut Poller) -> T) -> Option<T> {
        let mut poller = self.poller();
        Some(act(&mut self.watches.borrow_mut(), poller.as_mut()?))
    }

    /// Whether the kernel's set watches for more than is wanted.
    #[inline]
    pub(super) fn is_astray(&self) -> bool {
        self.watches.borrow().is_astray()
    }

    /// Makes a part of the kernel's set anew. Returns whether that is done, and the descriptor is
    /// another one. `gone` receives the watchers whose descriptors turn out to be closed.
    pub(super) fn renew(&self, gone: &mut Vec<Watcher>) -> io::Result<bool> {
        let waker = self.inbox.waker();
        let renewed =
            self.with_poller(|watches, poller| watches.renew(poller, waker, MOVED_PER_TURN, gone));
        renewed.unwrap_or(Ok(false))
    }

    /// Whether a part of the watches is in a new set already.
    pub(super) fn are_moving(&self) -> bool {
        self.poller().as_ref().is_some_and(Poller::is_moving)
    }

    /// Whether a watch was added, resumed or changed since the last poll.
    #[inline]
    pub(super) fn are_unpolled(&self) -> bool {
        self.unpolled.get()
    }

    /// Whether the poller was told this deadline; false without a poller.
    #[inline]
    pub(super) fn is_armed_for(&self, deadline: Nanos) -> bool {
        self.poller.borrow().as_ref().is_some_and(|poller| poller.armed() == deadline)
    }

    /// Whether the last poll says that `deadline` had not passed, so the clock need not be read.
    #[inline]
    pub(super) fn is_before(&self, deadline: Nanos) -> bool {
        self.poller.borrow().as_ref().is_some_and(|poller| poller.is_before(deadline))
    }

    /// Has `arm` tell the poller a deadline; none without a poller.
    pub(super) fn arm<T>(&self, arm: impl FnOnce(&mut Poller) -> T) -> Option<T> {
        self.poller().as_mut().map(arm)
    }

    /// Asks the kernel which descriptors are ready. Waits for one if `block`; a signal ends the
    /// wait if `heeds`.
    ///
    /// The caller makes sure that this is no forked child.
    #[inline(always)]
    pub(super) fn poll(&self, block: bool, heeds: bool) -> io::Result<()> {
        self.unpolled.set(false);
        let mut watches = self.watches.borrow_mut();
        let mut poller = self.poller.borrow_mut();
        let Some(poller) = poller.as_mut() else { return Ok(()) };
        watches.begin_poll(poller.is_full());
        poller.wait(block, heeds)?;
        watches.check(poller.ready());
        Ok(())
    }

    /// The next event of the last poll.
    #[inline]
    pub(super) fn next_ready(&self) -> Option<Event> {
        self.poller.borrow_mut().as_mut()?.next_ready()
    }

    /// Has the next poll report the remaining events of the last one again.
    pub(super) fn put_back_ready(&self) {
        let watches = self.watches.borrow();
        if let Some(poller) = self.poller().as_mut() {
            poller.put_back_ready(|key| watches.is_told_by_edges(key));
        }
    }

    /// Whether the next poll returns what the kernel does not report.
    pub(super) fn has_put_back(&self) -> bool {
        self.poller().as_ref().is_some_and(Poller::has_put_back)
    }

    /// Has the next poll, that of the last turn of a run, return all that is ready.
    #[cold]
    pub(super) fn make_room_for_all(&self) {
        let watches = self.watches.borrow().len();
        if let Some(poller) = self.poller().as_mut() {
            poller.make_room(watches);
        }
    }
}
