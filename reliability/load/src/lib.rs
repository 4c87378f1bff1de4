//! Loops under load, and for a long time. The programs `load` and `soak` are made of this.
//!
//! What is promised, how it is tested here and what came out is in RELIABILITY.md, "Load" and "Long
//! runs".

pub mod connections;
pub mod lateness;
pub mod posts;
pub mod resources;
pub mod signals;
pub mod soak;
pub mod timers;
pub mod watchdog;
pub mod ways;
