//! Everything at once, for a long time: rounds of work on one loop, with a sample of what the
//! process holds now and then.

pub mod verdict;
mod work;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ioloop::IOLoop;

use self::verdict::{Sample, judge_cost, judge_held};
use self::work::Site;
use crate::resources::{Held, processor_time, threads};
use crate::ways::Way;

/// Samples of one run.
const SAMPLES: u64 = 60;
/// Rounds of the first life, which leaves behind what a process makes once: threads of runtimes,
/// their descriptors.
const FIRST_ROUNDS: u64 = 20;
/// A thread that was joined, or told to end, may be seen for a moment.
const SETTLING: Duration = Duration::from_millis(200);

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// For a quick look: what a round costs is not judged.
    Rounds(u64),
    /// For as long as this.
    Time(Duration),
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rounds of work.
    pub rounds: u64,
    /// Before the loop of the run was made.
    pub before: Held,
    /// After it was closed.
    pub after: Held,
    /// Taken while it ran.
    pub samples: Vec<Sample>,
}

/// Drives a loop in one way for a while, doing everything at once, and judges what it held.
///
/// # Errors
///
/// Work that came out wrong, and whatever the [`verdict`] is.
pub fn run(way: Way, length: Length) -> Result<Outcome> {
    // A first life of loop and hosts, so the second one has to end with what this one left.
    live(way, Length::Rounds(FIRST_ROUNDS))?;
    let before = settled()?;
    let (rounds, samples) = live(way, length)?;
    let after = settled()?;
    ensure!(after.descriptors == before.descriptors, "descriptors: {before:?}, then {after:?}");
    ensure!(
        after.threads <= before.threads,
        "threads: {before:?}, then {after:?}: {}",
        threads()?.join(", ")
    );
    judge_held(&samples)?;
    if let Length::Time(_) = length {
        judge_cost(&samples)?;
    }
    Ok(Outcome { rounds, before, after, samples })
}

fn live(way: Way, length: Length) -> Result<(u64, Vec<Sample>)> {
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = tokio.handle().clone();
    let lived = way.drive(move |io_loop: IOLoop| async move {
        let site = Site::new(io_loop, handle)?;
        let begun = Instant::now();
        let (mut rounds, mut samples) = (0, Vec::new());
        // How far the run is, of all its samples.
        let place = |rounds| match length {
            Length::Rounds(all) => (rounds * SAMPLES / all) as usize,
            Length::Time(all) => {
                (begun.elapsed().as_secs_f64() / all.as_secs_f64() * SAMPLES as f64) as usize
            }
        };
        let mut since = (rounds, processor_time());
        while place(rounds) < SAMPLES as usize {
            site.round(rounds).await.with_context(|| format!("round {rounds}"))?;
            rounds += 1;
            if place(rounds) > samples.len() {
                let now = (rounds, processor_time());
                let cost = (now.1 - since.1) / (now.0 - since.0) as u32;
                samples.push(Sample { held: Held::now()?, cost });
                since = now;
            }
        }
        site.close()?;
        Ok((rounds, samples))
    })?;
    drop(tokio);
    Ok(lived)
}

/// What is held once the threads that end have ended.
fn settled() -> Result<Held> {
    std::thread::sleep(SETTLING);
    Held::now()
}
