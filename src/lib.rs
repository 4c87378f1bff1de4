// The links of the README, as they are in the docs.
#![doc = include_str!("../docs/front_page.md")]
#![cfg_attr(not(doctest), doc = include_str!("../README.md"))]
// Its programs use all of the features.
#![cfg_attr(
    all(doctest, feature = "async-io", feature = "tokio", feature = "smol"),
    doc = include_str!("../README.md")
)]
// What a feature brings is linked to, and is not there without it.
#![cfg_attr(
    not(all(
        feature = "async-io",
        feature = "tokio",
        feature = "smol",
        feature = "inspect",
        feature = "signal",
        feature = "tracing"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

#[cfg(not(unix))]
compile_error!(
    "ioloop runs on Unix only: it watches descriptors through one that can be watched itself, which \
     Windows and WASM do not have"
);

#[path = "../backends/mod.rs"]
pub mod backends;
pub mod bridge;
mod contain;
mod descriptor;
pub mod embed;
mod engine;
mod error;
mod futures;
pub mod guide;
pub mod hooks;
mod host;
#[cfg(feature = "inspect")]
#[cfg_attr(docsrs, doc(cfg(feature = "inspect")))]
pub mod inspect;
mod io_loop;
pub mod observe;
mod periodic;
pub mod process;
pub mod reactor;
pub mod run;
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal;
mod system;
mod task;

pub use engine::clock::ManualClock;
pub use error::{Closed, RunError, os_error};
pub use futures::async_source::{Async, Readiness};
pub use futures::deferred::{Resolver, deferred};
pub use futures::spawn::spawn;
pub use io_loop::IOLoop;
pub use io_loop::build::Builder;
pub use io_loop::handle::Handle;
#[cfg(any(feature = "async-io", feature = "smol"))]
pub use io_loop::pool::LoopPool;
pub use io_loop::shutdown::Unfinished;
pub use io_loop::thread::LoopThread;
pub use io_loop::weak::WeakIOLoop;
pub use periodic::PeriodicCallback;
pub use reactor::contract::Reactor;
pub use reactor::guard::Guard;
pub use reactor::handles::{CallbackHandle, TimerHandle, Watch};
pub use reactor::lent::Lent;
pub use reactor::readiness::{Events, Interest};
pub use reactor::time::{Interval, Sleep, TimeoutError, interval, sleep, sleep_until, timeout};
pub use reactor::timer::Timer;
pub use reactor::trigger::Trigger;
pub use task::{JoinError, Task};
