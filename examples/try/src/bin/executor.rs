//! Blocking work beside a loop that goes on: jobs in the executor, with a line that shows how far
//! they are.
//!
//!     cargo run -p try --bin executor

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use try_it::{LiveLine, on_a_loop};

const JOBS: u64 = 16;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, _| {
        let (done, began) = (Rc::new(Cell::new(0)), Instant::now());
        let ended = Rc::clone(&done);
        let bar = move || {
            format!("[{}{}]", "#".repeat(ended.get()), ".".repeat(JOBS as usize - ended.get()))
        };
        println!("on {}:", io_loop.backend_name());
        // It is called although jobs block: those have threads of their own.
        let line = LiveLine::start(io_loop, bar)?;
        let jobs: Vec<_> = (1..=JOBS)
            .map(|number| {
                let (job, done) = (
                    io_loop.run_in_executor(move || primes_below(50_000 * number)),
                    Rc::clone(&done),
                );
                io_loop.spawn(async move {
                    let primes = job.await;
                    done.set(done.get() + 1);
                    primes
                })
            })
            .collect();
        let mut last = 0;
        for job in jobs {
            last = job.await??;
        }
        drop(line);
        println!("{last} primes below {}, after {:.2?}", 50_000 * JOBS, began.elapsed());
        match last {
            63_951 => Ok(()),
            other => Err(format!("there are 63951 and not {other}").into()),
        }
    })
}

/// Something that takes the processor.
fn primes_below(limit: u64) -> usize {
    let mut composite = vec![false; limit as usize];
    let mut primes = 0;
    for number in 2..limit as usize {
        if !composite[number] {
            primes += 1;
            (number * number..limit as usize)
                .step_by(number)
                .for_each(|multiple| composite[multiple] = true);
        }
    }
    primes
}
