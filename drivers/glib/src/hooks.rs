//! Hooks around GLib's polls.

use std::cell::RefCell;
use std::rc::Weak;

use glib::MainContext;
use ioloop::hooks::BeforeSleep;
use ioloop::reactor::SleepHook;

use crate::ffi::{AroundPoll, PollSource};
use crate::reactor::guarded;

/// The hooks of a reactor, and the source that calls them while there are any.
#[derive(Default)]
pub(crate) struct Hooks {
    /// In the order of their ids.
    entries: RefCell<Vec<Entry>>,
    source: RefCell<Option<PollSource>>,
}

struct Entry {
    id: u64,
    is_before: bool,
    /// Absent while it runs.
    hook: Option<SleepHook>,
}

impl Hooks {
    /// Adds a hook with an id above all that were added.
    pub(crate) fn add(
        &self,
        id: u64,
        hook: SleepHook,
        context: &MainContext,
        reactor: Weak<dyn AroundPoll>,
    ) {
        let entry = Entry { id, is_before: hook.is_before(), hook: Some(hook) };
        self.entries.borrow_mut().push(entry);
        let is_first = self.source.borrow().is_none();
        if is_first {
            self.source.replace(Some(PollSource::new(context, reactor)));
        }
    }

    /// Removes a hook; false if it was removed already.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut entries = self.entries.borrow_mut();
        let Some(found) = entries.iter().position(|entry| entry.id == id) else { return false };
        let removed = entries.remove(found);
        let is_last = entries.is_empty();
        drop(entries);
        if is_last {
            self.source.take();
        }
        guarded(|| drop(removed));
        true
    }

    /// Removes all of them.
    pub(crate) fn clear(&self) {
        self.source.take();
        // Each by itself, so a destructor that panics takes nothing along.
        self.entries.take().into_iter().for_each(|entry| _ = guarded(|| drop(entry)));
    }

    /// Calls the hooks before a sleep, or those after it; true if one of the first wants none. One
    /// that is added meanwhile waits for the next round, and one that panics is removed.
    pub(crate) fn call(&self, is_before: bool) -> bool {
        let newest = self.entries.borrow().last().map_or(0, |entry| entry.id);
        let (mut last, mut stays) = (0, false);
        while let Some((id, hook)) = self.take_next(is_before, last, newest) {
            last = id;
            let Some(mut hook) = hook else { continue };
            let is_whole = guarded(|| stays |= hook.call() == BeforeSleep::StayAwake);
            let mut left = Some(hook);
            if is_whole {
                self.put_back(id, &mut left);
            } else {
                self.remove(id);
            }
            guarded(|| drop(left));
        }
        stays
    }

    /// The next hook of a round, taken out, unless it runs already.
    fn take_next(
        &self,
        is_before: bool,
        last: u64,
        newest: u64,
    ) -> Option<(u64, Option<SleepHook>)> {
        let mut entries = self.entries.borrow_mut();
        let next = entries
            .iter_mut()
            .find(|entry| entry.is_before == is_before && entry.id > last && entry.id <= newest)?;
        Some((next.id, next.hook.take()))
    }

    /// Puts a hook back that was not removed meanwhile.
    fn put_back(&self, id: u64, hook: &mut Option<SleepHook>) {
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
            entry.hook = hook.take();
        }
    }
}
