//! The deadline queue alone, against a list that is sorted each time.
#![no_main]
// Each is a part of the library, of which this uses its part.
#![allow(dead_code, unreachable_pub)]

#[path = "../../src/engine/arena.rs"]
mod arena;
#[path = "../../src/engine/buckets.rs"]
mod buckets;
#[path = "../../src/engine/deadlines.rs"]
mod deadlines;
#[path = "../../src/engine/room.rs"]
mod room;
#[path = "../../src/engine/tuning.rs"]
mod tuning;

use std::mem;

use arbitrary::Arbitrary;
use deadlines::Deadlines;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Insert(At),
    /// Removes one of those that were ever inserted.
    Remove(u16),
    Reset(u16, At),
    /// Lets time pass up to then, if that is ahead, and hands out what is due: so many of them
    /// before what comes between, then the rest.
    Fire(At, u8, Vec<Between>),
    Drain,
}

/// What happens while due ones are handed out.
#[derive(Arbitrary, Debug)]
enum Between {
    Insert(At),
    Remove(u16),
    Reset(u16, At),
}

/// Deadlines: near ones, of which many are equal; around a round number of some power of two; and
/// any.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum At {
    Near(i8),
    Around(u8, u8, i8),
    Any(i64),
}

impl At {
    fn nanos(self) -> i64 {
        match self {
            At::Near(at) => at.into(),
            At::Around(digit, shift, off) => {
                (i64::from(digit) << (shift % 56)).saturating_add(off.into())
            }
            At::Any(at) => at,
        }
    }
}

/// One that is still there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    at: i64,
    order: u64,
    number: usize,
}

#[derive(Default)]
struct Model {
    pending: Vec<Pending>,
    /// Those set aside as due, in order.
    due: Vec<Pending>,
    orders: u64,
}

struct Both {
    queue: Deadlines<usize>,
    keys: Vec<arena::Key>,
    model: Model,
    now: i64,
}

impl Both {
    fn insert(&mut self, at: i64) {
        let number = self.keys.len();
        self.keys.push(self.queue.insert(at, number));
        self.model.orders += 1;
        self.model.pending.push(Pending { at, order: self.model.orders, number });
    }

    fn pick(&self, which: u16) -> Option<usize> {
        (!self.keys.is_empty()).then(|| usize::from(which) % self.keys.len())
    }

    fn remove(&mut self, which: u16) {
        let Some(number) = self.pick(which) else { return };
        let model = &mut self.model;
        let before = model.pending.len() + model.due.len();
        model.pending.retain(|pending| pending.number != number);
        model.due.retain(|pending| pending.number != number);
        let there = model.pending.len() + model.due.len() < before;
        assert_eq!(self.queue.remove(self.keys[number]), there.then_some(number));
    }

    fn reset(&mut self, which: u16, at: i64) {
        let Some(number) = self.pick(which) else { return };
        let model = &mut self.model;
        let before = model.pending.len() + model.due.len();
        model.pending.retain(|pending| pending.number != number);
        model.due.retain(|pending| pending.number != number);
        let there = model.pending.len() + model.due.len() < before;
        if there {
            model.orders += 1;
            model.pending.push(Pending { at, order: model.orders, number });
        }
        assert_eq!(self.queue.reset(self.keys[number], at), there);
    }

    fn next_due(&mut self) -> bool {
        let due = &mut self.model.due;
        let expected = (!due.is_empty()).then(|| due.remove(0).number);
        assert_eq!(self.queue.next_due(), expected);
        expected.is_some()
    }

    fn fire(&mut self, now: i64, first: u8, between: Vec<Between>) {
        // Time does not go back.
        self.now = self.now.max(now);
        let now = self.now;
        let any = self.queue.set_due_aside(now, usize::MAX);
        self.model.pending.sort();
        let (due, left) = self.model.pending.iter().partition(|pending| pending.at <= now);
        (self.model.due, self.model.pending) = (due, left);
        assert_eq!(any, !self.model.due.is_empty());
        for _ in 0..first {
            self.next_due();
            self.compare();
        }
        for between in between {
            match between {
                Between::Insert(at) => self.insert(at.nanos()),
                Between::Remove(which) => self.remove(which),
                Between::Reset(which, at) => self.reset(which, at.nanos()),
            }
            self.compare();
        }
        while self.next_due() {}
    }

    fn compare(&mut self) {
        let model = &self.model;
        assert_eq!(self.queue.len(), model.pending.len() + model.due.len());
        let earliest = model.pending.iter().map(|pending| pending.at).min();
        assert!(self.queue.wake_at() <= earliest.unwrap_or(deadlines::NEVER), "too late");
        assert_eq!(self.queue.earliest(), earliest);
    }

    fn compare_all(&self) {
        let mut listed: Vec<_> = self.queue.iter().map(|(at, number)| (at, *number)).collect();
        let mut pending: Vec<_> =
            self.model.pending.iter().map(|pending| (pending.at, pending.number)).collect();
        listed.sort();
        pending.sort();
        assert_eq!(listed, pending);
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut both =
        Both { queue: Deadlines::new(), keys: Vec::new(), model: Model::default(), now: 0 };
    for step in steps {
        match step {
            Step::Insert(at) => both.insert(at.nanos()),
            Step::Remove(which) => both.remove(which),
            Step::Reset(which, at) => both.reset(which, at.nanos()),
            Step::Fire(now, first, between) => both.fire(now.nanos(), first, between),
            Step::Drain => {
                let mut drained = mem::replace(&mut both.queue, Deadlines::new()).drain();
                both.keys.clear();
                drained.sort_unstable();
                let mut pending: Vec<_> =
                    both.model.pending.drain(..).map(|pending| pending.number).collect();
                pending.sort_unstable();
                assert_eq!(drained, pending);
            }
        }
        both.compare();
    }
    both.compare_all();
});
