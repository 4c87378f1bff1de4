//! Puts a loop under load, part by part, and checks that nothing is lost, nothing comes twice, and
//! all is in order.
//!
//! Ends by itself; with status 1 if something was wrong, with 3 if something hangs.

use std::env;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};
use ioloop_load::connections::{self, client};
use ioloop_load::lateness::Probe;
use ioloop_load::resources::{processor_time, raise_descriptor_limit};
use ioloop_load::watchdog::Watchdog;
use ioloop_load::ways::Way;
use ioloop_load::{posts, signals, timers};

#[derive(Parser)]
#[command(about = "Puts a loop under load, and checks every answer")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Sizes for a few seconds.
    #[arg(long, global = true)]
    small: bool,
    /// The loop, by backend and mode (posts go to loops of every backend).
    #[arg(long, global = true, default_value_t = Way::DEFAULT)]
    way: Way,
}

#[derive(Clone, Copy, Subcommand)]
enum Part {
    /// Nothing: how late a timer and a post are then.
    Idle,
    /// As many connections as the limit of descriptors lets through, a million requests.
    Connections,
    /// 10 million posts from 8 threads, while loops close and open.
    Posts,
    /// A million live timers, moved and set anew all the time.
    Timers,
    /// A million signals, while the loop passes bytes on.
    Signals,
    /// The other side of `connections`, which starts it.
    #[command(hide = true)]
    Client(client::Orders),
}

/// Descriptors that are for something else than connections: those of connections that were reset
/// and are not closed yet, and the process's own.
const RESERVE: usize = 1000;

fn main() -> Result<()> {
    let Arguments { part, small, way } = Arguments::parse();
    let all = [Part::Idle, Part::Connections, Part::Posts, Part::Timers, Part::Signals];
    let _watchdog = Watchdog::new("load", Duration::from_secs(if small { 120 } else { 1800 }));
    match part {
        Some(Part::Client(orders)) => client::main(orders),
        Some(part) => run(part, small, way),
        None => all.into_iter().try_for_each(|part| run(part, small, way)),
    }
}

fn run(part: Part, small: bool, way: Way) -> Result<()> {
    let (begun, before) = (Instant::now(), processor_time());
    let said = match part {
        Part::Idle => {
            let duration = Duration::from_secs(if small { 1 } else { 5 });
            let lateness =
                way.drive(|io_loop| async move { Ok(Probe::idle(&io_loop, duration).await) })?;
            format!("idle: {lateness}")
        }
        Part::Connections => {
            let most = raise_descriptor_limit()?.saturating_sub(RESERVE).min(100_000);
            let size = if small {
                connections::Size { connections: most.min(500), requests: 20_000, pace: 20 }
            } else {
                connections::Size { connections: most, requests: 1_000_000, pace: 1000 }
            };
            let load = env::current_exe()?;
            let (outcome, lateness) =
                way.drive(
                    move |io_loop| async move { connections::run(&io_loop, load, size).await },
                )?;
            format!("connections: {size:?}: {outcome:?}\n{lateness}")
        }
        Part::Posts => {
            let (posts, reopened) = if small { (200_000, 40) } else { (10_000_000, 400) };
            let (outcome, lateness) = posts::run(posts::Size { threads: 8, posts, reopened })?;
            format!("posts: {outcome:?}\n{lateness}")
        }
        Part::Timers => {
            let (live, fired, seconds) =
                if small { (20_000, 40_000, 1) } else { (1_000_000, 1_000_000, 60) };
            let size = timers::Size { live, fired, ahead: Duration::from_secs(seconds) };
            let (outcome, lateness) =
                way.drive(move |io_loop| async move { timers::run(&io_loop, size).await })?;
            format!("timers: {size:?}: {outcome:?}\n{lateness}")
        }
        Part::Signals => {
            let size =
                signals::Size { threads: 4, signals: if small { 20_000 } else { 1_000_000 } };
            let (outcome, lateness) =
                way.drive(move |io_loop| async move { signals::run(&io_loop, size).await })?;
            format!("signals: {outcome:?}\n{lateness}")
        }
        Part::Client(orders) => return client::main(orders),
    };
    let (all, used) = (begun.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64());
    println!("{said}\n{all:.1} s, {used:.1} s of them of processor time\n");
    Ok(())
}
