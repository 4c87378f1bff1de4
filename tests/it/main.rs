//! Tests that share a process: none of them starts another, takes a signal, or counts what the
//! process has.

mod any_reactor;
#[cfg(feature = "async-io")]
mod backend_contract;
#[cfg(all(feature = "async-io", feature = "smol", feature = "tokio"))]
mod bridge;
#[cfg(all(feature = "async-io", feature = "smol", feature = "tokio"))]
mod bridge_edges;
mod crowds;
mod deferred;
mod edges;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod fairness;
mod floors;
mod foreign;
mod front_page;
mod futures;
mod guide;
mod guide_words;
mod hooks;
mod inspected;
mod kinds_of_descriptors;
mod locations;
mod manual_clock;
mod mended;
mod moving;
mod order;
#[cfg(any(feature = "async-io", feature = "smol"))]
mod pool;
mod portable;
#[cfg(all(feature = "tokio", feature = "async-io", target_os = "linux"))]
mod raw_readiness;
mod readiness;
mod reads_at_random;
#[cfg(feature = "async-io")]
mod runtime_tasks;
mod shared_descriptors;
mod shutdown;
mod sockets;
mod starvation;
mod thread_end;
#[cfg(target_os = "linux")]
mod told_once;
#[cfg(feature = "tracing")]
mod tracing;
