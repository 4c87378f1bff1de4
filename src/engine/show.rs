//! How a loop answers those who inspect the process: on its own thread, in a turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::shown::{self, About, Describe, Driven, Figures, Group, Loop, Wanted};
use crate::observe::listing::{Pending, What};

impl Engine {
    /// Adds the loop to the list.
    pub(crate) fn introduce(&self, about: About, describe: Describe) {
        if let Some((one, wanted)) = shown::add(about, self.inbox()) {
            self.give(&one, wanted);
            let _ = self.shown.known.set((one, describe));
        }
    }

    /// Answers those who inspect the process.
    pub(super) fn show(&self) {
        let Some((one, describe)) = self.shown.known.get() else { return };
        let wanted = one.wanted();
        self.give(one, wanted);
        let figures = match wanted {
            Wanted::Figures => describe().map(|driven| Arc::new(self.figures(driven))),
            _ => None,
        };
        one.give(figures);
    }

    /// Begins to publish and to measure what is wanted, and ends the rest.
    fn give(&self, one: &Loop, wanted: Wanted) {
        let publishes = wanted != Wanted::Nothing;
        if self.shown.publishes.replace(publishes) != publishes {
            let running = publishes.then(|| self.exceptions.publish());
            if running.is_none() {
                self.exceptions.leave();
            }
            one.publish(running);
        }
        let figures = wanted == Wanted::Figures;
        if self.exceptions.tallies.are_kept() != figures {
            self.exceptions.keep_tallies(figures);
            self.counters.asleep.inspect(figures);
            self.shown.listed.take();
        }
    }

    fn figures(&self, driven: Driven) -> Figures {
        let begun = Instant::now();
        let figures = Figures {
            at: begun,
            driven,
            asleep: self.counters.asleep.inspected(),
            groups: self.groups(begun),
            calls: self.exceptions.tallies.calls(),
            spins: self.exceptions.tallies.take_spins(),
            took: Duration::ZERO,
        };
        Figures { took: begun.elapsed(), ..figures }
    }

    /// What the loop waits for. If there is much of it, that of a while ago: listing takes a
    /// hundredth of the time at the most.
    fn groups(&self, now: Instant) -> Arc<[Group]> {
        if let Some((until, groups)) = &*self.shown.listed.borrow() {
            if now < *until {
                return Arc::clone(groups);
            }
        }
        let mut groups = HashMap::new();
        self.each_pending(|Pending { what, location, .. }| {
            let at = location.map(|location| std::ptr::from_ref(location).addr());
            let group = groups.entry((what.name(), at)).or_insert_with(|| Group {
                kind: what.name(),
                location,
                count: 0,
                paused: 0,
            });
            group.count += 1;
            group.paused += usize::from(is_paused(what));
        });
        let groups: Arc<[Group]> = groups.into_values().collect();
        let until = now + now.elapsed() * 100;
        self.shown.listed.replace(Some((until, Arc::clone(&groups))));
        groups
    }
}

fn is_paused(what: What) -> bool {
    match what {
        What::Reader { paused, .. } | What::Writer { paused, .. } => paused,
        What::Handler { interest, .. } => interest.is_empty(),
        _ => false,
    }
}
