//! The first program: a descriptor, timers and a task on one loop.
//!
//!     cargo run -p try --bin hello
//!     cargo run -p try --bin hello --all-features -- --backend tokio --mode attached

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use ioloop::{IOLoop, Reactor, sleep};
use try_it::on_a_loop;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, _| {
        // Called for as long as there is something to read.
        let (mut ours, theirs) = UnixStream::pair()?;
        let reader = io_loop.add_reader(theirs, |mut stream| {
            let mut chunk = [0; 64];
            let length = stream.read(&mut chunk).unwrap_or(0);
            println!("  a descriptor says: {}", String::from_utf8_lossy(&chunk[..length]));
        })?;

        for millis in [200, 100, 300] {
            io_loop.call_later(Duration::from_millis(millis), move || {
                println!("  a timer fires after {millis} ms");
            });
        }

        // A task of the loop holds it weakly, or asks for it.
        let weak = io_loop.downgrade();
        let task = io_loop.spawn(async move {
            sleep(&weak, Duration::from_millis(250)).await?;
            ours.write_all(b"hello").map(|()| ours)
        });

        println!("on {}:", io_loop.backend_name());
        let _ours = task.await??;
        sleep(io_loop, Duration::from_millis(100)).await?;
        reader.remove();
        println!("{} callbacks, {} turns", callbacks(io_loop), io_loop.metrics().turns);
        Ok(())
    })
}

fn callbacks(io_loop: &IOLoop) -> u64 {
    let metrics = io_loop.metrics();
    metrics.callbacks + metrics.events + metrics.timers_fired
}
