//! The deadline queue: what is due when, in order. Pure: it knows no clock and no kernel.
//!
//! A binary-heap's order with two refinements that a loop needs: every entry knows its place in the
//! heap, so that cancelling frees the value at once and costs O(log n) instead of leaving a
//! tombstone; and the entries that are due are set aside before the first of them is handed out, so
//! that what they insert waits for the next round. Equal deadlines keep their order of insertion.

use super::arena::{Arena, Key};

/// Nanoseconds since the loop's origin; negative for what lies before it.
pub(crate) type Nanos = i64;

/// Four children a node: half the levels of a binary heap, and the four share a cache line or two.
const ARITY: usize = 4;

/// The place of an entry that was set aside as due.
const DUE: u32 = u32::MAX;

struct Node {
    at: Nanos,
    /// Order of insertion, the tie-break between equal deadlines.
    order: u64,
    slot: u32,
}

impl Node {
    fn is_before(&self, other: &Node) -> bool {
        (self.at, self.order) < (other.at, other.order)
    }
}

struct Entry<T> {
    /// Tells whether a node that was set aside still speaks of this entry: resetting changes it.
    order: u64,
    place: u32,
    value: T,
}

pub(crate) struct Deadlines<T> {
    heap: Vec<Node>,
    entries: Arena<Entry<T>>,
    /// Those set aside as due, the last one first.
    due: Vec<(Key, u64)>,
    inserted: u64,
}

impl<T> Deadlines<T> {
    pub(crate) const fn new() -> Self {
        Deadlines { heap: Vec::new(), entries: Arena::new(), due: Vec::new(), inserted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The earliest deadline that was not set aside.
    pub(crate) fn earliest(&self) -> Option<Nanos> {
        self.heap.first().map(|node| node.at)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Everything that was not set aside as due, with its deadline, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Nanos, &T)> {
        self.heap.iter().filter_map(|node| {
            let key = self.entries.key_of(node.slot);
            self.get(key).map(|value| (node.at, value))
        })
    }

    pub(crate) fn insert(&mut self, at: Nanos, value: T) -> Key {
        let order = self.next_order();
        let key = self.entries.insert(Entry { order, place: DUE, value });
        self.push(Node { at, order, slot: key.slot });
        key
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.remove(key)?;
        if entry.place != DUE {
            self.take_out(entry.place as usize);
        }
        Some(entry.value)
    }

    /// Moves a deadline; its turn among equal ones is that of a new insertion.
    pub(crate) fn reset(&mut self, key: Key, at: Nanos) -> bool {
        let order = self.next_order();
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.order = order;
        let place = entry.place;
        let node = Node { at, order, slot: key.slot };
        if place == DUE {
            self.push(node);
        } else {
            let place = place as usize;
            let earlier = node.is_before(&self.heap[place]);
            self.heap[place] = node;
            if earlier { self.sift_up(place) } else { self.sift_down(place) }
        }
        true
    }

    /// Sets aside, in order, all that is due at `now`, for [`next_due`](Self::next_due) to hand out.
    pub(crate) fn set_due_aside(&mut self, now: Nanos) {
        debug_assert!(self.due.is_empty(), "the last round was not handed out whole");
        while self.earliest().is_some_and(|at| at <= now) {
            let node = self.take_out(0);
            if let Some(entry) = self.entries.at_mut(node.slot) {
                entry.place = DUE;
            }
            let key = self.entries.key_of(node.slot);
            self.due.push((key, node.order));
        }
        self.due.reverse();
    }

    /// The next value set aside that was neither removed nor reset since.
    pub(crate) fn next_due(&mut self) -> Option<T> {
        while let Some((key, order)) = self.due.pop() {
            let valid = self
                .entries
                .get(key)
                .is_some_and(|entry| entry.order == order && entry.place == DUE);
            if valid {
                return self.entries.remove(key).map(|entry| entry.value);
            }
        }
        None
    }

    /// Takes every value out, in no order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.heap.clear();
        self.due.clear();
        self.entries.drain().map(|entry| entry.value).collect()
    }

    fn next_order(&mut self) -> u64 {
        self.inserted += 1;
        self.inserted
    }

    fn push(&mut self, node: Node) {
        let place = self.heap.len();
        self.heap.push(node);
        self.sift_up(place);
    }

    /// Removes the node at `place` and fills the gap with the last one.
    fn take_out(&mut self, place: usize) -> Node {
        let node = self.heap.swap_remove(place);
        if place < self.heap.len() {
            if self.heap[place].is_before(&node) {
                self.sift_up(place);
            } else {
                self.sift_down(place);
            }
        }
        node
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !self.heap[place].is_before(&self.heap[parent]) {
                break;
            }
            self.heap.swap(place, parent);
            self.note_place(place);
            place = parent;
        }
        self.note_place(place);
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let first = place * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let mut least = place;
            for child in first..last {
                if self.heap[child].is_before(&self.heap[least]) {
                    least = child;
                }
            }
            if least == place {
                break;
            }
            self.heap.swap(place, least);
            self.note_place(place);
            place = least;
        }
        self.note_place(place);
    }

    fn note_place(&mut self, place: usize) {
        if let Some(entry) = self.entries.at_mut(self.heap[place].slot) {
            entry.place = place as u32;
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

    #[test]
    fn keeps_order_and_places_through_a_long_random_history() {
        let mut queue = Deadlines::new();
        let mut model: Vec<(Nanos, u64, Key, u32)> = Vec::new();
        let mut state = 1_u64;
        let mut order = 0;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for step in 0..20_000_u32 {
            order += 1;
            match random(5) {
                0..=2 => {
                    let at = random(1000) as Nanos;
                    let key = queue.insert(at, step);
                    model.push((at, order, key, step));
                }
                3 if !model.is_empty() => {
                    let (_, _, key, value) = model.swap_remove(random(model.len() as u64) as usize);
                    assert_eq!(queue.remove(key), Some(value));
                }
                _ if !model.is_empty() => {
                    let index = random(model.len() as u64) as usize;
                    let at = random(1000) as Nanos;
                    assert!(queue.reset(model[index].2, at));
                    model[index].0 = at;
                    model[index].1 = order;
                }
                _ => {}
            }
        }
        model.sort();
        assert_eq!(queue.len(), model.len());
        let expected: Vec<u32> = model.iter().map(|entry| entry.3).collect();
        assert_eq!(drain(&mut queue, 1000), expected);
        assert_eq!(queue.len(), 0);
    }
}
