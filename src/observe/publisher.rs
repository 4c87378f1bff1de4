//! What publishes the user code that a loop runs: the loop's side of [`Running`].
//!
//! It is on while somebody wants it. That is the watchdog, or whoever else calls
//! [`Exceptions::publish`], reads on any thread what is [running now](Running::calls), and calls
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
}

impl Publisher {
    /// Publishes from the next call on; those that are published go on.
    pub(super) fn publish(&self) -> Arc<Running> {
        self.wanted.set(self.wanted.get() + 1);
        Arc::clone(self.running.borrow_mut().get_or_insert_default())
    }

    /// Takes back one [`publish`](Self::publish).
    pub(super) fn leave(&self) {
        self.wanted.set(self.wanted.get() - 1);
        if !self.is_wanted() {
            // What runs now is not published any more, and its end changes nothing.
            self.with((), Running::clear);
        }
    }

    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.get() > 0
    }

    /// A call begins. Returns what [`end`](Self::end) takes.
    #[cold]
    pub(super) fn begin(
        &self,
        origin: Origin,
        location: Option<Caller>,
        fd: Option<RawFd>,
    ) -> usize {
        let number = self.next();
        self.with(0, |running| running.begin(Call { number, origin, location, fd }))
    }

    /// A call ends, and the one around it goes on.
    #[cold]
    pub(super) fn end(&self, around: usize) {
        self.with((), |running| running.end(around));
    }

    /// A sleep begins, in the midst of a hook. Returns what [`resume`](Self::resume) takes.
    pub(super) fn pause(&self) -> usize {
        self.with(0, Running::hide)
    }

    /// The sleep ends.
    pub(super) fn resume(&self, around: usize) {
        self.with((), |running| running.show(around, || self.next()));
    }

    fn next(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    fn with<T>(&self, none: T, act: impl FnOnce(&Running) -> T) -> T {
        self.running.borrow().as_deref().map_or(none, act)
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
        let hook = running.calls();
        let around = publisher.begin(Origin::Destructor, None, None);
        let [outer, inner] = running.calls()[..] else { panic!("two calls") };
        assert_eq!([outer], hook[..]);
        assert_eq!((inner.origin, inner.location), (Origin::Destructor, location));
        publisher.end(around);
        assert_eq!(running.calls(), hook);
        // Hooks around one sleep are inside of each other.
        let outside = publisher.pause();
        assert_eq!(running.calls(), []);
        let second = publisher.begin(Origin::Hook, None, None);
        let inside = publisher.pause();
        assert_eq!(running.calls(), []);
        publisher.resume(inside);
        assert_eq!(running.calls().len(), 1);
        publisher.end(second);
        publisher.resume(outside);
        let [rest] = running.calls()[..] else { panic!("the rest of the hook") };
        assert_eq!((rest.origin, rest.location), (Origin::Hook, location));
        assert!(rest.number > hook[0].number);
        // Not wanted any more, in the midst of a call in a call.
        let around = publisher.begin(Origin::Destructor, None, None);
        publisher.leave();
        assert_eq!(running.calls(), []);
        publisher.publish();
        publisher.end(around);
        assert_eq!(running.calls(), []);
        publisher.end(first);
        assert_eq!(running.calls(), []);
    }

    #[test]
    fn who_came_as_another_went_saw_nothing_of_the_call_that_runs() {
        let publisher = Publisher::default();
        publisher.publish();
        publisher.begin(Origin::Callback, None, None);
        let running = publisher.publish();
        publisher.leave();
        assert_eq!(running.calls().len(), 1);
    }
}
