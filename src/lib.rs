#![cfg_attr(
    all(feature = "async-io", feature = "tokio", feature = "smol"),
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(feature = "async-io", feature = "tokio", feature = "smol")),
    doc = "Tornado's `IOLoop` for Rust; the crate page is that of a build with all features."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!(
    "ioloop runs on Unix only: it watches descriptors through one that can be watched itself, which \
     Windows and WASM do not have"
);

#[path = "../backends/mod.rs"]
pub mod backends;

pub mod bridge;
mod builder;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod descriptor;
mod drive;
mod engine;
mod error;
mod executor;
mod futures;
mod grid;
mod guard;
pub mod guide;
mod handle;
mod handles;
mod hooks;
mod hosting;
mod io_loop;
mod lent;
#[cfg(any(feature = "async-io", feature = "smol"))]
mod loop_pool;
mod loop_thread;
mod observe;
mod once;
mod periodic;
mod portable;
pub mod process;
mod reactor;
mod readiness;
mod run;
mod sendable;
mod shutdown;
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal;
mod weak;

pub use builder::Builder;
pub use clock::ManualClock;
pub use descriptor::Descriptor;
pub use drive::Drive;
pub use error::{Closed, RunError, os_error};
pub use executor::Job;
pub use futures::async_source::{Async, Readiness};
pub use futures::deferred::{Deferred, Resolver, deferred};
pub use futures::task::{JoinError, Task};
pub use futures::time::{Interval, Sleep, TimeoutError, interval, sleep, sleep_until, timeout};
pub use guard::Guard;
pub use handle::{AlreadyInstalled, Handle};
pub use handles::{CallbackHandle, Registry, TimerHandle, Watch};
pub use hooks::{BeforeSleep, Hook};
pub use io_loop::IOLoop;
pub use lent::Lent;
#[cfg(any(feature = "async-io", feature = "smol"))]
pub use loop_pool::LoopPool;
pub use loop_thread::LoopThread;
pub use observe::exceptions::{Exception, Origin};
pub use observe::listing::{Listing, Pending, What};
pub use observe::metrics::Metrics;
pub use observe::report::Report;
pub use periodic::PeriodicCallback;
pub use portable::Portable;
pub use reactor::{Callback, Direction, Place, Post, Posted, Poster, Reactor, Source};
pub use readiness::{Events, Interest};
pub use run::Turn;
pub use sendable::{NotSendable, SendableLoop};
pub use shutdown::Unfinished;
pub use weak::WeakIOLoop;
