//! Hooks: callbacks around a sleep, and while there is nothing else to do.
//!
//! A list without hooks costs a turn one comparison.

use std::cell::{Cell, RefCell};
use std::mem;

use super::room::excess;
use super::tuning::HOOKS_KEPT;
use crate::observe::exceptions::Exceptions;
use crate::observe::origin::Origin;
use crate::reactor::callback::Caller;
use crate::reactor::hook::BeforeSleep;

/// A hook of any moment. Its argument is the sleep, for a hook around it, and does nothing for all
/// others.
pub(crate) type HookFn = Box<dyn FnMut(&mut dyn FnMut()) -> BeforeSleep>;

struct Hook {
    id: u64,
    location: Caller,
    /// Set when the hook is removed while the list is being called: then it leaves the list
    /// afterwards.
    gone: bool,
    /// Absent while it is called.
    callback: Option<HookFn>,
}

fn give_back(hooks: &mut Vec<Hook>) {
    if let Some(room) = excess(hooks.capacity(), hooks.len(), HOOKS_KEPT) {
        hooks.shrink_to(room);
    }
}

/// Hooks of one kind, called in the order in which they were added.
#[derive(Default)]
pub(crate) struct List {
    hooks: RefCell<Vec<Hook>>,
    live: Cell<usize>,
    calling: Cell<bool>,
}

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.number() == 0
    }

    /// How many hooks were added before the one with this id.
    fn number_before(&self, id: u64) -> usize {
        self.hooks.borrow().iter().take_while(|hook| hook.id < id).count()
    }

    fn number(&self) -> usize {
        self.live.get()
    }

    fn add(&self, id: u64, location: Caller, callback: HookFn) {
        self.live.set(self.live.get() + 1);
        self.hooks.borrow_mut().push(Hook { id, location, gone: false, callback: Some(callback) });
    }

    /// Takes a hook out. The closure is absent if it is being called.
    fn remove(&self, id: u64) -> Option<Option<HookFn>> {
        let mut hooks = self.hooks.borrow_mut();
        let index = hooks.iter().position(|hook| hook.id == id && !hook.gone)?;
        self.live.set(self.live.get() - 1);
        if self.calling.get() {
            hooks[index].gone = true;
            return Some(hooks[index].callback.take());
        }
        let removed = hooks.remove(index).callback;
        give_back(&mut hooks);
        Some(removed)
    }

    /// Calls each hook that is there now. Returns whether one of them wants the loop to stay awake.
    /// A hook that panics is removed.
    pub(crate) fn call(&self, exceptions: &Exceptions) -> bool {
        self.call_while(exceptions, || true)
    }

    /// As [`call`](Self::call), but stops after the first hook after which `goes_on` is false.
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

    /// Calls each hook that is there now around those after it, and the last one around `sleep`. If
    /// a hook does not call its argument, the hooks inside it are not called, and there is no
    /// sleep.
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
            // The time of the hooks inside is not this hook's.
            hook(&mut || exceptions.away(&mut inside));
        });
        if !is_there {
            inside();
        }
    }

    /// Until [`end`](Self::end) the positions of hooks stay. Returns how many there are.
    fn begin(&self) -> usize {
        self.calling.set(true);
        self.hooks.borrow().len()
    }

    fn end(&self) {
        self.calling.set(false);
        let mut hooks = self.hooks.borrow_mut();
        hooks.retain(|hook| !hook.gone);
        give_back(&mut hooks);
    }

    /// Calls one hook, which is absent meanwhile. Returns false if it was removed before.
    fn call_at(
        &self,
        index: usize,
        exceptions: &Exceptions,
        call: impl FnOnce(&mut HookFn),
    ) -> bool {
        let (taken, location) = {
            let hook = &mut self.hooks.borrow_mut()[index];
            (hook.callback.take(), hook.location)
        };
        let Some(mut callback) = taken else { return false };
        let returned = exceptions.call(Origin::Hook, Some(location), || call(&mut callback));
        let mut hooks = self.hooks.borrow_mut();
        let hook = &mut hooks[index];
        if returned && !hook.gone {
            hook.callback = Some(callback);
            return true;
        }
        if !hook.gone {
            hook.gone = true;
            self.live.set(self.live.get() - 1);
        }
        drop(hooks);
        exceptions.discard(callback);
        true
    }

    fn locations(&self) -> Vec<Caller> {
        self.hooks.borrow().iter().filter(|hook| !hook.gone).map(|hook| hook.location).collect()
    }

    fn drain(&self) -> Vec<HookFn> {
        self.live.set(0);
        let hooks = self.hooks.take();
        hooks.into_iter().filter_map(|hook| hook.callback).collect()
    }
}

/// When a hook is called.
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
    /// Set while the hooks before a sleep were called and those after it were not: the id that the
    /// next hook had then. A hook that was added since has nothing to end.
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

    /// Removes a hook. Returns whether it was there.
    pub(crate) fn remove(&self, id: u64, exceptions: &Exceptions) -> bool {
        let removed = self.lists().into_iter().find_map(|list| list.remove(id));
        let was_there = removed.is_some();
        exceptions.discard(removed);
        was_there
    }

    /// Whether there are hooks before a sleep or after it.
    #[inline]
    pub(crate) fn are_around_sleep(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty()
    }

    /// Begins a round: calls the hooks before a sleep. Returns whether they let the loop sleep.
    #[inline]
    pub(crate) fn before_sleep(&self, exceptions: &Exceptions) -> bool {
        !self.are_around_sleep() || self.begin_round(exceptions)
    }

    #[inline(never)]
    fn begin_round(&self, exceptions: &Exceptions) -> bool {
        // Each round before a sleep is followed by one after it, so a hook after it can end what
        // one before it began.
        self.after_wake(exceptions);
        self.open.set(Some(self.ids.get()));
        !self.before.call(exceptions)
    }

    /// Whether a poll has to call hooks.
    #[inline]
    pub(crate) fn are_heard_in_polls(&self) -> bool {
        // There is one test for all of them, since every poll makes it.
        let hooks = self.before.number()
            | self.after.number()
            | self.around.number()
            | self.interrupted.number();
        hooks > 0 || self.open.get().is_some()
    }

    /// Whether a round was begun and not ended.
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

    /// Sleeps, inside the hooks around it.
    #[inline]
    pub(crate) fn around_sleep(&self, exceptions: &Exceptions, sleep: &mut dyn FnMut()) {
        match self.around.is_empty() {
            true => sleep(),
            false => self.around.nest(exceptions, sleep),
        }
    }

    /// The locations where the hooks were added.
    /// Where each was added, and whether it is an idle callback.
    pub(crate) fn locations(&self) -> impl Iterator<Item = (Caller, bool)> {
        self.lists().into_iter().flat_map(|list| {
            let is_idle = std::ptr::eq(list, &self.idle);
            list.locations().into_iter().map(move |location| (location, is_idle))
        })
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
        assert!(list.is_empty() && list.hooks.borrow().capacity() <= HOOKS_KEPT);
    }
}
