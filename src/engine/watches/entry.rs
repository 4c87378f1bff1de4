//! One descriptor number in the watch table: its reader and its writer, or its handler, and the
//! keys that name them.

use crate::observe::origin::Origin;
use crate::reactor::contract::Direction;
use crate::reactor::readiness::{Events, Interest};
use crate::reactor::watcher::{Ended, Watcher};
use crate::system::RawFd;

/// The kind of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Reader,
    Writer,
    /// The only watch of its descriptor, with an interest of its own.
    Handler,
}

impl Role {
    /// Its side of the entry.
    #[inline]
    pub(super) fn side(self) -> usize {
        match self {
            Role::Reader | Role::Handler => 0,
            Role::Writer => 1,
        }
    }

    /// Whether an interest is in the direction that it is not for.
    pub(super) fn is_other_way(self, interest: Interest) -> bool {
        match self {
            Role::Reader => interest.contains(Interest::WRITE),
            Role::Writer => interest.contains(Interest::READ),
            Role::Handler => false,
        }
    }
}

impl From<Role> for Origin {
    fn from(role: Role) -> Origin {
        match role {
            Role::Reader => Origin::Reader,
            Role::Writer => Origin::Writer,
            Role::Handler => Origin::Handler,
        }
    }
}

impl From<Direction> for Role {
    fn from(direction: Direction) -> Role {
        match direction {
            Direction::Read => Role::Reader,
            Direction::Write => Role::Writer,
        }
    }
}

/// Names one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchKey {
    pub(super) slot: u32,
    pub(super) side: u8,
    pub(super) serial: u32,
}

/// The side, in the bits of a key. No table grows to so many slots.
const SIDE_BIT: u64 = 1 << 31;

impl WatchKey {
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        let side = if self.side == 0 { 0 } else { SIDE_BIT };
        u64::from(self.slot) | side | u64::from(self.serial) << 32
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> WatchKey {
        WatchKey {
            slot: (bits & (SIDE_BIT - 1)) as u32,
            side: u8::from(bits & SIDE_BIT != 0),
            serial: (bits >> 32) as u32,
        }
    }
}

/// One watch of an entry.
pub(super) struct Half {
    pub(super) serial: u32,
    pub(super) role: Role,
    pub(super) interest: Interest,
    pub(super) paused: bool,
    /// A run until nothing is left goes on for it, unless it is paused.
    pub(super) counted: bool,
    /// The poll in which this half was added or resumed: it is served from the next one on.
    pub(super) since: u32,
    /// The last poll in which it was called while calls were counted, and in how many polls in a
    /// row.
    pub(super) spell: (u32, u32),
    /// Absent while its callback runs.
    pub(super) watcher: Option<Watcher>,
}

impl Half {
    #[inline]
    pub(super) fn wanted(&self) -> Interest {
        if self.paused { Interest::empty() } else { self.interest }
    }

    /// Whether a run until nothing is left goes on for it now.
    pub(super) fn keeps(&self) -> bool {
        self.counted && !self.wanted().is_empty()
    }
}

pub(super) struct FdEntry {
    pub(super) fd: RawFd,
    /// The interest that the kernel was told. If it is empty, the descriptor is not in the kernel's
    /// set.
    pub(super) interest: Interest,
    /// How many halves it has had. Each has a serial number of its own, counted from the entry's;
    /// after four billion they are used again.
    pub(super) serials: u32,
    pub(super) halves: [Option<Half>; 2],
}

impl FdEntry {
    #[inline]
    pub(super) fn wanted(&self) -> Interest {
        let [one, other] = &self.halves;
        let wanted = |half: &Option<Half>| half.as_ref().map_or(Interest::empty(), Half::wanted);
        wanted(one).beside(wanted(other))
    }

    /// What is wanted once the half in this role is one that wants `first`.
    #[inline]
    pub(super) fn wanted_with(&self, role: Role, first: Interest) -> Interest {
        self.halves[1 - role.side()].as_ref().map_or(first, |half| half.wanted().beside(first))
    }

    #[inline]
    pub(super) fn has_handler(&self) -> bool {
        self.halves[0].as_ref().is_some_and(|half| half.role == Role::Handler)
    }
}

/// A watch to be added.
pub(crate) struct NewWatch {
    pub(crate) fd: RawFd,
    pub(crate) role: Role,
    pub(crate) interest: Interest,
    pub(crate) watcher: Watcher,
}

/// A watcher that was taken out of the table to be called, and its events.
pub(crate) struct Taken {
    pub(crate) watcher: Watcher,
    pub(crate) role: Role,
    pub(crate) events: Events,
}

/// The watchers that have left the table, by their sides; the caller drops them.
pub(crate) type Displaced = [Option<Watcher>; 2];

/// Tells a watcher why it leaves the table, if that is not by its own removal.
pub(super) fn tell(watcher: &mut Option<Watcher>, why: Ended) {
    if let Some(watcher) = watcher {
        watcher.end(why);
    }
}
