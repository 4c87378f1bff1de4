//! How much memory a buffer keeps for the next crowd, once a crowd is gone.

/// The capacity that a buffer shrinks to, if it is much more than it needs and more than the `kept`
/// items that it may keep.
///
/// It shrinks by half at a time at most, so the items that are moved cost each item that has left
/// little.
#[inline]
pub(super) fn excess(capacity: usize, len: usize, kept: usize) -> Option<usize> {
    (capacity > kept && capacity / 4 >= len).then(|| (2 * len).max(kept))
}
