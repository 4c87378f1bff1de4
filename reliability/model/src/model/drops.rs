//! What is dropped, and when: by whoever cancels or has called it, by `close`, never twice.

use std::collections::BTreeSet;

use ioloop::observe::Origin;

use super::{Entry, Finished, Held, Life, Mismatch, Model};
use crate::trace::{Event, Id, Outcome};

impl Model<'_> {
    /// What a callback captured is dropped here and now; false if its destructor panics.
    pub(super) fn dropped(&mut self, id: Id) -> Finished {
        let Event::Drop { id: seen, unwinding, at } = self.trace.take()? else {
            return Err(format!("what {id} captured is to be dropped now"));
        };
        if seen != id {
            return Err(format!("what {id} captured is to be dropped now, not {seen}'s"));
        }
        let alive = self.alive.remove(&id).ok_or_else(|| format!("{id} was dropped twice"))?;
        let doomed = self.doomed.remove(&id);
        if doomed {
            self.release(id)?;
        }
        if alive.watch {
            self.watch_dropped(id)?;
        }
        let returned = at.is_none() || self.script(id, &alive.end, !unwinding)?;
        if doomed {
            self.closed(id);
        }
        if returned {
            self.trace.expect(Event::Dropped(id))?;
        }
        Ok(returned)
    }

    /// The loop drops something by itself: a panic is reported.
    pub(super) fn discarded(&mut self, id: Id) -> Result<(), Mismatch> {
        if !self.dropped(id)? {
            self.reported(&[Origin::Destructor], id)?;
        }
        Ok(())
    }

    /// A panic reaches the exception handler, once, if the loop still has one.
    pub(super) fn reported(&mut self, origins: &[Origin], id: Id) -> Result<(), Mismatch> {
        if self.life == Life::Closed {
            return Ok(());
        }
        match self.trace.take()? {
            Event::Report(origin, seen) if seen == id && origins.contains(&origin) => Ok(()),
            _ => Err(format!("the panic of {id} is to be reported now, as of {origins:?}")),
        }
    }

    /// Drops all of these, in whatever order.
    pub(super) fn drop_all(&mut self, mut ids: BTreeSet<Id>) -> Result<(), Mismatch> {
        while !ids.is_empty() {
            match self.trace.peek() {
                Some(Event::Drop { id, .. }) if ids.remove(&id) => self.discarded(id)?,
                Some(Event::Report(Origin::Task, id)) if self.loses_panic(id) => {
                    self.reported(&[Origin::Task], id)?;
                }
                _ => return Err(format!("of {ids:?} one is to be dropped now")),
            }
        }
        Ok(())
    }

    /// Drops all that are doomed, in whatever order.
    fn drop_doomed(&mut self) -> Result<(), Mismatch> {
        while !self.doomed.is_empty() {
            match self.trace.peek() {
                Some(Event::Drop { id, .. }) if self.doomed.contains(&id) => self.discarded(id)?,
                Some(Event::Report(Origin::Task, id)) if self.loses_panic(id) => {
                    self.reported(&[Origin::Task], id)?;
                }
                _ => return Err(format!("of {:?} one is to be dropped now", self.doomed)),
            }
        }
        Ok(())
    }

    /// `close`, where it is not refused.
    pub(super) fn close(&mut self) -> Result<(), Mismatch> {
        if self.life != Life::Open {
            return Ok(());
        }
        self.end_sleep()?;
        self.life = Life::Closing;
        self.stop = false;
        let queued = self.queue.drain(..).filter_map(|entry| match entry {
            Entry::Callback(id) => Some(id),
            Entry::Poll(_) | Entry::Stop | Entry::Gone => None,
        });
        let timers = self.timers.drain(..).map(|timer| timer.id);
        let periodic = &mut self.periodic;
        periodic.iter_mut().for_each(|periodic| periodic.running = false);
        let is_periodic = |id: &Id| periodic.iter().any(|periodic| periodic.id == *id);
        let timers = timers.filter(|id| !Model::is_sleep(*id) && !is_periodic(id));
        let watches = self.watches.iter().map(|watch| watch.id);
        let hooks = self.hooks.iter().map(|hook| hook.id);
        let tasks = self.tasks.iter().filter(|task| task.outcome.is_none() && !task.main);
        let tasks = tasks.map(|task| task.id);
        let all = queued.chain(timers).chain(watches).chain(hooks).chain(tasks);
        self.doomed = all.collect::<BTreeSet<Id>>();
        self.drop_doomed()?;
        self.life = Life::Closed;
        Ok(())
    }

    /// Cancels something; says whether it was still to come.
    pub(super) fn cancel(&mut self, id: Id) -> Finished {
        if let Some(place) = self.queue.iter().position(|entry| *entry == Entry::Callback(id)) {
            self.queue[place] = Entry::Gone;
        } else if let Some(place) = self.timers.iter().position(|timer| timer.id == id) {
            self.timers.remove(place);
        } else if self.doomed.contains(&id) {
            // Within `close` it may be too late already.
            let now = matches!(self.trace.peek(), Some(Event::Drop { id: next, .. }) if next == id);
            if !now {
                return Ok(false);
            }
        } else {
            return Ok(false);
        }
        self.discarded(id)?;
        Ok(true)
    }

    /// What is asked of a watch within `close` is answered as may be: it is there still, or not any
    /// more.
    pub(super) fn answer_in_close(&mut self) -> Finished {
        loop {
            match self.trace.peek() {
                Some(Event::Drop { id, .. }) if self.doomed.contains(&id) => self.discarded(id)?,
                Some(Event::Answer(_)) => return self.trace.take().map(|_| true),
                _ => return Err("expected an answer".into()),
            }
        }
    }

    /// Ends a watch; within `close` it may be too late already.
    pub(super) fn end(&mut self, id: Id) -> Finished {
        if self.doomed.contains(&id) { self.cancel(id) } else { self.remove_watch(id) }
    }

    /// The same for a hook.
    pub(super) fn end_hook(&mut self, id: Id) -> Finished {
        if self.doomed.contains(&id) { self.cancel(id) } else { self.remove_hook(id) }
    }

    /// Drops what was handed out.
    pub(super) fn forget(&mut self, index: usize) -> Result<(), Mismatch> {
        let held = std::mem::replace(&mut self.held[index], Held::Gone);
        match held {
            Held::Callback { id, guard: true, cancelled: false }
            | Held::Timer { id, guard: true, cancelled: false } => self.cancel(id).map(drop),
            Held::Periodic { id } => self.drop_periodic(id),
            Held::Watch { id, guard: true } => self.end(id).map(drop),
            Held::Hook { id, guard: true } => self.end_hook(id).map(drop),
            Held::Task { id, guard, taken: false } => self.detach(id, guard),
            Held::Resolver { number, taken: false } => self.settle_promise(number, Outcome::Closed),
            Held::Deferred { number, taken: false } => {
                self.promises[number].abandoned = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
