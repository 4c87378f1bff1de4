//! The promises of the loop as a test suite, for every backend and every way to drive a loop.
//!
//! Feature `conformance`. A third party that wrote a [`Backend`](crate::backends::Backend) proves it with one
//! macro call in an integration test; each case becomes a test of its own, named `case::rig`:
//!
//! ```no_run
//! use ioloop::IOLoop;
//! use ioloop::backends::async_io::AsyncIoBackend as Mine;
//! use ioloop::conformance::Rig;
//!
//! ioloop::conformance! {
//!     own { mine_own => Rig::own(|| IOLoop::builder().host(Mine::new()).build()), }
//!     attached {
//!         mine_attached => Rig::attached(
//!             || IOLoop::builder().host(Mine::new()).attach(),
//!             |future| async_io::block_on(future),
//!         ),
//!     }
//!     embedded { mine_embedded => Rig::embedded(|| IOLoop::builder().host(Mine::new()).build()), }
//! }
//! # fn main() {}
//! ```
//!
//! The cases about an executor that the backend has its loops drive, by
//! [`run_tasks`](crate::backends::Backend::run_tasks) or otherwise, do nothing until the rig [says](Rig::spawns) how to
//! spawn on it.
//!
//! Whoever wrote a [`Reactor`](crate::Reactor) of their own runs the cases that concern it with
//! [`reactor_conformance!`](crate::reactor_conformance).
//!
//! A case that fails names the promises it pins, by number and sentence. One that hangs is given up after two minutes
//! (`IOLOOP_CONFORMANCE_PATIENCE` sets another number of seconds), and fails; the others go on. A case that touches the
//! whole process (descriptor counts, limits, signals) runs again in a child process of its own.
//!
//! The suite uses nothing of the library that is not public, so that what it can be run for is whatever keeps the docs of
//! [`Backend`](crate::backends::Backend), [`Registration`](crate::backends::Registration) and
//! [`Reactor`](crate::Reactor).

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
mod watches;
mod weak;

pub use catalogue::{CASES, REACTOR_CASES};
#[doc(no_inline)]
pub use promises::{PROMISES, sentence};
pub use reactor::ReactorRig;
pub use rig::{Rig, Spawn};
pub use runner::{Case, run, run_reactor};
