//! Hooks: what is called around a sleep, and while there is nothing else to do.
//!
//! A list that nobody put anything into costs a turn one look at a number.

use std::cell::{Cell, RefCell};
use std::mem;

use super::room::excess;
use super::tuning::HOOKS_KEPT;
use crate::observe::exceptions::Exceptions;
use crate::observe::origin::Origin;
use crate::reactor::callback::Caller;

/// What a hook [before a sleep](crate::IOLoop::before_sleep) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeforeSleep {
    /// As far as this hook is concerned the loop may sleep.
    Sleep,
    /// Make another turn first: there is something to do that the loop does not know of.
    StayAwake,
}

/// A hook of whatever moment. It gets the sleep that it is around; where it is around none, one that does nothing.
pub(crate) type HookFn = Box<dyn FnMut(&mut dyn FnMut()) -> BeforeSleep>;

struct Slot {
    id: u64,
    location: Caller,
    /// Removed while the list was being called: it leaves when that is over.
    gone: bool,
    /// Absent while it is called.
    callback: Option<HookFn>,
}

fn give_back(slots: &mut Vec<Slot>) {
    if let Some(room) = excess(slots.capacity(), slots.len(), HOOKS_KEPT) {
        slots.shrink_to(room);
    }
}

/// Hooks of one kind, called in the order in which they were added.
#[derive(Default)]
pub(crate) struct List {
    slots: RefCell<Vec<Slot>>,
    live: Cell<usize>,
    calling: Cell<bool>,
}

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.number() == 0
    }

    /// How many were added before the hook of that number.
    fn number_before(&self, id: u64) -> usize {
        self.slots.borrow().iter().take_while(|slot| slot.id < id).count()
    }

    fn number(&self) -> usize {
        self.live.get()
    }

    fn add(&self, id: u64, location: Caller, callback: HookFn) {
        self.live.set(self.live.get() + 1);
        self.slots.borrow_mut().push(Slot { id, location, gone: false, callback: Some(callback) });
    }

    /// Takes a hook out, to be dropped; its closure is absent if it is being called.
    fn remove(&self, id: u64) -> Option<Option<HookFn>> {
        let mut slots = self.slots.borrow_mut();
        let index = slots.iter().position(|slot| slot.id == id && !slot.gone)?;
        self.live.set(self.live.get() - 1);
        if self.calling.get() {
            slots[index].gone = true;
            return Some(slots[index].callback.take());
        }
        let removed = slots.remove(index).callback;
        give_back(&mut slots);
        Some(removed)
    }

    /// Calls each hook that is there now; says whether one of them wants the loop to stay awake. One that panics is
    /// removed.
    pub(crate) fn call(&self, exceptions: &Exceptions) -> bool {
        self.call_while(exceptions, || true)
    }

    /// As [`call`](Self::call), up to the first after which `goes_on` is false.
    pub(crate) fn call_while(&self, exceptions: &Exceptions, goes_on: impl Fn() -> bool) -> bool {
        self.call_first(usize::MAX, exceptions, goes_on)
    }

    fn call_first(
        &self,
        number: usize,
        exceptions: &Exceptions,
        goes_on: impl Fn() -> bool,
    ) -> bool {
        let number = number.min(self.begin());
        let mut stay = false;
        for index in (0..number).take_while(|_| goes_on()) {
            self.call_at(index, exceptions, |hook| {
                stay |= matches!(hook(&mut || ()), BeforeSleep::StayAwake);
            });
        }
        self.end();
        stay
    }

    /// Calls each hook that is there now around the ones after it, and the last around `sleep`. One that does not
    /// call what it is given keeps all that is inside of it from being called.
    fn nest(&self, exceptions: &Exceptions, sleep: &mut dyn FnMut()) {
        let number = self.begin();
        self.nest_from(0, number, exceptions, sleep);
        self.end();
    }

    fn nest_from(
        &self,
        index: usize,
        number: usize,
        exceptions: &Exceptions,
        sleep: &mut dyn FnMut(),
    ) {
        if index == number {
            return sleep();
        }
        let mut slept = false;
        let mut inside = || {
            if !mem::replace(&mut slept, true) {
                self.nest_from(index + 1, number, exceptions, sleep);
            }
        };
        let is_there = self.call_at(index, exceptions, |hook| {
            // What is inside is not what this hook takes long for.
            hook(&mut || exceptions.away(&mut inside));
        });
        if !is_there {
            inside();
        }
    }

    /// From here on nothing leaves its place. Returns how many there are.
    fn begin(&self) -> usize {
        self.calling.set(true);
        self.slots.borrow().len()
    }

    fn end(&self) {
        self.calling.set(false);
        let mut slots = self.slots.borrow_mut();
        slots.retain(|slot| !slot.gone);
        give_back(&mut slots);
    }

    /// Calls one hook, which is absent meanwhile; false if it was removed before.
    fn call_at(
        &self,
        index: usize,
        exceptions: &Exceptions,
        call: impl FnOnce(&mut HookFn),
    ) -> bool {
        let (taken, location) = {
            let slot = &mut self.slots.borrow_mut()[index];
            (slot.callback.take(), slot.location)
        };
        let Some(mut callback) = taken else { return false };
        let returned = exceptions.call(Origin::Hook, Some(location), || call(&mut callback));
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[index];
        if returned && !slot.gone {
            slot.callback = Some(callback);
            return true;
        }
        if !slot.gone {
            slot.gone = true;
            self.live.set(self.live.get() - 1);
        }
        drop(slots);
        exceptions.discard(callback);
        true
    }

    fn locations(&self) -> Vec<Caller> {
        self.slots.borrow().iter().filter(|slot| !slot.gone).map(|slot| slot.location).collect()
    }

    fn drain(&self) -> Vec<HookFn> {
        self.live.set(0);
        let slots = self.slots.take();
        slots.into_iter().filter_map(|slot| slot.callback).collect()
    }
}

/// Where a hook belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforeSleep,
    AfterWake,
    AroundSleep,
    Interrupted,
    Idle,
}

#[derive(Default)]
pub(crate) struct Hooks {
    before: List,
    after: List,
    around: List,
    /// Called when a signal has interrupted a sleep.
    pub(crate) interrupted: List,
    pub(crate) idle: List,
    ids: Cell<u64>,
    /// Those before a sleep were called, those after it not yet: the number that the next hook had then. What was
    /// added since has nothing to end.
    open: Cell<Option<u64>>,
}

impl Hooks {
    fn list(&self, moment: Moment) -> &List {
        match moment {
            Moment::BeforeSleep => &self.before,
            Moment::AfterWake => &self.after,
            Moment::AroundSleep => &self.around,
            Moment::Interrupted => &self.interrupted,
            Moment::Idle => &self.idle,
        }
    }

    fn lists(&self) -> [&List; 5] {
        [&self.before, &self.after, &self.around, &self.interrupted, &self.idle]
    }

    pub(crate) fn add(&self, moment: Moment, location: Caller, callback: HookFn) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + 1);
        self.list(moment).add(id, location, callback);
        id
    }

    /// Removes a hook; says whether it was there.
    pub(crate) fn remove(&self, moment: Moment, id: u64, exceptions: &Exceptions) -> bool {
        let removed = self.list(moment).remove(id);
        let was_there = removed.is_some();
        exceptions.discard(removed);
        was_there
    }

    /// Whether there are any before a sleep or after it.
    #[inline]
    pub(crate) fn are_around_sleep(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty()
    }

    /// Begins a round: calls the hooks before a sleep. Says whether the loop may sleep, as far as they are concerned.
    #[inline]
    pub(crate) fn before_sleep(&self, exceptions: &Exceptions) -> bool {
        !self.are_around_sleep() || self.begin_round(exceptions)
    }

    #[inline(never)]
    fn begin_round(&self, exceptions: &Exceptions) -> bool {
        // Each round before is followed by one after, so what the first prepares the second can end.
        self.after_wake(exceptions);
        self.open.set(Some(self.ids.get()));
        !self.before.call(exceptions)
    }

    /// Whether a poll has to call any of them.
    #[inline]
    pub(crate) fn are_heard_in_polls(&self) -> bool {
        // One test for all of them: every poll asks.
        let hooks = self.before.number()
            | self.after.number()
            | self.around.number()
            | self.interrupted.number();
        hooks > 0 || self.open.get().is_some()
    }

    /// Whether a round was begun, and not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get().is_some()
    }

    /// Ends the round, if one was begun: calls the hooks after a sleep.
    #[inline]
    pub(crate) fn after_wake(&self, exceptions: &Exceptions) {
        if let Some(begun) = self.open.take() {
            self.after.call_first(self.after.number_before(begun), exceptions, || true);
        }
    }

    /// Sleeps, inside of the hooks around it.
    #[inline]
    pub(crate) fn around_sleep(&self, exceptions: &Exceptions, sleep: &mut dyn FnMut()) {
        match self.around.is_empty() {
            true => sleep(),
            false => self.around.nest(exceptions, sleep),
        }
    }

    /// Where each hook was added.
    pub(crate) fn locations(&self) -> impl Iterator<Item = Caller> {
        self.lists().into_iter().flat_map(List::locations)
    }

    pub(crate) fn drain(&self) -> Vec<HookFn> {
        self.lists().into_iter().flat_map(List::drain).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    #[test]
    fn the_list_of_a_crowd_of_hooks_is_given_back() {
        let list = List::default();
        for id in 0..1000 {
            list.add(id, Location::caller(), Box::new(|_| BeforeSleep::Sleep));
        }
        (0..1000).for_each(|id| assert!(list.remove(id).is_some()));
        assert!(list.is_empty() && list.slots.borrow().capacity() <= HOOKS_KEPT);
    }
}
