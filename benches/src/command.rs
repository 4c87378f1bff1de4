//! The command line of a program that measures.

use std::env;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::{Contender, Workload};
use crate::report::Effort;
use crate::{allocations, page, report};

/// What a program measures.
pub struct Suite {
    /// In the order of the page.
    pub workloads: Vec<Workload>,
    /// The place in PERFORMANCE.md that says of what the numbers are.
    pub versions: &'static str,
    /// What stands there.
    pub list_versions: fn() -> String,
    /// Called with the page when it has been written.
    pub written: fn(&str),
    /// The command `guard`, with whether the bounds are to be renewed.
    pub guard: Option<fn(&[Workload], bool) -> ExitCode>,
}

const USAGE: &str = "\
usage: [COMMAND] [FILTER] [OPTION]...

COMMAND
  (none)        prints tables
  report        writes the tables and pictures of PERFORMANCE.md
  guard         compares counts of instructions and system calls with those in guard.txt

FILTER          part of `workload/contender`; the reference of a workload always runs

OPTION
  --rounds N    how often each contender runs (5)
  --quick       a twentieth of the operations, two rounds: to try things out
  --against C   the contender to divide by, instead of the workload's reference
  --list        the names, and nothing else
  --renew       with guard: writes guard.txt
  --once        one sample of the contender called FILTER, in this process: for a profiler
  --operations  with --once: how many, and without a warm-up; counts allocations";

#[derive(Default)]
struct Options {
    command: Option<String>,
    filter: String,
    rounds: Option<usize>,
    quick: bool,
    against: Option<String>,
    list: bool,
    renew: bool,
    once: bool,
    operations: Option<u64>,
}

/// Does what the arguments of this program say.
pub fn main(mut suite: Suite) -> ExitCode {
    let Some(options) = parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if options.once {
        return once(&suite.workloads, &options);
    }
    for workload in &mut suite.workloads {
        select(workload, &options);
    }
    suite.workloads.retain(|workload| workload.contenders.len() > 1);
    let workloads = &suite.workloads;
    if options.list {
        for workload in workloads {
            for contender in &workload.contenders {
                println!("{}", workload.path(contender));
            }
        }
        return ExitCode::SUCCESS;
    }
    let effort = Effort {
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }),
        quick: options.quick,
    };
    match (options.command.as_deref(), suite.guard) {
        (None, _) => report::print(workloads, effort),
        (Some("report"), _) => {
            let versions = (suite.versions, (suite.list_versions)());
            (suite.written)(&page::write(workloads, effort, versions));
        }
        (_, Some(guard)) => return guard(workloads, options.renew),
        (_, None) => {
            eprintln!("this program guards nothing");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "report" | "guard" if options.command.is_none() => options.command = Some(argument),
            "--rounds" => options.rounds = Some(arguments.next()?.parse().ok().filter(|n| *n > 0)?),
            "--quick" => options.quick = true,
            "--against" => options.against = Some(arguments.next()?),
            "--list" => options.list = true,
            "--renew" => options.renew = true,
            "--once" => options.once = true,
            "--operations" => options.operations = Some(arguments.next()?.parse().ok()?),
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
    let matches = |contender: &Contender| workload.path(contender).contains(&options.filter);
    all.retain(matches);
    workload.contenders.append(&mut all);
}

fn once(workloads: &[Workload], options: &Options) -> ExitCode {
    let all = workloads.iter().flat_map(|workload| {
        workload.contenders.iter().map(move |contender| (workload, contender))
    });
    let named = |(workload, contender): &(&Workload, &Contender)| {
        workload.path(contender) == options.filter
    };
    let Some((workload, contender)) = all.into_iter().find(named) else {
        eprintln!("there is no {}; --list names what there is", options.filter);
        return ExitCode::FAILURE;
    };
    if let Some(install) = contender.missing() {
        eprintln!("{} needs {install}", options.filter);
        return ExitCode::FAILURE;
    }
    let values = match options.operations {
        Some(operations) => {
            allocations::start_counting();
            contender.sample(0, operations)
        }
        None if options.quick => contender.sample(workload.warm_up / 20, workload.operations / 20),
        None => contender.sample(workload.warm_up, workload.operations),
    };
    println!("{}", values.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    ExitCode::SUCCESS
}

/// Thousands of connections need more descriptors than many a shell allows by default.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, making the descriptors says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
