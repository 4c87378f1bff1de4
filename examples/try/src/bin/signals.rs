//! A worker that ends in order: on SIGTERM or Ctrl-C it takes no more work, and ends what it has
//! begun.
//!
//!     cargo run -p try --bin signals                     and, elsewhere: kill PID
//!     cargo run -p try --bin signals -- check            which signals itself

use std::cell::Cell;
use std::process::{self, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use ioloop::{IOLoop, PeriodicCallback, deferred, signal, sleep};
use try_it::on_a_loop;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        let (resolver, told) = deferred();
        let told_once = Rc::new(Cell::new(Some(resolver)));
        let mut heard = Vec::new();
        for number in [signal::SIGTERM, signal::SIGINT] {
            let told_once = Rc::clone(&told_once);
            // A callback of the loop's thread: it may do anything, unlike a signal's own handler.
            let hear = move || {
                if let Some(resolver) = told_once.take() {
                    let _ = resolver.resolve(number);
                }
            };
            heard.push(signal::add_handler(io_loop, number, hear)?.remove_on_drop());
        }

        let done = Rc::new(Cell::new(0));
        let (weak, count) = (io_loop.downgrade(), Rc::clone(&done));
        let work = PeriodicCallback::new(io_loop, Duration::from_millis(50), move || {
            let Some(io_loop) = weak.upgrade() else { return };
            let (weak, count) = (weak.clone(), Rc::clone(&count));
            io_loop.spawn(async move {
                // A piece of work, which is to be done whatever signal comes.
                if sleep(&weak, Duration::from_millis(120)).await.is_ok() {
                    count.set(count.get() + 1);
                }
            });
        })?;
        work.start();
        println!(
            "process {} on {} works until it is told to end",
            process::id(),
            io_loop.backend_name()
        );
        if words.iter().any(|word| word == "check") {
            send_myself_a_signal(io_loop);
        }

        let number = told.await?;
        work.stop();
        let begun = io_loop.metrics().tasks;
        println!("signal {number}: {} pieces done, {begun} to be ended", done.get());
        let left = io_loop.shutdown(Duration::from_secs(5)).await;
        println!("{} pieces done, {} cut", done.get(), left.tasks);
        match left.tasks {
            0 => Ok(()),
            tasks => Err(format!("{tasks} pieces of work were cut").into()),
        }
    })
}

fn send_myself_a_signal(io_loop: &IOLoop) {
    let weak = io_loop.downgrade();
    let kill = async move {
        sleep(&weak, Duration::from_millis(300)).await?;
        let pid = process::id().to_string();
        process::Command::new("kill").args(["-TERM", &pid]).status().map(drop)
    };
    io_loop.spawn_logged(kill);
}
