//! What this process holds: memory, descriptors, threads, processor time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What is held at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Resident memory, in KiB.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads, but for those of the pool of the crate `blocking`, which keeps as many as it has
    /// ever needed.
    pub threads: usize,
}

impl Held {
    /// By this process, now.
    pub fn now() -> Result<Held> {
        let status = fs::read_to_string("/proc/self/status")?;
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
            .context("no VmRSS in /proc/self/status")?;
        // The listing's own descriptor is in the list.
        let descriptors = fs::read_dir("/proc/self/fd")?.count() - 1;
        Ok(Held { memory, descriptors, threads: threads()?.len() })
    }
}

/// The names of the threads that are counted.
pub fn threads() -> Result<Vec<String>> {
    let names = fs::read_dir("/proc/self/task")?.filter_map(|thread| {
        // One that has ended meanwhile has no name any more.
        Some(fs::read_to_string(thread.ok()?.path().join("comm")).ok()?.trim().to_owned())
    });
    Ok(names.filter(|name| !name.starts_with("blocking-")).collect())
}

/// Processor time of all threads of this process so far.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises the number of descriptors as far as this process may; says how many it may open.
pub fn raise_descriptor_limit() -> Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.map_or(usize::MAX, |limit| limit as usize))
}
