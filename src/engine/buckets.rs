//! Far deadlines, in coarse buckets: a hierarchical timing wheel without a clock.
//!
//! The structure is that of Varghese and Lauck ("Hashed and Hierarchical Timing Wheels", 1987),
//! which the Linux kernel and tokio use too. Nothing is sorted: adding a deadline is two shifts and
//! a push, however many there are.
//!
//! ```text
//! level  a bucket spans   64 buckets of it, each a list of slots
//!   0    about 1 ms       [ ][x][ ][x][ ] ...    up to about 67 ms from the base
//!   1    64 ms            [ ][ ][x][ ][ ] ...    up to about 4 s
//!   2    4 s              [ ][x][ ][ ][ ] ...    and so on, to three centuries on level 7
//!
//!         near (the heap's)         far (in buckets)
//!   ------------|-----------------------------------------> time
//!            horizon
//! ```
//!
//! A deadline is on the level of the highest digit, to the base of 64, in which it differs from the
//! *base*. So everything on one level is before everything on the next, and the first bucket that
//! is not empty is found by counting zero bits.
//!
//! Three things always hold:
//!
//! - the base never moves back. It moves on when a bucket is opened, and with the time;
//! - no slot here has a deadline before the *horizon*, the end of the last bucket of level 0 that
//!   was opened. What is before it goes into the heap;
//! - `first` names the first bucket that is not empty.
//!
//! A bucket holds slots of a table that is not here. The owner of the table knows each deadline,
//! and its position in the bucket.

use super::room::excess_in_parts;
use super::tuning::{BUCKET_KEPT, TIMER_GRAIN_BITS, TIMERS_MOVED};

/// Nanoseconds since the loop's origin; negative before it.
pub(crate) type Nanos = i64;

/// A bucket of a level spans two to the power of this as much as one of the level below.
const LEVEL_BITS: u32 = 6;
const LEVELS: usize = 8;
const BUCKETS: u32 = 1 << LEVEL_BITS;

struct Level {
    /// A bit for each bucket that is not empty.
    occupied: u64,
    /// Empty until the first bucket is needed.
    buckets: Vec<Vec<u32>>,
}

impl Level {
    const EMPTY: Level = Level { occupied: 0, buckets: Vec::new() };
}

pub(super) struct Buckets {
    levels: [Level; LEVELS],
    /// Deadlines are compared with its digits. A multiple of the grain, never before the origin.
    base: Nanos,
    /// The end of the near time: the base, or one grain after it.
    horizon: Nanos,
    /// The first bucket that is not empty.
    first: Option<Bucket>,
    /// The first bucket that holds a crowd, or held one.
    crowded: Option<Bucket>,
    /// More slots than these are a crowd. A power of two.
    pub(super) crowd: usize,
    /// How many slots all buckets hold.
    len: usize,
}

/// Names a bucket. Earlier ones compare as less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    level: usize,
    index: u32,
}

impl Bucket {
    pub(super) const FIRST: Bucket = Bucket { level: 0, index: 0 };

    /// The bucket of a deadline for which there is room.
    fn of(at: Nanos, base: Nanos) -> Bucket {
        let differs = (at ^ base) >> TIMER_GRAIN_BITS;
        let level = ((differs | 1).ilog2() / LEVEL_BITS) as usize;
        Bucket { level, index: (at >> shift(level)) as u32 % BUCKETS }
    }
}

fn shift(level: usize) -> u32 {
    TIMER_GRAIN_BITS + LEVEL_BITS * level as u32
}

impl Buckets {
    pub(super) const fn new() -> Self {
        Buckets {
            levels: [Level::EMPTY; LEVELS],
            base: 0,
            horizon: 0,
            first: None,
            crowded: None,
            crowd: TIMERS_MOVED,
            len: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a deadline belongs here.
    pub(super) fn has_room_for(&self, at: Nanos) -> bool {
        // There is no room at the end of time.
        at >= self.horizon && self.horizon < Nanos::MAX
    }

    /// Adds a slot whose deadline there is room for. Returns its position.
    pub(super) fn push(&mut self, at: Nanos, slot: u32) -> u32 {
        let bucket = Bucket::of(at, self.base);
        let level = &mut self.levels[bucket.level];
        if level.buckets.is_empty() {
            level.buckets.resize_with(BUCKETS as usize, Vec::new);
        }
        let slots = &mut level.buckets[bucket.index as usize];
        let position = slots.len() as u32;
        slots.push(slot);
        level.occupied |= 1 << bucket.index;
        self.len += 1;
        if self.first.is_none_or(|first| bucket < first) {
            self.first = Some(bucket);
        }
        position
    }

    /// Moves on to a time before the first bucket. From now on the grain around it is near.
    pub(super) fn advance(&mut self, to: Nanos) {
        debug_assert!(self.first_start().is_none_or(|start| start > to));
        self.open_grain(to >> TIMER_GRAIN_BITS << TIMER_GRAIN_BITS);
    }

    fn open_grain(&mut self, start: Nanos) {
        self.base = self.base.max(start);
        self.horizon = self.horizon.max(start.saturating_add(1 << TIMER_GRAIN_BITS));
    }

    /// What deadlines are compared with. None here is before it.
    pub(super) fn base(&self) -> Nanos {
        self.base
    }

    /// When the first bucket begins.
    pub(super) fn first_start(&self) -> Option<Nanos> {
        self.first.map(|bucket| self.start(bucket))
    }

    /// Whether a position that was added is the one with which a crowd begins, or has grown by as
    /// many again.
    #[inline]
    pub(super) fn is_growing(&self, position: u32) -> bool {
        position as usize & (self.crowd - 1) == 0 && position > 0
    }

    /// Notes that the bucket of a deadline has a crowd.
    #[cold]
    pub(super) fn note_crowd(&mut self, at: Nanos) {
        let bucket = Bucket::of(at, self.base);
        if self.crowded.is_none_or(|other| bucket < other) {
            self.crowded = Some(bucket);
        }
    }

    /// The first bucket with a crowd: when it begins, and how many slots it holds.
    pub(super) fn crowd(&mut self) -> Option<(Nanos, usize)> {
        let Bucket { level, index } = self.crowded?;
        let len = self.levels[level].buckets[index as usize].len();
        if len > self.crowd {
            return Some((self.start(Bucket { level, index }), len));
        }
        self.find_crowd();
        self.crowded.and_then(|_| self.crowd())
    }

    #[cold]
    fn find_crowd(&mut self) {
        let all =
            (0..LEVELS).flat_map(|level| (0..BUCKETS).map(move |index| Bucket { level, index }));
        let slots = |Bucket { level, index }| self.levels[level].buckets.get(index as usize);
        self.crowded =
            { all }.find(|bucket| slots(*bucket).is_some_and(|slots| slots.len() > self.crowd));
    }

    fn start(&self, Bucket { level, index }: Bucket) -> Nanos {
        // The digits above this level are the base's.
        let above = shift(level) + LEVEL_BITS;
        let high = if above < Nanos::BITS { self.base >> above << above } else { 0 };
        high | Nanos::from(index) << shift(level)
    }

    /// The slots of the first bucket, each at its position.
    pub(super) fn first(&self) -> &[u32] {
        let Some(Bucket { level, index }) = self.first else { return &[] };
        &self.levels[level].buckets[index as usize]
    }

    pub(super) fn first_bucket(&self) -> Option<Bucket> {
        self.first
    }

    /// Moves on to the first bucket. The caller takes its slots out, and puts them where they
    /// belong.
    pub(super) fn open_first(&mut self) -> Option<Bucket> {
        let first = self.first?;
        match (first.level, self.start(first)) {
            (0, start) => self.open_grain(start),
            (_, start) => (self.base, self.horizon) = (start, self.horizon.max(start)),
        }
        self.levels[first.level].occupied &= !(1 << first.index);
        self.find_first();
        if self.crowded == Some(first) {
            self.crowded = None;
        }
        Some(first)
    }

    /// Takes the last slot out of a bucket, with its position.
    #[inline]
    pub(super) fn pop(&mut self, bucket: Bucket) -> Option<(u32, u32)> {
        let Bucket { level, index } = bucket;
        let slots = &mut self.levels[level].buckets[index as usize];
        let slot = slots.pop()?;
        let position = slots.len();
        self.len -= 1;
        if position % BUCKET_KEPT == 0 {
            self.settle(bucket);
        }
        Some((position as u32, slot))
    }

    /// The slot at a position of a bucket.
    pub(super) fn get(&self, Bucket { level, index }: Bucket, position: u32) -> Option<u32> {
        self.levels[level].buckets.get(index as usize)?.get(position as usize).copied()
    }

    /// Replaces the slot at a position of a bucket.
    pub(super) fn set(&mut self, Bucket { level, index }: Bucket, position: u32, slot: u32) {
        self.levels[level].buckets[index as usize][position as usize] = slot;
    }

    /// Whether a deadline belongs into a bucket.
    pub(super) fn holds(&self, bucket: Bucket, at: Nanos) -> bool {
        self.has_room_for(at) && Bucket::of(at, self.base) == bucket
    }

    /// The next bucket that is not empty; after the last, the first.
    pub(super) fn after(&self, Bucket { level, index }: Bucket) -> Bucket {
        let above = (self.levels[level].occupied >> index >> 1).trailing_zeros();
        let next = (level + 1..LEVELS).find(|level| self.levels[*level].occupied != 0);
        match next {
            _ if above < BUCKETS => Bucket { level, index: index + 1 + above },
            Some(level) => Bucket { level, index: self.levels[level].occupied.trailing_zeros() },
            None => self.first.unwrap_or(Bucket::FIRST),
        }
    }

    /// Called after some slots have left a bucket: gives memory back, and notes whether the bucket
    /// is empty.
    #[cold]
    fn settle(&mut self, Bucket { level, index }: Bucket) {
        let Level { occupied, buckets } = &mut self.levels[level];
        let slots = &mut buckets[index as usize];
        if let Some(room) = excess_in_parts::<u32>(slots.capacity(), slots.len(), BUCKET_KEPT) {
            slots.shrink_to(room);
        }
        if slots.is_empty() {
            *occupied &= !(1 << index);
            self.find_first();
        }
    }

    fn find_first(&mut self) {
        let level = self.levels.iter().position(|level| level.occupied != 0);
        self.first = level.map(|level| {
            let index = self.levels[level].occupied.trailing_zeros();
            Bucket { level, index }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From nanoseconds to centuries, many in one bucket.
    fn crowd() -> Vec<Nanos> {
        let spread = |n: Nanos| (n * 7919 % 61) << (n % 56);
        (0..if cfg!(miri) { 500 } else { 5000 }).map(spread).collect()
    }

    /// All of a crowd that there is room for, with what there is none for.
    fn filled(crowd: &[Nanos]) -> (Buckets, Vec<Nanos>) {
        let mut buckets = Buckets::new();
        buckets.advance(0);
        let mut near = Vec::new();
        for (slot, at) in crowd.iter().enumerate() {
            match buckets.has_room_for(*at) {
                true => _ = buckets.push(*at, slot as u32),
                false => near.push(*at),
            }
        }
        (buckets, near)
    }

    #[test]
    fn each_bucket_is_before_the_next_and_nothing_is_lost() {
        let crowd = crowd();
        let (mut buckets, mut seen) = filled(&crowd);
        assert!(seen.iter().all(|at| *at < 1 << TIMER_GRAIN_BITS), "before the horizon");
        while let Some(bucket) = buckets.first_bucket() {
            let start = buckets.first_start();
            assert!(buckets.open_first() == Some(bucket));
            let mut opened = Vec::new();
            while let Some((position, slot)) = buckets.pop(bucket) {
                let at = crowd[slot as usize];
                assert!(start.is_some_and(|start| start <= at));
                assert!(position == 0 || buckets.get(bucket, position - 1).is_some());
                opened.push(at);
            }
            // Of one grain, or sorted again into the levels below.
            for at in opened {
                match buckets.has_room_for(at) {
                    true => {
                        _ = buckets
                            .push(at, crowd.iter().position(|other| *other == at).unwrap() as u32)
                    }
                    false => seen.push(at),
                }
            }
        }
        assert_eq!((buckets.len(), buckets.is_empty()), (0, true));
        let mut expected = crowd;
        let grain = |at: &Nanos| *at >> TIMER_GRAIN_BITS;
        assert!(seen.is_sorted_by_key(grain), "a later grain came before an earlier one");
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_walk_comes_to_every_bucket_once() {
        let crowd = crowd();
        let (buckets, near) = filled(&crowd);
        let (mut at, mut number, mut slots) = (buckets.first_bucket().unwrap(), 0, 0);
        loop {
            let here = (0..).map_while(|position| buckets.get(at, position));
            for slot in here {
                assert!(buckets.holds(at, crowd[slot as usize]));
                slots += 1;
            }
            number += 1;
            let next = buckets.after(at);
            assert!(next > at || Some(next) == buckets.first_bucket(), "in order, and round");
            if next <= at {
                break;
            }
            at = next;
        }
        let used: u32 = buckets.levels.iter().map(|level| level.occupied.count_ones()).sum();
        assert_eq!((number, slots), (used, crowd.len() - near.len()));
    }
}
