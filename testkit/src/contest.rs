//! A contest: the same work by several contenders, each in a process of its own, in turn.
//!
//! A program's `main` is one call of [`contest`]. It runs itself again for each contender, number at
//! once and round, interleaved, so that whatever else the machine does meets all of them alike. The
//! medians are printed as a table in Markdown.
//!
//! ```no_run
//! use testkit::contest::{Contender, Run, contest};
//!
//! fn ours(run: &mut Run) {
//!     // Connect, and warm up; what is before is not measured.
//!     run.measure(|at_once, work| { /* does `work` requests, `at_once` of them at a time */ });
//! }
//!
//! contest("queries", &[1, 100, 5000], |at_once| 20_000.max(at_once), &[
//!     Contender { name: "ours", run: ours },
//! ]);
//! ```

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Who does the work.
#[derive(Clone, Copy)]
pub struct Contender {
    /// As the table calls it.
    pub name: &'static str,
    /// Does the work, in a process of its own, and [measures](Run::measure) it once.
    pub run: fn(&mut Run),
}

/// One run of one contender.
#[derive(Debug)]
pub struct Run {
    /// How many requests are to be on their way at a time.
    pub at_once: usize,
    /// How many requests there are in all.
    pub work: usize,
    measured: Option<Figures>,
}

impl Run {
    /// Measures what this does: `work` requests, `at_once` of them at a time.
    ///
    /// # Panics
    ///
    /// A contender measures twice.
    pub fn measure(&mut self, doing: impl FnOnce(usize, usize)) {
        let (began, used) = (Instant::now(), processor_time());
        doing(self.at_once, self.work);
        let figures = Figures {
            time: began.elapsed().as_secs_f64(),
            processor: (processor_time() - used).as_secs_f64(),
            memory: status("VmHWM:"),
            threads: status("Threads:"),
        };
        assert!(self.measured.replace(figures).is_none(), "it measures once");
    }
}

/// What one run took: seconds, seconds, KiB at the most, threads at the end.
#[derive(Clone, Copy, Debug)]
struct Figures {
    time: f64,
    processor: f64,
    memory: f64,
    threads: f64,
}

const ASKED: &str = "CONTEST";
const ROUNDS: &str = "CONTEST_ROUNDS";

/// Runs each contender for each number at once, `CONTEST_ROUNDS` times (5 otherwise), and prints
/// the medians. An argument of the program names the one contender to run.
///
/// # Panics
///
/// A contender fails.
pub fn contest(
    unit: &str,
    at_once: &[usize],
    work: impl Fn(usize) -> usize,
    contenders: &[Contender],
) {
    if let Ok(asked) = env::var(ASKED) {
        return answer(&asked, work, contenders);
    }
    let only = env::args().nth(1);
    let is_asked = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let contenders: Vec<_> = contenders.iter().filter(|one| is_asked(one.name)).collect();
    let rounds = env::var(ROUNDS).map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    println!("| at once | | {unit} a second | processor, µs each | peak memory, MiB | threads |");
    println!("|---:|---|---:|---:|---:|---:|");
    for &at_once in at_once {
        let mut figures = vec![Vec::new(); contenders.len()];
        for _ in 0..rounds {
            for (contender, figures) in contenders.iter().zip(&mut figures) {
                figures.push(child(contender.name, at_once));
            }
        }
        let work = work(at_once) as f64;
        for (contender, figures) in contenders.iter().zip(&figures) {
            println!(
                "| {at_once} | {} | {:.0} | {:.1} | {:.1} | {} |",
                contender.name,
                work / median(figures, |run| run.time),
                median(figures, |run| run.processor) / work * 1e6,
                median(figures, |run| run.memory) / 1024.0,
                median(figures, |run| run.threads),
            );
        }
    }
}

/// One run, in a process of its own.
fn child(name: &str, at_once: usize) -> Figures {
    let program = env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .env(ASKED, format!("{at_once} {name}"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}, {at_once} at once: {}\n{text}", output.status);
    let numbers = text.lines().last().unwrap_or_default().split(' ');
    let numbers: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
    let &[time, processor, memory, threads] = &numbers[..] else {
        panic!("{name}, {at_once} at once, has measured nothing: {text}")
    };
    Figures { time, processor, memory, threads }
}

/// In the child: the run that is asked for, and its figures.
fn answer(asked: &str, work: impl Fn(usize) -> usize, contenders: &[Contender]) {
    let (at_once, name) = asked.split_once(' ').expect("a number and a name");
    let at_once = at_once.parse().expect("a number");
    let contender = contenders.iter().find(|one| one.name == name).expect("a contender's name");
    let mut run = Run { at_once, work: work(at_once), measured: None };
    (contender.run)(&mut run);
    if let Some(Figures { time, processor, memory, threads }) = run.measured {
        println!("\n{time} {processor} {memory} {threads}");
    }
}

/// Of this process, all its threads together.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A number of `/proc/self/status`.
fn status(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
