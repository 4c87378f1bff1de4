//! Spans of `tracing`: one a turn, and one for each callback in it. Level trace.

use tracing::Level;
use tracing::span::EnteredSpan;

use super::exceptions::Origin;
use crate::reactor::Place;

pub(crate) fn turn() -> EnteredSpan {
    tracing::trace_span!(target: "ioloop", "turn").entered()
}

/// The place is asked for only if somebody listens.
pub(crate) fn of(origin: Origin, place: impl FnOnce() -> Option<Place>) -> Option<EnteredSpan> {
    if !tracing::enabled!(target: "ioloop", Level::TRACE) {
        return None;
    }
    let place = place().map(tracing::field::display);
    let kind = origin.name();
    Some(tracing::trace_span!(target: "ioloop", "callback", kind, place).entered())
}
