//! Who drives a loop, and on which runtime: its backend, and one turn after the other.

pub(crate) mod backend;
pub(crate) mod driver;
pub(crate) mod hosting;
pub(crate) mod jobs;
#[cfg(feature = "blocking")]
pub(crate) mod one_process;
