//! Who drives a loop, and on which runtime: its backend, and one turn after the other.

pub(crate) mod driver;
pub(crate) mod hosting;
