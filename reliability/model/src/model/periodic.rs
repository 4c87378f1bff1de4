//! Periodic callbacks: a timer that is set again after each call, on the grid that began with the
//! start.

use ioloop::observe::Origin;

use super::ops::MS;
use super::{Alive, Finished, Held, Life, Mismatch, Model, Timer};
use crate::program::Script;
use crate::trace::{Answer, Event, Id};

#[derive(Clone, Debug)]
pub(super) struct Periodic {
    pub(super) id: Id,
    period: i64,
    /// When it was due for the last time, or was started.
    due: i64,
    pub(super) running: bool,
    /// How often it was started or stopped.
    changes: u64,
    calls: usize,
    calling: bool,
    /// The program has dropped it.
    gone: bool,
}

impl Model<'_> {
    pub(super) fn add_periodic(&mut self, period: u8, calls: &[Script]) -> Finished {
        let (calls, end) = (calls.to_vec(), Script::new());
        let id = self.born(Alive { calls, end, watch: false });
        self.periodic.push(Periodic {
            id,
            period: i64::from(period.max(1)) * MS,
            due: 0,
            running: false,
            changes: 0,
            calls: 0,
            calling: false,
            gone: false,
        });
        self.start_periodic(id);
        self.held.push(Held::Periodic { id });
        self.answer_running(id)
    }

    /// Where it is in the table.
    pub(super) fn periodic_of(&self, id: Id) -> Option<usize> {
        self.periodic.iter().position(|periodic| periodic.id == id)
    }

    pub(super) fn answer_running(&mut self, id: Id) -> Finished {
        match self.periodic_of(id) {
            // The loop may hold its timer still, or not any more.
            Some(_) if self.life == Life::Closing => self.answer_either(),
            Some(place) => self.answer(Answer::Is(self.periodic[place].running)),
            None => self.answer(Answer::Nothing),
        }
    }

    pub(super) fn start_periodic(&mut self, id: Id) {
        let clock = self.clock;
        let Some(periodic) = self.periodic.iter_mut().find(|periodic| periodic.id == id) else {
            return;
        };
        if periodic.running || self.life != Life::Open {
            return;
        }
        periodic.running = true;
        periodic.changes += 1;
        periodic.due = clock;
        self.set_periodic(id);
    }

    /// Sets its timer for the first tick after now.
    fn set_periodic(&mut self, id: Id) {
        let clock = self.clock;
        let Some(periodic) = self.periodic.iter_mut().find(|periodic| periodic.id == id) else {
            return;
        };
        periodic.due += periodic.period;
        while periodic.due <= clock {
            periodic.due += periodic.period;
        }
        self.orders += 1;
        self.timers.push(Timer { id, deadline: Some(periodic.due), order: self.orders });
    }

    pub(super) fn stop_periodic(&mut self, id: Id) {
        if let Some(place) = self.periodic_of(id).filter(|place| self.periodic[*place].running) {
            self.periodic[place].running = false;
            self.periodic[place].changes += 1;
            self.timers.retain(|timer| timer.id != id);
        }
    }

    /// The program drops it: it is gone at once, or when its call returns.
    pub(super) fn drop_periodic(&mut self, id: Id) -> Result<(), Mismatch> {
        self.stop_periodic(id);
        let Some(place) = self.periodic_of(id) else { return Ok(()) };
        self.periodic[place].gone = true;
        self.drop_if_gone(id)
    }

    fn drop_if_gone(&mut self, id: Id) -> Result<(), Mismatch> {
        let Some(place) = self.periodic_of(id) else { return Ok(()) };
        if self.periodic[place].gone && !self.periodic[place].calling {
            self.periodic.remove(place);
            self.dropped(id)?;
        }
        Ok(())
    }

    pub(super) fn call_periodic(&mut self, place: usize) -> Result<(), Mismatch> {
        let periodic = &mut self.periodic[place];
        let (id, calls, changes) = (periodic.id, periodic.calls, periodic.changes);
        periodic.calls += 1;
        periodic.calling = true;
        let call = self.alive.get(&id).and_then(|alive| alive.calls.get(calls).cloned());
        let finished = match call {
            Some(call) => self.script(id, &call, true)?,
            None => {
                self.stop_periodic(id);
                true
            }
        };
        if finished {
            self.trace.expect(Event::End(id))?;
        }
        if let Some(place) = self.periodic_of(id) {
            self.periodic[place].calling = false;
            if self.periodic[place].changes == changes {
                self.set_periodic(id);
            }
        }
        self.drop_if_gone(id)?;
        if !finished {
            self.reported(&[Origin::Timer], id)?;
        }
        Ok(())
    }
}
