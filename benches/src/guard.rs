//! Compares the instructions and the system calls of an operation with those that are written down
//! in guard.txt.
//!
//! Both can be counted on a busy machine, so this can tell a change for the worse in CI, where
//! times cannot.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use crate::count::{difference, instructions, longest_turn, system_calls};
use crate::harness::{Contender, Workload};
use crate::loops::{ATTACHED_CURRENT_THREAD, BARE};
use crate::versions;
use crate::workloads::ON_A_LOOP;

/// The deterministic ones, the operations of a run, and the contenders.
const GUARDED: [(&str, u64, &[&str]); 12] = [
    ("chain", 20_000, WAYS),
    ("batch", 20_000, WAYS),
    ("ring-100", 5_000, WAYS),
    ("timers-cancelled", 10_000, WAYS),
    ("post-local", 20_000, WAYS),
    ("register", 5_000, WAYS),
    ("mix-counted", 5_000, BESIDE_CLIENTS),
    ("spawned-tasks", 20_000, WAYS),
    ("spawned-woken", 20_000, WAYS),
    ("spawned-joined", 20_000, WAYS),
    ("spawned-echo", 5_000, BESIDE_CLIENTS),
    ("spawned-accepted", 2_000, BESIDE_CLIENTS),
];
/// Whose longest turn is counted, on a bare loop, and the operations of a run.
const TURNS: [(&str, u64); 3] =
    [("worst-posts", 20_000), ("worst-watches", 2_000), ("worst-timeouts", 20_000)];
/// An attached loop on async-io has a thread beside it, and with that as many instructions as the
/// machine's other work lets it have.
const WAYS: &[&str] = &[BARE.name, ATTACHED_CURRENT_THREAD.name, ON_A_LOOP];
/// How often a hosted loop sleeps depends on when the other process asks.
const BESIDE_CLIENTS: &[&str] = &[BARE.name];
const BOUNDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guard.txt");

/// By how much a count may be worse: this share of it, and this much. Where a thread has to wait
/// depends a little on how busy the machine is, and so do the system calls.
const SHARE: f64 = 0.04;
const MORE: f64 = 0.2;

type Counts = BTreeMap<String, f64>;
/// Counts those of a run.
type Tool = fn(path: &str, operations: u64) -> Option<f64>;

pub(crate) fn guard(workloads: &[Workload], renew: bool) -> ExitCode {
    let mut counts = Counts::new();
    for (name, operations, guarded) in GUARDED {
        // The filter may have left it out.
        let Some(workload) = workloads.iter().find(|workload| workload.name == name) else {
            continue;
        };
        let ours = |contender: &&Contender| guarded.contains(&contender.name);
        for contender in workload.contenders.iter().filter(ours) {
            let path = workload.path(contender);
            let tools: [(&str, Tool); 2] =
                [("instructions", instructions), ("system calls", system_calls)];
            for (what, tool) in tools {
                let Some(count) = difference(operations, |n| tool(&path, n)) else {
                    eprintln!("cannot count the {what} of {path}: are valgrind and strace there?");
                    return ExitCode::FAILURE;
                };
                counts.insert(format!("{what} of {path}"), count);
            }
        }
    }
    for (name, operations) in TURNS {
        let path = format!("{name}/{}", BARE.name);
        if !workloads.iter().any(|workload| workload.name == name) {
            continue;
        }
        let Some(count) = longest_turn(&path, operations) else {
            eprintln!("cannot count the longest turn of {path}: is valgrind there?");
            return ExitCode::FAILURE;
        };
        counts.insert(format!("instructions of the longest turn of {path}"), count);
    }
    if renew {
        let mut bounds = read();
        bounds.extend(counts);
        write(&bounds);
        return ExitCode::SUCCESS;
    }
    compare(&counts, &read())
}

fn compare(counts: &Counts, bounds: &Counts) -> ExitCode {
    let mut worse = 0;
    for (name, count) in counts {
        let Some(bound) = bounds.get(name) else {
            println!("{name}: {count:.2}, without a bound");
            worse += 1;
            continue;
        };
        let more = count - bound;
        let verdict = if more > bound * SHARE + MORE {
            worse += 1;
            "WORSE"
        } else if more < -(bound * SHARE + MORE) {
            "better: renew the bound"
        } else {
            "ok"
        };
        println!("{name}: {count:.2}, bound {bound:.2}: {verdict}");
    }
    if worse == 0 {
        return ExitCode::SUCCESS;
    }
    let compiler = versions::compiler();
    println!("{worse} of {} are worse than guard.txt allows (this is {compiler})", counts.len());
    ExitCode::FAILURE
}

/// A line is a count and what it is of.
fn read() -> Counts {
    let text = fs::read_to_string(BOUNDS).unwrap_or_default();
    let bound = |line: &str| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(bound).collect()
}

fn write(bounds: &Counts) {
    let head = format!(
        "# What an operation costs, by `cargo run --release -- guard --renew`, with {}.\n",
        versions::compiler()
    );
    let lines = bounds.iter().map(|(name, count)| format!("{count:.2} {name}\n"));
    fs::write(BOUNDS, head + &lines.collect::<String>()).expect("writing guard.txt");
}
