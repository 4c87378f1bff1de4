//! How much memory a buffer keeps for the next crowd, once a crowd is gone.

use super::tuning::GIVEN_BACK;

/// The capacity that a buffer shrinks to, if it is much more than it needs and more than the `kept`
/// items that it may keep.
///
/// It shrinks by half at a time at most, so the items that are moved cost each item that has left
/// little.
#[inline]
pub(super) fn excess(capacity: usize, len: usize, kept: usize) -> Option<usize> {
    (capacity > kept && capacity / 4 >= len).then(|| (2 * len).max(kept))
}

/// The same, for a buffer of `T` of which at most [`GIVEN_BACK`] bytes are to be given back at once:
/// the kernel takes a tenth of a millisecond and more for each MiB.
#[inline]
pub(super) fn excess_in_parts<T>(capacity: usize, len: usize, kept: usize) -> Option<usize> {
    let least = capacity.saturating_sub(GIVEN_BACK / size_of::<T>());
    excess(capacity, len, kept).map(|room| room.max(least))
}
