//! Counts of what a loop has done. They are always on; the measurement of its sleep, which reads a
//! clock, is on request.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Counts of what a loop has done since it was made: a snapshot that
/// [`IOLoop::metrics`](crate::IOLoop::metrics) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    #[doc(alias = "iterations")]
    pub turns: u64,
    /// Calls to the kernel's poll, blocking or not. A turn with queued callbacks may skip it.
    #[doc(alias = "looks")]
    pub polls: u64,
    /// How often the loop was woken from a wait, or polled by its host.
    pub wakeups: u64,
    /// How often the loop registered with its host: on attach, and again after each long busy
    /// period, during which it is deregistered.
    pub registrations: u64,
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
    /// Jobs of [`run_in_executor`](crate::IOLoop::run_in_executor) queued or running now. When the
    /// last one has ended, the loop is woken.
    pub jobs: usize,
    /// Time asleep with nothing to do; none unless
    /// [`IOLoop::measure_sleep`](crate::IOLoop::measure_sleep) was called.
    ///
    /// For an attached or embedded loop it is the time that was left to the host.
    pub asleep: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) polls: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) registrations: Counter,
    pub(crate) callbacks: Counter,
    pub(crate) events: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) asleep: SleepClock,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.set(self.0.get().wrapping_add(n as u64));
    }

    /// Takes off what is added later and is not to count.
    pub(crate) fn take_off(&self, n: usize) {
        self.0.set(self.0.get().wrapping_sub(n as u64));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// How long a loop slept.
#[derive(Default)]
pub(crate) struct SleepClock {
    /// None unless it is measured.
    total: Cell<Option<Duration>>,
    since: Cell<Option<Instant>>,
}

impl SleepClock {
    /// Begins to measure, at zero, or ends.
    pub(crate) fn measure(&self, on: bool) {
        self.since.set(None);
        self.total.set(on.then_some(Duration::ZERO));
    }

    #[inline]
    pub(crate) fn begin(&self) {
        if self.total.get().is_some() {
            self.since.set(Some(Instant::now()));
        }
    }

    #[inline]
    pub(crate) fn end(&self) {
        if let (Some(total), Some(since)) = (self.total.get(), self.since.take()) {
            self.total.set(Some(total + since.elapsed()));
        }
    }

    pub(crate) fn total(&self) -> Option<Duration> {
        self.total.get()
    }
}
