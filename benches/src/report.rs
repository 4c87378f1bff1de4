//! Runs the contenders of a workload in turn, round after round, and prints what came out.
//!
//! Machines change their speed from one second to the next. So a contender is not compared with what
//! the reference needed at some other time, but with its run in the same round, and the median of those
//! ratios is what counts. Each sample is taken in a process of its own: no contender inherits the heap,
//! the threads or the descriptors of another.

use std::env;
use std::io::{Write, stdout};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Sample, Workload};

pub(crate) fn report(workload: &Workload, rounds: usize) {
    let mut samples = vec![Vec::new(); workload.contenders.len()];
    for round in 0..rounds {
        eprint!("\r{}: round {} of {rounds} ", workload.name, round + 1);
        for (contender, samples) in workload.contenders.iter().zip(&mut samples) {
            samples.push(sample(workload.name, contender.name));
        }
    }
    eprint!("\r\x1b[K");
    print(workload, rounds, &samples);
}

/// One sample, by running this program again.
fn sample(workload: &str, contender: &str) -> Sample {
    let exe = env::current_exe().expect("the path of this program");
    let output = Command::new(exe)
        .args(["--once", &format!("{workload}/{contender}")])
        .output()
        .expect("running this program again");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut times = text.split_whitespace().map(str::parse);
    let (Some(Ok(wall)), Some(Ok(cpu))) = (times.next(), times.next()) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{workload}/{contender} failed:\n{errors}");
    };
    Sample { wall: Duration::from_nanos(wall), cpu: Duration::from_nanos(cpu) }
}

fn print(workload: &Workload, rounds: usize, samples: &[Vec<Sample>]) {
    let Workload { name, operation, .. } = workload;
    let reference = workload.contenders[0].name;
    println!("## {name}: {operation}; {rounds} rounds, ratios to \"{reference}\"\n");
    println!("| contender | wall ns | ratio | min-max | cpu ns | ratio | min-max |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (contender, of_contender) in workload.contenders.iter().zip(samples) {
        let wall = columns(workload, of_contender, &samples[0], |sample| sample.wall);
        let cpu = columns(workload, of_contender, &samples[0], |sample| sample.cpu);
        println!("| {} | {wall} | {cpu} |", contender.name);
    }
    println!();
    // Each table as soon as it is there, also into a pipe.
    let _ = stdout().flush();
}

/// The median time of an operation; the median of the ratios to the reference; the range of the ratios.
fn columns(
    workload: &Workload,
    samples: &[Sample],
    references: &[Sample],
    time: fn(&Sample) -> Duration,
) -> String {
    let nanos = |sample| time(sample).as_nanos() as f64 / workload.operations as f64;
    let mut times: Vec<f64> = samples.iter().map(nanos).collect();
    let mut ratios: Vec<f64> = samples
        .iter()
        .zip(references)
        .map(|(sample, reference)| nanos(sample) / nanos(reference))
        .collect();
    times.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    format!(
        "{:.1} | {:.2} | {:.2}-{:.2}",
        median(&times),
        median(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
    )
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
