//! How much memory is kept for the next crowd, once a crowd has gone.

/// The capacity that a buffer is to shrink to, if it has much more than it needs and than the `kept` items that it may keep.
///
/// Half of it may go at a time, so what is moved for it costs each item that has left little.
#[inline]
pub(super) fn excess(capacity: usize, len: usize, kept: usize) -> Option<usize> {
    (capacity > kept && capacity / 4 >= len).then(|| (2 * len).max(kept))
}
