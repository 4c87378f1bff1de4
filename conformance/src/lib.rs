#![doc = include_str!("../README.md")]
//!
//! # More about backends
//!
//! The cases about an executor that the backend has its loops drive, by
//! [`run_tasks`](ioloop::backends::Backend::run_tasks) or otherwise, do nothing until the rig
//! [says](Rig::spawns) how to spawn on it. A runtime that gives a descriptor back late [says
//! so](Rig::gives_back_late) too.
//!
//! Each promise has a number, a sentence, and [a place where it is kept](promises):
//!
//! ```
//! let sentence = ioloop_conformance::sentence(146).unwrap();
//! assert!(sentence.contains("level-triggered"));
//! ```
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

#[macro_use]
mod catalogue;
mod lending;
pub mod promises;
mod rig;
mod runner;
mod tools;
mod wires;

mod callbacks;
mod closed_descriptors;
mod current;
mod descriptors;
mod embedding;
mod emptiness;
mod executor;
mod handlers;
mod hooks;
mod life_cycle;
mod observing;
mod periodic;
mod reactor;
mod running;
mod runtime_tasks;
mod timers;
mod watchdog;
mod watches;
mod weak;

pub use catalogue::{CASES, REACTOR_CASES};
#[doc(no_inline)]
pub use promises::{PROMISES, sentence};
pub use reactor::ReactorRig;
pub use rig::{Rig, Spawn};
pub use runner::{Case, run, run_reactor};
