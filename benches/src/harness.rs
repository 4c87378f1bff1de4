//! What a workload is made of, and how one sample of it is taken.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A piece of work, done by several contenders.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Operations in one sample.
    pub(crate) operations: u64,
    /// The first is the reference.
    pub(crate) contenders: Vec<Contender>,
}

/// One way to do the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    run: Box<dyn Fn(u64) -> Sample>,
}

impl Contender {
    /// `run` does that many operations and says how long they took.
    pub(crate) fn new(name: &'static str, run: impl Fn(u64) -> Sample + 'static) -> Self {
        Contender { name, run: Box::new(run) }
    }

    /// Warms up, then takes one sample.
    pub(crate) fn sample(&self, operations: u64) -> Sample {
        (self.run)(operations / 10);
        (self.run)(operations)
    }
}

/// How long something took.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// Of all threads of the process.
    pub(crate) cpu: Duration,
}

/// Times some code.
pub(crate) fn timed(code: impl FnOnce()) -> Sample {
    let (wall, cpu) = (Instant::now(), cpu_time());
    code();
    Sample { wall: wall.elapsed(), cpu: cpu_time() - cpu }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
