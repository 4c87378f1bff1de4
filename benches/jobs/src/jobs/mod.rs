//! The jobs, one file each.

pub(crate) mod c_ares;
pub(crate) mod curl;
pub(crate) mod dbus;
mod hiredis;
mod http;
mod pq;
mod runtimes;

use ioloop_benches::harness::Workload;

/// In the order of PERFORMANCE.md.
pub(crate) fn all() -> Vec<Workload> {
    let mut all = curl::tables();
    all.extend(http::tables());
    all.extend(pq::tables());
    all.extend(hiredis::tables());
    all.extend(c_ares::tables());
    all.extend(dbus::tables());
    all.extend(runtimes::tables());
    all
}
