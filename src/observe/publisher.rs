//! What publishes the user code that a loop runs: the loop's side of [`Running`].
//!
//! It is on while somebody wants it. That is the watchdog, or whoever else calls
//! [`Exceptions::publish`], reads on any thread what is [running now](Running::now), and calls
//! [`Exceptions::leave`] on the loop's thread in the end. What is published is all code that the
//! loop calls through [`calls`](super::calls): every callback, poll, hook and destructor of a
//! user's, but not the tasks of a host, nor those of tokio's runtime.
//!
//! [`Exceptions::publish`]: super::exceptions::Exceptions::publish
//! [`Exceptions::leave`]: super::exceptions::Exceptions::leave

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::origin::Origin;
use super::running::{Call, Running};
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// The loop's side.
#[derive(Default)]
pub(crate) struct Publisher {
    running: RefCell<Option<Arc<Running>>>,
    /// How many want it.
    wanted: Cell<usize>,
    /// The number of the last call that was published.
    last: Cell<u64>,
    /// What is published.
    now: Cell<Option<Call>>,
}

impl Publisher {
    /// Publishes from the next call on.
    pub(super) fn publish(&self) -> Arc<Running> {
        self.wanted.set(self.wanted.get() + 1);
        Arc::clone(self.running.borrow_mut().get_or_insert_default())
    }

    /// Takes back one [`publish`](Self::publish).
    pub(super) fn leave(&self) {
        self.wanted.set(self.wanted.get() - 1);
        if !self.is_wanted() {
            self.set(None);
        }
    }

    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.get() > 0
    }

    /// A call begins. Returns what was published before, for [`end`](Self::end).
    #[cold]
    pub(super) fn begin(
        &self,
        origin: Origin,
        location: Option<Caller>,
        fd: Option<RawFd>,
    ) -> Option<Call> {
        let around = self.now.get();
        let location = location.or_else(|| around?.location);
        self.set(Some(Call { number: self.next(), origin, location, fd }));
        around
    }

    /// A call ends, and the one around it goes on.
    #[cold]
    pub(super) fn end(&self, around: Option<Call>) {
        self.set(around);
    }

    /// A sleep begins, in the midst of a hook.
    pub(super) fn pause(&self) -> Option<Call> {
        let around = self.now.get();
        self.set(None);
        around
    }

    /// The sleep ends. The rest of the hook has another number: its call did not last so long.
    pub(super) fn resume(&self, around: Option<Call>) {
        self.set(around.map(|call| Call { number: self.next(), ..call }));
    }

    fn next(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    fn set(&self, call: Option<Call>) {
        // Nobody may want it any more when a call ends.
        let call = call.filter(|_| self.is_wanted());
        self.now.set(call);
        if let Some(running) = &*self.running.borrow() {
            running.set(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Publisher;
    use crate::observe::origin::Origin;

    #[test]
    fn a_call_in_another_leads_back_to_it_and_a_sleep_does_not() {
        let publisher = Publisher::default();
        let running = publisher.publish();
        let location = Some(std::panic::Location::caller());
        let first = publisher.begin(Origin::Hook, location, None);
        let hook = running.now();
        let around = publisher.begin(Origin::Destructor, None, None);
        let inner = running.now().expect("a call");
        assert_eq!((inner.origin, inner.location), (Origin::Destructor, location));
        publisher.end(around);
        assert_eq!(running.now(), hook);
        let around = publisher.pause();
        assert_eq!(running.now(), None);
        publisher.resume(around);
        let rest = running.now().expect("the rest of the hook");
        assert_eq!(rest.origin, Origin::Hook);
        assert!(Some(rest.number) > hook.map(|hook| hook.number));
        // Not wanted any more, in the midst of the call.
        publisher.leave();
        assert_eq!(running.now(), None);
        publisher.end(first);
        assert_eq!(running.now(), None);
    }
}
