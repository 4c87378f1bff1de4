//! What each operation does and answers.

use super::tasks::Promise;
use super::{Entry, Finished, Held, Life, Mismatch, Model, Timer};
use crate::program::{Body, Op};
use crate::rig::Way;
use crate::trace::{Answer, Event, Id, PLACES, Ran};

/// A millisecond of the program's clock.
pub(super) const MS: i64 = 1_000_000;

fn at(place: u8) -> usize {
    usize::from(place) % PLACES
}

impl Model<'_> {
    /// One operation, done by `id`; false if it panics.
    pub(super) fn op(&mut self, id: Id, op: &Op, may_panic: bool) -> Finished {
        match op {
            Op::CallSoon { body, guard } => {
                let new = self.born(body);
                let cancelled = self.enqueue(new)?;
                self.held.push(Held::Callback { id: new, guard: *guard, cancelled });
                self.answer(Answer::Is(cancelled))
            }
            Op::Post { body, .. } => {
                let new = self.born(body);
                let refused = self.life != Life::Open;
                if refused {
                    // Nobody is told of a panic here: it may be any thread.
                    self.dropped(new)?;
                } else {
                    self.enqueue(new)?;
                }
                self.answer(if refused { Answer::Closed } else { Answer::Done })
            }
            Op::CallLater { body, delay, guard } => {
                let deadline = (*delay != u8::MAX).then(|| self.clock + i64::from(*delay) * MS);
                self.set_timer(body, deadline, *guard)
            }
            Op::CallAt { body, at, guard } => {
                self.set_timer(body, Some(i64::from(*at) * MS), *guard)
            }
            Op::Periodic { period, calls } => self.add_periodic(*period, calls),
            Op::End(back) => {
                let Some(index) = self.index(*back) else { return self.answer(Answer::Nothing) };
                let ended = match self.held[index] {
                    Held::Periodic { id } => {
                        self.stop_periodic(id);
                        return self.answer(Answer::Done);
                    }
                    Held::Callback { cancelled: true, .. }
                    | Held::Timer { cancelled: true, .. } => false,
                    Held::Callback { id, .. } | Held::Timer { id, .. } => self.cancel(id)?,
                    Held::Watch { id, .. } => self.end(id)?,
                    Held::Hook { id, .. } => self.end_hook(id)?,
                    Held::Task { id, taken: false, .. } => {
                        self.cancel_task(id);
                        return self.answer(Answer::Done);
                    }
                    Held::Task { .. } | Held::Resolver { .. } | Held::Deferred { .. } => {
                        return self.answer(Answer::Nothing);
                    }
                    Held::Gone => return self.answer(Answer::Nothing),
                };
                if ended {
                    if let Held::Callback { cancelled, .. } | Held::Timer { cancelled, .. } =
                        &mut self.held[index]
                    {
                        *cancelled = true;
                    }
                }
                self.answer(Answer::Is(ended))
            }
            Op::Ask(back) => {
                let held = self.index(*back).map(|index| self.held[index]);
                if let Some(Held::Task { id, taken: false, .. }) = held {
                    if self.doomed.contains(&id) {
                        return self.answer_either();
                    }
                    let finished = self.is_finished(id);
                    return self.answer(Answer::Is(finished));
                }
                if let Some(Held::Periodic { id }) = held {
                    return self.answer_running(id);
                }
                if let Some(Held::Deferred { number, taken: false }) = held {
                    let finished = self.promises[number].outcome.is_some();
                    return self.answer(Answer::Is(finished));
                }
                self.answer(match held {
                    Some(Held::Callback { cancelled, .. } | Held::Timer { cancelled, .. }) => {
                        Answer::Is(cancelled)
                    }
                    _ => Answer::Nothing,
                })
            }
            Op::Forget(back) => match self.index(*back) {
                Some(index) => {
                    self.forget(index)?;
                    self.answer(Answer::Done)
                }
                None => self.answer(Answer::Nothing),
            },
            Op::Reset(back, ms) => {
                let deadline = self.clock + i64::from(*ms) * MS;
                let answer = match self.index(*back).map(|index| self.held[index]) {
                    // Within `close` it may be there still, and be dropped next.
                    Some(Held::Timer { id, .. }) if self.doomed.contains(&id) => {
                        return self.answer_either();
                    }
                    Some(Held::Timer { id, .. }) => Answer::Is(self.reset(id, deadline)),
                    _ => Answer::Nothing,
                };
                self.answer(answer)
            }
            Op::Open { .. } => self.open(),
            Op::Shut(place) => self.shut(at(*place)),
            Op::Dup(from, to) => self.dup(at(*from), at(*to)),
            Op::Write(place)
            | Op::Fill(place)
            | Op::Read(place)
            | Op::Drain(place)
            | Op::HalfClose(place) => self.transfer(at(*place)),
            Op::Watch { place, role, share, calls, end, guard } => {
                self.add_watch(at(*place), *role, *share, (calls, end), *guard)
            }
            Op::Pause(back) => match self.watch_at(*back) {
                Some(id) => self.pause(id),
                None => self.answer(Answer::Nothing),
            },
            Op::Resume(back) => match self.index(*back).map(|index| self.held[index]) {
                Some(Held::Watch { id, .. }) => self.resume(id),
                Some(Held::Periodic { id }) => {
                    self.start_periodic(id);
                    self.answer_running(id)
                }
                _ => self.answer(Answer::Nothing),
            },
            Op::Unwatch(place, role) => self.unwatch(at(*place), *role),
            Op::Update(place, wanted) => self.update(at(*place), *wanted),
            Op::Spawn { steps, end, guard } => {
                let id = self.spawn(steps, end)?;
                self.held.push(Held::Task { id, guard: *guard, taken: false });
                self.answer(Answer::Is(self.life != Life::Open))
            }
            Op::Defer => {
                let number = self.promises.len();
                self.promises.push(Promise::default());
                self.held.push(Held::Resolver { number, taken: false });
                self.held.push(Held::Deferred { number, taken: false });
                self.answer(Answer::Done)
            }
            Op::Resolve { back, .. } => self.resolve(*back),
            Op::Hook { moment, calls, stays, end, guard } => {
                self.add_hook(*moment, (calls, end), *stays, *guard)
            }
            Op::RunFor { steps, end } if self.mode.way() == Way::Embedded => {
                let id = self.spawn(steps, end)?;
                self.detach(id, false)?;
                self.run(None).map(|()| true)
            }
            Op::RunFor { steps, end } => {
                let id = self.set_main(steps, end);
                self.run(Some(id)).map(|()| true)
            }
            Op::Stop => {
                if self.life == Life::Open {
                    self.stop = true;
                }
                self.answer(Answer::Done)
            }
            Op::PostStop { .. } => {
                if self.life != Life::Open {
                    return self.answer(Answer::Closed);
                }
                self.queue.push_back(Entry::Stop);
                self.answer(Answer::Done)
            }
            Op::Advance(ms) => {
                self.clock += i64::from(*ms) * MS;
                self.answer(Answer::Done)
            }
            Op::Jumps(jumps) => {
                self.jumps = *jumps;
                self.answer(Answer::Done)
            }
            Op::Panic if may_panic => {
                self.trace.expect(Event::Panics(id))?;
                Ok(false)
            }
            Op::Panic => self.answer(Answer::Nothing),
            Op::Run => self.run(None).map(|()| true),
            Op::RunPart if self.mode.way() == Way::Attached => self.run(None).map(|()| true),
            Op::RunPart => self.answer(Answer::Nothing),
            Op::Close => {
                if self.running {
                    return self.answer(Answer::AlreadyRunning);
                }
                self.close()?;
                self.answer(Answer::Done)
            }
            Op::Count => {
                let Event::Answer(Answer::Holds { timers, watches, tasks, next, running, closed }) =
                    self.trace.take()?
                else {
                    return Err("expected what the loop holds".into());
                };
                if running != self.running || closed != (self.life != Life::Open) {
                    return Err("it says wrongly whether it is running, or closed".into());
                }
                if self.life == Life::Closing {
                    return Ok(true);
                }
                if timers != self.timers.len() {
                    return Err(format!("there are {} timers", self.timers.len()));
                }
                let live = self.watches.iter().filter(|watch| !watch.ended).count();
                if watches != live {
                    return Err(format!("there are {live} watches"));
                }
                if tasks != self.count_tasks() {
                    return Err(format!("there are {} tasks", self.count_tasks()));
                }
                let earliest = self.earliest();
                let right = match earliest {
                    Some(deadline) => next == Some(deadline),
                    // Those that never come have some deadline, far away.
                    None => next.is_some() != self.timers.is_empty(),
                };
                // Within a turn those that are this turn's may be left out.
                if !right && !self.has_due_in_turn() {
                    return Err(format!("the next deadline is {earliest:?}"));
                }
                Ok(true)
            }
        }
    }

    pub(super) fn index(&self, back: u8) -> Option<usize> {
        let len = self.held.len();
        (len > 0).then(|| len - 1 - usize::from(back) % len)
    }

    fn watch_at(&self, back: u8) -> Option<Id> {
        match self.held[self.index(back)?] {
            Held::Watch { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Queues a callback, or drops it at once; says whether it was dropped.
    fn enqueue(&mut self, id: Id) -> Finished {
        if self.life != Life::Open {
            self.discarded(id)?;
            return Ok(true);
        }
        self.queue.push_back(Entry::Callback(id));
        Ok(false)
    }

    fn set_timer(&mut self, body: &Body, deadline: Option<i64>, guard: bool) -> Finished {
        let id = self.born(body);
        let cancelled = self.life != Life::Open;
        if cancelled {
            self.discarded(id)?;
        } else {
            self.orders += 1;
            self.timers.push(Timer { id, deadline, order: self.orders });
        }
        self.held.push(Held::Timer { id, guard, cancelled });
        self.answer(Answer::Is(cancelled))
    }

    fn reset(&mut self, id: Id, deadline: i64) -> bool {
        self.orders += 1;
        let order = self.orders;
        match self.timers.iter_mut().find(|timer| timer.id == id) {
            Some(timer) => {
                *timer = Timer { id, deadline: Some(deadline), order };
                true
            }
            None => false,
        }
    }

    /// The earliest deadline of those that come.
    pub(super) fn earliest(&self) -> Option<i64> {
        self.timers.iter().filter_map(|timer| timer.deadline).min()
    }

    /// A run, refused or not.
    fn run(&mut self, main: Option<Id>) -> Result<(), Mismatch> {
        let Event::Run(at) = self.trace.take()? else { return Err("expected a run".into()) };
        self.stands_still(at)?;
        let refused = match (self.running, self.life) {
            (true, _) => Some(Ran::AlreadyRunning),
            (false, Life::Open) => None,
            (false, Life::Closing | Life::Closed) => Some(Ran::Closed),
        };
        if let Some(mut refused) = refused {
            if let Some(main) = main {
                self.release(main)?;
                self.closed(main);
                // It is the caller's, and so is its panic.
                if !self.dropped(main)? {
                    refused = Ran::Panicked;
                }
            }
            return match self.trace.take()? {
                Event::Ran(ran, at) if ran == refused => self.stands_still(at),
                _ => Err(format!("expected the run to be refused: {refused:?}")),
            };
        }
        // An embedded loop is running only inside its turns.
        self.running = self.mode.way() != Way::Embedded;
        if let Some(main) = main {
            self.queue.push_back(Entry::Poll(main));
        }
        self.main = main;
        self.turns(at)?;
        self.running = false;
        self.main = None;
        Ok(())
    }
}
