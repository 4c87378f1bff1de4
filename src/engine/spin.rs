//! Watches that are called in turn after turn, without progress.

use crate::engine::Engine;
use crate::engine::poller::{is_ready, readable_bytes};
use crate::engine::watches::{Taken, WatchKey};
use crate::observe::exceptions::Exceptions;
use crate::observe::origin::Origin;
use crate::observe::report::Report;
use crate::reactor::callback::Caller;
use crate::reactor::readiness::Events;
use crate::system::RawFd;

/// A watch that was called in many turns in a row.
struct Spell {
    fd: RawFd,
    turns: u32,
    /// The events of its last call,
    events: Events,
    /// and how many bytes could be read before.
    bytes: Option<u64>,
}

impl Engine {
    /// Calls a watch where slow or spinning ones are reported.
    #[cold]
    pub(super) fn serve_observed(&self, key: WatchKey, taken: &mut Taken) -> bool {
        let Taken { watcher, role, events } = taken;
        let (origin, location) = (Origin::from(*role), Some(watcher.location()));
        let Exceptions { reports, tallies, .. } = &self.exceptions;
        let limit = reports.spin_limit().or_else(|| tallies.spin_limit());
        let spell = limit.and_then(|limit| self.count(key, *events, limit));
        let fd = self.watching.watches.borrow_mut().fd(key);
        let call = || watcher.ready_for(*events);
        let returned = self.exceptions.call_watch(origin, location, fd, call);
        // A watch that panics does not go on.
        if let Some(spell) = spell.filter(|_| returned) {
            self.end_spell(spell, key, origin, location);
        }
        returned
    }

    /// Counts a call of a watch; none below the limit.
    fn count(&self, key: WatchKey, events: Events, limit: u32) -> Option<Spell> {
        let mut watches = self.watching.watches.borrow_mut();
        let turns = watches.count(key);
        if turns < limit {
            return None;
        }
        watches.forget_count(key);
        let fd = watches.fd(key)?;
        Some(Spell { fd, turns, events, bytes: readable_bytes(fd) })
    }

    /// Reports a watch that was called so often, unless its last call has made progress.
    fn end_spell(&self, spell: Spell, key: WatchKey, origin: Origin, location: Option<Caller>) {
        let Spell { fd, turns, events, bytes } = spell;
        let goes_on = self.watching.watches.borrow_mut().fd(key).is_some();
        let progress = || (bytes.is_some() && bytes != readable_bytes(fd)) || !is_ready(fd, events);
        if !goes_on || progress() {
            return;
        }
        self.exceptions.tallies.note_spin(origin, fd, location, turns);
        if self.exceptions.reports.counts() {
            self.exceptions.tell_report(&Report::Spinning { origin, fd, location, turns });
        }
    }
}
