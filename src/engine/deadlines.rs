//! The deadline queue: deadlines, in order. It is pure: it reads no clock and makes no system call.
//!
//! Most timers are set for later, and are cancelled or moved before they are due. So a deadline
//! beyond the next millisecond only goes into a coarse [bucket](super::buckets), which costs the
//! same however many there are. A near one goes through a heap, which is small and therefore quick.
//!
//! ```text
//!   insert ---> far: a bucket -- its time arrives -+
//!     |                                            v
//!     +-------> near: the heap <-------------------+
//!                 |
//!                 +--- its deadline has passed ---> due: set aside for this turn, called in order
//!
//!   timers: slot -> deadline, order, value, and which reference to the slot is the current one
//! ```
//!
//! Buckets and the heap hold references to a timer. The timer holds the truth:
//!
//! - cancelling removes the timer, and leaves its reference behind. The reference is stale then,
//!   and is dropped when it is reached;
//! - moving a timer to a later time changes the timer alone. The old reference is reached too
//!   early, and is sorted in again;
//! - moving it to an earlier time adds a reference, and makes the old one stale.
//!
//! A bucket is emptied a part at a time, and a crowded one before its time has come, so no turn
//! is held up by a crowd. What is in it does not fire before all of it has been moved.
//!
//! When many references are stale, each cancellation checks a few, so there are never many more of
//! them than of live ones.
//!
//! Deadlines stay exact, and equal ones keep the order of insertion: a bucket is emptied before any
//! deadline in it is due, and the heap orders by deadline and then by insertion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::arena::{Arena, Key};
pub(crate) use super::buckets::Nanos;
use super::buckets::{Bucket, Buckets};
use super::room::{excess, excess_in_parts};
use super::tuning::{
    HEAP_KEPT, TIMER_MOVED_IN, TIMER_PUT_OFF, TIMERS_FEW, TIMERS_MOVED, TIMERS_SEARCHED,
    TIMERS_SWEPT,
};

/// The end of time, in three centuries: a timer that is set for then never fires.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// In place of the time to wake: it is not known.
const UNKNOWN: Nanos = Nanos::MIN;

/// A reference with its deadline, in the heap or set aside. Ordered by deadline, then by insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    at: Nanos,
    /// The number of the insertion or reset.
    order: u32,
    /// The slot of the timer.
    slot: u32,
}

struct Timer<T> {
    at: Nanos,
    order: u32,
    /// Which reference is the current one: a position in its bucket, or the order of its node in
    /// the heap, which may be set to an earlier time; or [`DUE`].
    ///
    /// Other references are stale, and are skipped. A stale one can match by coincidence; it is
    /// then re-sorted by the timer's deadline, which is harmless.
    current: u32,
    value: T,
}

/// In place of an order: the timer was set aside as due.
const DUE: u32 = u32::MAX;

pub(crate) struct Deadlines<T> {
    timers: Arena<Timer<T>>,
    /// References to near deadlines, for which the buckets have no room: all of them are before
    /// those in the buckets. While the buckets are empty, also a few strays: far ones, for which
    /// the buckets would have room.
    near: BinaryHeap<Reverse<Node>>,
    /// What was in the heap when it had many stale references. It is a heap as well. Those that are
    /// not stale move to `near`, a few at a time.
    sifted: BinaryHeap<Reverse<Node>>,
    /// Set when a stray is put into the heap, cleared when all are moved to the buckets.
    has_strays: bool,
    far: Buckets,
    /// A bucket that was opened, and holds references still. None of them is before the base of the
    /// buckets, and until all have been moved nothing from there on is set aside.
    opened: Option<Bucket>,
    /// The earliest of the far ones, if it is known; void if it is no longer current.
    far_earliest: Option<Node>,
    /// No timer is due before; or [`UNKNOWN`].
    wake: Nanos,
    /// The position to check next for a stale reference.
    swept: (Bucket, u32),
    /// Those set aside as due, the last one first.
    due: Vec<Node>,
    /// While more are due than are set aside at once: when these were due. What is set for a time
    /// before joins their end, so timers that are set again for a time that has passed do not keep
    /// out the others.
    crowd_due: Nanos,
    inserted: u32,
    /// The references that were followed.
    #[cfg(test)]
    steps: std::cell::Cell<usize>,
}

impl<T> Deadlines<T> {
    pub(crate) const fn new() -> Self {
        Deadlines {
            timers: Arena::giving_back_in_parts(),
            near: BinaryHeap::new(),
            sifted: BinaryHeap::new(),
            has_strays: false,
            far: Buckets::new(),
            opened: None,
            far_earliest: None,
            wake: NEVER,
            swept: (Bucket::FIRST, 0),
            due: Vec::new(),
            crowd_due: Nanos::MIN,
            inserted: 0,
            #[cfg(test)]
            steps: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.timers.get(key).map(|timer| &timer.value)
    }

    /// All values, with their deadlines, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Nanos, &T)> {
        self.timers.iter().map(|(_, timer)| (timer.at, &timer.value))
    }

    #[inline]
    pub(crate) fn insert(&mut self, at: Nanos, value: T) -> Key {
        let at = at.max(self.crowd_due);
        let order = self.next_order();
        let slot = self.timers.next_key().slot;
        self.wake = self.wake.min(at);
        let current = self.sort_in(Node { at, order, slot });
        self.timers.insert(Timer { at, order, current, value })
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let timer = self.timers.remove(key)?;
        self.forget_wake(timer.at);
        self.sweep();
        Some(timer.value)
    }

    /// Moves a deadline. Among equal ones its order is that of a new insertion.
    pub(crate) fn reset(&mut self, key: Key, at: Nanos) -> bool {
        let at = at.max(self.crowd_due);
        let order = self.next_order();
        let Some(timer) = self.timers.get_mut(key) else {
            return false;
        };
        let before = timer.at;
        let is_out_of_place = timer.current == DUE || at < before;
        (timer.at, timer.order) = (at, order);
        // A timer that is put off a little, again and again, leaves the time to wake where it is: to
        // search for the next deadline, and to tell the kernel, would cost more than to wake once.
        if at.saturating_sub(self.wake) > TIMER_PUT_OFF {
            self.forget_wake(before);
        }
        self.wake = self.wake.min(at);
        if is_out_of_place {
            self.put(Node { at, order, slot: key.slot });
            self.sweep();
        }
        true
    }

    /// When to ask for due timers: at the earliest deadline that was not set aside. Where many are
    /// far away, and the earliest is not known, it is somewhat before.
    pub(crate) fn wake_at(&mut self) -> Nanos {
        if self.wake == UNKNOWN {
            let at = match self.opened {
                None if !self.timers.has_excess() => {
                    let earliest = self.earliest_within(TIMERS_SEARCHED);
                    let earliest = earliest.or_else(|| self.far.first_start());
                    earliest.into_iter().chain(self.crowd_opening()).min()
                }
                // At once: at the origin, or before it.
                _ => Some(self.first_near().map_or(0, |node| node.at.min(0))),
            };
            self.wake = at.unwrap_or(NEVER);
        }
        self.wake
    }

    /// As [`wake_at`](Self::wake_at), without a search: the beginning of time if it is not known.
    #[inline]
    pub(crate) fn known_wake(&self) -> Nanos {
        self.wake
    }

    /// Notes that a deadline is gone or was moved.
    #[inline]
    fn forget_wake(&mut self, at: Nanos) {
        if at <= self.wake || self.timers.has_excess() {
            self.wake = UNKNOWN;
        } else if self.wake != UNKNOWN && self.timers.len() == 0 {
            self.wake = NEVER;
        }
    }

    /// The earliest deadline, if it is known without a search.
    fn known_earliest(&mut self) -> Option<Nanos> {
        // Everything in the heap is before everything in the buckets.
        let near = self.first_near();
        near.or_else(|| self.far_earliest.filter(|node| self.is_pending(node))).map(|node| node.at)
    }

    /// The earliest deadline that was not set aside, however many have to be moved to find it.
    pub(crate) fn earliest(&mut self) -> Option<Nanos> {
        self.earliest_after(usize::MAX)
    }

    /// As [`earliest`](Self::earliest), after so many moves at the most. If they do not suffice, it
    /// is a time that none of the deadlines is before; then a later call is nearer to it.
    fn earliest_after(&mut self, mut moves: usize) -> Option<Nanos> {
        loop {
            if self.opened.is_none() {
                let found = self.earliest_within(TIMERS_SEARCHED);
                if found.is_some() || self.far.is_empty() {
                    return found;
                }
            }
            // Each reference is moved to a finer bucket a few times only, and not searched again
            // and again.
            if !self.open_first_bucket(NEVER, &mut moves) {
                // What is left in the bucket is not before the base.
                let base = self.far.base();
                return Some(self.first_near().map_or(base, |node| node.at.min(base)));
            }
        }
    }

    /// As [`earliest`](Self::earliest), if at most `most` references have to be searched.
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
                // All timers in it were moved, and belong elsewhere; it holds `most` at the most.
                self.empty(first, &mut { usize::MAX });
            }
        }
    }

    /// Whether a timer that was not set aside is due at `now`, or there is a crowd to be moved, or
    /// memory to be given back.
    pub(crate) fn has_due(&mut self, now: Nanos) -> bool {
        if now < self.wake {
            return false;
        }
        self.wake = UNKNOWN;
        if self.timers.has_excess() {
            return true;
        }
        let mut moves = self.far.crowd;
        while self.opened.is_none() && self.crowd_opening().is_none_or(|at| at > now) {
            if let Some(node) = self.first_near() {
                return node.at <= now;
            }
            if !self.open_first_bucket(now, &mut moves) {
                return self.opened.is_some();
            }
        }
        true
    }

    /// The earliest deadline, with those set aside; or a time before it, where a crowd has to be
    /// moved to find it, a part at each call.
    pub(crate) fn next(&mut self) -> Option<Nanos> {
        let due = self.due.iter().rev().find(|node| self.is_due(node)).map(|node| node.at);
        due.into_iter().chain(self.earliest_after(TIMERS_MOVED)).min()
    }

    /// Whether a node is current, and was not set aside.
    fn is_pending(&self, node: &Node) -> bool {
        let timer = self.timers.at(node.slot);
        timer.is_some_and(|timer| timer.current != DUE && timer.order == node.order)
    }

    /// Whether a node that was set aside is still current.
    fn is_due(&self, node: &Node) -> bool {
        let timer = self.timers.at(node.slot);
        timer.is_some_and(|timer| timer.current == DUE && timer.order == node.order)
    }

    /// Sets aside, in order, the timers that are due at `now`, for [`next_due`](Self::next_due):
    /// `most` at the most, and of a crowd that has to be moved first a part, unless `most` is more.
    /// Returns whether there are any.
    pub(crate) fn set_due_aside(&mut self, now: Nanos, most: usize) -> bool {
        debug_assert!(self.due.is_empty(), "the last round was not handed out whole");
        if now < self.wake && !self.far.has_room_for(now) {
            return false;
        }
        self.wake = UNKNOWN;
        self.timers.give_back();
        let mut moves = self.far.crowd.max(most);
        while self.open_first_bucket(now, &mut moves) {}
        let until = match self.opened {
            None => {
                self.far.advance(now);
                now
            }
            Some(_) => now.min(self.far.base() - 1),
        };
        self.crowd_due = Nanos::MIN;
        while let Some(node) = self.first_near().filter(|node| node.at <= until) {
            if self.due.len() == most {
                self.crowd_due = until;
                break;
            }
            self.pop_near();
            self.set_current(node.slot, DUE);
            self.due.push(node);
        }
        self.due.reverse();
        !self.due.is_empty()
    }

    /// The next value that was set aside, and neither removed nor reset since.
    pub(crate) fn next_due(&mut self) -> Option<T> {
        while let Some(node) = self.due.pop() {
            if self.is_due(&node) {
                let timer = self.timers.remove(self.timers.key_of(node.slot));
                self.sweep();
                return timer.map(|timer| timer.value);
            }
        }
        if let Some(room) = excess(self.due.capacity(), 0, HEAP_KEPT) {
            self.due.shrink_to(room);
        }
        None
    }

    /// Puts back what was set aside and not taken.
    pub(crate) fn put_back_due(&mut self) {
        while let Some(node) = self.due.pop() {
            if self.is_due(&node) {
                self.wake = self.wake.min(node.at);
                self.put(node);
            }
        }
    }

    /// Gives all memory of the table back that is left over.
    pub(crate) fn give_back(&mut self) {
        while self.timers.give_back() {}
    }

    /// The bytes of the table.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.timers.bytes()
    }

    /// Takes every value out, in no order.
    pub(crate) fn drain(mut self) -> Vec<T> {
        self.timers.drain().map(|timer| timer.value).collect()
    }

    /// The number of an insertion or reset.
    fn next_order(&mut self) -> u32 {
        if self.inserted == DUE {
            self.renumber();
        }
        self.inserted += 1;
        self.inserted - 1
    }

    /// Begins to number anew, once in four billion times.
    fn renumber(&mut self) {
        let near = mem::take(&mut self.near).into_iter().chain(mem::take(&mut self.sifted));
        let near: Vec<_> = near
            .filter_map(|Reverse(node)| self.resolve(node.order, node.slot))
            .map(|node| node.slot)
            .collect();
        self.has_strays = false;
        self.far_earliest = None;
        // Those set aside are in order already.
        let waiting = self.timers.iter().filter(|(_, timer)| timer.current != DUE);
        let mut waiting: Vec<_> = waiting.map(|(key, timer)| (timer.order, key.slot)).collect();
        waiting.sort_unstable();
        self.inserted = 0;
        for (_, slot) in waiting {
            let Some(timer) = self.timers.at_mut(slot) else { continue };
            timer.order = self.inserted;
            self.inserted += 1;
        }
        for slot in near {
            if let Some(timer) = self.timers.at(slot) {
                self.put(Node { at: timer.at, order: timer.order, slot });
            }
        }
    }

    /// Drops stale references, if there are many: a few at a time, since all at once would take
    /// long.
    #[inline(always)]
    fn sweep(&mut self) {
        let most = TIMERS_FEW + 2 * self.timers.len();
        if self.near.len() + self.sifted.len() + self.far.len() > most {
            self.sweep_some(most);
        }
    }

    #[inline(never)]
    fn sweep_some(&mut self, most: usize) {
        for _ in 0..TIMERS_SWEPT {
            let (bucket, position) = self.swept;
            match self.far.get(bucket, position) {
                None => self.swept = (self.far.after(bucket), 0),
                Some(slot) if self.resolve(position, slot).is_some() => self.swept.1 += 1,
                Some(_) => self.drop_stale(bucket, position),
            }
        }
        if self.sifted.is_empty() && self.near.len() > most {
            mem::swap(&mut self.sifted, &mut self.near);
        }
        for _ in 0..TIMERS_SWEPT {
            let Some(Reverse(node)) = self.sifted.pop() else { break };
            if let Some(node) = self.resolve(node.order, node.slot) {
                self.put(node);
            }
        }
        shrink(&mut self.sifted);
    }

    /// Drops the stale reference at a position of a bucket. The last reference of the bucket moves
    /// there; a stale one is dropped instead.
    fn drop_stale(&mut self, bucket: Bucket, position: u32) {
        let last = self.far.pop(bucket).filter(|(last, _)| *last != position);
        if let Some((last, slot)) = last {
            match self.resolve(last, slot) {
                None => {}
                Some(node) if self.far.holds(bucket, node.at) => {
                    self.far.set(bucket, position, slot);
                    self.set_current(slot, position);
                }
                Some(later) => self.put(later),
            }
        }
    }

    /// Puts in a node, as the current reference of its timer.
    fn put(&mut self, node: Node) {
        let current = self.sort_in(node);
        self.set_current(node.slot, current);
    }

    fn set_current(&mut self, slot: u32, current: u32) {
        if let Some(timer) = self.timers.at_mut(slot) {
            timer.current = current;
        }
    }

    /// Puts a node into the heap or its slot into a bucket. Returns the value of `current` for it.
    fn sort_in(&mut self, node: Node) -> u32 {
        let is_far = self.far.has_room_for(node.at);
        if is_far && (!self.far.is_empty() || self.near.len() >= TIMERS_FEW) {
            if self.has_strays {
                self.return_strays();
            }
            if self.far_earliest.is_some_and(|earliest| node < earliest) {
                self.far_earliest = Some(node);
            }
            let position = self.far.push(node.at, node.slot);
            if self.far.is_growing(position) {
                self.far.note_crowd(node.at);
                // It is to be opened earlier.
                self.wake = UNKNOWN;
            }
            position
        } else {
            if self.has_strays && self.near.len() >= TIMERS_FEW {
                // While they are few.
                self.return_strays();
            }
            self.has_strays |= is_far;
            self.near.push(Reverse(node));
            node.order
        }
    }

    #[cold]
    fn return_strays(&mut self) {
        self.has_strays = false;
        // Only now do the buckets hold anything.
        self.far_earliest = None;
        for Reverse(node) in mem::take(&mut self.near) {
            let Some(node) = self.resolve(node.order, node.slot) else { continue };
            let current = if self.far.has_room_for(node.at) {
                if self.far_earliest.is_none_or(|earliest| node < earliest) {
                    self.far_earliest = Some(node);
                }
                self.far.push(node.at, node.slot)
            } else {
                self.near.push(Reverse(node));
                node.order
            };
            self.set_current(node.slot, current);
        }
    }

    /// The first node of the heap that is current.
    fn first_near(&mut self) -> Option<Node> {
        loop {
            let Reverse(node) = *self.heap().peek()?;
            match self.resolve(node.order, node.slot) {
                Some(now) if now == node => return Some(node),
                moved => {
                    self.pop_near();
                    moved.into_iter().for_each(|later| self.put(later));
                }
            }
        }
    }

    /// The heap with the first node.
    fn heap(&mut self) -> &mut BinaryHeap<Reverse<Node>> {
        // The first is the greatest there, and none is less than any.
        let is_sifted = !self.sifted.is_empty() && self.sifted.peek() > self.near.peek();
        if is_sifted { &mut self.sifted } else { &mut self.near }
    }

    fn pop_near(&mut self) {
        let heap = self.heap();
        heap.pop();
        if heap.len() % HEAP_KEPT == 0 {
            shrink(heap);
        }
    }

    /// A timer, if this reference to it is the current one.
    fn resolve(&self, current: u32, slot: u32) -> Option<Node> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        let timer = self.timers.at(slot).filter(|timer| timer.current == current)?;
        Some(Node { at: timer.at, order: timer.order, slot })
    }

    /// The earliest timer that belongs into the first bucket.
    fn search(&self, first: Bucket) -> Option<Node> {
        let slots = (0..).zip(self.far.first());
        slots
            .filter_map(|(position, slot)| self.resolve(position, *slot))
            .filter(|node| self.far.holds(first, node.at))
            .min()
    }

    /// When a bucket with a crowd is to be opened, and those before it: so early that all of the
    /// crowd has been moved when it begins.
    ///
    /// To open others early would serve the search for the earliest only, and every deadline that
    /// is set for the time in between would have to go through the heap.
    fn crowd_opening(&mut self) -> Option<Nanos> {
        let (start, crowd) = self.far.crowd()?;
        Some(start.saturating_sub(crowd as Nanos * TIMER_MOVED_IN))
    }

    /// Moves references of the first bucket to finer ones or into the heap, if its time has come.
    /// Returns false if there is nothing to move, or `moves` are used up.
    fn open_first_bucket(&mut self, now: Nanos, moves: &mut usize) -> bool {
        if self.opened.is_none() {
            let start = self.far.first_start();
            if start.is_none_or(|at| at > now) && self.crowd_opening().is_none_or(|at| at > now) {
                return false;
            }
            self.far_earliest = None;
            self.wake = UNKNOWN;
            self.opened = self.far.open_first();
        }
        if let Some(bucket) = self.opened
            && self.empty(bucket, moves)
        {
            self.opened = None;
        }
        self.opened.is_none()
    }

    /// Puts the current references of a bucket where they belong, one for each move. Returns
    /// whether the bucket is empty.
    fn empty(&mut self, bucket: Bucket, moves: &mut usize) -> bool {
        while *moves > 0 {
            let Some((position, slot)) = self.far.pop(bucket) else { return true };
            *moves -= 1;
            if let Some(node) = self.resolve(position, slot) {
                self.put(node);
            }
        }
        false
    }
}

#[cold]
fn shrink(heap: &mut BinaryHeap<Reverse<Node>>) {
    if let Some(room) = excess_in_parts::<Node>(heap.capacity(), heap.len(), HEAP_KEPT) {
        heap.shrink_to(room);
    }
}

#[cfg(test)]
#[path = "deadlines/tests.rs"]
mod tests;
