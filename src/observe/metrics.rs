//! Counts of what a loop did. Always on, since they only count; what needs a clock is on request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::io_loop::IOLoop;

/// What a loop has done since it was made; a snapshot that [`IOLoop::metrics`](crate::IOLoop::metrics) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// Calls to the kernel's poll, blocking or not. A turn with queued callbacks may skip it.
    pub looks: u64,
    /// Times the loop was woken out of a wait, or polled by its host.
    pub wakeups: u64,
    /// How often the loop registered with its host: on attach, and again after each long busy period,
    /// during which it is deregistered.
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
    /// Jobs of [`run_in_executor`](crate::IOLoop::run_in_executor) queued or running now. When the last has
    /// ended, the loop is woken.
    pub jobs: usize,
    /// Time asleep with nothing to do, if [`IOLoop::measure_sleep`](crate::IOLoop::measure_sleep) has it measured.
    ///
    /// Of an attached or embedded loop it is the time that was left to the host.
    pub asleep: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) looks: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) registrations: Counter,
    pub(crate) callbacks: Counter,
    pub(crate) events: Counter,
    pub(crate) timers_fired: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.set(self.0.get().wrapping_add(n as u64));
    }

    /// Takes off what is to be added later, and is not to count.
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
    /// None if nobody asked.
    total: Cell<Option<Duration>>,
    since: Cell<Option<Instant>>,
}

impl SleepClock {
    pub(crate) fn begin(&self) {
        if self.total.get().is_some() {
            self.since.set(Some(Instant::now()));
        }
    }

    pub(crate) fn end(&self) {
        if let (Some(total), Some(since)) = (self.total.get(), self.since.take()) {
            self.total.set(Some(total + since.elapsed()));
        }
    }

    pub(crate) fn total(&self) -> Option<Duration> {
        self.total.get()
    }
}

/// Metrics that need a clock.
impl IOLoop {
    /// Switches on or off whether the time asleep is [measured](Metrics::asleep); it begins at zero each time.
    ///
    /// It is off at first, because it costs two readings of the system's clock for each sleep.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// io_loop.measure_sleep(true);
    /// let begun = Instant::now();
    /// io_loop.run_sync(ioloop::sleep(&io_loop, Duration::from_millis(2)))??;
    /// let busy = begun.elapsed() - io_loop.metrics().asleep.unwrap();
    /// assert!(busy < begun.elapsed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn measure_sleep(&self, on: bool) {
        let clock = &self.inner.engine.sleep_clock;
        clock.since.set(None);
        clock.total.set(on.then_some(Duration::ZERO));
    }
}
