//! The watch table: which descriptor is watched, for which events, and which watcher is called.
//!
//! There is one entry for each descriptor number, with room for a reader and a writer, or for one
//! handler. The kernel returns the entry's key with an event. The key changes whenever the number
//! may mean another file, so a late event finds no entry. Nothing here runs user code: a watcher
//! that leaves the table is returned, and dropped by the caller once the table is no longer
//! borrowed.

mod entry;

use std::io;

pub(crate) use self::entry::{Displaced, NewWatch, Role, Taken, WatchKey};
use self::entry::{FdEntry, Half, tell};
use super::arena::{Arena, Key};
use super::poller::{Event, PollWaker, Poller, tells_gone};
use super::tuning::NUMBERS_KEPT;
use crate::observe::listing::{Pending, What};
use crate::reactor::callback::Caller;
use crate::reactor::readiness::Interest;
use crate::reactor::watcher::{Ended, Start, Watcher};
use crate::system::{Errno, RawFd};

pub(crate) struct Watches {
    entries: Arena<FdEntry>,
    /// The slot of each watched descriptor number.
    slots: Vec<u32>,
    /// Counts the polls: a watch that was added after a poll is not called for its events.
    polls: u32,
    /// The last poll before the present one that told all that was ready.
    told_all: u32,
    len: usize,
    /// The kernel watches for more than is wanted, and refuses to change that: its set has to be
    /// made anew. Set where the kernel refuses, and by the event of an orphan; cleared by `renew`,
    astray: bool,
    /// unless the kernel has refused a change since that began.
    refused: bool,
}

const NONE: u32 = u32::MAX;

impl Watches {
    pub(crate) const fn new() -> Self {
        Watches {
            entries: Arena::new(),
            slots: Vec::new(),
            polls: 0,
            told_all: 0,
            len: 0,
            astray: false,
            refused: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is a watch that a run until nothing is left goes on for: not a paused one, and
    /// none that is woken from outside alone.
    pub(crate) fn are_counted(&self) -> bool {
        let mut halves = self.entries.iter().flat_map(|(_, entry)| entry.halves.iter().flatten());
        halves.any(Half::keeps)
    }

    /// Whether the kernel watches for more than is wanted, until its set is [renewed](Self::renew).
    pub(crate) fn is_astray(&self) -> bool {
        self.astray
    }

    #[inline]
    pub(crate) fn add(
        &mut self,
        poller: &mut Poller,
        new: NewWatch,
    ) -> Result<(WatchKey, Displaced), (io::Error, Watcher)> {
        let NewWatch { fd, role, interest, mut watcher } = new;
        let mut displaced = [None, None];
        let start = watcher.begin();
        let paused = matches!(start, Start::Paused | Start::Known);
        let told = if paused { Interest::empty() } else { interest };
        let slot = match self.slot_of(fd) {
            None => self.enter(poller, fd, told, start),
            Some(slot) => match self.extend(poller, slot, role, told, start) {
                Ok(()) => Ok(slot),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                    // The number was closed behind the loop's back, and is another file's now. The
                    // old watches are dead, but stay if the new one is refused.
                    self.replace(poller, slot, told, start).map(|(slot, dead)| {
                        displaced = dead;
                        slot
                    })
                }
                Err(error) => Err(error),
            },
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => return Err((error, watcher)),
        };
        let first = self.entries.key_of(slot).serial;
        let Some(entry) = self.entries.at_mut(slot) else {
            return Err((Errno::NOENT.into(), watcher));
        };
        let half = Half {
            serial: first.wrapping_add(entry.serials),
            role,
            interest,
            paused,
            counted: start != Start::Uncounted,
            since: self.polls,
            spell: (0, 0),
            watcher: Some(watcher),
        };
        let side = role.side();
        let key = WatchKey { slot, side: side as u8, serial: half.serial };
        entry.serials = entry.serials.saturating_add(1);
        match entry.halves[side].replace(half) {
            Some(old) => {
                displaced[side] = old.watcher;
                tell(&mut displaced[side], Ended::Replaced);
            }
            None => self.len += 1,
        }
        Ok((key, displaced))
    }

    /// Enters a number that is not in the table; the caller puts its half in.
    #[inline]
    fn enter(
        &mut self,
        poller: &mut Poller,
        fd: RawFd,
        told: Interest,
        start: Start,
    ) -> io::Result<u32> {
        if fd < 0 {
            // A library without a socket returns such a number.
            return Err(Errno::BADF.into());
        }
        let key = self.entries.next_key();
        self.introduce(poller, fd, key, told, start)?;
        Ok(self.insert(fd, told))
    }

    /// Tells the kernel a number that is not in its set.
    #[inline(always)]
    fn introduce(
        &mut self,
        poller: &mut Poller,
        fd: RawFd,
        key: Key,
        told: Interest,
        start: Start,
    ) -> io::Result<()> {
        if !told.is_empty() {
            return poller.add(fd, key.bits(), told);
        }
        if start == Start::Known { Ok(()) } else { self.ask(poller, fd, key) }
    }

    /// Learns whether the kernel accepts a number for which nothing is waited.
    #[inline(never)]
    fn ask(&mut self, poller: &mut Poller, fd: RawFd, key: Key) -> io::Result<()> {
        poller.add(fd, key.bits(), Interest::empty())?;
        // It must not stay: it would report hang-ups.
        let refused = poller.delete(fd, key.bits()).is_err();
        self.note_refused(refused);
        Ok(())
    }

    /// Makes room for a half in an entry that exists. The error `NOENT` says that its number means
    /// another file by now.
    fn extend(
        &mut self,
        poller: &mut Poller,
        slot: u32,
        role: Role,
        first: Interest,
        start: Start,
    ) -> io::Result<()> {
        let key = self.entries.key_of(slot);
        let Some(entry) = self.entries.at_mut(slot) else { return Ok(()) };
        let (fd, told) = (entry.fd, entry.interest);
        let taken = role == Role::Handler || entry.has_handler();
        let wanted = if taken { told } else { entry.wanted_with(role, first) };
        if told.is_empty() {
            if !taken {
                self.introduce(poller, fd, key, wanted, start)?;
            }
        } else if wanted.is_empty() {
            poller.delete(fd, key.bits())?;
        } else {
            // Also where nothing changes: the kernel knows whether the number still means this
            // file.
            poller.modify(fd, key.bits(), wanted)?;
        }
        if taken {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(entry) = self.entries.at_mut(slot) {
            entry.interest = wanted;
        }
        Ok(())
    }

    /// Replaces the entry of a number that has become another file's.
    #[cold]
    #[inline(never)]
    fn replace(
        &mut self,
        poller: &mut Poller,
        slot: u32,
        told: Interest,
        start: Start,
    ) -> io::Result<(u32, Displaced)> {
        let key = self.entries.key_of(slot);
        let Some(entry) = self.entries.at_mut(slot) else { return Ok((slot, [None, None])) };
        let fd = entry.fd;
        // Another slot's, since the old slot is still in use.
        let next = self.entries.next_key();
        self.introduce(poller, fd, next, told, start)?;
        let fresh = self.insert(fd, told);
        let displaced = self.bury(key);
        self.slots[fd as usize] = fresh;
        Ok((fresh, displaced))
    }

    /// Enters a number under the arena's next key, which the kernel was told.
    #[inline]
    fn insert(&mut self, fd: RawFd, interest: Interest) -> u32 {
        let key = self.entries.insert(FdEntry { fd, interest, serials: 0, halves: [None, None] });
        let index = fd as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, NONE);
        }
        self.slots[index] = key.slot;
        key.slot
    }

    /// Takes an entry without halves out of the table, and leaves the kernel's set alone.
    #[inline]
    fn forget(&mut self, key: Key) {
        let taken = self.entries.remove_emptied(key, |entry| {
            let next = match entry.serials {
                u32::MAX => None,
                serials => key.serial.checked_add(serials),
            };
            (entry.fd, next)
        });
        let Some(fd) = taken else { return };
        self.slots[fd as usize] = NONE;
        if self.entries.len() == 0 && self.slots.capacity() > NUMBERS_KEPT {
            self.slots = Vec::new();
        }
    }

    /// Takes out an entry whose number was closed behind the loop's back.
    #[cold]
    fn bury(&mut self, key: Key) -> Displaced {
        let Some(entry) = self.entries.get_mut(key) else { return [None, None] };
        let halves = entry.halves.each_mut().map(Option::take);
        self.len -= halves.iter().flatten().count();
        self.forget(key);
        let mut displaced = halves.map(|half| half?.watcher);
        displaced.iter_mut().for_each(|watcher| tell(watcher, Ended::Gone));
        displaced
    }

    #[inline]
    fn slot_of(&self, fd: RawFd) -> Option<u32> {
        let slot = *self.slots.get(usize::try_from(fd).ok()?)?;
        (slot != NONE).then_some(slot)
    }

    /// The watch of a descriptor number in a role.
    pub(crate) fn find(&mut self, fd: RawFd, role: Role) -> Option<WatchKey> {
        let slot = self.slot_of(fd)?;
        let half = self.entries.at_mut(slot)?.halves[role.side()].as_ref()?;
        let key = WatchKey { slot, side: role.side() as u8, serial: half.serial };
        (half.role == role).then_some(key)
    }

    /// Whether an interest is in the direction that a reader or a writer is not for.
    pub(crate) fn is_other_way(&mut self, key: WatchKey, interest: Interest) -> bool {
        self.half(key).is_some_and(|half| half.role.is_other_way(interest))
    }

    /// The descriptor number of a watch.
    pub(crate) fn fd(&mut self, key: WatchKey) -> Option<RawFd> {
        self.half(key)?;
        self.entries.at_mut(key.slot).map(|entry| entry.fd)
    }

    pub(crate) fn role(&mut self, key: WatchKey) -> Option<Role> {
        self.half(key).map(|half| half.role)
    }

    #[inline]
    fn half(&mut self, key: WatchKey) -> Option<&mut Half> {
        let half = self.entries.at_mut(key.slot)?.halves[usize::from(key.side)].as_mut()?;
        (half.serial == key.serial).then_some(half)
    }

    /// Ends a watch, in the kernel at once. The watcher is absent while its callback runs: then it
    /// is dropped when the callback returns.
    #[inline]
    pub(crate) fn remove(&mut self, poller: &mut Poller, key: WatchKey) -> Option<Displaced> {
        self.half(key)?;
        let entry = self.entries.at_mut(key.slot)?;
        let half = entry.halves[usize::from(key.side)].take()?;
        self.len -= 1;
        let empty = entry.halves.iter().all(Option::is_none);
        let stays = self.retreat(poller, key.slot);
        let mut displaced = [None, None];
        if !stays {
            displaced = self.bury(self.entries.key_of(key.slot));
        } else if empty {
            self.forget(self.entries.key_of(key.slot));
        }
        displaced[usize::from(key.side)] = half.watcher;
        Some(displaced)
    }

    /// Has the kernel no longer wait for a watch; false if it has ended. An error says that its
    /// descriptor was closed behind the loop's back: the watch ends with it, and the caller drops
    /// the watchers.
    pub(crate) fn pause(&mut self, poller: &mut Poller, key: WatchKey) -> Result<bool, Displaced> {
        let Some(half) = self.half(key) else {
            return Ok(false);
        };
        half.paused = true;
        if self.retreat(poller, key.slot) {
            Ok(true)
        } else {
            Err(self.bury(self.entries.key_of(key.slot)))
        }
    }

    /// Has a paused watch called again, and one that is not paused confirmed; for `interest`, if
    /// that is given.
    ///
    /// The inner error says that its number is another file's by now: the watch ends with it, and
    /// the caller drops the watchers.
    pub(crate) fn resume(
        &mut self,
        poller: &mut Poller,
        key: WatchKey,
        interest: Option<Interest>,
    ) -> io::Result<Result<bool, Displaced>> {
        let set = self.change(poller, key, |half| {
            half.interest = interest.unwrap_or(half.interest);
            half.paused = false;
        });
        match set {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                Ok(Err(self.bury(self.entries.key_of(key.slot))))
            }
            set => set.map(Ok),
        }
    }

    /// Changes the interest of a watch. A paused one stays paused.
    pub(crate) fn update(
        &mut self,
        poller: &mut Poller,
        key: WatchKey,
        interest: Interest,
    ) -> io::Result<bool> {
        self.change(poller, key, |half| half.interest = interest)
    }

    /// An error changes nothing.
    fn change(
        &mut self,
        poller: &mut Poller,
        key: WatchKey,
        change: impl FnOnce(&mut Half),
    ) -> io::Result<bool> {
        let polls = self.polls;
        let Some(half) = self.half(key) else {
            return Ok(false);
        };
        let (before, waited_for) = ((half.interest, half.paused), half.wanted());
        change(half);
        if !waited_for.contains(half.wanted()) {
            half.since = polls;
        }
        let confirmed = self.confirm(poller, key.slot);
        if confirmed.is_err() {
            if let Some(half) = self.half(key) {
                (half.interest, half.paused) = before;
            }
        }
        confirmed.map(|()| true)
    }

    /// As [`follow`](Self::follow), but asks the kernel also where nothing changes: it knows
    /// whether the number still means the same file.
    fn confirm(&mut self, poller: &mut Poller, slot: u32) -> io::Result<()> {
        let key = self.entries.key_of(slot).bits();
        match self.entries.at_mut(slot) {
            Some(entry) if entry.wanted() == entry.interest && !entry.interest.is_empty() => {
                poller.modify(entry.fd, key, entry.interest)
            }
            _ => self.follow(poller, slot),
        }
    }

    /// Tells the kernel the entry's interest, where it is less than before.
    ///
    /// False says that the number was closed behind the loop's back, and may be another file's:
    /// then the entry must go. It has left the kernel's set, or is an orphan there, which its next
    /// event shows.
    #[inline]
    fn retreat(&mut self, poller: &mut Poller, slot: u32) -> bool {
        let Err(error) = self.follow(poller, slot) else { return true };
        let gone = Errno::from_io_error(&error).is_some_and(tells_gone);
        self.note_refused(!gone);
        !gone
    }

    fn note_refused(&mut self, refused: bool) {
        self.astray |= refused;
        self.refused |= refused;
    }

    /// Tells the kernel the entry's interest.
    #[inline]
    fn follow(&mut self, poller: &mut Poller, slot: u32) -> io::Result<()> {
        let key = self.entries.key_of(slot).bits();
        let Some(entry) = self.entries.at_mut(slot) else {
            return Ok(());
        };
        let wanted = entry.wanted();
        let told = entry.interest;
        if wanted == told {
            return Ok(());
        }
        // An empty interest still reports hang-ups, at every poll: such an entry has to leave the
        // set.
        if wanted.is_empty() {
            poller.delete(entry.fd, key)?;
        } else if told.is_empty() {
            poller.add(entry.fd, key, wanted)?;
        } else {
            poller.modify(entry.fd, key, wanted)?;
        }
        entry.interest = wanted;
        Ok(())
    }

    /// Begins a poll: what is added from here on is served by the next one.
    #[inline]
    pub(crate) fn begin_poll(&mut self, last_was_full: bool) {
        if !last_was_full {
            self.told_all = self.polls;
        }
        self.polls = self.polls.wrapping_add(1);
    }

    /// Notes whether one of the events that have just arrived is an orphan's: its descriptor was
    /// closed while a duplicate lives on.
    #[inline]
    pub(crate) fn check(&mut self, mut events: impl Iterator<Item = Event>) {
        if !events.all(|event| self.entries.get(Key::from_bits(event.key)).is_some()) {
            self.astray = true;
        }
    }

    /// Whether the kernel tells the events of this key once.
    pub(crate) fn is_told_by_edges(&self, key: u64) -> bool {
        let entry = self.entries.get(Key::from_bits(key));
        entry.is_some_and(|entry| entry.interest.contains(Interest::EDGE))
    }

    /// Takes out the watcher on one side of an event's entry, with the events that it is called
    /// for; none if it is not called for any.
    #[inline]
    pub(crate) fn take(&mut self, event: Event, side: usize) -> Option<(WatchKey, Taken)> {
        let key = Key::from_bits(event.key);
        let polls = self.polls;
        let half = self.entries.get_mut(key)?.halves[side].as_mut()?;
        let wanted = half.wanted();
        let events = event.ready.of(wanted);
        // One that waits for nothing gets no hang-up either.
        if wanted.is_empty() || half.since == polls || events.is_empty() {
            return None;
        }
        let watcher = half.watcher.take()?;
        let key = WatchKey { slot: key.slot, side: side as u8, serial: half.serial };
        Some((key, Taken { watcher, role: half.role, events }))
    }

    /// Counts a call, and returns how often this watch was called in a row. A full poll between two
    /// calls has left the watch out: it was the turn of others.
    pub(crate) fn count(&mut self, key: WatchKey) -> u32 {
        let polls = self.polls;
        let since_told_all = polls.wrapping_sub(self.told_all);
        let Some(half) = self.half(key) else { return 0 };
        let (last, calls) = half.spell;
        let in_a_row = polls.wrapping_sub(last) <= since_told_all;
        let calls = if in_a_row { calls.saturating_add(1) } else { 1 };
        half.spell = (polls, calls);
        calls
    }

    /// Begins to count anew.
    pub(crate) fn forget_count(&mut self, key: WatchKey) {
        let polls = self.polls;
        if let Some(half) = self.half(key) {
            half.spell = (polls, 0);
        }
    }

    /// Each watch: its kind, and where it was added.
    pub(crate) fn list(&self) -> impl Iterator<Item = Pending> {
        self.entries.iter().flat_map(|(_, entry)| {
            let fd = entry.fd;
            entry.halves.iter().flatten().map(move |half| {
                let paused = half.wanted().is_empty();
                let what = match half.role {
                    Role::Reader => What::Reader { fd, paused },
                    Role::Writer => What::Writer { fd, paused },
                    Role::Handler => What::Handler { fd, interest: half.wanted() },
                };
                let location = half.watcher.as_ref().map(Watcher::location);
                Pending { what, location, keeps: half.keeps() }
            })
        })
    }

    /// Where a watch was added; unknown while its callback runs.
    pub(crate) fn location(&mut self, key: WatchKey) -> Option<Caller> {
        self.half(key)?.watcher.as_ref().map(Watcher::location)
    }

    /// Puts a watcher back after its callback; returns it if the watch has ended meanwhile.
    #[inline]
    pub(crate) fn put_back(&mut self, key: WatchKey, watcher: Watcher) -> Option<Watcher> {
        match self.half(key) {
            Some(half) => {
                half.watcher = Some(watcher);
                None
            }
            None => {
                let mut ended = Some(watcher);
                let displaced = self
                    .entries
                    .at_mut(key.slot)
                    .is_some_and(|entry| entry.halves[usize::from(key.side)].is_some());
                if displaced {
                    tell(&mut ended, Ended::Replaced);
                }
                ended
            }
        }
    }

    /// Has the poller start over with a new set, without orphans: moves the watches of `most` slots
    /// there, and takes it into use once all have been moved. Returns whether it is in use.
    ///
    /// `gone` receives the watchers whose descriptors turn out to be closed. After an error the
    /// next call goes on where this one was.
    pub(crate) fn renew(
        &mut self,
        poller: &mut Poller,
        waker: &PollWaker,
        most: usize,
        gone: &mut Vec<Watcher>,
    ) -> io::Result<bool> {
        if !poller.is_moving() {
            poller.begin_move(waker)?;
            self.refused = false;
        }
        for _ in 0..most {
            let slot = poller.moved();
            if slot as usize >= self.entries.slots() {
                poller.end_move();
                self.astray = self.refused;
                return Ok(true);
            }
            let key = self.entries.key_of(slot);
            let Some(entry) = self.entries.at_mut(slot) else {
                poller.move_next(None)?;
                continue;
            };
            let wanted = entry.wanted();
            let watch = (!wanted.is_empty()).then_some((entry.fd, key.bits(), wanted));
            let goes_on = poller.move_next(watch)?;
            // What the kernel refused to let go stays behind.
            entry.interest = wanted;
            if !goes_on {
                gone.extend(self.bury(key).into_iter().flatten());
            }
        }
        Ok(false)
    }

    /// Takes every watcher out, in no order, for a loop that is closed.
    pub(crate) fn drain(&mut self) -> Vec<Watcher> {
        self.slots.clear();
        self.len = 0;
        let halves = self.entries.drain().flat_map(|entry| entry.halves);
        let mut watchers: Vec<_> = halves.filter_map(|half| half?.watcher).collect();
        watchers.iter_mut().for_each(|watcher| watcher.end(Ended::Closed));
        watchers
    }
}

// They read the kernel's set from /proc.
#[cfg(all(test, target_os = "linux", not(ioloop_portable)))]
mod tests;
