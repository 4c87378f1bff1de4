//! What a loop tells about itself: panics and slowness of user code, what it waits for, and counts.

pub(crate) mod calls;
pub(crate) mod contain;
pub(crate) mod events;
pub(crate) mod exceptions;
pub(crate) mod listing;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod report;
#[cfg_attr(not(feature = "tracing"), path = "no_spans.rs")]
pub(crate) mod spans;
