//! Who waits for one direction of a source. Wakers go in and come out; none is called, cloned or
//! dropped in here.

use std::mem;
use std::task::Waker;

use crate::reactor::readiness::{Events, Interest};

/// As much room is kept for the next who wait, and no more.
pub(super) const KEPT: usize = 16;

#[derive(Default)]
pub(super) struct Waiters {
    /// By number, since each gets a higher one than those before.
    list: Vec<Waiter>,
    /// How many of the list are [`State::Waiting`],
    waiting: usize,
    /// and how many [`State::GivenUp`].
    given_up: usize,
    next: u64,
    /// Of the poll traits, which cannot say that they were given up: the last to ask, and no other.
    task: Option<Waker>,
}

struct Waiter {
    number: u64,
    interest: Interest,
    state: State,
}

enum State {
    Waiting(Waker),
    /// Woken, but not polled yet. Without events if the watch has ended.
    Told(Events),
    GivenUp,
}

/// The result of a wait.
pub(super) enum Found {
    /// Woken, by this; it waits no more.
    Told(Events),
    /// It waits with a waker that will do.
    Waits,
    /// It waits with another waker.
    Stale,
}

impl Waiters {
    pub(super) fn add(&mut self, interest: Interest, waker: Waker) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        self.list.push(Waiter { number, interest, state: State::Waiting(waker) });
        number
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.list.binary_search_by_key(&number, |waiter| waiter.number).ok()
    }

    pub(super) fn find_out(&mut self, number: u64, waker: &Waker) -> Found {
        let Some(index) = self.find(number) else { return Found::Told(Events::empty()) };
        match &self.list[index].state {
            State::Waiting(present) if present.will_wake(waker) => Found::Waits,
            State::Waiting(_) => Found::Stale,
            State::Told(events) => {
                let events = *events;
                self.give_up(index);
                Found::Told(events)
            }
            State::GivenUp => Found::Told(Events::empty()),
        }
    }

    /// Replaces a waiter's old waker by a new one, and returns the old; or the new one, if
    /// it waits no more.
    pub(super) fn replace(&mut self, number: u64, waker: Waker) -> Waker {
        match self.find(number).map(|index| &mut self.list[index].state) {
            Some(State::Waiting(present)) => mem::replace(present, waker),
            _ => waker,
        }
    }

    /// Forgets a waiter, and returns its waker.
    pub(super) fn forget(&mut self, number: u64) -> Option<Waker> {
        let index = self.find(number)?;
        self.give_up(index)
    }

    fn give_up(&mut self, index: usize) -> Option<Waker> {
        let state = mem::replace(&mut self.list[index].state, State::GivenUp);
        self.waiting -= usize::from(matches!(state, State::Waiting(_)));
        self.given_up += 1;
        while let Some(Waiter { state: State::GivenUp, .. }) = self.list.last() {
            self.list.pop();
            self.given_up -= 1;
        }
        // Each one left makes up for one that is moved, so giving up costs the same however
        // many wait.
        if self.given_up > self.list.len() / 2 {
            self.list.retain(|waiter| !matches!(waiter.state, State::GivenUp));
            self.given_up = 0;
        }
        if self.list.capacity() > KEPT && self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(KEPT.max(self.list.len() * 2));
        }
        match state {
            State::Waiting(waker) => Some(waker),
            State::Told(_) | State::GivenUp => None,
        }
    }

    /// Whether the task waits with a waker that will do.
    pub(super) fn has_task(&self, waker: &Waker) -> bool {
        self.task.as_ref().is_some_and(|task| task.will_wake(waker))
    }

    /// Makes a task wait instead of the last one, whose waker is returned.
    pub(super) fn set_task(&mut self, waker: Waker) -> Option<Waker> {
        self.task.replace(waker)
    }

    /// The interest of all waiters together, where a task wants `task`.
    pub(super) fn interest(&self, task: Interest) -> Interest {
        let waiting = self.list.iter().filter(|waiter| matches!(waiter.state, State::Waiting(_)));
        let task = if self.task.is_some() { task } else { Interest::empty() };
        waiting.fold(task, |all, waiter| all | waiter.interest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.task.is_none() && self.waiting == 0
    }

    /// As [`tell`](Self::tell) for the task, where nobody waits beside it: its waker, if the events
    /// concern it. Otherwise nothing is done.
    pub(super) fn tell_alone(&mut self, events: Events, task: Interest) -> Option<Waker> {
        let is_told = self.list.is_empty() && !events.of(task).is_empty();
        if is_told { self.task.take() } else { None }
    }

    /// Takes the wakers of those whom these events concern into an empty list; says whether the
    /// task, which wants `task`, is among them.
    pub(super) fn tell(&mut self, events: Events, task: Interest, told: &mut Vec<Waker>) -> bool {
        for waiter in &mut self.list {
            let events = events.of(waiter.interest);
            if !events.is_empty() {
                told.extend(waiter.tell(events));
            }
        }
        self.waiting -= told.len();
        let concerned = !events.of(task).is_empty();
        let waker = if concerned { self.task.take() } else { None };
        let was_told = waker.is_some();
        told.extend(waker);
        was_told
    }

    /// Takes the wakers of all: nothing will come any more.
    pub(super) fn end(&mut self, told: &mut Vec<Waker>) {
        told.extend(self.list.iter_mut().filter_map(|waiter| waiter.tell(Events::empty())));
        self.waiting = 0;
        told.extend(self.task.take());
    }
}

impl Waiter {
    /// Its waker, if it waits.
    fn tell(&mut self, events: Events) -> Option<Waker> {
        if !matches!(self.state, State::Waiting(_)) {
            return None;
        }
        match mem::replace(&mut self.state, State::Told(events)) {
            State::Waiting(waker) => Some(waker),
            State::Told(_) | State::GivenUp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    /// One that is itself again, which the standard library's no-op need not be.
    fn waker() -> Waker {
        Arc::new(Nobody).into()
    }

    fn add(waiters: &mut Waiters, interest: Interest) -> u64 {
        waiters.add(interest, waker())
    }

    #[test]
    fn each_is_told_of_what_it_asked_for_and_of_errors_and_hang_ups() {
        let mut waiters = Waiters::default();
        let reader = add(&mut waiters, Interest::READ);
        let same = waker();
        let closed = waiters.add(Interest::READ_CLOSED, same.clone());
        let mut told = Vec::new();
        assert!(!waiters.tell(Events::READ, Interest::READ, &mut told));
        assert_eq!(told.len(), 1);
        assert_eq!(waiters.interest(Interest::READ), Interest::READ_CLOSED);
        let found = waiters.find_out(reader, &same);
        assert!(matches!(found, Found::Told(events) if events == Events::READ));
        assert!(matches!(waiters.find_out(closed, &same), Found::Waits));
        assert!(matches!(waiters.find_out(closed, &waker()), Found::Stale));
        waiters.set_task(waker());
        let both = Events::READ | Events::ERROR;
        told.clear();
        assert!(waiters.tell(both, Interest::READ, &mut told));
        assert_eq!(told.len(), 2);
        let found = waiters.find_out(closed, &same);
        assert!(matches!(found, Found::Told(events) if events == Events::ERROR));
        assert!(waiters.is_empty() && waiters.list.is_empty());
    }

    #[test]
    fn those_who_give_up_in_any_order_leave_nothing() {
        const MANY: u64 = 10_000;
        // Every step that has no factor in common with the number goes through all of them.
        for step in [1, MANY - 1, 7] {
            let mut waiters = Waiters::default();
            let numbers: Vec<_> = (0..MANY).map(|_| add(&mut waiters, Interest::READ)).collect();
            for index in 0..MANY {
                let number = numbers[(index * step % MANY) as usize];
                assert!(waiters.forget(number).is_some());
                assert!(waiters.forget(number).is_none());
                assert!(waiters.list.len() as u64 <= 2 * (MANY - index));
            }
            assert!(waiters.list.is_empty() && waiters.given_up == 0);
            assert!(waiters.list.capacity() <= KEPT, "{}", waiters.list.capacity());
        }
    }

    #[test]
    fn the_last_task_is_the_one_that_is_kept() {
        let mut waiters = Waiters::default();
        assert!(waiters.set_task(waker()).is_none());
        for _ in 0..1000 {
            let next = waker();
            assert!(!waiters.has_task(&next));
            assert!(waiters.set_task(next.clone()).is_some());
            assert!(waiters.has_task(&next));
        }
        let mut told = Vec::new();
        waiters.end(&mut told);
        assert_eq!(told.len(), 1);
    }
}
