//! Tests that count allocations: the allocator is the whole program's.

use testkit::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// The portable poller is not held to it.
#[cfg(not(ioloop_portable))]
mod allocations;
#[cfg(all(feature = "smol", feature = "tokio"))]
mod bridge_allocations;
mod memory;
#[cfg(all(target_os = "linux", any(feature = "async-io", feature = "smol")))]
mod unasked_executor;
mod waiters;
