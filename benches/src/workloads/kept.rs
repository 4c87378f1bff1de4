//! What the process keeps of a burst: its resident memory over time.

mod on_tokio;
mod ours;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;

use crate::loops::{ATTACHED_CURRENT_THREAD, BARE, OWN_ASYNC_IO};
use crate::peers;
use ioloop_benches::allocations::{live_bytes, start_counting, trim};
use ioloop_benches::harness::{Contender, Picture, Workload, columns};

/// What a burst is of.
#[derive(Clone, Copy)]
enum Burst {
    /// All due a second and a half later.
    Timers,
    /// Callbacks from another thread, while the loop does not run.
    Posts,
    /// Of eventfds.
    Watches,
    /// Unix sockets, each of which has been sent a request.
    Connections,
    /// Tasks that wait for the same thing.
    Tasks,
}

const BURSTS: [(&str, &str, u64, Burst); 5] = [
    ("kept-timers", "a timer of a burst of 200,000, in KiB of all of them", 200_000, Burst::Timers),
    ("kept-posts", "a post of a burst of 200,000, in KiB of all of them", 200_000, Burst::Posts),
    ("kept-watches", "a watch of a burst of 9,000, in KiB of all of them", 9000, Burst::Watches),
    (
        "kept-connections",
        "a connection of a burst of 4,500, in KiB of all of them",
        4500,
        Burst::Connections,
    ),
    ("kept-tasks", "a task of a burst of 100,000, in KiB of all of them", 100_000, Burst::Tasks),
];

const COLUMNS: [&str; 7] = [
    "at the peak: KiB",
    "right after",
    "a second later",
    "after malloc_trim",
    "second peak",
    "right after",
    "of it allocated",
];

/// When the timers of a burst are due.
const DUE: Duration = Duration::from_millis(1500);
/// What comes first, so what is made once is not counted.
const FIRST: u64 = 10;
const REQUEST: usize = 64;
/// What the user keeps for each.
type User = [u64; 4];
const USER: User = [1; 4];

pub(crate) fn workloads() -> Vec<Workload> {
    BURSTS
        .map(|(name, operation, operations, burst)| workload(name, operation, operations, burst))
        .into()
}

fn workload(
    name: &'static str,
    operation: &'static str,
    operations: u64,
    burst: Burst,
) -> Workload {
    let mut contenders: Vec<_> = [BARE, OWN_ASYNC_IO, ATTACHED_CURRENT_THREAD]
        .into_iter()
        .map(|way| contender(way.name, move || ours::Ours::new(way, burst)))
        .collect();
    contenders.push(contender("tokio current-thread", move || on_tokio::OnTokio::new(burst)));
    if !matches!(burst, Burst::Tasks) {
        contenders.extend(peers::contenders(&peers::C, "kept", &[burst as u64]));
    }
    Workload {
        columns: columns(&COLUMNS, false),
        warm_up: 0,
        // Memory differs little from one to the next.
        most_rounds: 3,
        picture: Picture::None,
        ..Workload::new(name, operation, operations, contenders)
    }
}

/// Who has bursts.
trait Host {
    /// Until all of them wait.
    fn fill(&mut self, count: u64);

    /// Until none is left.
    fn drain(&mut self);

    /// Runs, and has nothing to do.
    fn idle(&mut self, time: Duration);
}

fn contender<H: Host>(name: &'static str, host: impl Fn() -> H + 'static) -> Contender {
    Contender::with_values(name, move |operations| {
        start_counting();
        let mut host = host();
        host.fill(FIRST);
        host.drain();
        let (before, allocated) = (resident(), live_bytes());
        let mut values = Vec::with_capacity(COLUMNS.len());
        host.fill(operations);
        assert_eq!(TO_END.load(Ordering::Relaxed), operations, "none has ended yet");
        values.push(resident() - before);
        host.drain();
        values.push(resident() - before);
        host.idle(Duration::from_secs(1));
        values.push(resident() - before);
        trim();
        values.push(resident() - before);
        host.fill(operations);
        assert_eq!(TO_END.load(Ordering::Relaxed), operations, "none has ended yet");
        values.push(resident() - before);
        host.drain();
        values.push(resident() - before);
        values.push((live_bytes() - allocated) as f64 / 1024.0);
        values
    })
}

/// The memory of this process that is resident, in KiB.
fn resident() -> f64 {
    resident_of(process::id())
}

/// The same of any process of this user.
pub(super) fn resident_of(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number of KiB")
}

/// How many of a burst have not been begun with, and how many have not ended.
static TO_BEGIN: AtomicU64 = AtomicU64::new(0);
static TO_END: AtomicU64 = AtomicU64::new(0);

fn begin(count: u64) {
    TO_BEGIN.store(count, Ordering::Relaxed);
    TO_END.store(count, Ordering::Relaxed);
}

/// Whether that was the last of the burst.
fn has_begun() -> bool {
    TO_BEGIN.fetch_sub(1, Ordering::Relaxed) == 1
}

fn has_ended() -> bool {
    TO_END.fetch_sub(1, Ordering::Relaxed) == 1
}

fn eventfds(count: u64) -> impl Iterator<Item = OwnedFd> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    (0..count).map(move |_| eventfd(0, flags).expect("an eventfd"))
}

/// Our end and the other's, which has sent a request.
fn connections(count: u64) -> impl Iterator<Item = (UnixStream, UnixStream)> {
    (0..count).map(|_| {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        assert_eq!(write(&theirs, &[0; REQUEST]), Ok(REQUEST));
        (ours, theirs)
    })
}
