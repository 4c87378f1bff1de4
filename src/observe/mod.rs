//! What a loop tells about itself: errors in user code, and counts.

pub(crate) mod exceptions;
pub(crate) mod metrics;
