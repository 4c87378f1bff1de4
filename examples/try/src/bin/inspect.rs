//! A program with something to find, for the terminal view: a callback that is slow, a watch that
//! spins, timers by the thousand, tasks that nobody ends, and a loop that hangs now and then.
//!
//!     cargo run -p try --bin inspect                     and, elsewhere, what it prints
//!     cargo run -p try --bin inspect -- check            which looks at itself

use std::future::pending;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::io::{AsyncBufReadExt, BufReader};
use ioloop::backends::BackendKind;
use ioloop::inspect::{self, Inspector};
use ioloop::{Async, IOLoop, LoopThread, PeriodicCallback, Reactor, deferred, signal};
use try_it::{Result, on_a_loop};

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        let is_check = words.iter().any(|word| word == "check");
        // The one call that a program needs.
        let inspector = if is_check { open_elsewhere() } else { inspect::open() }?;
        println!("on {}, seen by", io_loop.backend_name());
        println!("    cargo run -p ioloop-inspect -- {}", inspector.path().display());

        let _slow = slow_callback(io_loop)?;
        spinning_watch(io_loop)?;
        timers(io_loop);
        let _forgetful = forgotten_tasks(io_loop)?;
        let hanging = loop_that_hangs(if is_check { 0 } else { 5 })?;

        if is_check {
            see_myself(io_loop, &inspector).await?;
        } else {
            println!("until Ctrl-C");
            let (resolver, interrupted) = deferred();
            let mut resolver = Some(resolver);
            signal::add_handler(io_loop, signal::SIGINT, move || {
                let _ = resolver.take().map(|resolver| resolver.resolve(()));
            })?;
            interrupted.await?;
        }
        hanging.handle().stop()?;
        Ok(hanging.join()?)
    })
}

/// Holds the loop up for 20 ms, twice a second.
fn slow_callback(io_loop: &IOLoop) -> io::Result<PeriodicCallback> {
    let slow = || thread::sleep(Duration::from_millis(20));
    let slow = PeriodicCallback::new(io_loop, Duration::from_millis(500), slow)?;
    slow.start();
    Ok(slow)
}

/// Is told in every turn that there is something to read, and does not read it.
fn spinning_watch(io_loop: &IOLoop) -> io::Result<()> {
    let (reader, mut writer) = UnixStream::pair()?;
    writer.write_all(b"read me")?;
    io_loop.add_reader(reader, move |_| _ = &writer)?;
    Ok(())
}

fn timers(io_loop: &IOLoop) {
    for minute in 1..=1000 {
        io_loop.call_later(Duration::from_secs(60 * minute), || ());
    }
}

/// One more each second: the column "change" shows it.
fn forgotten_tasks(io_loop: &IOLoop) -> io::Result<PeriodicCallback> {
    let weak = io_loop.downgrade();
    let forget = move || {
        if let Some(io_loop) = weak.upgrade() {
            io_loop.spawn(pending::<()>()).detach();
        }
    };
    let forget = PeriodicCallback::new(io_loop, Duration::from_secs(1), forget)?;
    forget.start();
    Ok(forget)
}

/// On a thread of its own, where it hangs for so many seconds out of twice as many.
fn loop_that_hangs(seconds: u64) -> io::Result<LoopThread> {
    let hangs = Duration::from_secs(seconds);
    IOLoop::spawn_thread("worker", move || {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
        let weak = io_loop.downgrade();
        io_loop.spawn(async move {
            while ioloop::sleep(&weak, hangs + Duration::from_millis(100)).await.is_ok() {
                thread::sleep(hangs);
            }
        });
        Ok(io_loop)
    })
}

fn open_elsewhere() -> io::Result<Inspector> {
    inspect::open_at(std::env::temp_dir().join(format!("try-inspect-{}", process::id())))
}

/// Reads its own socket until it says everything that is to be found.
async fn see_myself(io_loop: &IOLoop, inspector: &Inspector) -> Result {
    let from = format!("from={}:", file!());
    let mut wanted = vec![
        format!("loop name=main backend={}", io_loop.backend_name()),
        "loop name=worker backend=bare state=driven".into(),
        format!("spins kind=reader {from}"),
        format!("waits kind=timer count=1000 {from}"),
        format!("waits kind=task {from}"),
        format!("calls kind=timer {from}"),
    ];
    let socket = Async::<UnixStream>::connect(io_loop, inspector.path()).await?;
    let mut lines = BufReader::new(socket).lines();
    while let Some(line) = lines.next().await {
        let line = line?;
        let has = |text: &str| line.split(' ').any(|pair| pair.starts_with(text));
        wanted.retain(|wanted| !wanted.split(' ').all(has));
        if wanted.is_empty() {
            println!("saw all that is to be found");
            return Ok(());
        }
    }
    Err(format!("the socket ended, and did not say {wanted:?}").into())
}
