//! Counts what does not depend on how busy the machine is: system calls, instructions, allocations.
//!
//! What an operation costs is the difference between a run and one of twice as many operations: so
//! what a program needs to start and to end does not count, in whatever language it is written.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use crate::harness::{Contender, Workload};
use crate::program::values;
use crate::report;

/// See `peers/slow_clock.c`.
const SLOW_CLOCK: &str = env!("PEER_SLOW_CLOCK");
/// What a program of its own is to write its table into, when it is a contender that is counted.
const COUNTED: &str = "IOLOOP_BENCHES_COUNTED";

/// What an operation costs; `None` where it was not to be found out.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Those of the contender's process: not of its server, nor of its clients.
    pub system_calls: Option<f64>,
    /// Those of what is written in Rust.
    pub allocations: Option<f64>,
}

/// Runs a contender for what an operation costs.
pub fn per_operation(workload: &Workload, contender: &Contender) -> Counts {
    let path = workload.path(contender);
    let clock = workload.slow_clock;
    let count = |operations| match contender.program {
        None => counted(|table| wrapped(strace(table), &path, operations, clock)),
        // The tool is around the program, and not around this one, which runs it.
        Some(_) => counted(|table| {
            let mut once = quiet(report::again(&path), operations, clock);
            once.env(COUNTED, table);
            once
        }),
    };
    // What a peer in Python has to do, it does less often.
    let share = contender.share(workload.counted) as f64 / workload.counted as f64;
    let system_calls = difference(workload.counted, count).map(|calls| calls / share);
    let allocations = allocations(&path, workload.counted, workload.columns.len());
    Counts { system_calls, allocations }
}

/// By how much a count grows with an operation.
pub fn difference(operations: u64, count: impl Fn(u64) -> Option<f64>) -> Option<f64> {
    let (once, twice) = (count(operations)?, count(2 * operations)?);
    Some(((twice - once) / operations as f64).max(0.0))
}

/// Those of a run, with all its threads, as strace counts them. Programs that it starts are not
/// followed.
pub fn system_calls(path: &str, operations: u64) -> Option<f64> {
    counted(|table| wrapped(strace(table), path, operations, true))
}

fn counted(run: impl FnOnce(&Path) -> Command) -> Option<f64> {
    let table = env::temp_dir().join(format!("ioloop-benches-{}", process::id()));
    let ended = run(&table).status().ok()?.success();
    let text = fs::read_to_string(&table).ok()?;
    fs::remove_file(&table).ok()?;
    let total = text.lines().rev().find_map(|line| line.trim().strip_suffix(" total"))?;
    total.trim().parse().ok().filter(|_| ended)
}

fn strace(table: &Path) -> Command {
    let mut strace = Command::new("strace");
    // `-b`: what runs a program of its own from then on is let go.
    strace.args(["-f", "-b", "execve", "-c", "-U", "calls,name", "-o"]).arg(table);
    strace
}

/// The command for a program that is a contender; under the tool, if this is a run that is counted.
pub(crate) fn under_the_tool(program: impl AsRef<OsStr>) -> Command {
    let Some(table) = env::var_os(COUNTED) else { return Command::new(program) };
    let mut strace = strace(&PathBuf::from(table));
    strace.arg(program);
    strace
}

/// Those of a run, with all its threads, as callgrind counts them.
pub fn instructions(path: &str, operations: u64) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let mut wrapped = wrapped(valgrind, path, operations, true);
    let output = wrapped.stderr(Stdio::piped()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok().filter(|_| output.status.success())
}

/// Those of the longest turn of a run, as callgrind counts them between two calls of `note_turn`.
pub fn longest_turn(path: &str, operations: u64) -> Option<f64> {
    let folder = env::temp_dir().join(format!("ioloop-benches-{}-turns", process::id()));
    fs::create_dir_all(&folder).ok()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--dump-before=*note_turn*"]);
    valgrind.arg(format!("--callgrind-out-file={}", folder.join("turn").display()));
    // Otherwise the turn that asks for much memory joins the small blocks that were freed before.
    let no_caches = "glibc.malloc.mxfast=0:glibc.malloc.tcache_count=0";
    valgrind.env("GLIBC_TUNABLES", no_caches);
    let ended = wrapped(valgrind, path, operations, true).status().ok()?.success();
    // The first file is the way to the first call. One without a number is what follows the last.
    let count = |file: fs::DirEntry| {
        let number: u64 = file.path().extension()?.to_str()?.parse().ok()?;
        let text = fs::read_to_string(file.path()).ok().filter(|_| number > 1)?;
        text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok())
    };
    let longest = fs::read_dir(&folder).ok()?.flatten().filter_map(count).max();
    fs::remove_dir_all(&folder).ok()?;
    longest.map(|count| count as f64).filter(|_| ended)
}

/// This program under another one.
fn wrapped(mut tool: Command, path: &str, operations: u64, slow_clock: bool) -> Command {
    let once = report::again(path);
    tool.arg(once.get_program()).args(once.get_args());
    quiet(tool, operations, slow_clock)
}

fn quiet(mut once: Command, operations: u64, slow_clock: bool) -> Command {
    once.args(["--operations", &operations.to_string()]);
    // Without a C compiler the counts are those of a slow machine.
    if slow_clock && !SLOW_CLOCK.is_empty() {
        once.env("LD_PRELOAD", SLOW_CLOCK);
    }
    once.stdout(Stdio::null()).stderr(Stdio::null());
    once
}

/// The programs in other languages do not say.
fn allocations(path: &str, operations: u64, columns: usize) -> Option<f64> {
    let mut once = report::again(path);
    let output = once.args(["--operations", &operations.to_string()]).output().ok()?;
    values(&output.stdout).get(columns).copied()
}
