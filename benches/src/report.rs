//! Runs the contenders of a workload in turn, round after round.
//!
//! Machines change their speed from one second to the next. So a contender is not compared with
//! what the reference needed at some other time, but with its run in the same round, and the median
//! of those ratios is what counts. Each sample is taken in a process of its own: no contender
//! inherits the heap, the threads or the descriptors of another.

use std::env;
use std::io::{Write, stdout};
use std::process::Command;

use crate::count;
use crate::harness::{Contender, Workload};
use crate::program::values;
use crate::table::{Row, Table};

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each contender runs.
    pub rounds: usize,
    /// A twentieth of the work.
    pub quick: bool,
}

/// Prints a table for each workload.
pub fn print(workloads: &[Workload], effort: Effort) {
    for workload in workloads {
        let table = measure(workload, effort);
        println!("## {}: {}\n\n{table}", workload.name, workload.operation);
        // Each table as soon as it is there, also into a pipe.
        let _ = stdout().flush();
    }
}

/// Runs the contenders of a workload.
pub fn measure(workload: &Workload, effort: Effort) -> Table<'_> {
    let (mut contenders, mut left_out) = (Vec::new(), Vec::new());
    for contender in &workload.contenders {
        match contender.missing() {
            None => contenders.push(contender),
            Some(install) => left_out.push((contender.name, install)),
        }
    }
    let mut samples = vec![Vec::new(); contenders.len()];
    let rounds = effort.rounds.min(workload.most_rounds);
    for round in 1..=rounds {
        eprint!("\r{}: round {round} of {rounds} \x1b[K", workload.name);
        // Each round begins with another one: what ran just before must not always be the same.
        let first = (round - 1) * contenders.len() / rounds;
        for index in (first..contenders.len()).chain(0..first) {
            samples[index].extend(sample(workload, contenders[index], effort));
        }
    }
    let rows = contenders.iter().zip(samples).map(|(contender, samples)| {
        let counts = (workload.counted > 0).then(|| {
            eprint!("\r{}: counting {} \x1b[K", workload.name, contender.name);
            count::per_operation(workload, contender)
        });
        Row { name: contender.name, samples, counts }
    });
    let table = Table { workload, rounds, rows: rows.collect(), left_out };
    eprint!("\r\x1b[K");
    table
}

/// One sample, by running this program again. `None` if it failed.
fn sample(workload: &Workload, contender: &Contender, effort: Effort) -> Option<Vec<f64>> {
    let mut command = again(&workload.path(contender));
    if effort.quick {
        command.arg("--quick");
    }
    let output = command.output().expect("running this program again");
    if output.status.success() {
        return Some(values(&output.stdout));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    eprintln!("\r{} failed:\n{errors}", workload.path(contender));
    None
}

/// This program again, for one sample.
pub fn again(path: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this program"));
    command.args(["--once", path]);
    command
}
