//! Where a loop tells what nobody handles, in ways that fail.

#[cfg(not(feature = "tracing"))]
mod standard_error;
#[cfg(feature = "tracing")]
mod subscriber;

#[cfg(not(feature = "tracing"))]
pub(crate) use standard_error::Spoilt;
#[cfg(feature = "tracing")]
pub(crate) use subscriber::Spoilt;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// A subscriber of `tracing` that panics in half of its calls.
    #[cfg(feature = "tracing")]
    PanickingSubscriber,
    /// A standard error that is closed for writing.
    #[cfg(not(feature = "tracing"))]
    Closed,
    /// A standard error that is a pipe whose reader has gone.
    #[cfg(not(feature = "tracing"))]
    Broken,
    /// A standard error that is on a full disk.
    #[cfg(all(not(feature = "tracing"), target_os = "linux"))]
    Full,
    /// A standard error that is a full pipe which nobody reads, and does not block.
    #[cfg(not(feature = "tracing"))]
    NotReady,
}
