//! The deadline queue: what is due when, in order. It is pure: it reads no clock and calls no kernel.
//!
//! Most timers are set for later, and are cancelled or moved before they are due. So a deadline beyond the next
//! millisecond is only put into a coarse [bucket](super::buckets), which costs the same however many there are. A
//! near one goes through a heap, which is small and therefore quick.
//!
//! ```text
//!   insert ---> far: a bucket --- its time comes --+
//!     |                                            v
//!     +-------> near: the heap <-------------------+
//!                 |
//!                 +--- its deadline has passed ---> due: set aside for this turn, called in order
//!
//!   entries: slot -> deadline, order, value, and which reference to the slot is the current one
//! ```
//!
//! A bucket and the heap hold references to an entry, and the entry holds the truth:
//!
//! - cancelling takes the entry out, and leaves its reference behind. It is stale then, and is dropped where it turns up;
//! - moving a timer to a later time changes the entry alone. The old reference turns up too early, and is sorted in anew;
//! - moving it to an earlier time adds a reference, and makes the old one stale.
//!
//! When many are stale, some are looked for at each cancellation, so they never are more than the live ones by much.
//!
//! Deadlines stay exact, and equal ones keep the order of insertion: a bucket is emptied before anything in it is due, and
//! the heap orders by deadline and then by insertion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::arena::{Arena, Key};
use super::buckets::{Bucket, Buckets};
use super::room::excess;
use super::tuning::{HEAP_KEPT, TIMERS_FEW, TIMERS_SEARCHED, TIMERS_SWEPT};

/// Nanoseconds since the loop's origin; negative for what lies before it.
pub(crate) type Nanos = i64;

/// The end of time, in three centuries: what is due then is never due.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// In the place of the time to look at: it has to be found out.
const UNKNOWN: Nanos = Nanos::MIN;

/// A deadline in the heap, or set aside; ordered by deadline, then by insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    at: Nanos,
    /// Which insertion or reset it was.
    order: u32,
    /// The entry that it was made for.
    slot: u32,
}

struct Entry<T> {
    at: Nanos,
    order: u32,
    /// Which stored reference is current: an index in its bucket, or the order of its node in the heap, which
    /// may be set to an earlier time; or [`DUE`].
    ///
    /// Other references are stale, and are skipped. A stale one can match by coincidence; it is then re-sorted
    /// by the entry's deadline, which is harmless.
    stand: u32,
    value: T,
}

/// In the place of an order: it was set aside as due.
const DUE: u32 = u32::MAX;

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
    /// What [`wake_at`](Self::wake_at) returns: nothing is due before; or [`UNKNOWN`].
    wake: Nanos,
    /// The next place to look at for what is left over.
    swept: (Bucket, u32),
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
            wake: NEVER,
            swept: (Bucket::FIRST, 0),
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

    #[inline]
    pub(crate) fn insert(&mut self, at: Nanos, value: T) -> Key {
        let order = self.next_order();
        let slot = self.entries.next_key().slot;
        self.wake = self.wake.min(at);
        let stand = self.sort_in(Node { at, order, slot });
        self.entries.insert(Entry { at, order, stand, value })
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.remove(key)?;
        self.forget_wake(entry.at);
        self.sweep();
        Some(entry.value)
    }

    /// Moves a deadline; its turn among equal ones is that of a new insertion.
    pub(crate) fn reset(&mut self, key: Key, at: Nanos) -> bool {
        let order = self.next_order();
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let before = entry.at;
        let is_out_of_place = entry.stand == DUE || at < before;
        (entry.at, entry.order) = (at, order);
        self.forget_wake(before);
        self.wake = self.wake.min(at);
        if is_out_of_place {
            self.place(Node { at, order, slot: key.slot });
            self.sweep();
        }
        true
    }

    /// When to look for what is due: at the earliest deadline that was not set aside; or where many are far away, and it
    /// is not known which of them is the earliest, somewhat before.
    pub(crate) fn wake_at(&mut self) -> Nanos {
        if self.wake == UNKNOWN {
            let at = self.earliest_within(TIMERS_SEARCHED).or_else(|| self.far.first_start());
            self.wake = at.unwrap_or(NEVER);
        }
        self.wake
    }

    /// The same; or the beginning of time, if it has to be found out.
    #[inline]
    pub(crate) fn known_wake(&self) -> Nanos {
        self.wake
    }

    /// A deadline is no longer what it was.
    #[inline]
    fn forget_wake(&mut self, at: Nanos) {
        if at <= self.wake {
            self.wake = UNKNOWN;
        } else if self.wake != UNKNOWN && self.entries.len() == 0 {
            self.wake = NEVER;
        }
    }

    /// The earliest deadline, where nothing has to be searched for it.
    fn known_earliest(&mut self) -> Option<Nanos> {
        // Everything in the heap is before everything in the buckets.
        let near = self.first_near();
        near.or_else(|| self.far_earliest.filter(|node| self.is_pending(node))).map(|node| node.at)
    }

    /// The earliest deadline that was not set aside.
    pub(crate) fn earliest(&mut self) -> Option<Nanos> {
        loop {
            let found = self.earliest_within(TIMERS_SEARCHED);
            if found.is_some() || self.far.is_empty() {
                return found;
            }
            // Each is moved to a finer bucket a few times only, and not looked through again and again.
            self.open_first_bucket(NEVER);
        }
    }

    /// The same, if there are no more than so many to look through.
    fn earliest_within(&mut self, most: usize) -> Option<Nanos> {
        loop {
            if let Some(at) = self.known_earliest() {
                return Some(at);
            }
            let first = self.far.first_bucket()?;
            if self.far.first().len() > most {
                return None;
            }
            self.far_earliest = self.search(first);
            if self.far_earliest.is_none() {
                // What stands in it was moved, and belongs somewhere else.
                self.empty(first);
            }
        }
    }

    /// Whether one that was not set aside is due at `now`.
    pub(crate) fn has_due(&mut self, now: Nanos) -> bool {
        if now < self.wake {
            return false;
        }
        loop {
            if let Some(node) = self.first_near() {
                return node.at <= now;
            }
            if !self.open_first_bucket(now) {
                return false;
            }
        }
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&mut self) -> Option<Nanos> {
        let due = self.due.iter().rev().find(|node| self.is_due(node)).map(|node| node.at);
        due.into_iter().chain(self.earliest()).min()
    }

    /// Whether a deadline is still that of its entry, and was not set aside.
    fn is_pending(&self, node: &Node) -> bool {
        let entry = self.entries.at(node.slot);
        entry.is_some_and(|entry| entry.stand != DUE && entry.order == node.order)
    }

    /// Whether a node that was set aside still stands.
    fn is_due(&self, node: &Node) -> bool {
        let entry = self.entries.at(node.slot);
        entry.is_some_and(|entry| entry.stand == DUE && entry.order == node.order)
    }

    /// Sets aside, in order, all that is due at `now`, for [`next_due`](Self::next_due) to hand out; says whether anything
    /// is.
    pub(crate) fn set_due_aside(&mut self, now: Nanos) -> bool {
        debug_assert!(self.due.is_empty(), "the last round was not handed out whole");
        if now < self.wake && !self.far.has_room_for(now) {
            return false;
        }
        self.wake = UNKNOWN;
        while self.open_first_bucket(now) {}
        self.far.advance(now);
        while let Some(node) = self.first_near().filter(|node| node.at <= now) {
            self.pop_near();
            self.stand(node.slot, DUE);
            self.due.push(node);
        }
        self.due.reverse();
        !self.due.is_empty()
    }

    /// The next value set aside that was neither removed nor reset since.
    pub(crate) fn next_due(&mut self) -> Option<T> {
        while let Some(node) = self.due.pop() {
            if self.is_due(&node) {
                let entry = self.entries.remove(self.entries.key_of(node.slot));
                self.sweep();
                return entry.map(|entry| entry.value);
            }
        }
        if let Some(room) = excess(self.due.capacity(), 0, HEAP_KEPT) {
            self.due.shrink_to(room);
        }
        None
    }

    /// Sorts in again what was set aside and not handed out.
    pub(crate) fn put_back_due(&mut self) {
        while let Some(node) = self.due.pop() {
            if self.is_due(&node) {
                self.wake = self.wake.min(node.at);
                self.place(node);
            }
        }
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
        let near = mem::take(&mut self.near).into_iter();
        let near: Vec<_> = near
            .filter_map(|Reverse(node)| self.standing(node.order, node.slot))
            .map(|node| node.slot)
            .collect();
        self.has_strays = false;
        self.far_earliest = None;
        // Those set aside are in order already.
        let waiting = self.entries.iter().filter(|(_, entry)| entry.stand != DUE);
        let mut waiting: Vec<_> = waiting.map(|(key, entry)| (entry.order, key.slot)).collect();
        waiting.sort_unstable();
        self.inserted = 0;
        for (_, slot) in waiting {
            let Some(entry) = self.entries.at_mut(slot) else { continue };
            entry.order = self.inserted;
            self.inserted += 1;
        }
        for slot in near {
            if let Some(entry) = self.entries.at(slot) {
                self.place(Node { at: entry.at, order: entry.order, slot });
            }
        }
    }

    /// Looks for what is left over, if it is much, and drops it: a few at a time, since all at once would take long.
    #[inline(always)]
    fn sweep(&mut self) {
        let most = TIMERS_FEW + 2 * self.entries.len();
        if self.near.len() + self.far.len() > most {
            self.sweep_some(most);
        }
    }

    #[inline(never)]
    fn sweep_some(&mut self, most: usize) {
        for _ in 0..TIMERS_SWEPT {
            let (bucket, place) = self.swept;
            match self.far.get(bucket, place) {
                None => self.swept = (self.far.after(bucket), 0),
                Some(slot) if self.standing(place, slot).is_some() => self.swept.1 += 1,
                Some(_) => self.drop_at(bucket, place),
            }
        }
        if self.near.len() > most {
            // What is near comes up soon; so many are set and cancelled in no time only.
            let entries = &self.entries;
            self.near.retain(|Reverse(node)| {
                entries.at(node.slot).is_some_and(|entry| entry.stand == node.order)
            });
            self.shrink_near();
        }
    }

    /// Drops what is left over at a place of a bucket; or at its last place, since the last one comes to where it was.
    fn drop_at(&mut self, bucket: Bucket, place: u32) {
        let last = self.far.pop(bucket).filter(|(last, _)| *last != place);
        if let Some((last, slot)) = last {
            match self.standing(last, slot) {
                None => {}
                Some(node) if self.far.holds(bucket, node.at) => {
                    self.far.set(bucket, place, slot);
                    self.stand(slot, place);
                }
                Some(later) => self.place(later),
            }
        }
    }

    /// Has a node stand for its entry.
    fn place(&mut self, node: Node) {
        let stand = self.sort_in(node);
        self.stand(node.slot, stand);
    }

    fn stand(&mut self, slot: u32, stand: u32) {
        if let Some(entry) = self.entries.at_mut(slot) {
            entry.stand = stand;
        }
    }

    /// Puts a node into the heap or its slot into a bucket, and returns what stands for the entry then.
    fn sort_in(&mut self, node: Node) -> u32 {
        let is_far = self.far.has_room_for(node.at);
        if is_far && (!self.far.is_empty() || self.near.len() >= TIMERS_FEW) {
            self.return_strays();
            if self.far_earliest.is_some_and(|earliest| node < earliest) {
                self.far_earliest = Some(node);
            }
            self.far.push(node.at, node.slot)
        } else {
            self.has_strays |= is_far;
            self.near.push(Reverse(node));
            node.order
        }
    }

    fn return_strays(&mut self) {
        if mem::replace(&mut self.has_strays, false) {
            // The buckets were empty.
            self.far_earliest = None;
            for Reverse(node) in mem::take(&mut self.near) {
                let Some(node) = self.standing(node.order, node.slot) else { continue };
                let stand = if self.far.has_room_for(node.at) {
                    if self.far_earliest.is_none_or(|earliest| node < earliest) {
                        self.far_earliest = Some(node);
                    }
                    self.far.push(node.at, node.slot)
                } else {
                    self.near.push(Reverse(node));
                    node.order
                };
                self.stand(node.slot, stand);
            }
        }
    }

    /// The first node of the heap that stands.
    fn first_near(&mut self) -> Option<Node> {
        loop {
            let Reverse(node) = *self.near.peek()?;
            match self.standing(node.order, node.slot) {
                Some(now) if now == node => return Some(node),
                moved => {
                    self.pop_near();
                    moved.into_iter().for_each(|later| self.place(later));
                }
            }
        }
    }

    fn pop_near(&mut self) {
        self.near.pop();
        if self.near.len() % HEAP_KEPT == 0 {
            self.shrink_near();
        }
    }

    #[cold]
    fn shrink_near(&mut self) {
        if let Some(room) = excess(self.near.capacity(), self.near.len(), HEAP_KEPT) {
            self.near.shrink_to(room);
        }
    }

    /// What an entry is now; none if something else stands for it.
    fn standing(&self, stand: u32, slot: u32) -> Option<Node> {
        let entry = self.entries.at(slot).filter(|entry| entry.stand == stand)?;
        Some(Node { at: entry.at, order: entry.order, slot })
    }

    /// The earliest of those that belong into the first bucket.
    fn search(&self, first: Bucket) -> Option<Node> {
        let slots = (0..).zip(self.far.first());
        slots
            .filter_map(|(place, slot)| self.standing(place, *slot))
            .filter(|node| self.far.holds(first, node.at))
            .min()
    }

    /// Moves what stands in the first bucket to finer ones, or into the heap, if its time has come. Before that only for who
    /// asks which is the earliest: what is set for a time between finds no bucket then, but the heap.
    fn open_first_bucket(&mut self, now: Nanos) -> bool {
        if self.far.first_start().is_none_or(|start| start > now) {
            return false;
        }
        self.far_earliest = None;
        self.wake = UNKNOWN;
        if let Some(bucket) = self.far.open_first() {
            self.empty(bucket);
        }
        true
    }

    /// Sorts in whatever stands in a bucket, where it does not belong.
    fn empty(&mut self, bucket: Bucket) {
        while let Some((place, slot)) = self.far.pop(bucket) {
            if let Some(node) = self.standing(place, slot) {
                self.place(node);
            }
        }
    }
}

#[cfg(test)]
#[path = "deadlines/tests.rs"]
mod tests;
