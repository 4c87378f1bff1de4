//! Everything at once on each backend in each mode, for as long as is asked: nothing may grow,
//! nothing get slower.
//!
//! Each way runs in a process of its own, one after the other. Ends with status 1 if something was
//! wrong, with 3 if something hangs.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ioloop_load::soak::{Length, run};
use ioloop_load::watchdog::Watchdog;
use ioloop_load::ways::Way;

#[derive(Parser)]
#[command(about = "Everything at once, for a long time")]
struct Arguments {
    /// Seconds for each way; half an hour is what tells something.
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// A quick look instead, of this many rounds for each way.
    #[arg(long)]
    rounds: Option<u64>,
    /// One way, by backend and mode; all of them without it.
    #[arg(long)]
    way: Option<Way>,
}

fn main() -> Result<()> {
    let Arguments { seconds, rounds, way } = Arguments::parse();
    let Some(way) = way else {
        for way in Way::ALL {
            let status = Command::new(env::current_exe()?)
                .args(env::args_os().skip(1))
                .args(["--way", &way.to_string()])
                .status()
                .context("starting the next process")?;
            ensure!(status.success(), "{way} ended with {status}");
        }
        return Ok(());
    };
    // The panics that are part of the work carry no message, and are not printed.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<()>() {
            print(panic);
        }
    }));
    let (length, patience) = match rounds {
        Some(rounds) => (Length::Rounds(rounds), 300),
        None => (Length::Time(Duration::from_secs(seconds)), 2 * seconds + 60),
    };
    let _watchdog = Watchdog::new("soak", Duration::from_secs(patience));
    let outcome = run(way, length).with_context(|| way.to_string())?;
    let at = |part: usize| outcome.samples[(outcome.samples.len() - 1) * part / 3];
    println!(
        "{way:<22} {:>7} rounds; KiB {} {} {}; descriptors {}, {} after; threads {}, {} after; a round {:.2?}, then {:.2?}",
        outcome.rounds,
        at(1).held.memory,
        at(2).held.memory,
        at(3).held.memory,
        at(3).held.descriptors,
        outcome.after.descriptors,
        at(3).held.threads,
        outcome.after.threads,
        at(1).cost,
        at(3).cost,
    );
    Ok(())
}
