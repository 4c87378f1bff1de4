//! Futures: tasks, what a run is for, and what they await.

use ioloop::observe::Origin;

use super::{Alive, Entry, Finished, Held, Life, Mismatch, Model, Timer};
use crate::model::ops::MS;
use crate::program::{Script, Step, Wait};
use crate::trace::{Answer, Event, Id, Outcome};

/// The timer of a future's sleep, among the ids.
const SLEEP: Id = 1 << 31;

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: Id,
    steps: Vec<Step>,
    next: usize,
    waits: Option<Waits>,
    /// It is in the queue.
    scheduled: bool,
    /// It has waited: a cancellation wakes it.
    waited: bool,
    cancelled: bool,
    /// Nobody holds it any more.
    pub(super) detached: bool,
    pub(super) outcome: Option<Outcome>,
    /// Somebody has got the outcome.
    taken: bool,
    /// The future that awaits it.
    waiter: Option<Id>,
    /// A run is for it; it is no task.
    pub(super) main: bool,
}

/// What a future awaits.
#[derive(Clone, Copy, Debug)]
enum Waits {
    Yield,
    For { what: Option<What>, sleeps: bool, fired: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Task { id: Id, guard: bool },
    Deferred(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    pub(super) outcome: Option<Outcome>,
    pub(super) abandoned: bool,
    waiter: Option<Id>,
}

impl Model<'_> {
    pub(super) fn task(&mut self, id: Id) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.id == id)
    }

    /// A future is made.
    fn future(&mut self, steps: &[Step], end: &Script, main: bool) -> Id {
        let id = self.born(Alive { calls: Vec::new(), end: end.clone(), watch: false });
        self.tasks.push(Task {
            id,
            steps: steps.to_vec(),
            next: 0,
            waits: None,
            scheduled: true,
            waited: false,
            cancelled: false,
            detached: false,
            outcome: None,
            taken: false,
            waiter: None,
            main,
        });
        id
    }

    pub(super) fn spawn(&mut self, steps: &[Step], end: &Script) -> Result<Id, Mismatch> {
        let id = self.future(steps, end, false);
        if self.life == Life::Open {
            self.queue.push_back(Entry::Poll(id));
        } else {
            self.set_outcome(id, Outcome::Closed)?;
            self.discarded(id)?;
        }
        Ok(id)
    }

    pub(super) fn is_finished(&mut self, id: Id) -> bool {
        self.task(id).is_none_or(|task| task.outcome.is_some())
    }

    /// The tasks there are.
    pub(super) fn count_tasks(&self) -> usize {
        self.tasks.iter().filter(|task| task.outcome.is_none() && !task.main).count()
    }

    fn schedule(&mut self, id: Id) {
        let open = self.life == Life::Open;
        let Some(task) = self.task(id) else { return };
        if task.outcome.is_none() && !task.scheduled && open {
            task.scheduled = true;
            self.queue.push_back(Entry::Poll(id));
        }
    }

    /// A future is woken by whoever completes what it awaits.
    fn wake(&mut self, id: Id) -> Result<(), Mismatch> {
        if self.life == Life::Open {
            match self.trace.take()? {
                Event::Woken { id: seen, .. } if seen == id => self.schedule(id),
                _ => return Err(format!("{id} is to be woken now")),
            }
        }
        Ok(())
    }

    pub(super) fn cancel_task(&mut self, id: Id) {
        let Some(task) = self.task(id) else { return };
        if task.outcome.is_none() && !task.detached {
            task.cancelled = true;
            if task.waited {
                self.schedule(id);
            }
        }
    }

    /// What stands for a task is dropped.
    pub(super) fn detach(&mut self, id: Id, guard: bool) -> Result<(), Mismatch> {
        if guard {
            self.cancel_task(id);
        }
        let Some(task) = self.task(id) else { return Ok(()) };
        task.detached = true;
        task.waiter = None;
        // Nobody can take it any more.
        if task.outcome == Some(Outcome::Panicked) && !task.taken {
            self.reported(&[Origin::Task], id)?;
        }
        Ok(())
    }

    /// What awaits a task that has panicked is dropped, with others and in whatever order: nobody
    /// takes the panic any more. True once.
    pub(super) fn loses_panic(&mut self, id: Id) -> bool {
        let loses = |task: &&mut Task| task.outcome == Some(Outcome::Panicked) && !task.detached;
        self.task(id).filter(loses).is_some_and(|task| {
            task.detached = true;
            !std::mem::replace(&mut task.taken, true)
        })
    }

    fn set_outcome(&mut self, id: Id, outcome: Outcome) -> Result<(), Mismatch> {
        let waiter = self.task(id).and_then(|task| {
            task.outcome = Some(outcome);
            task.waiter.take()
        });
        waiter.map_or(Ok(()), |waiter| self.wake(waiter))
    }

    /// An entry of the queue that polls a future, or drops it. False if there is nothing to do for
    /// it.
    pub(super) fn is_due_to_poll(&mut self, id: Id) -> bool {
        self.task(id).is_some_and(|task| task.outcome.is_none() && task.scheduled)
    }

    pub(super) fn is_cancelled(&mut self, id: Id) -> bool {
        self.task(id).is_some_and(|task| task.outcome.is_none() && task.cancelled)
    }

    /// A cancelled future is dropped instead of polled.
    pub(super) fn drop_cancelled(&mut self, id: Id) -> Result<(), Mismatch> {
        if let Some(task) = self.task(id) {
            task.scheduled = false;
        }
        self.release(id)?;
        self.discarded(id)?;
        self.set_outcome(id, Outcome::Cancelled)
    }

    /// What a future awaits is dropped.
    pub(super) fn release(&mut self, id: Id) -> Result<(), Mismatch> {
        let waits = self.task(id).and_then(|task| task.waits.take());
        let Some(Waits::For { what, .. }) = waits else { return Ok(()) };
        self.timers.retain(|timer| timer.id != SLEEP | id);
        match what {
            Some(What::Task { id, guard }) => self.detach(id, guard)?,
            Some(What::Deferred(number)) => {
                self.promises[number].abandoned = true;
                self.promises[number].waiter = None;
            }
            None => {}
        }
        Ok(())
    }

    /// Whether a timer is a future's sleep.
    pub(super) fn is_sleep(id: Id) -> bool {
        id & SLEEP != 0
    }

    /// A future's sleep is over.
    pub(super) fn fire_sleep(&mut self, timer: Id) -> Result<(), Mismatch> {
        let id = timer & !SLEEP;
        let Some(Task { waits: Some(Waits::For { fired, .. }), .. }) = self.task(id) else {
            return Err(format!("{id} does not sleep"));
        };
        *fired = true;
        self.wake(id)
    }

    /// One poll, from its beginning.
    pub(super) fn poll(&mut self, id: Id) -> Result<(), Mismatch> {
        if let Some(task) = self.task(id) {
            task.scheduled = false;
        }
        let returned = self.poll_on(id)?;
        let Some(outcome) = returned else { return self.waits(id) };
        let main = self.task(id).is_some_and(|task| task.main);
        self.set_outcome(id, outcome)?;
        let unseen = self.task(id).is_some_and(|task| task.detached);
        if outcome == Outcome::Panicked && unseen && !main {
            self.reported(&[Origin::Task], id)?;
        }
        Ok(())
    }

    /// At the end of a poll: one that was cancelled in it is dropped.
    fn waits(&mut self, id: Id) -> Result<(), Mismatch> {
        if let Some(task) = self.task(id) {
            task.waited = true;
        }
        if self.is_cancelled(id) { self.drop_cancelled(id) } else { Ok(()) }
    }

    /// One poll; what came of the future if that is done.
    fn poll_on(&mut self, id: Id) -> Result<Option<Outcome>, Mismatch> {
        loop {
            if !self.awaited(id)? {
                self.trace.expect(Event::Waits(id))?;
                return Ok(None);
            }
            let task = self.task(id).ok_or("a future that is not there")?;
            let Some(step) = task.steps.get(task.next).cloned() else {
                break;
            };
            task.next += 1;
            if !self.script(id, &step.call, true)? {
                self.dropped(id)?;
                return Ok(Some(Outcome::Panicked));
            }
            self.await_now(id, step.wait)?;
        }
        if !self.dropped(id)? {
            return Ok(Some(Outcome::Panicked));
        }
        self.trace.expect(Event::End(id))?;
        Ok(Some(Outcome::Value))
    }

    /// Begins to await something.
    fn await_now(&mut self, id: Id, wait: Wait) -> Result<(), Mismatch> {
        let (what, sleeps) = match wait {
            Wait::Yield => {
                self.set_waits(id, Waits::Yield);
                return Ok(());
            }
            Wait::Sleep(delay) => (None, Some(delay)),
            Wait::For(back) => match self.take_held(back) {
                Some(what) => (Some(what), None),
                None => return Ok(()),
            },
            Wait::Limited(limit, back) => match self.take_held(back) {
                Some(what) => (Some(what), Some(limit)),
                None => return Ok(()),
            },
        };
        if let Some(delay) = sleeps {
            self.orders += 1;
            let deadline = Some(self.clock + i64::from(delay) * MS);
            self.timers.push(Timer { id: SLEEP | id, deadline, order: self.orders });
        }
        self.set_waits(id, Waits::For { what, sleeps: sleeps.is_some(), fired: false });
        Ok(())
    }

    fn set_waits(&mut self, id: Id, waits: Waits) {
        if let Some(task) = self.task(id) {
            task.waits = Some(waits);
        }
    }

    /// Takes a task or a deferred out of what was handed out.
    fn take_held(&mut self, back: u8) -> Option<What> {
        let index = self.index(back)?;
        let what = match self.held[index] {
            Held::Task { id, guard, taken: false } => What::Task { id, guard },
            Held::Deferred { number, taken: false } => What::Deferred(number),
            _ => return None,
        };
        if let Held::Task { taken, .. } | Held::Deferred { taken, .. } = &mut self.held[index] {
            *taken = true;
        }
        Some(what)
    }

    /// Polls what a future awaits; true if it may go on.
    fn awaited(&mut self, id: Id) -> Finished {
        let Some(waits) = self.task(id).and_then(|task| task.waits) else { return Ok(true) };
        let Waits::For { what, sleeps, fired } = waits else {
            // The first time it wakes itself, and the second it is done.
            let yields =
                matches!(self.trace.peek(), Some(Event::Woken { id: seen, .. }) if seen == id);
            if yields {
                self.wake(id)?;
                return Ok(false);
            }
            self.trace.expect(Event::Got(id, Outcome::Value))?;
            self.release(id)?;
            return Ok(true);
        };
        let came = match what {
            Some(What::Task { id: other, .. }) => self.task(other).and_then(|task| {
                task.waiter = Some(id);
                task.taken |= task.outcome.is_some();
                task.outcome
            }),
            Some(What::Deferred(number)) => {
                self.promises[number].waiter = Some(id);
                self.promises[number].outcome
            }
            None => None,
        };
        let over = match what {
            Some(_) => Outcome::Elapsed,
            None => Outcome::Value,
        };
        let Some(outcome) = came.or((sleeps && fired).then_some(over)) else { return Ok(false) };
        self.release(id)?;
        self.trace.expect(Event::Got(id, outcome))?;
        Ok(true)
    }

    pub(super) fn resolve(&mut self, back: u8) -> Finished {
        let index = self.index(back);
        let Some(Held::Resolver { number, taken }) = index.map(|index| &mut self.held[index])
        else {
            return self.answer(Answer::Nothing);
        };
        if std::mem::replace(taken, true) {
            return self.answer(Answer::Nothing);
        }
        let number = *number;
        let wanted = !self.promises[number].abandoned;
        self.settle_promise(number, Outcome::Value)?;
        self.answer(Answer::Is(wanted))
    }

    /// A deferred has its value, or will never have one.
    pub(super) fn settle_promise(
        &mut self,
        number: usize,
        outcome: Outcome,
    ) -> Result<(), Mismatch> {
        let promise = &mut self.promises[number];
        promise.outcome = Some(outcome);
        let waiter = promise.waiter.take();
        waiter.map_or(Ok(()), |waiter| self.wake(waiter))
    }

    /// The future that a run is for.
    pub(super) fn set_main(&mut self, steps: &[Step], end: &Script) -> Id {
        self.future(steps, end, true)
    }

    /// A future that will not be polled any more is gone, and its task answers.
    pub(super) fn closed(&mut self, id: Id) {
        if let Some(task) = self.task(id).filter(|task| task.outcome.is_none()) {
            task.outcome = Some(match task.cancelled {
                true => Outcome::Cancelled,
                false => Outcome::Closed,
            });
        }
    }
}
