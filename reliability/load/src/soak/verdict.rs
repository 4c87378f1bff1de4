//! Whether samples taken over time say that something grows. Pure, so it can be tested with
//! made-up ones.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::resources::Held;

/// What was held at one moment, and what the rounds before it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// By the process.
    pub held: Held,
    /// Processor time of one round, of all threads. Not the time that passed: other programs take
    /// their share of that.
    pub cost: Duration,
}

/// Memory may grow by this share of what it was,
const MEMORY_SHARE: u64 = 50;
/// and by this much in KiB: the allocator keeps an arena for each of some threads.
const MEMORY: u64 = 1024;

/// Compares what was held in the third third of a run with the second; the first is for warming up.
///
/// # Errors
///
/// Whatever has grown: memory (in the middle of the samples), descriptors and threads (at most).
pub fn judge_held(samples: &[Sample]) -> Result<()> {
    let (second, last) = parts(samples)?;
    let memory = |part| middle(part, |sample| sample.held.memory);
    let (was, is) = (memory(second), memory(last));
    ensure!(is <= was + was / MEMORY_SHARE + MEMORY, "memory grows: {was} KiB, then {is} KiB");
    let descriptors = |part| most(part, |sample| sample.held.descriptors);
    let (was, is) = (descriptors(second), descriptors(last));
    ensure!(is <= was, "descriptors grow: {was}, then {is}");
    // Pools of threads breathe.
    let threads = |part| most(part, |sample| sample.held.threads);
    let (was, is) = (threads(second), threads(last));
    ensure!(is <= was + was / 4, "threads grow: {was}, then {is}");
    Ok(())
}

/// The same for what the rounds cost.
///
/// # Errors
///
/// They have become slower, in the middle.
pub fn judge_cost(samples: &[Sample]) -> Result<()> {
    let (second, last) = parts(samples)?;
    let cost = |part| middle(part, |sample| sample.cost);
    let (was, is) = (cost(second), cost(last));
    ensure!(is <= was * 3 / 2, "a round gets slower: {was:?}, then {is:?} of processor time");
    Ok(())
}

/// The second third, and the last.
fn parts(samples: &[Sample]) -> Result<(&[Sample], &[Sample])> {
    let third = samples.len() / 3;
    ensure!(third >= 3, "{} samples say nothing", samples.len());
    Ok((&samples[third..2 * third], &samples[2 * third..]))
}

fn middle<T: Ord + Copy>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> T {
    let mut all: Vec<T> = samples.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn most<T: Ord>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> T {
    samples.iter().map(of).max().expect("there are samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(change: impl Fn(usize, &mut Sample)) -> Vec<Sample> {
        let held = Held { memory: 10_000, descriptors: 20, threads: 8 };
        let sample = Sample { held, cost: Duration::from_millis(1) };
        let changed = |n| {
            let mut sample = sample;
            change(n, &mut sample);
            sample
        };
        (0..60).map(changed).collect()
    }

    fn complaint(change: impl Fn(usize, &mut Sample)) -> String {
        judge(&samples(change)).unwrap_err().to_string()
    }

    fn judge(samples: &[Sample]) -> Result<()> {
        judge_held(samples).and_then(|()| judge_cost(samples))
    }

    #[test]
    fn what_stays_as_it_is_or_warms_up_is_well() {
        judge(&samples(|_, _| ())).unwrap();
        judge(&samples(|n, sample| sample.held.memory += 1000 * n.min(19) as u64)).unwrap();
        judge(&samples(|n, sample| sample.held.threads += n % 2)).unwrap();
    }

    #[test]
    fn what_grows_to_the_end_is_not() {
        let leak = complaint(|n, sample| sample.held.memory += 100 * n as u64);
        assert!(leak.starts_with("memory grows"), "{leak}");
        let leak = complaint(|n, sample| sample.held.descriptors += n / 20);
        assert!(leak.starts_with("descriptors grow"), "{leak}");
        let leak = complaint(|n, sample| sample.held.threads += n / 5);
        assert!(leak.starts_with("threads grow"), "{leak}");
        let slower = complaint(|n, sample| sample.cost *= 1 + n as u32);
        assert!(slower.starts_with("a round gets slower"), "{slower}");
    }

    #[test]
    fn a_handful_of_samples_is_no_proof() {
        assert!(judge(&samples(|_, _| ())[..8]).is_err());
    }
}
