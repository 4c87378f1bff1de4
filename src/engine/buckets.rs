//! Deadlines that are not near, in coarse buckets: a hierarchical timing wheel without a clock.
//!
//! Eight levels of 64 buckets. A bucket of the lowest level spans about a millisecond, one of the next level 64 times as
//! much, and so on. A deadline is on the level of the highest digit in which it differs from the *base*, so that all of
//! one level is before all of the next. The base moves on as buckets are emptied, and with the time. What is before the
//! *horizon*, the end of the last bucket of the lowest level that was emptied, is somebody else's.

use super::deadlines::{Nanos, Node};

/// A bucket of the lowest level spans two to the power of this nanoseconds,
const GRAIN_BITS: u32 = 20;
/// and one of the next level two to the power of this times as much.
const LEVEL_BITS: u32 = 6;
const LEVELS: usize = 8;
const BUCKETS: u32 = 1 << LEVEL_BITS;

/// Buckets up to this capacity keep it when they are emptied.
const KEPT: usize = 64;

struct Level {
    /// A bit for each bucket that is not empty.
    occupied: u64,
    /// None until the first is needed.
    buckets: Vec<Vec<Node>>,
}

impl Level {
    const EMPTY: Level = Level { occupied: 0, buckets: Vec::new() };
}

pub(super) struct Buckets {
    levels: [Level; LEVELS],
    /// The digits that deadlines are compared with: a multiple of the grain, never before the origin.
    base: Nanos,
    /// At the base, or one grain after it, but for the time before the origin.
    horizon: Nanos,
    /// The first bucket that is not empty.
    first: Option<Bucket>,
}

/// Names a bucket; the first one is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    level: usize,
    index: u32,
}

fn shift(level: usize) -> u32 {
    GRAIN_BITS + LEVEL_BITS * level as u32
}

impl Buckets {
    pub(super) const fn new() -> Self {
        Buckets { levels: [Level::EMPTY; LEVELS], base: 0, horizon: 0, first: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether a deadline belongs here.
    pub(super) fn has_room_for(&self, at: Nanos) -> bool {
        // At the end of time there is no room left.
        at >= self.horizon && self.horizon < Nanos::MAX
    }

    /// Adds a node that there is room for.
    pub(super) fn push(&mut self, node: Node) {
        let differs = (node.at ^ self.base) >> GRAIN_BITS;
        let level = ((differs | 1).ilog2() / LEVEL_BITS) as usize;
        let index = (node.at >> shift(level)) as u32 % BUCKETS;
        let bucket = Bucket { level, index };
        let level = &mut self.levels[level];
        if level.buckets.is_empty() {
            level.buckets.resize_with(BUCKETS as usize, Vec::new);
        }
        level.buckets[index as usize].push(node);
        level.occupied |= 1 << index;
        if self.first.is_none_or(|first| bucket < first) {
            self.first = Some(bucket);
        }
    }

    /// Moves on to a time before the first bucket; the grain around it is near from now on.
    pub(super) fn advance(&mut self, to: Nanos) {
        debug_assert!(self.first_start().is_none_or(|start| start > to));
        self.open_grain(to >> GRAIN_BITS << GRAIN_BITS);
    }

    fn open_grain(&mut self, start: Nanos) {
        self.base = self.base.max(start);
        self.horizon = self.horizon.max(start.saturating_add(1 << GRAIN_BITS));
    }

    /// When the first bucket begins.
    pub(super) fn first_start(&self) -> Option<Nanos> {
        self.first.map(|bucket| self.start(bucket))
    }

    fn start(&self, Bucket { level, index }: Bucket) -> Nanos {
        // What is above the digit of this level is the base's.
        let above = shift(level) + LEVEL_BITS;
        let high = if above < Nanos::BITS { self.base >> above << above } else { 0 };
        high | Nanos::from(index) << shift(level)
    }

    fn nodes(&mut self, Bucket { level, index }: Bucket) -> &mut Vec<Node> {
        &mut self.levels[level].buckets[index as usize]
    }

    /// How many nodes the first bucket has.
    pub(super) fn first_len(&mut self) -> Option<usize> {
        let first = self.first?;
        Some(self.nodes(first).len())
    }

    /// A node of the first bucket.
    pub(super) fn first_get(&mut self, index: usize) -> Option<Node> {
        let first = self.first?;
        self.nodes(first).get(index).copied()
    }

    /// Drops a node of the first bucket; the last one takes its place.
    pub(super) fn first_swap_remove(&mut self, index: usize) {
        let Some(first) = self.first else { return };
        self.nodes(first).swap_remove(index);
        if self.nodes(first).is_empty() {
            self.leave(first);
        }
    }

    /// Moves on to the first bucket, whose nodes are to be taken out, and belong somewhere else.
    pub(super) fn open_first(&mut self) -> Option<Bucket> {
        let first = self.first?;
        match (first.level, self.start(first)) {
            (0, start) => self.open_grain(start),
            (_, start) => (self.base, self.horizon) = (start, self.horizon.max(start)),
        }
        self.leave(first);
        Some(first)
    }

    /// Takes a node out of a bucket that was opened.
    pub(super) fn pop(&mut self, bucket: Bucket) -> Option<Node> {
        let nodes = self.nodes(bucket);
        let node = nodes.pop();
        if node.is_none() && nodes.capacity() > KEPT {
            *nodes = Vec::new();
        }
        node
    }

    fn leave(&mut self, bucket: Bucket) {
        self.levels[bucket.level].occupied &= !(1 << bucket.index);
        self.find_first();
    }

    fn find_first(&mut self) {
        let level = self.levels.iter().position(|level| level.occupied != 0);
        self.first = level.map(|level| {
            let index = self.levels[level].occupied.trailing_zeros();
            Bucket { level, index }
        });
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Node) -> bool) {
        for level in &mut self.levels {
            for (index, nodes) in level.buckets.iter_mut().enumerate() {
                nodes.retain(&keep);
                if nodes.is_empty() {
                    level.occupied &= !(1 << index);
                    if nodes.capacity() > KEPT {
                        *nodes = Vec::new();
                    }
                }
            }
        }
        self.find_first();
    }
}
