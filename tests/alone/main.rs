//! Tests that need a process of their own, or start others: what they count, set or break is the
//! whole process's.

mod backends;
#[cfg(target_os = "linux")]
mod descriptor;
#[cfg(target_os = "linux")]
mod fork;
#[cfg(all(target_os = "linux", feature = "inspect"))]
mod inspected;
mod interrupted_sleep;
// The same calls whatever the features: once is enough.
#[cfg(all(target_os = "linux", feature = "async-io", feature = "smol", feature = "tokio"))]
mod kernel_faults;
mod limits;
mod processes;
#[cfg(target_os = "linux")]
mod signal_storm;
#[cfg(not(any(feature = "log", feature = "tracing")))]
mod standard_error;
// The portable poller is not held to it.
#[cfg(all(not(ioloop_portable), target_os = "linux"))]
mod system_calls;
#[cfg(target_os = "linux")]
mod watchdog;
