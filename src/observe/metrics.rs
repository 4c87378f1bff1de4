//! Counts of what a loop did. Always on, since they only count.

use std::cell::Cell;

/// What a loop has done since it was made; a snapshot that [`IOLoop::metrics`](crate::IOLoop::metrics) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// Looks at the kernel: waits, and looks without waiting. A busy turn may leave its look out.
    pub looks: u64,
    /// Times the loop was woken out of a wait, or polled by its host.
    pub wakeups: u64,
    /// Queued callbacks that were run, task polls among them.
    pub callbacks: u64,
    /// Calls of readers and writers.
    pub events: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Readers and writers there are now.
    pub watches: usize,
    /// Timers pending now.
    pub timers: usize,
    /// Callbacks queued now.
    pub queued: usize,
    /// Tasks alive now.
    pub tasks: usize,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) looks: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) callbacks: Counter,
    pub(crate) events: Counter,
    pub(crate) timers_fired: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.set(self.0.get() + n as u64);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}
