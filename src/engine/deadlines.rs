//! The deadline queue: what is due when, in order. Pure: it knows no clock and no kernel.
//!
//! Most timers are set for later and cancelled, or moved, before they are due. So what lies beyond the next
//! millisecond is only sorted into coarse [buckets](super::buckets), which costs the same however many there are;
//! what comes near goes through a heap, which is small and therefore quick. Deadlines stay exact and equal ones keep
//! their order of insertion: a bucket says nothing about order, it is emptied before anything in it is due.
//!
//! A timer that is cancelled leaves its node behind, to be dropped when it comes up; one that is moved to a later time
//! leaves its node as it is, to be moved when it comes up. When more nodes are stale than not, all are looked through.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::arena::{Arena, Key};
use super::buckets::Buckets;

/// Nanoseconds since the loop's origin; negative for what lies before it.
pub(crate) type Nanos = i64;

/// A deadline in the heap or in a bucket; ordered by deadline, then by insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) at: Nanos,
    /// Which insertion or reset it was.
    pub(super) order: u32,
    /// The entry that it was made for.
    slot: u32,
}

struct Entry<T> {
    at: Nanos,
    order: u32,
    /// The order of the node that stands for it, which may be set to an earlier time; or [`DUE`].
    node: u32,
    value: T,
}

/// In the place of an order: it was set aside as due.
const DUE: u32 = u32::MAX;

/// What a node that comes up says of its entry.
enum Standing {
    /// It is its deadline.
    Present,
    /// It was moved to a later time: to this node.
    Moved(Node),
    /// Nothing: the entry has gone, or has another node.
    Stale,
}

/// So many nodes are as well off in the heap; so many stale ones are not worth a look at all.
const FEW: usize = 64;

/// A bucket with more nodes is not looked through for its earliest, but emptied.
const MANY: usize = 64;

pub(crate) struct Deadlines<T> {
    entries: Arena<Entry<T>>,
    /// The nodes that the buckets have no room for, which are before all others; and while the buckets are empty a few
    /// that they would have room for.
    near: BinaryHeap<Reverse<Node>>,
    /// Whether there are such.
    has_strays: bool,
    far: Buckets,
    /// The earliest of the far ones, if it is known and still stands.
    far_earliest: Option<Node>,
    /// Nodes that are stale, in the heap and in the buckets.
    stale: usize,
    /// Those set aside as due, the last one first.
    due: Vec<Node>,
    inserted: u32,
}

impl<T> Deadlines<T> {
    pub(crate) const fn new() -> Self {
        Deadlines {
            entries: Arena::new(),
            near: BinaryHeap::new(),
            has_strays: false,
            far: Buckets::new(),
            far_earliest: None,
            stale: 0,
            due: Vec::new(),
            inserted: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Everything, with its deadline, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Nanos, &T)> {
        self.entries.iter().map(|(_, entry)| (entry.at, &entry.value))
    }

    pub(crate) fn insert(&mut self, at: Nanos, value: T) -> Key {
        let order = self.next_order();
        let key = self.entries.insert(Entry { at, order, node: order, value });
        self.place(Node { at, order, slot: key.slot });
        key
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.remove(key)?;
        if entry.node != DUE {
            self.abandon_node();
        }
        Some(entry.value)
    }

    /// Moves a deadline; its turn among equal ones is that of a new insertion.
    pub(crate) fn reset(&mut self, key: Key, at: Nanos) -> bool {
        let order = self.next_order();
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let later = at >= entry.at;
        (entry.at, entry.order) = (at, order);
        if entry.node == DUE {
            entry.node = order;
            self.place(Node { at, order, slot: key.slot });
        } else if !later {
            entry.node = order;
            self.place(Node { at, order, slot: key.slot });
            self.abandon_node();
        }
        true
    }

    /// The earliest deadline that was not set aside.
    pub(crate) fn earliest(&mut self) -> Option<Nanos> {
        loop {
            // Everything in the heap is before everything in the buckets.
            if let Some(node) = self.first_near() {
                return Some(node.at);
            }
            if let Some(node) = self.far_earliest {
                if matches!(self.standing(node), Standing::Present) {
                    return Some(node.at);
                }
                self.far_earliest = None;
            }
            match self.far.first_len()? {
                0..=MANY => self.search_first_bucket(),
                _ => self.empty_first_bucket(),
            }
        }
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&mut self) -> Option<Nanos> {
        let due = self.due.iter().rev().find(|node| self.is_due(node)).map(|node| node.at);
        due.into_iter().chain(self.earliest()).min()
    }

    /// Whether a node that was set aside still stands.
    fn is_due(&self, node: &Node) -> bool {
        let entry = self.entries.at(node.slot);
        entry.is_some_and(|entry| entry.node == DUE && entry.order == node.order)
    }

    /// Sets aside, in order, all that is due at `now`, for [`next_due`](Self::next_due) to hand out; says whether anything
    /// is.
    pub(crate) fn set_due_aside(&mut self, now: Nanos) -> bool {
        debug_assert!(self.due.is_empty(), "the last round was not handed out whole");
        while self.far.first_start().is_some_and(|start| start <= now) {
            self.empty_first_bucket();
        }
        self.far.advance(now);
        while let Some(node) = self.first_near().filter(|node| node.at <= now) {
            self.near.pop();
            if let Some(entry) = self.entries.at_mut(node.slot) {
                entry.node = DUE;
            }
            self.due.push(node);
        }
        self.due.reverse();
        !self.due.is_empty()
    }

    /// The next value set aside that was neither removed nor reset since.
    pub(crate) fn next_due(&mut self) -> Option<T> {
        while let Some(node) = self.due.pop() {
            if self.is_due(&node) {
                let key = self.entries.key_of(node.slot);
                return self.entries.remove(key).map(|entry| entry.value);
            }
        }
        None
    }

    /// Takes every value out, in no order.
    pub(crate) fn drain(mut self) -> Vec<T> {
        self.entries.drain().map(|entry| entry.value).collect()
    }

    /// The number of an insertion or a reset.
    fn next_order(&mut self) -> u32 {
        if self.inserted == DUE {
            self.renumber();
        }
        self.inserted += 1;
        self.inserted - 1
    }

    /// Starts to count anew, once in four billion times.
    fn renumber(&mut self) {
        self.near.clear();
        self.has_strays = false;
        self.far.retain(|_| false);
        self.far_earliest = None;
        self.stale = 0;
        self.inserted = 0;
        // Those set aside are in order already.
        let waiting = self.entries.iter().filter(|(_, entry)| entry.node != DUE);
        let mut waiting: Vec<_> = waiting.map(|(key, entry)| (entry.order, key)).collect();
        waiting.sort_unstable();
        for (_, key) in waiting {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            (entry.order, entry.node) = (self.inserted, self.inserted);
            let node = Node { at: entry.at, order: self.inserted, slot: key.slot };
            self.inserted += 1;
            self.place(node);
        }
    }

    fn place(&mut self, node: Node) {
        let is_far = self.far.has_room_for(node.at);
        if is_far && (!self.far.is_empty() || self.near.len() >= FEW) {
            self.return_strays();
            if self.far_earliest.is_some_and(|earliest| node < earliest) {
                self.far_earliest = Some(node);
            }
            self.far.push(node);
        } else {
            self.has_strays |= is_far;
            self.near.push(Reverse(node));
        }
    }

    fn return_strays(&mut self) {
        if mem::replace(&mut self.has_strays, false) {
            for Reverse(node) in mem::take(&mut self.near) {
                match self.far.has_room_for(node.at) {
                    true => self.far.push(node),
                    false => self.near.push(Reverse(node)),
                }
            }
        }
    }

    fn standing(&self, node: Node) -> Standing {
        match self.entries.at(node.slot) {
            Some(entry) if entry.node != node.order => Standing::Stale,
            Some(entry) if entry.order == node.order => Standing::Present,
            Some(entry) => {
                Standing::Moved(Node { at: entry.at, order: entry.order, slot: node.slot })
            }
            None => Standing::Stale,
        }
    }

    /// Moves the node of an entry to where the entry is now.
    fn catch_up(&mut self, node: Node) {
        if let Some(entry) = self.entries.at_mut(node.slot) {
            entry.node = node.order;
        }
        self.place(node);
    }

    /// The first node of the heap that stands.
    fn first_near(&mut self) -> Option<Node> {
        loop {
            let Reverse(node) = *self.near.peek()?;
            match self.standing(node) {
                Standing::Present => return Some(node),
                Standing::Moved(later) => {
                    self.near.pop();
                    self.catch_up(later);
                }
                Standing::Stale => {
                    self.near.pop();
                    self.stale -= 1;
                }
            }
        }
    }

    /// Finds the earliest of the first bucket, and rids it of what does not belong there.
    fn search_first_bucket(&mut self) {
        let mut index = 0;
        while let Some(node) = self.far.first_get(index) {
            match self.standing(node) {
                Standing::Present => {
                    if self.far_earliest.is_none_or(|earliest| node < earliest) {
                        self.far_earliest = Some(node);
                    }
                    index += 1;
                }
                Standing::Moved(later) => {
                    self.far.first_swap_remove(index);
                    // Perhaps it comes back into this one, as the last.
                    self.catch_up(later);
                }
                Standing::Stale => {
                    self.far.first_swap_remove(index);
                    self.stale -= 1;
                }
            }
        }
    }

    /// Moves what stands in the first bucket to finer ones, or into the heap.
    fn empty_first_bucket(&mut self) {
        self.far_earliest = None;
        let Some(bucket) = self.far.open_first() else { return };
        while let Some(node) = self.far.pop(bucket) {
            match self.standing(node) {
                Standing::Present => self.place(node),
                Standing::Moved(later) => self.catch_up(later),
                Standing::Stale => self.stale -= 1,
            }
        }
    }

    /// A node has become stale; too many of them are dropped.
    fn abandon_node(&mut self) {
        self.stale += 1;
        if self.stale > FEW + self.entries.len() {
            let entries = &self.entries;
            let stands = |node: &Node| entries.at(node.slot).is_some_and(|e| e.node == node.order);
            self.near.retain(|Reverse(node)| stands(node));
            self.far.retain(stands);
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Deadlines<u32>, now: Nanos) -> Vec<u32> {
        queue.set_due_aside(now);
        std::iter::from_fn(|| queue.next_due()).collect()
    }

    #[test]
    fn hands_out_by_deadline_then_by_order_of_insertion() {
        let mut queue = Deadlines::new();
        for (at, value) in [(5, 50), (3, 30), (5, 51), (-1, 0), (3, 31), (9, 90)] {
            queue.insert(at, value);
        }
        assert_eq!(queue.earliest(), Some(-1));
        assert_eq!(drain(&mut queue, 5), [0, 30, 31, 50, 51]);
        assert_eq!(queue.earliest(), Some(9));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn what_the_due_ones_insert_waits_for_the_next_round() {
        let mut queue = Deadlines::new();
        queue.insert(1, 1);
        queue.insert(2, 2);
        queue.set_due_aside(10);
        assert_eq!(queue.next_due(), Some(1));
        queue.insert(0, 3);
        assert_eq!(queue.next_due(), Some(2));
        assert_eq!(queue.next_due(), None);
        assert_eq!(drain(&mut queue, 10), [3]);
    }

    #[test]
    fn one_that_is_due_can_still_be_removed_or_reset() {
        let mut queue = Deadlines::new();
        let removed = queue.insert(1, 1);
        let reset = queue.insert(2, 2);
        queue.insert(3, 3);
        queue.set_due_aside(3);
        assert_eq!(queue.remove(removed), Some(1));
        assert!(queue.reset(reset, 7));
        assert_eq!(queue.next_due(), Some(3));
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.earliest(), Some(7));
        assert_eq!(drain(&mut queue, 7), [2]);
        assert!(!queue.reset(reset, 8), "it was handed out");
    }

    /// A generator of numbers, the same in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }

        /// From nanoseconds to years ahead, or a little in the past; often the same.
        fn deadline(&mut self, now: Nanos) -> Nanos {
            let bits = self.below(56);
            let distance = (self.below(8) << bits >> 3) as Nanos;
            if self.below(20) == 0 { now - distance } else { now + distance }
        }
    }

    /// Against a plain list, through insertions, removals, resets and the passing of time.
    fn check_against_a_list(mut queue: Deadlines<u32>, seed: u64, steps: u32, crowd: usize) {
        let mut random = Random(seed);
        let mut model: Vec<(Nanos, u32, Key, u32)> = Vec::new();
        let mut now = 0;
        for step in 0..steps {
            let dice = random.below(100);
            if dice < 45 || model.len() < crowd {
                let at = random.deadline(now);
                model.push((at, step, queue.insert(at, step), step));
            } else if dice < 65 && !model.is_empty() {
                let index = random.below(model.len() as u64) as usize;
                let (_, _, key, value) = model.swap_remove(index);
                assert_eq!(queue.remove(key), Some(value));
                assert_eq!(queue.remove(key), None);
            } else if dice < 85 && !model.is_empty() {
                let index = random.below(model.len() as u64) as usize;
                let at = random.deadline(now);
                assert!(queue.reset(model[index].2, at));
                (model[index].0, model[index].1) = (at, step);
            } else if dice < 90 {
                now = now.max(random.deadline(now) >> random.below(8));
                model.sort();
                let due = model.partition_point(|entry| entry.0 <= now);
                let due: Vec<u32> = model.drain(..due).map(|entry| entry.3).collect();
                assert_eq!(drain(&mut queue, now), due);
            }
            assert_eq!(queue.earliest(), model.iter().map(|entry| entry.0).min());
            assert_eq!(queue.len(), model.len());
        }
        model.sort();
        let mut listed: Vec<_> = queue.iter().map(|(at, value)| (at, *value)).collect();
        listed.sort();
        let mut expected: Vec<_> = model.iter().map(|entry| (entry.0, entry.3)).collect();
        expected.sort();
        assert_eq!(listed, expected);
        let expected: Vec<u32> = model.iter().map(|entry| entry.3).collect();
        assert_eq!(drain(&mut queue, Nanos::MAX), expected);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.earliest(), None);
    }

    #[test]
    fn agrees_with_a_plain_list_through_long_random_histories() {
        for seed in 0..20 {
            check_against_a_list(Deadlines::new(), seed, 2_000, 0);
        }
        check_against_a_list(Deadlines::new(), 20, 4_000, 1_000);
    }

    #[test]
    fn orders_are_numbered_anew_when_the_numbers_run_out() {
        for seed in 0..10 {
            let mut queue = Deadlines::new();
            queue.inserted = DUE - 500;
            check_against_a_list(queue, seed, 2_000, 100);
        }
    }

    #[test]
    fn a_crowd_at_the_end_of_time_is_no_endless_search() {
        let mut queue = Deadlines::new();
        let keys: Vec<_> = (0..1000).map(|value| queue.insert(Nanos::MAX, value)).collect();
        assert_eq!(queue.earliest(), Some(Nanos::MAX));
        queue.insert(Nanos::MAX - 1, 1000);
        assert_eq!(queue.earliest(), Some(Nanos::MAX - 1));
        queue.insert(7, 1001);
        assert_eq!(drain(&mut queue, 7), [1001]);
        assert_eq!(queue.remove(keys[3]), Some(3));
        assert_eq!(drain(&mut queue, Nanos::MAX).len(), 1000);
    }

    #[test]
    fn the_nodes_of_cancelled_timers_are_purged() {
        let mut queue = Deadlines::new();
        let live: Vec<_> = (0..100).map(|n| queue.insert(Nanos::from(n) << 24, n)).collect();
        for n in 0..10_000 {
            let key = queue.insert(Nanos::from(n) << 18, n);
            queue.remove(key);
            queue.reset(live[7], (Nanos::from(n) << 20) - 1);
        }
        assert!(queue.stale <= FEW + live.len());
        assert_eq!(queue.len(), live.len());
    }
}
