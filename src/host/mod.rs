//! The drivers and hosts of a loop: its backend, and turn after turn.

pub(crate) mod backend;
pub(crate) mod driver;
pub(crate) mod hosting;
pub(crate) mod jobs;
#[cfg(feature = "blocking")]
pub(crate) mod one_process;
