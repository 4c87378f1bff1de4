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
    /// Queued callbacks that were run, and polls of tasks; not those of the future that a run is
    /// for, nor what was cancelled.
    pub callbacks: u64,
    /// Calls of readers and writers.
    pub events: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Readers and writers there are now.
    pub watches: usize,
    /// Timers pending now.
    pub timers: usize,
    /// Callbacks and polls of tasks that are queued now.
    pub queued: usize,
    /// Tasks alive now.
    pub tasks: usize,
    /// Jobs of [`run_in_executor`](crate::IOLoop::run_in_executor) queued or running now. When the
    /// last one has ended, the loop is woken.
    pub jobs: usize,
    /// Panics that were caught, and errors of [logged](crate::IOLoop::spawn_logged) tasks.
    pub exceptions: u64,
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

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// How long a loop slept.
#[derive(Default)]
pub(crate) struct SleepClock {
    /// Whether it is measured for the user, and for those who inspect the process.
    pub(super) measured: Cell<[bool; 2]>,
    pub(super) total: Cell<Duration>,
    /// The total when the user had it measured.
    zero: Cell<Duration>,
    since: Cell<Option<Instant>>,
}

impl SleepClock {
    /// Begins to measure for the user, at zero, or ends.
    pub(crate) fn measure(&self, on: bool) {
        self.zero.set(self.total.get());
        self.set([on, self.measured.get()[1]]);
    }

    pub(super) fn set(&self, measured: [bool; 2]) {
        self.since.set(None);
        self.measured.set(measured);
    }

    #[inline]
    pub(crate) fn begin(&self) {
        if self.measured.get() != [false; 2] {
            self.since.set(Some(Instant::now()));
        }
    }

    #[inline]
    pub(crate) fn end(&self) {
        if let Some(since) = self.since.take() {
            self.total.set(self.total.get() + since.elapsed());
        }
    }

    /// What the user had measured; none if it is not.
    pub(crate) fn total(&self) -> Option<Duration> {
        self.measured.get()[0].then(|| self.total.get() - self.zero.get())
    }
}
