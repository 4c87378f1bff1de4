//! One turn after the other: what is called in each, in which order, and what must not be left out.

use std::collections::VecDeque;

use ioloop::observe::Origin;

use super::watches::Found;
use super::{Entry, Mismatch, Model};
use crate::program::Moment;
use crate::rig::Way;
use crate::trace::{Event, Id, Outcome, Ran, Sleepy, Stand};

/// While callbacks are queued, a turn may leave its poll out until there were so many calls.
const CALLS_PER_POLL: usize = 61;
/// Turns with nothing to do before something comes of them: more is spinning.
const IDLE_TURNS: u64 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Before its poll, which calls the hooks first.
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
    polls: u64,
    phase: Phase,
    /// How many at the front of the queue are this turn's.
    batch: usize,
    /// The watches that the poll has found ready, and that were not called yet.
    found: Vec<Found>,
    /// Something was called, or may have been, that was not an idle callback.
    busy: bool,
    /// What was cancelled may count as something to do, and what hooks do.
    unsure_idle: bool,
    /// The idle callbacks were called.
    idled: bool,
    /// The timers that are this turn's, each as it was set when the poll ended.
    due: VecDeque<(Id, u64)>,
    /// Callbacks of the queue since the last poll.
    unpolled: usize,
    /// A stop was asked for by the end of this turn: there is no other one in this run.
    last: bool,
    /// The hooks before a sleep were called, those after it not yet, which are these: what is added
    /// in the middle has nothing to end.
    asleep: Option<Vec<Id>>,
    /// A hook wants another turn.
    awake: bool,
    /// What an embedded loop said of itself after its last turn.
    said: Option<bool>,
}

impl Model<'_> {
    /// A run, from its beginning to its end.
    pub(super) fn turns(&mut self, at: Stand) -> Result<(), Mismatch> {
        self.turn.number = at.turn;
        self.turn.polls = at.polls;
        self.turn.last = false;
        self.turn.said = None;
        loop {
            if self.vanished()? {
                continue;
            }
            match self.trace.peek_cause().ok_or("nothing more was seen")? {
                Event::Begin { id, .. } if self.is_hook(id, Moment::After) => self.wake_up()?,
                Event::Drop { id, at: Some(at), .. } if self.is_cancelled(id) => {
                    self.go_to(at)?;
                    self.cancelled(id)?;
                }
                Event::Woken { at: Some(at), .. } => {
                    // By a sleep that is over.
                    self.go_to(at)?;
                    self.no_longer_asleep()?;
                    self.pop_all()?;
                    self.all_served()?;
                    self.turn.phase = Phase::Timers;
                    let left = self.turn.due.len();
                    self.fire_sleeps()?;
                    if self.turn.due.len() == left {
                        return Err("a future is woken, for which there is no reason".into());
                    }
                }
                Event::Begin { id, current, came, at } => {
                    self.go_to(at)?;
                    self.no_longer_asleep()?;
                    if self.is_hook(id, Moment::Idle) {
                        self.idle()?;
                        continue;
                    }
                    self.trace.take()?;
                    if !current {
                        return Err(format!("the loop is not current in {id}"));
                    }
                    self.called(id, came)?;
                }
                Event::Sleep { did, at } => {
                    self.trace.take()?;
                    self.about_to_sleep(did, at)?;
                }
                Event::Readable { readable, ends, at } => {
                    self.trace.take()?;
                    self.says(readable, ends, at)?;
                }
                Event::Turned { work_left, at } => {
                    self.trace.take()?;
                    self.turned(work_left, at)?;
                }
                Event::Drop { id, at: Some(at), .. } if self.main == Some(id) => {
                    self.go_to_end(at)?;
                    self.drop_main(id)?;
                }
                Event::Ran(ran, at) => {
                    self.trace.take()?;
                    return self.ran(ran, at);
                }
                other => return Err(format!("{other:?} belongs to no callback")),
            }
        }
    }

    /// Something is called; the only thing that may be, now.
    fn called(&mut self, id: Id, came: u16) -> Result<(), Mismatch> {
        while self.turn.batch > 0 {
            self.pop_unseen()?;
            let Some(front) = self.queue.front().copied().filter(|_| self.turn.batch > 0) else {
                break;
            };
            self.queue.pop_front();
            self.turn.batch -= 1;
            match front {
                Entry::Callback(next) if next == id => {
                    return self.call_once(id, Origin::Callback);
                }
                Entry::Poll(next) if next == id => return self.poll(id),
                // What is left of an earlier run's future may poll this one's; the entry of its own
                // is skipped then.
                Entry::Poll(next) if self.is_left_over(next) => {
                    if self.main == Some(id) {
                        return self.poll(id);
                    }
                }
                front => return Err(format!("{front:?} is to run now, not {id}")),
            }
        }
        if self.watch_of(id).is_some() {
            if self.turn.phase > Phase::Descriptors {
                return Err(format!("the watch {id} is called after timers have fired"));
            }
            self.turn.phase = Phase::Descriptors;
            self.turn.busy = true;
            self.turn.found = self.serve(id, came, &self.turn.found.clone())?;
            return self.call_watch(id);
        }
        self.all_served()?;
        self.turn.phase = Phase::Timers;
        self.fire_sleeps()?;
        match self.turn.due.pop_front() {
            Some((next, _)) if next == id => {
                self.turn.busy = true;
                self.timers.retain(|timer| timer.id != id);
                match self.periodic_of(id) {
                    Some(place) => self.call_periodic(place),
                    None => self.call_once(id, Origin::Timer),
                }
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
    fn pop_unseen(&mut self) -> Result<(), Mismatch> {
        while self.turn.batch > 0 {
            match self.queue.front().copied() {
                Some(Entry::Gone) => {}
                Some(Entry::Stop) => self.stop = true,
                Some(Entry::Poll(id)) if self.is_left_over(id) => return Ok(()),
                Some(Entry::Poll(id)) if !self.is_due_to_poll(id) => {}
                Some(Entry::Callback(_) | Entry::Poll(_)) | None => return Ok(()),
            }
            self.queue.pop_front();
            self.turn.batch -= 1;
        }
        Ok(())
    }

    /// Whether a poll is left over from a run that is over.
    fn is_left_over(&mut self, id: Id) -> bool {
        self.main != Some(id) && self.task(id).is_some_and(|task| task.main)
    }

    /// A cancelled future is dropped in its turn.
    fn cancelled(&mut self, id: Id) -> Result<(), Mismatch> {
        self.no_longer_asleep()?;
        while self.turn.batch > 0 {
            self.pop_unseen()?;
            let front = self.queue.pop_front();
            self.turn.batch = self.turn.batch.saturating_sub(1);
            match front {
                Some(Entry::Poll(next)) if next == id => return self.drop_cancelled(id),
                Some(Entry::Poll(next)) if self.is_left_over(next) => {}
                front => {
                    return Err(format!("{front:?} is to run now, and not {id} to be dropped"));
                }
            }
        }
        Err(format!("{id} is not to be dropped in this turn"))
    }

    /// The future that the run was for is dropped, at the end.
    fn drop_main(&mut self, id: Id) -> Result<(), Mismatch> {
        self.release(id)?;
        self.closed(id);
        self.discarded(id)
    }

    fn is_hook(&self, id: Id, moment: Moment) -> bool {
        self.hooks.iter().any(|hook| hook.id == id && hook.moment == moment)
    }

    /// The hooks after a sleep are called.
    fn wake_up(&mut self) -> Result<(), Mismatch> {
        match self.turn.asleep.take() {
            Some(hooks) => self.round_of(hooks).map(drop),
            None => Err("hooks after a sleep are called, and there was none".into()),
        }
    }

    /// The loop is closed, in a sleep of the foreign loop.
    pub(super) fn end_sleep(&mut self) -> Result<(), Mismatch> {
        if let Some(hooks) = self.turn.asleep.take() {
            let running = std::mem::replace(&mut self.running, true);
            self.round_of(hooks)?;
            self.running = running;
        }
        Ok(())
    }

    /// Something is called, which must not be before the hooks after a sleep.
    fn no_longer_asleep(&mut self) -> Result<(), Mismatch> {
        let asleep = self.turn.asleep.take().unwrap_or_default();
        if asleep.into_iter().any(|id| self.hook(id).is_some()) {
            return Err("the hooks after a sleep are to be called first".into());
        }
        Ok(())
    }

    /// The idle callbacks are called.
    fn idle(&mut self) -> Result<(), Mismatch> {
        self.no_longer_asleep()?;
        self.settle_turn()?;
        if self.turn.busy || self.turn.idled {
            return Err("idle callbacks are called, and the turn had something else to do".into());
        }
        self.turn.idled = true;
        self.round(Moment::Idle).map(drop)
    }

    /// Forgets the due timers that were cancelled or reset.
    fn drop_stale_due(&mut self) {
        let timers = &self.timers;
        self.turn.due.retain(|(id, order)| {
            timers.iter().any(|timer| timer.id == *id && timer.order == *order)
        });
    }

    /// Fires the timers that only wake a future, up to the next that calls back.
    fn fire_sleeps(&mut self) -> Result<(), Mismatch> {
        loop {
            self.drop_stale_due();
            let Some((id, _)) =
                self.turn.due.front().copied().filter(|(id, _)| Model::is_sleep(*id))
            else {
                return Ok(());
            };
            self.turn.busy = true;
            self.turn.due.pop_front();
            self.timers.retain(|timer| timer.id != id);
            self.fire_sleep(id)?;
        }
    }

    /// Brings the model to the turn after which something was seen.
    fn go_to_end(&mut self, at: Stand) -> Result<(), Mismatch> {
        if at.turn > self.turn.number {
            self.finish()?;
            self.begin(at)?;
        }
        self.finish()?;
        self.stands_still(at)
    }

    /// Brings the model to the turn in which something was seen.
    fn go_to(&mut self, at: Stand) -> Result<(), Mismatch> {
        if at.turn > self.turn.number {
            self.finish()?;
            self.leap(at)?;
            self.begin(at)?;
        }
        if self.turn.phase == Phase::Look {
            self.end_poll(true);
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
        let done = self.main.is_some_and(|main| self.is_finished(main));
        if done || self.turn.last {
            return Err("the loop went on after its run was over".into());
        }
        self.no_longer_asleep()?;
        let idle = at.turn - self.turn.number - 1;
        if idle > IDLE_TURNS {
            return Err(format!("the loop made {idle} turns for nothing"));
        }
        let mut polls = at.polls - self.turn.polls;
        if idle > 0 {
            if self.has_queued() || self.stop {
                return Err(format!("{idle} turns passed over what was queued"));
            }
            // With what was cancelled in the queue, the first of them need not have polled.
            let unpolled = u64::from(!self.queue.is_empty() && polls <= idle);
            if polls + unpolled <= idle && !self.mode.is_hosted() {
                return Err("with nothing queued a turn has to poll the descriptors".into());
            }
            // What was closed behind the loop's back may have been something to do, once.
            let haunted = u64::from(self.is_haunted());
            if self.has_idle() && idle > u64::from(!self.queue.is_empty()) + haunted {
                return Err(format!("{idle} turns passed over the idle callbacks"));
            }
            if self.has_ready() && idle > unpolled {
                return Err(format!("{idle} turns passed over what was ready"));
            }
            // What a host has polled for is not counted, but for what is ready.
            let sure = !self.mode.is_hosted() || polls > 0 && self.has_ready();
            polls = polls.saturating_sub(idle).max(u64::from(sure));
            self.queue.clear();
        }
        if polls > 1 {
            return Err("more polls than turns".into());
        }
        let polled = polls == 1;
        self.turn.number = at.turn;
        self.turn.polls = at.polls;
        if polled {
            self.turn.unpolled = 0;
        } else {
            // A host that has just said that the loop's descriptor is not readable has polled for
            // it.
            let told = self.mode.is_hosted() && !self.has_ready();
            if self.queue.is_empty() && !told {
                return Err("with nothing queued the turn has to poll the descriptors".into());
            }
            if self.stop {
                return Err("a turn that is the last has to poll the descriptors".into());
            }
            if self.turn.unpolled >= CALLS_PER_POLL {
                return Err("the descriptors were not polled for too long".into());
            }
        }
        self.turn.unpolled += self.queue.len();
        self.turn.batch = self.queue.len();
        self.turn.busy = self.has_queued();
        self.turn.unsure_idle = self.turn.batch > 0;
        self.turn.idled = false;
        self.end_poll(polled);
        Ok(())
    }

    /// The poll of a turn ends: what is ready and due now is this turn's.
    fn end_poll(&mut self, polled: bool) {
        self.turn.found = if polled { self.found() } else { Vec::new() };
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
        if self.turn.phase == Phase::Over {
            return Ok(());
        }
        if self.turn.phase == Phase::Look {
            self.end_poll(true);
            self.no_longer_asleep()?;
        }
        self.settle_turn()?;
        let unsure = self.turn.unsure_idle || self.is_haunted();
        if self.has_idle() && !self.turn.busy && !self.turn.idled && !unsure {
            return Err(
                "idle callbacks were not called in a turn that had nothing else to do".into()
            );
        }
        self.turn.phase = Phase::Over;
        self.turn.last = std::mem::take(&mut self.stop);
        Ok(())
    }

    /// All but the idle callbacks of this turn was called.
    fn settle_turn(&mut self) -> Result<(), Mismatch> {
        self.pop_all()?;
        self.all_served()?;
        self.fire_sleeps()?;
        match self.turn.due.front() {
            Some((id, _)) => Err(format!("the timer {id} did not fire in its turn")),
            None => Ok(()),
        }
    }

    /// All of the queue that is this turn's has run.
    fn pop_all(&mut self) -> Result<(), Mismatch> {
        self.pop_unseen()?;
        while self.turn.batch > 0 {
            match self.queue.front().copied() {
                Some(Entry::Poll(id)) if self.is_left_over(id) => {
                    self.queue.pop_front();
                    self.turn.batch -= 1;
                    self.pop_unseen()?;
                }
                front => return Err(format!("{front:?} was not run in its turn")),
            }
        }
        Ok(())
    }

    fn has_queued(&self) -> bool {
        self.queue.iter().any(|entry| match entry {
            Entry::Gone => false,
            Entry::Callback(_) | Entry::Stop => true,
            Entry::Poll(id) => self.tasks.iter().any(|task| {
                task.id == *id && task.outcome.is_none() && (!task.main || self.main == Some(*id))
            }),
        })
    }

    fn is_due(&self) -> bool {
        self.earliest().is_some_and(|deadline| deadline <= self.clock)
    }

    /// Whether timers are still to fire in this turn.
    pub(super) fn has_due_in_turn(&self) -> bool {
        self.turn.due.iter().any(|(id, _)| self.timers.iter().any(|timer| timer.id == *id))
    }

    fn can_jump(&self) -> bool {
        self.jumps && self.earliest().is_some() && !self.has_idle()
    }

    fn has_work(&self) -> bool {
        let queued = self.has_queued() || self.has_idle();
        queued || self.is_due() || self.can_jump() || self.stop || self.turn.awake
    }

    /// The hooks before a sleep are called: around a poll, whether it waits or not, or after a
    /// turn.
    fn about_to_sleep(&mut self, did: Sleepy, at: Stand) -> Result<(), Mismatch> {
        self.no_longer_asleep()?;
        let in_poll = at.polls > self.turn.polls;
        if at.turn > self.turn.number {
            self.finish()?;
            if in_poll {
                self.leap(at)?;
            }
            self.begin(at)?;
        } else if in_poll {
            return Err("a turn polls once".into());
        }
        if in_poll {
            self.turn.phase = Phase::Look;
            self.turn.unsure_idle = true;
        } else {
            self.finish()?;
            self.leap(at)?;
            if !self.mode.sleeps_after_turns() {
                return Err("a poll calls the hooks once".into());
            }
            if self.turn.last && self.mode.way() != Way::Embedded {
                return Err("the run is over, and will not sleep".into());
            }
            // The clock is not read for them: a timer may have come to be due meanwhile, and the
            // sleep be no sleep.
            let jumps = self.can_jump() && !self.is_due();
            if self.has_queued() || jumps || self.stop || self.has_idle() {
                return Err("the loop is about to sleep, and has something to do".into());
            }
        }
        match did {
            Sleepy::Stays => self.turn.awake = true,
            Sleepy::Stops => {
                self.turn.awake = true;
                self.stop = true;
            }
            Sleepy::Sleeps => {}
        }
        let after = self.hooks_at(Moment::After);
        // The program's own hook is the first.
        if self.round(Moment::Before)? {
            self.turn.awake = true;
        }
        self.turn.asleep = Some(after);
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
        let queued = self.has_queued() || self.has_idle();
        let work = queued || self.is_due() || self.can_jump() || self.turn.awake;
        if work && !work_left && !self.turn.last {
            return Err("the turn does not say that work is left".into());
        }
        self.turn.said = Some(work_left);
        Ok(())
    }

    fn ran(&mut self, ran: Ran, at: Stand) -> Result<(), Mismatch> {
        self.go_to_end(at)?;
        let main = self.main.and_then(|id| self.task(id).cloned());
        let expected = match main.and_then(|main| main.outcome) {
            Some(Outcome::Value) => Ran::Done,
            Some(Outcome::Panicked) => Ran::Panicked,
            _ if self.turn.last => Ran::Stopped,
            // What it has left undone is the next run's.
            _ if ran == Ran::Dropped => Ran::Dropped,
            _ => return Err("the run ended, and nobody had stopped it".into()),
        };
        if ran != expected {
            return Err(format!("the run ends with {expected:?}"));
        }
        if self.mode.way() == Way::Embedded && self.running {
            return Err("the run ended within a turn".into());
        }
        if self.main.is_some_and(|id| self.alive.contains_key(&id)) {
            return Err("the future that the run was for is to be dropped before it ends".into());
        }
        Ok(())
    }
}
