//! A storm of signals, while the loop that hears of them passes bytes on.
//!
//! The promises: each listener hears of a signal after the last one was sent, not more often than
//! it was sent, and nothing else on the loop suffers from interrupted system calls.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use ioloop::{Guard, IOLoop, LoopThread, Reactor, Watch, signal};
use rustix::process::{Signal, getpid, kill_process};

use crate::lateness::{Lateness, Probe};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Threads that send signals.
    pub threads: usize,
    /// Signals in all.
    pub signals: u64,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Signals sent.
    pub sent: u64,
    /// Calls of the listeners on the loop itself.
    pub heard: u64,
    /// Calls of the listener on another loop.
    pub heard_elsewhere: u64,
    /// Bytes that were passed on meanwhile.
    pub bytes: u64,
}

const SIGNALS: [(i32, Signal); 3] = [
    (signal::SIGUSR1, Signal::USR1),
    (signal::SIGUSR2, Signal::USR2),
    (signal::SIGWINCH, Signal::WINCH),
];

/// What is shared with the threads that send: how many of each kind were sent, counted before the
/// sending.
type Sent = Arc<[AtomicU64; SIGNALS.len()]>;

/// A listener, and how many had been sent when it last heard of one.
struct Ear {
    calls: Rc<Cell<u64>>,
    latest: Rc<Cell<u64>>,
    _watch: Guard<Watch>,
}

impl Ear {
    fn new(io_loop: &IOLoop, sent: &Sent, kind: usize) -> Result<Ear> {
        let (calls, latest) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count, newest, sent) = (Rc::clone(&calls), Rc::clone(&latest), Arc::clone(sent));
        let watch = signal::add_handler(io_loop, SIGNALS[kind].0, move || {
            count.set(count.get() + 1);
            newest.set(sent[kind].load(SeqCst));
        })?;
        Ok(Ear { calls, latest, _watch: watch.remove_on_drop() })
    }
}

/// Sends and listens.
pub async fn run(io_loop: &IOLoop, size: Size) -> Result<(Outcome, Lateness)> {
    let sent: Sent = Arc::default();
    let ears: Result<Vec<Ear>> =
        (0..SIGNALS.len()).map(|kind| Ear::new(io_loop, &sent, kind)).collect();
    let ears = ears?;
    let (far, far_calls, far_latest) = listen_elsewhere(&sent).await?;
    let probe = Probe::start(io_loop);
    let bytes = Rc::new(Cell::new(0));
    let passing = pass_bytes(io_loop, &bytes)?;

    let storm = {
        let sent = Arc::clone(&sent);
        io_loop.run_in_executor(move || storm(size, &sent))
    };
    storm.await??;
    // Of the last one of each kind everybody hears, however many were one for the kernel.
    for (kind, ear) in ears.iter().enumerate() {
        while ear.latest.get() < sent[kind].load(SeqCst) {
            ioloop::sleep(io_loop, Duration::from_millis(1)).await?;
        }
        ensure!(ear.calls.get() <= sent[kind].load(SeqCst), "heard of more than were sent");
    }
    while far_latest.load(SeqCst) < sent[0].load(SeqCst) {
        ioloop::sleep(io_loop, Duration::from_millis(1)).await?;
    }
    ensure!(far_calls.load(SeqCst) <= sent[0].load(SeqCst), "heard of more elsewhere");
    drop(passing);
    let lateness = probe.finish();
    far.handle().stop()?;
    far.join()?;
    ensure!(bytes.get() > 0, "nothing was passed on in the storm");
    let outcome = Outcome {
        sent: sent.iter().map(|sent| sent.load(SeqCst)).sum(),
        heard: ears.iter().map(|ear| ear.calls.get()).sum(),
        heard_elsewhere: far_calls.load(SeqCst),
        bytes: bytes.get(),
    };
    ensure!(outcome.sent == size.signals, "{} were sent", outcome.sent);
    Ok((outcome, lateness))
}

fn storm(size: Size, sent: &Sent) -> Result<()> {
    let myself = getpid();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..size.threads)
            .map(|thread| {
                scope.spawn(move || {
                    for n in (thread as u64..size.signals).step_by(size.threads) {
                        let kind = n as usize % SIGNALS.len();
                        sent[kind].fetch_add(1, SeqCst);
                        kill_process(myself, SIGNALS[kind].1)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that sends"))
    })
}

/// A loop on another thread that hears of the first kind too.
async fn listen_elsewhere(sent: &Sent) -> Result<(LoopThread, Arc<AtomicU64>, Arc<AtomicU64>)> {
    let (calls, latest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, newest, sent) = (Arc::clone(&calls), Arc::clone(&latest), Arc::clone(sent));
    let thread = IOLoop::spawn_thread("hears too", move || {
        let io_loop = IOLoop::new()?;
        signal::add_handler(&io_loop, SIGNALS[0].0, move || {
            count.fetch_add(1, SeqCst);
            newest.store(sent[0].load(SeqCst), SeqCst);
        })?;
        Ok(io_loop)
    })?;
    // It listens once it runs.
    thread.handle().call(|| ()).await?;
    Ok((thread, calls, latest))
}

/// Passes one byte around between two sockets, and counts; ends when it is dropped.
fn pass_bytes(io_loop: &IOLoop, bytes: &Rc<Cell<u64>>) -> Result<[Guard<Watch>; 2]> {
    let (mut left, right) = UnixStream::pair()?;
    left.write_all(&[0])?;
    let watch = |end: UnixStream| -> Result<Guard<Watch>> {
        end.set_nonblocking(true)?;
        let bytes = Rc::clone(bytes);
        let watch = io_loop.add_reader(end, move |mut end| {
            let mut byte = [0];
            if end.read_exact(&mut byte).is_ok() && end.write_all(&byte).is_ok() {
                bytes.set(bytes.get() + 1);
            }
        })?;
        Ok(watch.remove_on_drop())
    };
    Ok([watch(left)?, watch(right)?])
}
