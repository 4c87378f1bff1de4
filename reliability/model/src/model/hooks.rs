//! Hooks: in rounds, in the order added, before a sleep, after it, and where there is nothing else
//! to do.

use ioloop::observe::Origin;

use super::{Alive, Finished, Held, Life, Model};
use crate::program::{Moment, Op, Script};
use crate::trace::{Answer, Event, Id};

#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) id: Id,
    pub(super) moment: Moment,
    stays: bool,
    calls: usize,
    running: bool,
    pub(super) ended: bool,
}

impl Model<'_> {
    pub(super) fn add_hook(
        &mut self,
        moment: Moment,
        alive: (&[Script], &Script),
        stays: bool,
        guard: bool,
    ) -> Finished {
        let (calls, end) = alive;
        let id = self.born(Alive { calls: calls.to_vec(), end: end.clone(), watch: false });
        if self.life == Life::Open {
            let (calls, running, ended) = (0, false, false);
            self.hooks.push(Hook { id, moment, stays, calls, running, ended });
        } else {
            self.discarded(id)?;
        }
        self.held.push(Held::Hook { id, guard });
        self.answer(Answer::Done)
    }

    pub(super) fn hook(&mut self, id: Id) -> Option<&mut Hook> {
        self.hooks.iter_mut().find(|hook| hook.id == id && !hook.ended)
    }

    /// The hooks of a kind.
    pub(super) fn hooks_at(&self, moment: Moment) -> Vec<Id> {
        let live = self.hooks.iter().filter(|hook| !hook.ended && hook.moment == moment);
        live.map(|hook| hook.id).collect()
    }

    pub(super) fn has_idle(&self) -> bool {
        !self.hooks_at(Moment::Idle).is_empty()
    }

    /// Removes a hook; says whether it was there.
    pub(super) fn remove_hook(&mut self, id: Id) -> Finished {
        if self.life != Life::Open {
            return Ok(false);
        }
        let Some(hook) = self.hook(id) else { return Ok(false) };
        hook.ended = true;
        if !hook.running {
            self.hooks.retain(|hook| hook.id != id);
            self.discarded(id)?;
        }
        Ok(true)
    }

    /// Calls each hook of a kind, but those that are removed meanwhile; says whether one wants
    /// another turn.
    pub(super) fn round(&mut self, moment: Moment) -> Finished {
        self.round_of(self.hooks_at(moment))
    }

    /// The same for some of them.
    pub(super) fn round_of(&mut self, hooks: Vec<Id>) -> Finished {
        let mut stay = false;
        for id in hooks {
            if self.hook(id).is_none() {
                continue;
            }
            match self.trace.take()? {
                Event::Begin { id: seen, current: true, at, .. } if seen == id => {
                    self.stands_still(at)?;
                }
                _ => return Err(format!("the hook {id} is to be called now")),
            }
            stay |= self.call_hook(id)?;
        }
        Ok(stay)
    }

    /// One call; says whether it wants another turn.
    fn call_hook(&mut self, id: Id) -> Finished {
        let Some(hook) = self.hook(id) else { return Err(format!("the hook {id} has ended")) };
        hook.running = true;
        let (calls, stays, moment) = (hook.calls, hook.stays, hook.moment);
        hook.calls += 1;
        let call = self.alive.get(&id).and_then(|alive| alive.calls.get(calls).cloned());
        let finished = match &call {
            Some(call) => self.script(id, call, true)?,
            None if moment == Moment::Idle => self.op(id, &Op::Panic, true)?,
            None => true,
        };
        if finished {
            self.trace.expect(Event::End(id))?;
        } else {
            self.reported(&[Origin::Hook], id)?;
        }
        let ended = self.hook(id).is_none() || !finished;
        if ended {
            self.hooks.retain(|hook| hook.id != id);
            self.discarded(id)?;
        } else if let Some(hook) = self.hook(id) {
            hook.running = false;
        }
        Ok(finished && stays && call.is_some())
    }
}
