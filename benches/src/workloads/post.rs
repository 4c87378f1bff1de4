//! Two threads that wake each other in turn, on one processor: on two, it is the scheduler's and
//! the processor's idle states that are measured, and they differ tenfold from run to run.

use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use calloop::EventLoop;
use calloop::ping::make_ping;
use ioloop::Handle;
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops::{self, Way};
use crate::peers;

pub(crate) fn workload() -> Workload {
    let contender = |name, run: fn(u64) -> Sample| {
        Contender::new(name, move |operations| {
            stay_on_one_processor();
            run(operations)
        })
    };
    let mut contenders = vec![contender("eventfd pair", eventfd_pair)];
    contenders.extend(loops::each(|way, operations| {
        stay_on_one_processor();
        between(way, operations)
    }));
    contenders.extend([
        contender("mio Waker", wakers),
        contender("calloop ping", pings),
        contender("tokio current-thread", |n| notify(n, || block_on(loops::current_thread()))),
        contender("tokio multi-thread", |n| notify(n, || block_on(loops::multi_thread()))),
        contender("async-io", |n| notify(n, || Box::new(|turns| async_io::block_on(turns)))),
    ]);
    for program in peers::C.iter().chain(&peers::PYTHON) {
        contenders.push(Contender::program(*program, |program, warm_up, operations| {
            stay_on_one_processor();
            program.run("post", program.share(warm_up), program.share(operations), &[])
        }));
    }
    Workload {
        counted: 1000,
        ..Workload::new("post", "a post that wakes the loop of another thread", 40_000, contenders)
    }
}

/// The threads and processes that are started later inherit it.
fn stay_on_one_processor() {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    // Where that is refused, the spread of the results tells.
    let _ = sched_setaffinity(None, &one);
}

/// A side of the ping-pong.
trait Side {
    fn ping(&mut self);
    fn wait(&mut self);
}

/// Each side is made on its own thread, and kept until both are done: it has what the other waits
/// for.
fn ping_pong<S: Side>(
    operations: u64,
    here: impl FnOnce() -> S,
    there: impl FnOnce() -> S + Send + 'static,
) -> Sample {
    let both = Arc::new(Barrier::new(2));
    let other = thread::spawn({
        let both = Arc::clone(&both);
        move || {
            let mut side = there();
            both.wait();
            for _ in 0..operations / 2 {
                side.wait();
                side.ping();
            }
            both.wait();
        }
    });
    let mut side = here();
    both.wait();
    let sample = timed(|| {
        for _ in 0..operations / 2 {
            side.ping();
            side.wait();
        }
    });
    both.wait();
    other.join().expect("the other thread");
    sample
}

/// Each side blocks in a read.
struct Bells {
    mine: Arc<OwnedFd>,
    theirs: Arc<OwnedFd>,
}

impl Side for Bells {
    fn ping(&mut self) {
        rustix::io::write(&self.theirs, &1_u64.to_ne_bytes()).expect("a write");
    }

    fn wait(&mut self) {
        rustix::io::read(&self.mine, &mut [0; 8]).expect("a read");
    }
}

fn eventfd_pair(operations: u64) -> Sample {
    let bell = || Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
    let (a, b) = (bell(), bell());
    let there = Bells { mine: Arc::clone(&b), theirs: Arc::clone(&a) };
    ping_pong(operations, || Bells { mine: a, theirs: b }, || there)
}

/// An edge may be reported twice, so each side has a flag as well.
struct Polls {
    poll: mio::Poll,
    events: mio::Events,
    pinged: Arc<AtomicBool>,
    theirs: mio::Waker,
    they_are_pinged: Arc<AtomicBool>,
}

impl Side for Polls {
    fn ping(&mut self) {
        self.they_are_pinged.store(true, Ordering::Release);
        self.theirs.wake().expect("a wake-up");
    }

    fn wait(&mut self) {
        while !self.pinged.swap(false, Ordering::Acquire) {
            self.poll.poll(&mut self.events, None).expect("a wait");
        }
    }
}

fn wakers(operations: u64) -> Sample {
    let make = || {
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        (poll, waker, Arc::new(AtomicBool::new(false)))
    };
    let side = |poll, pinged: &Arc<_>, theirs, they_are_pinged: &Arc<_>| Polls {
        poll,
        events: mio::Events::with_capacity(16),
        pinged: Arc::clone(pinged),
        theirs,
        they_are_pinged: Arc::clone(they_are_pinged),
    };
    let ((poll_a, wake_a, a), (poll_b, wake_b, b)) = (make(), make());
    let (here, there) = (side(poll_a, &a, wake_b, &b), side(poll_b, &b, wake_a, &a));
    ping_pong(operations, || here, || there)
}

struct Pings {
    event_loop: EventLoop<'static, bool>,
    theirs: calloop::ping::Ping,
}

impl Side for Pings {
    fn ping(&mut self) {
        self.theirs.ping();
    }

    fn wait(&mut self) {
        let mut pinged = false;
        while !pinged {
            self.event_loop.dispatch(None, &mut pinged).expect("a turn");
        }
    }
}

fn pings(operations: u64) -> Sample {
    let make = |source, theirs| {
        let event_loop = EventLoop::try_new().expect("a loop");
        let handle = event_loop.handle();
        let inserted = handle.insert_source(source, |(), (), pinged: &mut bool| *pinged = true);
        inserted.expect("inserting a ping");
        Pings { event_loop, theirs }
    };
    let ((a, source_a), (b, source_b)) =
        (make_ping().expect("an eventfd"), make_ping().expect("an eventfd"));
    ping_pong(operations, || make(source_a, b), move || make(source_b, a))
}

/// Posts itself to and fro; the last one stops both loops.
fn bounce(here: Handle, there: Handle, left: u64) {
    if left == 0 {
        here.stop().expect("a running loop");
        there.stop().expect("a running loop");
        return;
    }
    let target = there.clone();
    let post = target.add_callback(move || bounce(there, here, left - 1));
    post.expect("a running loop");
}

/// Two loops, each driven the same way.
fn between(way: Way, operations: u64) -> Sample {
    let (sender, receiver) = mpsc::channel();
    let other = thread::spawn(move || {
        let hosted = way.open();
        sender.send(hosted.io_loop.handle()).expect("the first thread");
        hosted.run();
    });
    let hosted = way.open();
    let there = receiver.recv().expect("the other loop");
    let sample = timed(|| {
        bounce(hosted.io_loop.handle(), there, operations);
        hosted.run();
    });
    other.join().expect("the other thread");
    sample
}

type BlockOn = Box<dyn Fn(Pin<&mut dyn Future<Output = ()>>)>;

fn block_on(runtime: Runtime) -> BlockOn {
    Box::new(move |turns| runtime.block_on(turns))
}

/// Two tasks, each on an executor of its own.
fn notify(operations: u64, executor: fn() -> BlockOn) -> Sample {
    let notify = || Arc::new(Notify::new());
    let (a, b, both) = (notify(), notify(), Arc::new(Barrier::new(2)));
    let other = thread::spawn({
        let (mine, theirs, both) = (Arc::clone(&a), Arc::clone(&b), Arc::clone(&both));
        move || {
            let block_on = executor();
            both.wait();
            block_on(pin!(async {
                for _ in 0..operations / 2 {
                    mine.notified().await;
                    theirs.notify_one();
                }
            }));
        }
    });
    let (block_on, theirs, mine) = (executor(), a, b);
    both.wait();
    let sample = timed(|| {
        block_on(pin!(async {
            for _ in 0..operations / 2 {
                theirs.notify_one();
                mine.notified().await;
            }
        }));
    });
    other.join().expect("the other thread");
    sample
}
