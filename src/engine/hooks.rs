//! Hooks: what is called around a sleep, and while there is nothing else to do.
//!
//! A list that nobody put anything into costs a turn one look at a number.

use std::cell::{Cell, RefCell};

use crate::hooks::BeforeSleep;
use crate::observe::exceptions::{Exceptions, Origin};
use crate::reactor::Place;

pub(crate) type HookFn = Box<dyn FnMut() -> BeforeSleep>;

struct Slot {
    id: u64,
    place: Place,
    /// Removed while the list was being called: it leaves when that is over.
    gone: bool,
    /// Absent while it is called.
    callback: Option<HookFn>,
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
        self.live.get() == 0
    }

    fn add(&self, id: u64, place: Place, callback: HookFn) {
        self.live.set(self.live.get() + 1);
        self.slots.borrow_mut().push(Slot { id, place, gone: false, callback: Some(callback) });
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
        Some(slots.remove(index).callback)
    }

    /// Calls each hook that is there now; says whether one of them wants the loop to stay awake. One that panics is
    /// removed.
    pub(crate) fn call(&self, exceptions: &Exceptions) -> bool {
        let number = self.slots.borrow().len();
        let mut stay = false;
        self.calling.set(true);
        for index in 0..number {
            let (taken, place) = {
                let slot = &mut self.slots.borrow_mut()[index];
                (slot.callback.take(), slot.place)
            };
            let Some(mut callback) = taken else { continue };
            let returned = exceptions.guard_at(Origin::Hook, Some(place), || {
                stay |= matches!(callback(), BeforeSleep::StayAwake);
            });
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index];
            if returned && !slot.gone {
                slot.callback = Some(callback);
                continue;
            }
            if !slot.gone {
                slot.gone = true;
                self.live.set(self.live.get() - 1);
            }
            drop(slots);
            exceptions.discard(callback);
        }
        self.calling.set(false);
        self.slots.borrow_mut().retain(|slot| !slot.gone);
        stay
    }

    fn places(&self) -> Vec<Place> {
        self.slots.borrow().iter().filter(|slot| !slot.gone).map(|slot| slot.place).collect()
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
    Idle,
}

#[derive(Default)]
pub(crate) struct Hooks {
    before: List,
    after: List,
    pub(crate) idle: List,
    ids: Cell<u64>,
    /// Those before a sleep were called, those after it not yet.
    asleep: Cell<bool>,
}

impl Hooks {
    pub(crate) fn list(&self, moment: Moment) -> &List {
        match moment {
            Moment::BeforeSleep => &self.before,
            Moment::AfterWake => &self.after,
            Moment::Idle => &self.idle,
        }
    }

    pub(crate) fn add(&self, moment: Moment, place: Place, callback: HookFn) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + 1);
        self.list(moment).add(id, place, callback);
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
    pub(crate) fn are_around_sleep(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty()
    }

    /// Says whether the loop may sleep, as far as the hooks are concerned.
    pub(crate) fn before_sleep(&self, exceptions: &Exceptions) -> bool {
        if !self.are_around_sleep() {
            return true;
        }
        // Each round before is followed by one after, so that what the first prepares the second can end.
        self.after_wake(exceptions);
        self.asleep.set(true);
        !self.before.call(exceptions)
    }

    pub(crate) fn after_wake(&self, exceptions: &Exceptions) {
        if self.asleep.replace(false) {
            self.after.call(exceptions);
        }
    }

    /// Where each hook was added.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        [&self.before, &self.after, &self.idle].into_iter().flat_map(List::places)
    }

    pub(crate) fn drain(&self) -> Vec<HookFn> {
        let mut hooks = self.before.drain();
        hooks.extend(self.after.drain());
        hooks.extend(self.idle.drain());
        hooks
    }
}
