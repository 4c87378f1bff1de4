//! The watches: which are ready, and their calls.

use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Events, Interest};
use rustix::event::{PollFd, PollFlags, poll};

use crate::inner::Inner;

pub(crate) struct Watched {
    pub(crate) id: u64,
    pub(crate) number: RawFd,
    /// None for a handler.
    pub(crate) direction: Option<Direction>,
    pub(crate) interest: Interest,
    pub(crate) paused: bool,
    /// Its own descriptor for the same file: what poll(2) gets stays open, whatever user code does.
    /// None where the kernel is not asked.
    pub(crate) descriptor: Option<Rc<OwnedFd>>,
    /// Absent while its callback runs.
    pub(crate) watcher: Option<Watcher>,
}

impl Watched {
    /// What came of what it waits for. Errors and hang-ups come unasked.
    fn of(&self, came: Events) -> Events {
        let asked = Events::from_bits_truncate(self.interest.bits());
        if self.paused { Events::empty() } else { came & (asked | Events::ERROR | Events::HANGUP) }
    }
}

impl Inner {
    /// The watches that are ready, readers first, each with what came. Waits for one for at most
    /// `timeout`, if that is not zero.
    pub(crate) fn poll(&self, timeout: Option<Duration>) -> Vec<(u64, Events)> {
        let mut ready = Vec::new();
        let watches: Vec<_> = (self.watches.borrow().iter())
            .filter(|watched| !watched.paused)
            .filter_map(|watched| {
                Some((watched.id, Rc::clone(watched.descriptor.as_ref()?), watched.interest))
            })
            .collect();
        let mut polled: Vec<_> = (watches.iter())
            .map(|(_, descriptor, interest)| {
                PollFd::new(descriptor, PollFlags::from_bits_truncate(interest.bits() as _))
            })
            .collect();
        polled.extend(self.shared.bell().map(|bell| PollFd::new(bell, PollFlags::IN)));
        if !polled.is_empty() {
            let timeout = timeout.map(|at| at.min(Duration::from_secs(3600)).try_into());
            let timeout = timeout.map(|timeout| timeout.expect("an hour at most"));
            while let Err(rustix::io::Errno::INTR) = poll(&mut polled, timeout.as_ref()) {}
        }
        for ((id, ..), polled) in watches.iter().zip(&polled) {
            ready.push((*id, Events::from_bits_truncate(polled.revents().bits() as _)));
        }
        self.add_forced(&mut ready);
        let watches = self.watches.borrow();
        let find = |id| watches.iter().find(|watched| watched.id == id);
        let mut ready: Vec<_> = (ready.into_iter())
            .filter_map(|(id, came)| find(id).map(|watched| (watched, watched.of(came))))
            .filter(|(_, came)| !came.is_empty())
            .collect();
        ready.sort_by_key(|(watched, _)| watched.direction == Some(Direction::Write));
        ready.into_iter().map(|(watched, came)| (watched.id, came)).collect()
    }

    pub(crate) fn force(&self, number: RawFd, events: Events) -> bool {
        self.forced.borrow_mut().push((number, events));
        self.watches.borrow().iter().any(|watched| watched.number == number)
    }

    /// Adds what is ready because the test says so, once.
    fn add_forced(&self, ready: &mut Vec<(u64, Events)>) {
        let watches = self.watches.borrow();
        self.forced.borrow_mut().retain_mut(|(number, events)| {
            let mut told = Events::empty();
            for watched in watches.iter().filter(|watched| watched.number == *number) {
                let came = watched.of(*events);
                told |= came;
                match ready.iter_mut().find(|(id, _)| *id == watched.id) {
                    Some((_, known)) => *known |= came,
                    None => ready.push((watched.id, came)),
                }
            }
            *events -= told;
            !events.is_empty()
        });
    }

    pub(crate) fn serve(&self, id: u64, events: Events) {
        let taken = self.with_watch(id, |watched| match watched.paused {
            true => None,
            false => watched.watcher.take(),
        });
        let Some(mut watcher) = taken.flatten() else { return };
        if !self.guarded(|| watcher.ready_for(events)) {
            self.end_watch(id);
        }
        let mut left = Some(watcher);
        self.with_watch(id, |watched| watched.watcher = left.take());
        self.discard(left);
    }

    pub(crate) fn with_watch<T>(&self, id: u64, act: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        self.watches.borrow_mut().iter_mut().find(|watched| watched.id == id).map(act)
    }

    pub(crate) fn end_watch(&self, id: u64) -> bool {
        let mut watches = self.watches.borrow_mut();
        let index = watches.iter().position(|watched| watched.id == id);
        let removed = index.map(|index| watches.remove(index));
        drop(watches);
        let ended = removed.is_some();
        self.discard(removed);
        ended
    }
}
