//! Measures ioloop beside its peers; see the README for the command and how to read it.

mod batch;
mod bridge;
mod chain;
mod harness;
mod loops;
mod post;
mod queues;
mod report;
mod ring;
mod timers;

use std::env;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::{Contender, Workload};

const USAGE: &str = "\
usage: ioloop-benches [FILTER] [--rounds N] [--against CONTENDER]

FILTER      part of `workload/contender`; the reference of a workload always runs
--rounds    how often each contender runs (15)
--against   the contender to divide by, instead of the workload's reference
--list      the names, and nothing else
--once      one sample of the contender called FILTER, in this process: for a profiler";

#[derive(Default)]
struct Options {
    filter: String,
    rounds: Option<usize>,
    against: Option<String>,
    list: bool,
    once: bool,
}

fn main() -> ExitCode {
    let Some(options) = parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    raise_descriptor_limit();
    let mut workloads = vec![
        ring::workload("ring", 1),
        ring::workload("ring-of-100", 100),
        chain::workload(),
        batch::workload(),
        post::workload(),
        timers::workload(),
    ];
    workloads.extend(bridge::workloads());
    if options.once {
        return once(&workloads, &options.filter);
    }
    for workload in &mut workloads {
        select(workload, &options);
        if workload.contenders.len() < 2 {
            continue;
        }
        if options.list {
            for contender in &workload.contenders {
                println!("{}", path(workload, contender));
            }
        } else {
            report::report(workload, options.rounds.unwrap_or(15));
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => options.rounds = Some(arguments.next()?.parse().ok().filter(|n| *n > 0)?),
            "--against" => options.against = Some(arguments.next()?),
            "--list" => options.list = true,
            "--once" => options.once = true,
            _ if argument.starts_with('-') || !options.filter.is_empty() => return None,
            _ => options.filter = argument,
        }
    }
    Some(options)
}

/// Keeps what the filter names, and what it is divided by in front of it.
fn select(workload: &mut Workload, options: &Options) {
    let mut all = std::mem::take(&mut workload.contenders);
    let reference = match &options.against {
        Some(name) => all.iter().position(|contender| contender.name == name),
        None => Some(0),
    };
    let Some(reference) = reference else { return };
    workload.contenders.push(all.remove(reference));
    let matches = |contender: &Contender| path(workload, contender).contains(&options.filter);
    all.retain(matches);
    workload.contenders.append(&mut all);
}

fn path(workload: &Workload, contender: &Contender) -> String {
    format!("{}/{}", workload.name, contender.name)
}

fn once(workloads: &[Workload], name: &str) -> ExitCode {
    for workload in workloads {
        for contender in &workload.contenders {
            if path(workload, contender) == name {
                let sample = contender.sample(workload.operations);
                println!("{} {}", sample.wall.as_nanos(), sample.cpu.as_nanos());
                return ExitCode::SUCCESS;
            }
        }
    }
    eprintln!("there is no {name}; --list names what there is");
    ExitCode::FAILURE
}

/// The rings need more descriptors than many a shell allows by default.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, making the pipes says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
