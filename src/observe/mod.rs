//! Reports and counts of a loop: panics and slow code of its users, pending work, and the work that
//! is done.
//!
//! | method of [`IOLoop`](crate::IOLoop) | gives |
//! |---|---|
//! | [`set_exception_handler`](crate::IOLoop::set_exception_handler) | an [`Exception`] for each panic, with its [`Origin`] |
//! | [`set_report_handler`](crate::IOLoop::set_report_handler) | a [`Report`] of code that was slow, of a watch that spins, of a loop that is never driven |
//! | [`set_watchdog`](crate::IOLoop::set_watchdog) | a [`Hang`] of code that holds the loop up now, from a thread beside it |
//! | [`metrics`](crate::IOLoop::metrics) | [`Metrics`]: counts of turns, polls, callbacks, events and timers |
//! | [`listing`](crate::IOLoop::listing) | a [`Listing`] of what is [`Pending`], with the location where it was handed to the loop |
//!
//! The guide's page [`watching`](crate::guide::watching) shows what to use when.
//!
//! Code that sets no handler and reads no counts needs nothing of this module: without a handler,
//! panics and reports go to `tracing`, `log` or standard error.

pub(crate) mod calls;
pub(crate) mod events;
pub(crate) mod exceptions;
pub(crate) mod listing;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod publisher;
pub(crate) mod report;
pub(crate) mod running;
pub(crate) mod sight;
#[cfg_attr(not(feature = "tracing"), path = "no_spans.rs")]
pub(crate) mod spans;
#[cfg_attr(not(feature = "inspect"), path = "no_tallies.rs")]
pub(crate) mod tallies;
pub(crate) mod watchdog;

pub use self::exceptions::Exception;
pub use self::listing::{Listing, Pending, What};
pub use self::metrics::Metrics;
pub use self::origin::Origin;
pub use self::report::Report;
pub use self::watchdog::Hang;
