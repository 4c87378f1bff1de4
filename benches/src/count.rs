//! Counts what does not depend on how busy the machine is: system calls, instructions, allocations.
//!
//! What an operation costs is the difference between a run and one of twice as many operations: so
//! what a program needs to start and to end does not count, in whatever language it is written.

use std::process::{Command, Stdio};

use crate::harness::{Contender, Workload};
use crate::peers::values;
use crate::{path, report};

/// See `peers/slow_clock.c`.
const SLOW_CLOCK: &str = env!("PEER_SLOW_CLOCK");

/// What an operation costs; `None` where it was not to be found out.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) system_calls: Option<f64>,
    pub(crate) allocations: Option<f64>,
}

pub(crate) fn per_operation(workload: &Workload, contender: &Contender) -> Counts {
    let path = path(workload, contender);
    let count = |operations| system_calls(&path, operations);
    // What a peer in Python has to do, it does less often.
    let share = contender.share(workload.counted) as f64 / workload.counted as f64;
    let system_calls = difference(workload.counted, count).map(|calls| calls / share);
    let allocations = allocations(&path, workload.counted, workload.columns.len());
    Counts { system_calls, allocations }
}

/// By how much a count grows with an operation.
pub(crate) fn difference(operations: u64, count: impl Fn(u64) -> Option<f64>) -> Option<f64> {
    let (once, twice) = (count(operations)?, count(2 * operations)?);
    Some(((twice - once) / operations as f64).max(0.0))
}

/// Those of a run, with all its processes, as strace counts them.
pub(crate) fn system_calls(path: &str, operations: u64) -> Option<f64> {
    let table = std::env::temp_dir().join(format!("ioloop-benches-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&table);
    let ended = wrapped(strace, path, operations).status().ok()?.success();
    let text = std::fs::read_to_string(&table).ok()?;
    std::fs::remove_file(&table).ok()?;
    let total = text.lines().rev().find_map(|line| line.trim().strip_suffix(" total"))?;
    total.trim().parse().ok().filter(|_| ended)
}

/// Those of a run, with all its threads, as callgrind counts them.
pub(crate) fn instructions(path: &str, operations: u64) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = wrapped(valgrind, path, operations).stderr(Stdio::piped()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok().filter(|_| output.status.success())
}

/// This program under another one.
fn wrapped(mut tool: Command, path: &str, operations: u64) -> Command {
    let once = report::again(path);
    tool.arg(once.get_program()).args(once.get_args());
    tool.args(["--operations", &operations.to_string()]);
    // Without a C compiler the counts are those of a slow machine.
    if !SLOW_CLOCK.is_empty() {
        tool.env("LD_PRELOAD", SLOW_CLOCK);
    }
    tool.stdout(Stdio::null()).stderr(Stdio::null());
    tool
}

/// The programs in other languages do not say.
fn allocations(path: &str, operations: u64, columns: usize) -> Option<f64> {
    let mut once = report::again(path);
    let output = once.args(["--operations", &operations.to_string()]).output().ok()?;
    values(&output.stdout).get(columns).copied()
}
