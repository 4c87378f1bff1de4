//! A trace of a loop, for Chrome's viewer: `ui.perfetto.dev`, or `chrome://tracing`.
//!
//!     cargo run -p try --features trace --bin trace
//!     cargo run -p try --features trace --bin trace -- trace.json trace.svg
//!
//! The second draws it, too: `docs/pictures/trace.svg` was made so.

mod picture;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use ioloop::{IOLoop, Reactor, sleep};
use tracing_chrome::ChromeLayerBuilder;
use tracing_subscriber::prelude::*;
use try_it::{Result, on_a_loop};

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        let mut words = words.into_iter().map(PathBuf::from);
        let (kept, drawn) = (words.next(), words.next());
        let name = format!("ioloop-trace-{}.json", process::id());
        let path = kept.clone().unwrap_or_else(|| env::temp_dir().join(name));

        // These two lines are all: the file is whole once the guard is dropped.
        let (chrome, guard) = ChromeLayerBuilder::new().file(&path).include_args(true).build();
        tracing_subscriber::registry().with(chrome).init();

        println!("on {}:", io_loop.backend_name());
        work(io_loop).await?;
        drop(guard);
        report(&path, drawn.as_deref())?;
        match kept {
            Some(path) => println!("open {} in ui.perfetto.dev", path.display()),
            None => fs::remove_file(&path)?,
        }
        Ok(())
    })
}

/// Something of each kind.
async fn work(io_loop: &IOLoop) -> Result {
    // What is traced begins with a turn of its own.
    sleep(io_loop, Duration::from_millis(1)).await?;
    let (mut ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let reader = io_loop.add_reader(theirs, |mut stream| {
        while stream.read(&mut [0; 16]).is_ok_and(|length| length > 0) {}
        compute(Duration::from_micros(200));
    })?;
    for n in 1..=6 {
        io_loop.call_later(Duration::from_millis(n), || compute(Duration::from_micros(150)));
    }
    io_loop.call_later(Duration::from_micros(2500), || compute(Duration::from_millis(2)));
    let weak = io_loop.downgrade();
    let task = io_loop.spawn(async move {
        for _ in 0..3 {
            compute(Duration::from_micros(100));
            ours.write_all(b"some bytes")?;
            sleep(&weak, Duration::from_micros(1500)).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    task.await??;
    reader.remove();
    Ok(())
}

/// Keeps the thread busy, as a program's own work does.
fn compute(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {}
}

/// Says what is in the trace, and draws it.
fn report(path: &Path, drawn: Option<&Path>) -> Result {
    let spans = picture::read(path)?;
    for kind in ["a reader", "a timer", "a task", "the future that the loop runs for"] {
        let number = spans.iter().filter(|span| span.kind == kind).count();
        println!("  {number} calls of {kind}");
        if number == 0 {
            return Err(format!("no call of {kind} in {}", path.display()).into());
        }
    }
    let picture = picture::draw(&spans)?;
    if let Some(drawn) = drawn {
        fs::write(drawn, picture)?;
    }
    Ok(())
}
