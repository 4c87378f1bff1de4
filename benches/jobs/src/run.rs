//! One run of a job by a contender, and the table that a job has.

use std::fs;

use ioloop_benches::harness::{CPU, Column, Contender, Picture, Sample, Workload, timed};
use ioloop_benches::program::{Program, values};
use tokio::runtime::{Builder, Runtime};

/// One run of one contender, in a process of its own.
pub(crate) struct Run {
    /// How many requests are to be on their way at a time.
    pub(crate) at_once: usize,
    /// How many requests there are in all: a multiple of those at once.
    pub(crate) work: usize,
    values: Vec<f64>,
}

impl Run {
    /// Measures what this does: `work` requests, `at_once` of them at a time. What is before, such
    /// as connecting, is not measured.
    pub(crate) fn measure(&mut self, doing: impl FnOnce(usize, usize)) {
        self.measured(timed(|| doing(self.at_once, self.work)));
    }

    /// So much was measured.
    pub(crate) fn measured(&mut self, sample: Sample) {
        let each = self.work as f64;
        self.values = vec![
            sample.wall.as_secs_f64() * 1e6 / each,
            sample.cpu.as_secs_f64() * 1e6 / each,
            status("VmHWM:") / 1024.0,
            status("Threads:"),
            sample.allocations as f64 / each,
        ];
    }
}

/// A number of `/proc/self/status`.
fn status(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

/// The name of a contender in Rust, and what it does in this process.
pub(crate) type InRust = (&'static str, fn(&mut Run));

/// Who does a job, in Rust: in this process.
pub(crate) fn contender(
    name: &'static str,
    at_once: usize,
    run: impl Fn(&mut Run) + 'static,
) -> Contender {
    Contender::with_values(name, move |operations| {
        let work = (operations as usize).next_multiple_of(at_once);
        let mut one = Run { at_once, work, values: Vec::new() };
        run(&mut one);
        one.values
    })
}

/// Runs a contender that is a program, which finds the server in its environment.
pub(crate) fn run_beside(
    program: &Program,
    work: &str,
    server: &str,
    operations: u64,
    at_once: usize,
) -> Vec<f64> {
    let requests = operations.next_multiple_of(at_once as u64);
    let mut command = program.command(work, 0, requests, &[at_once as u64]);
    let output = command.env("JOB_SERVER", server).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed: {errors}", program.name);
    values(&output.stdout)
}

/// The table of a job: `requests` of them, `at_once` at a time.
pub(crate) fn job(
    name: &'static str,
    request: &'static str,
    at_once: usize,
    requests: usize,
    contenders: Vec<Contender>,
) -> Workload {
    let column = |name: &str, compared| Column { name: name.to_owned(), compared };
    Workload {
        warm_up: 0,
        columns: vec![
            column("wall µs", true),
            column("cpu µs", true),
            column("peak memory MiB", false),
            column("threads", false),
        ],
        counted: 200.max(at_once).next_multiple_of(at_once) as u64,
        // Its servers and clients go by the clock too.
        slow_clock: false,
        picture: Picture::Bars(CPU),
        ..Workload::new(name, request, requests as u64, contenders)
    }
}

/// A table whose servers do not go by the clock, so it may be slowed down while system calls are
/// counted.
pub(crate) fn counted_by_a_slow_clock(table: Workload) -> Workload {
    Workload { counted: 2000, slow_clock: true, ..table }
}

/// A tokio runtime on one thread, as a loop has one.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
