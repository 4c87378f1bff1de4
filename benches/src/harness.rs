//! What a workload is made of, and how one sample of it is taken.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::allocations::allocations;
use crate::program::Program;

/// A piece of work, done by several contenders.
pub struct Workload {
    /// As the page and the command line call it.
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// Operations in one sample.
    pub operations: u64,
    /// Operations before it, that nobody looks at.
    pub warm_up: u64,
    /// What the values of a sample are.
    pub columns: Vec<Column>,
    /// Operations of a run whose system calls and allocations are counted; 0: they are not.
    pub counted: u64,
    /// Whether the clock is slowed down while it is counted, so a loop that goes by what its
    /// callbacks take does what it does without the tool.
    pub slow_clock: bool,
    /// More are not made, where a round takes long.
    pub most_rounds: usize,
    /// How its table is drawn.
    pub picture: Picture,
    /// The first is the reference.
    pub contenders: Vec<Contender>,
}

/// A value of each sample.
pub struct Column {
    /// The head of the column.
    pub name: String,
    /// Whether it is divided by the reference's.
    pub compared: bool,
}

/// How a table is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Picture {
    /// Not at all.
    None,
    /// The ratios of this column.
    Bars(usize),
    /// Each column is a size.
    Lines {
        /// What the sizes are of.
        axis: &'static str,
    },
}

impl Workload {
    /// One whose samples are times.
    pub fn new(
        name: &'static str,
        operation: &'static str,
        operations: u64,
        contenders: Vec<Contender>,
    ) -> Self {
        let columns = columns(&["wall ns", "cpu ns"], true);
        let (warm_up, picture) = (operations / 10, Picture::Bars(WALL));
        let (counted, most_rounds) = (0, usize::MAX);
        Workload {
            name,
            operation,
            operations,
            warm_up,
            columns,
            counted,
            slow_clock: true,
            most_rounds,
            picture,
            contenders,
        }
    }

    /// What the command line calls a contender.
    pub fn path(&self, contender: &Contender) -> String {
        format!("{}/{}", self.name, contender.name)
    }
}

/// The column of times by the clock.
pub const WALL: usize = 0;
/// The column of processor times.
pub const CPU: usize = 1;

/// Columns that are all compared, or none of them.
pub fn columns(names: &[&str], compared: bool) -> Vec<Column> {
    names.iter().map(|name| Column { name: (*name).to_owned(), compared }).collect()
}

/// One way to do the work.
pub struct Contender {
    /// As the tables call it.
    pub name: &'static str,
    /// What it runs, if not this program.
    pub program: Option<Program>,
    needs: Option<fn() -> Option<&'static str>>,
    run: Box<dyn Fn(u64, u64) -> Vec<f64>>,
}

impl Contender {
    /// `run` does that many operations and says what they took.
    pub fn new(name: &'static str, run: impl Fn(u64) -> Sample + 'static) -> Self {
        Contender::with_values(name, move |operations| run(operations).per_operation(operations))
    }

    /// The same in a process that has a second thread, which does nothing. Some hosts have one, and
    /// from then on the allocator and the kernel have to reckon with it at each call.
    pub fn beside_an_idle_thread(
        name: &'static str,
        run: impl Fn(u64) -> Sample + 'static,
    ) -> Self {
        Contender::new(name, move |operations| {
            thread::spawn(|| {
                loop {
                    thread::park();
                }
            });
            run(operations)
        })
    }

    /// `run` measures something else: a value for each column.
    pub fn with_values(name: &'static str, run: impl Fn(u64) -> Vec<f64> + 'static) -> Self {
        let run = move |warm_up, operations| {
            if warm_up > 0 {
                run(warm_up);
            }
            run(operations)
        };
        Contender { name, program: None, needs: None, run: Box::new(run) }
    }

    /// `run` runs the program, with the operations of the warm-up and those of the sample.
    pub fn program(
        program: Program,
        run: impl Fn(&Program, u64, u64) -> Vec<f64> + 'static,
    ) -> Self {
        let run = move |warm_up, operations| run(&program, warm_up, operations);
        Contender { name: program.name, program: Some(program), needs: None, run: Box::new(run) }
    }

    /// It runs the program, if any.
    pub fn needs(self, program: Option<Program>) -> Self {
        Contender { program, ..self }
    }

    /// The table calls it something else than its program.
    pub fn named(self, name: &'static str) -> Self {
        Contender { name, ..self }
    }

    /// `missing` says what else has to be installed first, such as a server.
    pub fn needs_installed(self, missing: fn() -> Option<&'static str>) -> Self {
        Contender { needs: Some(missing), ..self }
    }

    /// What has to be installed first.
    pub fn missing(&self) -> Option<&'static str> {
        let program = self.program.and_then(|program| program.missing());
        program.or_else(|| self.needs.and_then(|missing| missing()))
    }

    /// How many of these operations it really does.
    pub fn share(&self, operations: u64) -> u64 {
        self.program.map_or(operations, |program| program.share(operations))
    }

    /// Warms up and takes one sample: a value for each column.
    pub fn sample(&self, warm_up: u64, operations: u64) -> Vec<f64> {
        (self.run)(warm_up, operations)
    }
}

/// What something took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// By the clock.
    pub wall: Duration,
    /// Of all threads of the process.
    pub cpu: Duration,
    /// Only where they are counted.
    pub allocations: u64,
}

impl Sample {
    fn per_operation(self, operations: u64) -> Vec<f64> {
        let Sample { wall, cpu, allocations } = self;
        [wall.as_nanos() as f64, cpu.as_nanos() as f64, allocations as f64]
            .map(|value| value / operations as f64)
            .to_vec()
    }
}

/// A moment from which on, or until which, something is measured; on whatever thread.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    wall: Instant,
    cpu: Duration,
    allocations: u64,
}

impl Mark {
    /// This moment.
    pub fn now() -> Self {
        Mark { wall: Instant::now(), cpu: cpu_time(), allocations: allocations() }
    }

    /// What was taken from this moment until that one.
    pub fn until(self, end: Mark) -> Sample {
        Sample {
            wall: end.wall - self.wall,
            cpu: end.cpu - self.cpu,
            allocations: end.allocations - self.allocations,
        }
    }
}

/// Measures some code.
pub fn timed(code: impl FnOnce()) -> Sample {
    let began = Mark::now();
    code();
    began.until(Mark::now())
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Counts down; says whether that was the last.
pub fn count_down(left: &Cell<u64>) -> bool {
    left.set(left.get().saturating_sub(1));
    left.get() == 0
}

/// The same for tasks, on any executor: the last one wakes who waits.
#[derive(Clone, Debug)]
pub struct Countdown(Arc<(AtomicU64, Notify)>);

impl Countdown {
    /// So many are left.
    pub fn new(operations: u64) -> Self {
        Countdown(Arc::new((AtomicU64::new(operations), Notify::new())))
    }

    /// One less.
    pub fn count(&self) {
        let (left, done) = &*self.0;
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            done.notify_one();
        }
    }

    /// Whether none is left.
    pub fn is_finished(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) == 0
    }

    /// Waits until none is left.
    pub async fn finished(&self) {
        self.0.1.notified().await;
    }
}

/// Pseudo-random numbers, the same in every run and for every contender; peers/ has them as well.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(1)
    }
}

impl Random {
    /// The next of them.
    pub fn below(&mut self, limit: u64) -> u64 {
        let Random(state) = self;
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    }
}
