//! One turn after the other: what is called in each, in which order, and what must not be left out.

use std::collections::VecDeque;

use ioloop::Origin;

use super::watches::Found;
use super::{Entry, Mismatch, Model};
use crate::rig::Way;
use crate::trace::{Event, Id, Ran, Sleepy, Stand};

/// While callbacks are queued, so many turns may go by without a look at the descriptors,
const TURNS_PER_LOOK: u64 = 61;
/// and so many callbacks.
const CALLBACKS_PER_LOOK: usize = 1024;
/// Turns with nothing to do before something comes of them: more is spinning.
const IDLE_TURNS: u64 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Before its look, which has called the hooks.
    Look,
    Callbacks,
    Descriptors,
    Timers,
    #[default]
    Over,
}

/// The present turn, or the last.
#[derive(Debug, Default)]
pub(super) struct Turn {
    number: u64,
    looks: u64,
    phase: Phase,
    /// How many at the front of the queue are this turn's.
    batch: usize,
    /// The watches that the look has found ready, and that were not called yet.
    found: Vec<Found>,
    /// The timers that are this turn's, each as it was set when the look ended.
    due: VecDeque<(Id, u64)>,
    /// Turns and callbacks since the last look.
    unlooked: (u64, usize),
    /// A stop was asked for by the end of this turn: there is no other one in this run.
    last: bool,
    /// Whether that stop came before its end or after it, is not known.
    unsure: bool,
    /// A hook wants another turn.
    awake: bool,
    /// What an embedded loop said of itself after its last turn.
    said: Option<bool>,
}

impl Model<'_> {
    /// A run, from its beginning to its end.
    pub(super) fn turns(&mut self, at: Stand) -> Result<(), Mismatch> {
        self.turn.number = at.turn;
        self.turn.looks = at.looks;
        self.turn.last = false;
        self.turn.said = None;
        loop {
            if self.vanished()? {
                continue;
            }
            match self.trace.take()? {
                Event::Begin { id, current, came, at } => {
                    self.go_to(at)?;
                    if !current {
                        return Err(format!("the loop is not current in {id}"));
                    }
                    self.called(id, came)?;
                }
                Event::Sleep { did, at } => self.about_to_sleep(did, at)?,
                Event::Readable { readable, ends, at } => self.says(readable, ends, at)?,
                Event::Turned { work_left, at } => self.turned(work_left, at)?,
                Event::Ran(ran, at) => return self.ran(ran, at),
                other => return Err(format!("{other:?} belongs to no callback")),
            }
        }
    }

    /// Something is called; the only thing that may be, now.
    fn called(&mut self, id: Id, came: u8) -> Result<(), Mismatch> {
        self.pop_unseen();
        if self.turn.batch > 0 {
            let front = self.queue.pop_front();
            self.turn.batch -= 1;
            if front != Some(Entry::Callback(id)) {
                return Err(format!("{front:?} is to run now, not {id}"));
            }
            return self.call_once(id, Origin::Callback);
        }
        if self.watch_of(id).is_some() {
            if self.turn.phase > Phase::Descriptors {
                return Err(format!("the watch {id} is called after timers have fired"));
            }
            self.turn.phase = Phase::Descriptors;
            self.turn.found = self.serve(id, came, &self.turn.found.clone())?;
            return self.call_watch(id);
        }
        self.all_served()?;
        self.turn.phase = Phase::Timers;
        self.drop_stale_due();
        match self.turn.due.pop_front() {
            Some((next, _)) if next == id => {
                self.timers.retain(|timer| timer.id != id);
                self.call_once(id, Origin::Timer)
            }
            Some((next, _)) => Err(format!("the timer {next} is to fire now, not {id}")),
            None => Err(format!("{id} is called, for which there is no reason in this turn")),
        }
    }

    /// Every watch that was found ready was called, unless it has ended or changed since.
    fn all_served(&mut self) -> Result<(), Mismatch> {
        let left = std::mem::take(&mut self.turn.found);
        match left.iter().find(|found| self.must_serve(found)) {
            Some(found) => Err(format!("{found:?} was not called in this turn")),
            None => Ok(()),
        }
    }

    /// Takes the entries of this turn off the queue that nobody sees.
    fn pop_unseen(&mut self) {
        while self.turn.batch > 0 {
            match self.queue.front() {
                Some(Entry::Gone) => {}
                Some(Entry::Stop) => self.stop = true,
                Some(Entry::Callback(_)) | None => return,
            }
            self.queue.pop_front();
            self.turn.batch -= 1;
        }
    }

    /// Forgets the due timers that were cancelled or reset.
    fn drop_stale_due(&mut self) {
        let timers = &self.timers;
        self.turn.due.retain(|(id, order)| {
            timers.iter().any(|timer| timer.id == *id && timer.order == *order)
        });
    }

    /// Brings the model to the turn in which something was seen.
    fn go_to(&mut self, at: Stand) -> Result<(), Mismatch> {
        if at.turn > self.turn.number {
            self.finish()?;
            self.leap(at)?;
            self.begin(at)?;
        }
        if self.turn.phase == Phase::Look {
            self.look(true);
        }
        if self.turn.phase == Phase::Over {
            return Err("it belongs to no turn".into());
        }
        self.stands_still(at)
    }

    /// Lets the clock jump, if it has.
    fn leap(&mut self, at: Stand) -> Result<(), Mismatch> {
        if at.clock == self.clock {
            return Ok(());
        }
        if self.has_queued() || self.is_due() || self.turn.last || self.has_ready() {
            return Err("the clock jumped while there was something to do".into());
        }
        if !self.can_jump() || self.earliest() != Some(at.clock) {
            return Err(format!(
                "the clock jumped, which may not, or only to {:?}",
                self.earliest()
            ));
        }
        self.clock = at.clock;
        Ok(())
    }

    /// Begins the turn in which something was seen. Those before it had nothing to do.
    fn begin(&mut self, at: Stand) -> Result<(), Mismatch> {
        if self.turn.last && !self.turn.unsure {
            return Err("the loop went on after it was stopped".into());
        }
        self.turn.unsure = false;
        let idle = at.turn - self.turn.number - 1;
        if idle > IDLE_TURNS {
            return Err(format!("the loop made {idle} turns for nothing"));
        }
        let mut looks = at.looks - self.turn.looks;
        if idle > 0 {
            if self.has_queued() || self.stop {
                return Err(format!("{idle} turns passed over what was queued"));
            }
            // With what was cancelled in the queue, the first of them need not have looked.
            let unlooked = u64::from(!self.queue.is_empty() && looks <= idle);
            if looks + unlooked <= idle {
                return Err("with nothing queued a turn has to look at the descriptors".into());
            }
            if self.has_ready() && idle > unlooked {
                return Err(format!("{idle} turns passed over what was ready"));
            }
            looks = looks.saturating_sub(idle).max(1);
            self.queue.clear();
        }
        if looks > 1 {
            return Err("more looks than turns".into());
        }
        let looked = looks == 1;
        self.turn.number = at.turn;
        self.turn.looks = at.looks;
        if looked {
            self.turn.unlooked = (0, 0);
        } else {
            if self.queue.is_empty() {
                return Err("with nothing queued the turn has to look at the descriptors".into());
            }
            if self.stop {
                return Err("a turn that is the last has to look at the descriptors".into());
            }
            let (turns, callbacks) = self.turn.unlooked;
            if turns >= TURNS_PER_LOOK || callbacks >= CALLBACKS_PER_LOOK {
                return Err("the descriptors were not looked at for too long".into());
            }
            self.turn.unlooked = (turns + 1, callbacks + self.queue.len());
        }
        self.turn.batch = self.queue.len();
        self.look(looked);
        Ok(())
    }

    /// The look of a turn ends: what is ready and due now is this turn's.
    fn look(&mut self, looked: bool) {
        self.turn.found = if looked { self.found() } else { Vec::new() };
        let mut due: Vec<_> = self
            .timers
            .iter()
            .filter(|timer| timer.deadline.is_some_and(|deadline| deadline <= self.clock))
            .collect();
        due.sort_by_key(|timer| (timer.deadline, timer.order));
        self.turn.due = due.iter().map(|timer| (timer.id, timer.order)).collect();
        self.turn.phase = Phase::Callbacks;
        self.turn.awake = false;
    }

    /// The turn ends: nothing of it may have been left out.
    fn finish(&mut self) -> Result<(), Mismatch> {
        match self.turn.phase {
            Phase::Over => return Ok(()),
            Phase::Look => self.look(true),
            Phase::Callbacks | Phase::Descriptors | Phase::Timers => {}
        }
        self.pop_unseen();
        if self.turn.batch > 0 {
            return Err(format!("{:?} was not run in its turn", self.queue.front()));
        }
        self.all_served()?;
        self.drop_stale_due();
        if let Some((id, _)) = self.turn.due.front() {
            return Err(format!("the timer {id} did not fire in its turn"));
        }
        self.turn.phase = Phase::Over;
        self.turn.last = std::mem::take(&mut self.stop);
        Ok(())
    }

    fn has_queued(&self) -> bool {
        self.queue.iter().any(|entry| *entry != Entry::Gone)
    }

    fn is_due(&self) -> bool {
        self.earliest().is_some_and(|deadline| deadline <= self.clock)
    }

    /// Whether timers are still to fire in this turn.
    pub(super) fn has_due_in_turn(&self) -> bool {
        self.turn.due.iter().any(|(id, _)| self.timers.iter().any(|timer| timer.id == *id))
    }

    fn can_jump(&self) -> bool {
        self.jumps && self.earliest().is_some()
    }

    fn has_work(&self) -> bool {
        self.has_queued() || self.is_due() || self.can_jump() || self.stop || self.turn.awake
    }

    /// The hooks before a sleep are called: at the beginning of a turn, before its look, or after one.
    fn about_to_sleep(&mut self, did: Sleepy, at: Stand) -> Result<(), Mismatch> {
        let (before, after) = self.mode.sleeps();
        let new = at.turn > self.turn.number;
        if new {
            self.finish()?;
        }
        // An embedded loop's clock jumps at the end of a turn.
        let too_early = self.stop || !self.queue.is_empty() || at.clock != self.clock;
        let in_look = new && before && !(after && too_early);
        if in_look {
            self.leap(at)?;
        }
        if new {
            self.begin(at)?;
        }
        if in_look {
            self.turn.phase = Phase::Look;
            // It may be after a turn of which nothing was seen.
            self.turn.unsure = after;
        } else if after {
            self.finish()?;
            self.leap(at)?;
            if self.turn.last && self.mode.way() != Way::Embedded {
                return Err("the run is over, and will not sleep".into());
            }
        } else {
            return Err("a turn calls the hooks once".into());
        }
        // The clock is not read for them: a timer may have come to be due meanwhile, and the sleep be no sleep.
        let jumps = self.can_jump() && !self.is_due();
        if self.has_queued() || jumps || self.stop {
            return Err("the loop is about to sleep, and has something to do".into());
        }
        match did {
            Sleepy::Stays => self.turn.awake = true,
            Sleepy::Stops => {
                self.turn.awake = true;
                self.stop = true;
            }
            Sleepy::Sleeps => {}
        }
        Ok(())
    }

    /// What an embedded loop's descriptor says before a turn.
    fn says(&mut self, readable: bool, ends: bool, at: Stand) -> Result<(), Mismatch> {
        self.stands_still(at)?;
        if !readable && (self.has_work() || self.has_ready()) {
            return Err("there is something to do, and the descriptor does not say so".into());
        }
        // A descriptor that was closed behind the loop's back may wake it once more.
        let sure = |said: &bool| !*said && !self.has_ready() && !self.is_haunted();
        if let Some(said) =
            self.turn.said.filter(|said| *said && !readable || sure(said) && readable)
        {
            return Err(format!("it said {said} of work being left, and its descriptor does not"));
        }
        self.stop |= ends;
        self.running = true;
        Ok(())
    }

    /// A turn of an embedded loop is over.
    fn turned(&mut self, work_left: bool, at: Stand) -> Result<(), Mismatch> {
        if at.turn > self.turn.number {
            self.finish()?;
            self.begin(at)?;
        }
        self.finish()?;
        self.leap(at)?;
        self.running = false;
        // A stop is told apart.
        let work = self.has_queued() || self.is_due() || self.can_jump() || self.turn.awake;
        if work && !work_left && !self.turn.last {
            return Err("the turn does not say that work is left".into());
        }
        self.turn.said = Some(work_left);
        Ok(())
    }

    fn ran(&mut self, ran: Ran, at: Stand) -> Result<(), Mismatch> {
        if at.turn > self.turn.number {
            self.finish()?;
            self.begin(at)?;
        }
        self.finish()?;
        self.stands_still(at)?;
        if !self.turn.last || ran != Ran::Stopped {
            return Err("the run ended, and nobody had stopped it".into());
        }
        if self.mode.way() == Way::Embedded && self.running {
            return Err("the run ended within a turn".into());
        }
        Ok(())
    }
}
