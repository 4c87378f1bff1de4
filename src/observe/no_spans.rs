//! Without the feature `tracing`, in place of the spans.

use super::origin::Origin;
use crate::reactor::callback::Caller;

#[inline]
pub(crate) fn are_wanted() -> bool {
    false
}

#[inline]
pub(crate) fn turn<'a, T>(_: impl FnOnce() -> &'a str, turn: impl FnOnce() -> T) -> T {
    turn()
}

#[inline]
pub(crate) fn call<'a, T>(
    _: impl FnOnce() -> &'a str,
    _: Origin,
    _: Option<Caller>,
    call: impl FnOnce() -> T,
) -> T {
    call()
}
