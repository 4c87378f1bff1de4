//! Spans of `tracing`, at level trace: one for each turn, and one for each call of user code in it.
//! Each names its loop.
//!
//! A subscriber is the user's code: its panics end here.

use tracing::Span;
use tracing::level_filters::LevelFilter;

use super::origin::Origin;
use crate::contain::{contain, contained};
use crate::reactor::callback::Caller;

/// Whether a subscriber may want them.
#[inline]
pub(crate) fn are_wanted() -> bool {
    LevelFilter::current() >= LevelFilter::TRACE
}

/// Makes a turn of the loop that has this name, in its span.
#[inline]
pub(crate) fn turn<'a, T>(name: impl FnOnce() -> &'a str, turn: impl FnOnce() -> T) -> T {
    if !are_wanted() {
        return turn();
    }
    within(|| tracing::trace_span!(target: "ioloop", "turn", loop_name = name()), turn)
}

/// Makes a call, in its span.
pub(crate) fn call<'a, T>(
    name: impl FnOnce() -> &'a str,
    origin: Origin,
    location: Option<Caller>,
    call: impl FnOnce() -> T,
) -> T {
    if !are_wanted() {
        return call();
    }
    let (kind, location) = (origin.name(), location.map(tracing::field::display));
    let span =
        || tracing::trace_span!(target: "ioloop", "callback", loop_name = name(), kind, location);
    within(span, call)
}

/// Runs `code`, which does not unwind, in a span.
fn within<T>(span: impl FnOnce() -> Span, code: impl FnOnce() -> T) -> T {
    let span = contained(span);
    let entered = span.as_ref().and_then(|span| contained(|| span.enter()));
    let result = code();
    // Each by itself: a panic while another one unwinds would abort.
    contain(|| drop(entered));
    contain(|| drop(span));
    result
}
