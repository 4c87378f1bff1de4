//! The calls of user code by the locations where it was handed in, and the watches that spin. Kept
//! while somebody inspects the process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use super::exceptions::Exceptions;
use super::metrics::SleepClock;
use super::origin::Origin;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// Turns in a row after which a watch spins. Some writers that send much are called as often and
/// make progress, which the kernel does not tell of them.
const SPIN_TURNS: u32 = 1_000;

/// The calls of the code from one location.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) origin: Origin,
    pub(crate) location: Option<Caller>,
    pub(crate) calls: u64,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

/// A watch that was called in so many turns in a row, without progress.
pub(crate) struct Spin {
    pub(crate) origin: Origin,
    pub(crate) fd: RawFd,
    pub(crate) location: Option<Caller>,
    pub(crate) turns: u64,
}

/// Where code is from. A location of the source may have several addresses, one in each unit that
/// the compiler makes code of; they are added up where they are shown.
type At = Option<*const ()>;

#[derive(Default)]
pub(crate) struct Tallies {
    kept: Cell<bool>,
    /// As many as the program has locations that hand code in, so no peer makes it grow.
    calls: RefCell<HashMap<(Origin, At), Tally>>,
    /// Those since they were [taken](Self::take_spins), with their turns.
    spins: RefCell<HashMap<(Origin, RawFd), Spin>>,
}

impl Tallies {
    #[inline]
    pub(crate) fn are_kept(&self) -> bool {
        self.kept.get()
    }

    /// How many turns in a row make a watch one that spins.
    pub(crate) fn spin_limit(&self) -> Option<u32> {
        self.kept.get().then_some(SPIN_TURNS)
    }

    /// Begins with none, or ends.
    fn keep(&self, on: bool) {
        if self.kept.replace(on) != on {
            self.calls.take();
            self.spins.take();
        }
    }

    pub(super) fn note(&self, origin: Origin, location: Option<Caller>, took: Duration) {
        if !self.kept.get() {
            return;
        }
        let mut calls = self.calls.borrow_mut();
        let at = location.map(|location| std::ptr::from_ref(location).cast());
        let none =
            || Tally { origin, location, calls: 0, total: Duration::ZERO, longest: Duration::ZERO };
        let tally = calls.entry((origin, at)).or_insert_with(none);
        tally.calls += 1;
        tally.total += took;
        tally.longest = tally.longest.max(took);
    }

    /// Notes that a watch was called in so many turns in a row, without progress.
    pub(crate) fn note_spin(
        &self,
        origin: Origin,
        fd: RawFd,
        location: Option<Caller>,
        turns: u32,
    ) {
        if self.kept.get() {
            let mut spins = self.spins.borrow_mut();
            let none = || Spin { origin, fd, location, turns: 0 };
            let spin = spins.entry((origin, fd)).or_insert_with(none);
            // The number may be another watch's by now.
            (spin.location, spin.turns) = (location, spin.turns + u64::from(turns));
        }
    }

    pub(crate) fn calls(&self) -> Vec<Tally> {
        self.calls.borrow().values().cloned().collect()
    }

    pub(crate) fn take_spins(&self) -> Vec<Spin> {
        mem::take(&mut *self.spins.borrow_mut()).into_values().collect()
    }
}

impl Exceptions {
    /// Begins to keep tallies, or ends.
    pub(crate) fn keep_tallies(&self, on: bool) {
        self.tallies.keep(on);
        self.note_observed();
    }
}

impl SleepClock {
    /// Begins to measure for those who inspect the process, or ends.
    pub(crate) fn inspect(&self, on: bool) {
        let [user, inspected] = self.measured.get();
        if inspected != on {
            self.set([user, on]);
        }
    }

    /// The time asleep that was measured for anybody.
    pub(crate) fn inspected(&self) -> Duration {
        self.total.get()
    }
}
