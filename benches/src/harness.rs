//! What a workload is made of, and how one sample of it is taken.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::allocations::allocations;
use crate::peers::Program;

/// A piece of work, done by several contenders.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Operations in one sample.
    pub(crate) operations: u64,
    /// Operations before it, that nobody looks at.
    pub(crate) warm_up: u64,
    /// What the values of a sample are.
    pub(crate) columns: Vec<Column>,
    /// Operations of a run whose system calls and allocations are counted; 0: they are not.
    pub(crate) counted: u64,
    /// More are not made, where a round takes long.
    pub(crate) most_rounds: usize,
    pub(crate) picture: Picture,
    /// The first is the reference.
    pub(crate) contenders: Vec<Contender>,
}

/// A value of each sample.
pub(crate) struct Column {
    pub(crate) name: String,
    /// Whether it is divided by the reference's.
    pub(crate) compared: bool,
}

/// How a table is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Picture {
    None,
    /// The ratios of this column.
    Bars(usize),
    /// Each column is a size.
    Lines {
        axis: &'static str,
    },
}

impl Workload {
    /// One whose samples are times.
    pub(crate) fn new(
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
            most_rounds,
            picture,
            contenders,
        }
    }
}

pub(crate) const WALL: usize = 0;
pub(crate) const CPU: usize = 1;

pub(crate) fn columns(names: &[&str], compared: bool) -> Vec<Column> {
    names.iter().map(|name| Column { name: (*name).to_owned(), compared }).collect()
}

/// One way to do the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) program: Option<Program>,
    run: Box<dyn Fn(u64, u64) -> Vec<f64>>,
}

impl Contender {
    /// `run` does that many operations and says what they took.
    pub(crate) fn new(name: &'static str, run: impl Fn(u64) -> Sample + 'static) -> Self {
        Contender::with_values(name, move |operations| run(operations).per_operation(operations))
    }

    /// The same in a process that has a second thread, which does nothing. Some hosts have one, and
    /// from then on the allocator and the kernel have to reckon with it at each call.
    pub(crate) fn beside_an_idle_thread(
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
    pub(crate) fn with_values(name: &'static str, run: impl Fn(u64) -> Vec<f64> + 'static) -> Self {
        let run = move |warm_up, operations| {
            if warm_up > 0 {
                run(warm_up);
            }
            run(operations)
        };
        Contender { name, program: None, run: Box::new(run) }
    }

    /// `run` runs the program, with the operations of the warm-up and those of the sample.
    pub(crate) fn program(
        program: Program,
        run: impl Fn(&Program, u64, u64) -> Vec<f64> + 'static,
    ) -> Self {
        let run = move |warm_up, operations| run(&program, warm_up, operations);
        Contender { name: program.name, program: Some(program), run: Box::new(run) }
    }

    /// It runs the program, if any.
    pub(crate) fn needs(self, program: Option<Program>) -> Self {
        Contender { program, ..self }
    }

    /// What has to be installed first.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        self.program.and_then(|program| program.missing())
    }

    /// How many of these operations it really does.
    pub(crate) fn share(&self, operations: u64) -> u64 {
        self.program.map_or(operations, |program| program.share(operations))
    }

    /// Warms up and takes one sample: a value for each column.
    pub(crate) fn sample(&self, warm_up: u64, operations: u64) -> Vec<f64> {
        (self.run)(warm_up, operations)
    }
}

/// What something took.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// Of all threads of the process.
    pub(crate) cpu: Duration,
    pub(crate) allocations: u64,
}

impl Sample {
    fn per_operation(self, operations: u64) -> Vec<f64> {
        let Sample { wall, cpu, allocations } = self;
        [wall.as_nanos() as f64, cpu.as_nanos() as f64, allocations as f64]
            .map(|value| value / operations as f64)
            .to_vec()
    }
}

/// Measures some code.
pub(crate) fn timed(code: impl FnOnce()) -> Sample {
    let (wall, cpu, before) = (Instant::now(), cpu_time(), allocations());
    code();
    let wall = wall.elapsed();
    Sample { wall, cpu: cpu_time() - cpu, allocations: allocations() - before }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Counts down; says whether that was the last.
pub(crate) fn count_down(left: &Cell<u64>) -> bool {
    left.set(left.get().saturating_sub(1));
    left.get() == 0
}

/// The same for tasks, on any executor: the last one wakes who waits.
#[derive(Clone)]
pub(crate) struct Countdown(Arc<(AtomicU64, Notify)>);

impl Countdown {
    pub(crate) fn new(operations: u64) -> Self {
        Countdown(Arc::new((AtomicU64::new(operations), Notify::new())))
    }

    pub(crate) fn count(&self) {
        let (left, done) = &*self.0;
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            done.notify_one();
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) == 0
    }

    pub(crate) async fn finished(&self) {
        self.0.1.notified().await;
    }
}

/// Pseudo-random numbers, the same in every run and for every contender; peers/ has them as well.
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(1)
    }
}

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let Random(state) = self;
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    }
}
