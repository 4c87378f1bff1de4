//! What is said at the end: a table, and what failed.

use std::fmt;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use ioloop::observe::Metrics;

/// What was done, and what it took.
pub(crate) struct Report {
    /// The backend, and how the loop ran on it.
    pub(crate) host: String,
    /// Files that are complete.
    pub(crate) files: usize,
    /// Bytes that came.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// What the loop did meanwhile.
    pub(crate) metrics: Metrics,
    /// The URLs that failed, and why.
    pub(crate) failures: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metrics { turns, wakeups, callbacks: queued, events, timers_fired: timers, .. } =
            self.metrics;
        let callbacks = HumanCount(queued + events + timers);
        let seconds = self.elapsed.as_secs_f64();
        let rate = BinaryBytes((self.bytes as f64 / seconds) as u64);
        let files = HumanCount(self.files as u64);
        let (bytes, size) = (HumanCount(self.bytes), BinaryBytes(self.bytes));
        let (turns, wakeups) = (HumanCount(turns), HumanCount(wakeups));
        let (queued, events) = (HumanCount(queued), HumanCount(events));
        writeln!(f, "loop        {}", self.host)?;
        writeln!(f, "files       {files}")?;
        writeln!(f, "bytes       {bytes} ({size})")?;
        writeln!(f, "seconds     {seconds:.3}")?;
        writeln!(f, "rate        {rate}/s")?;
        writeln!(f, "turns       {turns}")?;
        writeln!(
            f,
            "callbacks   {callbacks} ({queued} queued, {events} of descriptors, {timers} timers)"
        )?;
        write!(f, "wake-ups    {wakeups}")
    }
}
