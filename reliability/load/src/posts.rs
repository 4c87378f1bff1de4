//! Posts from many threads, while the loops that they post to close and open.
//!
//! Every post carries a token that knows its place in its lane: the posts of one thread to one
//! loop. The promises: what was accepted runs, or is dropped when the loop is closed; what was
//! refused is dropped; each exactly once. What runs is the beginning of its lane, in order, and
//! what is dropped its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::{Handle, IOLoop, LoopThread};

use crate::lateness::{Lateness, Probe};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Threads that post.
    pub threads: usize,
    /// Posts in all.
    pub posts: u64,
    /// Times a loop is closed and another one opened.
    pub reopened: u64,
}

/// What came of the posts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Were run by a loop.
    pub ran: u64,
    /// Were accepted, and dropped when the loop was closed.
    pub dropped: u64,
    /// Were refused by a loop that was closed.
    pub refused: u64,
    /// Loops that were made.
    pub loops: u64,
}

/// Between two looks of a thread at whether its posts have run.
const BATCH: u64 = 1000;

/// Loops that are open at a time, one of each backend.
const OPEN: [BackendKind; 4] =
    [BackendKind::AsyncIo, BackendKind::Bare, BackendKind::Smol, BackendKind::Tokio];

/// The posts of one thread to one loop.
#[derive(Default)]
struct Lane {
    ran: AtomicU64,
    dropped: AtomicU64,
    disorder: AtomicBool,
}

/// One life of a loop.
struct Life {
    handle: Handle,
    lanes: Box<[Lane]>,
}

/// What a post carries.
struct Token {
    life: Arc<Life>,
    lane: usize,
    place: u64,
    ran: bool,
}

impl Token {
    fn run(mut self) {
        self.ran = true;
        let lane = &self.life.lanes[self.lane];
        if lane.ran.fetch_add(1, SeqCst) != self.place || lane.dropped.load(SeqCst) > 0 {
            lane.disorder.store(true, SeqCst);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.ran {
            self.life.lanes[self.lane].dropped.fetch_add(1, SeqCst);
        }
    }
}

/// What a thread counted for one life.
struct Sent {
    life: Arc<Life>,
    lane: usize,
    accepted: u64,
    refused: u64,
}

struct Open {
    life: Arc<Life>,
    thread: LoopThread,
}

impl Open {
    fn new(backend: BackendKind, threads: usize) -> Result<Open> {
        let make = move || IOLoop::builder().backend(backend).build();
        let thread = IOLoop::spawn_thread("posted to", make)?;
        let lanes = (0..threads).map(|_| Lane::default()).collect();
        Ok(Open { life: Arc::new(Life { handle: thread.handle(), lanes }), thread })
    }

    fn close(self) -> Result<Arc<Life>> {
        self.life.handle.stop()?;
        self.thread.join()?;
        Ok(self.life)
    }
}

/// Posts, and checks what came of it. The lateness is that of another loop of the same process.
pub fn run(size: Size) -> Result<(Outcome, Lateness)> {
    let probed = IOLoop::builder().backend(BackendKind::Bare).build()?;
    let (outcome, lateness) = probed.run_sync(async {
        let probe = Probe::start(&probed);
        let outcome = probed.run_in_executor(move || post(size)).await;
        (outcome, probe.finish())
    })?;
    Ok((outcome??, lateness))
}

fn post(size: Size) -> Result<Outcome> {
    let opened: Result<Vec<Open>> =
        OPEN.into_iter().map(|backend| Open::new(backend, size.threads)).collect();
    let mut open = opened?;
    let targets: Vec<_> = open.iter().map(|open| RwLock::new(Arc::clone(&open.life))).collect();
    let mut lives: Vec<Arc<Life>> = Vec::new();
    let (sender, reopen) = channel();
    let per_reopening = size.posts / (size.reopened + 1);
    let posted = AtomicU64::new(0);
    let sent = Mutex::new(Vec::new());
    thread::scope(|scope| -> Result<()> {
        for lane in 0..size.threads {
            let (targets, posted, sent, sender) = (&targets, &posted, &sent, sender.clone());
            let share = size.posts / size.threads as u64
                + u64::from((lane as u64) < size.posts % size.threads as u64);
            scope.spawn(move || {
                let counted = thread_of(lane, share, targets, posted, per_reopening, &sender);
                sent.lock().unwrap_or_else(PoisonError::into_inner).push(counted);
            });
        }
        drop(sender);
        reopen_until_done(&reopen, size, &mut open, &targets, &mut lives)
    })?;
    for open in open {
        lives.push(open.close()?);
    }
    let mut outcome = Outcome { loops: lives.len() as u64, ..Outcome::default() };
    for counted in sent.into_inner().unwrap_or_else(PoisonError::into_inner) {
        for sent in counted? {
            sent.check(&mut outcome)?;
        }
    }
    let Outcome { ran, dropped, refused, .. } = outcome;
    ensure!(ran + dropped + refused == size.posts, "of {} posts, {outcome:?}", size.posts);
    Ok(outcome)
}

/// Closes a loop and opens the next, whenever a thread says that it is time.
fn reopen_until_done(
    reopen: &Receiver<()>,
    size: Size,
    open: &mut [Open],
    targets: &[RwLock<Arc<Life>>],
    lives: &mut Vec<Arc<Life>>,
) -> Result<()> {
    let mut failed = Ok(());
    for (turn, ()) in reopen.iter().enumerate() {
        let slot = turn % open.len();
        // After a failure the threads have to be heard out all the same.
        if failed.is_ok() {
            failed = Open::new(OPEN[slot], size.threads).and_then(|fresh| {
                *targets[slot].write().unwrap_or_else(PoisonError::into_inner) =
                    Arc::clone(&fresh.life);
                lives.push(std::mem::replace(&mut open[slot], fresh).close()?);
                Ok(())
            });
        }
    }
    failed
}

/// One thread: batches of posts to one loop after the other.
fn thread_of(
    lane: usize,
    share: u64,
    targets: &[RwLock<Arc<Life>>],
    posted: &AtomicU64,
    per_reopening: u64,
    reopen: &Sender<()>,
) -> Result<Vec<Sent>> {
    let mut all: Vec<Sent> = Vec::new();
    let (mut left, mut round) = (share, lane);
    while left > 0 {
        let life = {
            let target = &targets[round % targets.len()];
            Arc::clone(&target.read().unwrap_or_else(PoisonError::into_inner))
        };
        round += 1;
        let known = all.iter().rposition(|sent| Arc::ptr_eq(&sent.life, &life));
        let at = known.unwrap_or_else(|| {
            all.push(Sent { life, lane, accepted: 0, refused: 0 });
            all.len() - 1
        });
        let batch = left.min(BATCH);
        left -= batch;
        all[at].post(batch)?;
        let before = posted.fetch_add(batch, SeqCst);
        if before / per_reopening < (before + batch) / per_reopening {
            reopen.send(()).context("nobody closes and opens loops any more")?;
        }
    }
    Ok(all)
}

impl Sent {
    fn post(&mut self, batch: u64) -> Result<()> {
        for _ in 0..batch {
            let token = Token {
                life: Arc::clone(&self.life),
                lane: self.lane,
                place: self.accepted,
                ran: false,
            };
            match self.life.handle.add_callback(move || token.run()) {
                Ok(()) => {
                    ensure!(self.refused == 0, "a closed loop accepted a post");
                    self.accepted += 1;
                }
                Err(_) => self.refused += 1,
            }
        }
        // Keeps the queue short, and is a post itself: it runs after all of them.
        let (life, lane) = (Arc::clone(&self.life), self.lane);
        let ran = block_on(self.life.handle.call(move || life.lanes[lane].ran.load(SeqCst)));
        match ran {
            Ok(ran) => {
                ensure!(ran == self.accepted, "{ran} of {} had run by the call", self.accepted)
            }
            Err(error) => ensure!(error.is_closed(), "a call ended so: {error}"),
        }
        Ok(())
    }

    fn check(&self, outcome: &mut Outcome) -> Result<()> {
        let lane = &self.life.lanes[self.lane];
        let (ran, ended) = (lane.ran.load(SeqCst), lane.dropped.load(SeqCst));
        ensure!(!lane.disorder.load(SeqCst), "posts of one thread ran in another order");
        let dropped = ended
            .checked_sub(self.refused)
            .ok_or_else(|| anyhow!("{} were refused, and {ended} dropped", self.refused))?;
        ensure!(
            ran + dropped == self.accepted,
            "of {} accepted posts {ran} ran and {dropped} were dropped",
            self.accepted
        );
        outcome.ran += ran;
        outcome.dropped += dropped;
        outcome.refused += self.refused;
        Ok(())
    }
}
