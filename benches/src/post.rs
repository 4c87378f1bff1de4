//! Two threads that wake each other in turn, on one processor: on two, it is the scheduler's and the
//! processor's idle states that are measured, and they differ tenfold from run to run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ioloop::backends::{BackendKind, tokio::TokioBackend};
use ioloop::{Handle, IOLoop};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use tokio::sync::Notify;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;

pub(crate) fn workload() -> Workload {
    let contender = |name, run: fn(u64) -> Sample| {
        Contender::new(name, move |operations| {
            stay_on_one_processor();
            run(operations)
        })
    };
    let contenders = vec![
        contender("eventfd pair", eventfd_pair),
        contender("own bare", |n| own(BackendKind::Bare, n)),
        contender("own async-io", |n| own(BackendKind::AsyncIo, n)),
        contender("own tokio", |n| own(BackendKind::Tokio, n)),
        contender("attached tokio current-thread", attached_to_tokio),
        contender("attached async-io", attached_to_async_io),
        contender("std channels", channels),
        contender("tokio Notify, two current-thread runtimes", notify),
    ];
    Workload {
        name: "post",
        operation: "a post that wakes the loop of another thread",
        operations: 40_000,
        contenders,
    }
}

/// The threads that are started later inherit it.
fn stay_on_one_processor() {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    // Where that is refused, the spread of the results tells.
    let _ = sched_setaffinity(None, &one);
}

/// Each side blocks in a read.
fn eventfd_pair(operations: u64) -> Sample {
    let bell = || Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
    let (ping, pong) = (bell(), bell());
    let wait = |bell: &OwnedFd| rustix::io::read(bell, &mut [0; 8]).expect("a read");
    let ring = |bell: &OwnedFd| rustix::io::write(bell, &1_u64.to_ne_bytes()).expect("a write");
    let other = thread::spawn({
        let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
        move || {
            for _ in 0..operations / 2 {
                wait(&ping);
                ring(&pong);
            }
        }
    });
    let sample = timed(|| {
        for _ in 0..operations / 2 {
            ring(&ping);
            wait(&pong);
        }
    });
    other.join().expect("the other thread");
    sample
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

/// Lets `start` bounce between a loop on this thread and one on another.
fn between(
    io_loop: &IOLoop,
    other: impl FnOnce(mpsc::Sender<Handle>) + Send + 'static,
    operations: u64,
    start: impl FnOnce(),
) -> Sample {
    let (sender, receiver) = mpsc::channel();
    let other = thread::spawn(move || other(sender));
    let there = receiver.recv().expect("the other loop");
    let sample = timed(|| {
        bounce(io_loop.handle(), there, operations);
        start();
    });
    other.join().expect("the other thread");
    sample
}

fn own(kind: BackendKind, operations: u64) -> Sample {
    let make = move || IOLoop::builder().backend(kind).build();
    let io_loop = make().expect("making a loop");
    let other = move |sender: mpsc::Sender<Handle>| {
        let io_loop = make().expect("making a loop");
        sender.send(io_loop.handle()).expect("the first thread");
        io_loop.start().expect("running the loop");
    };
    let start = || io_loop.start().expect("running the loop");
    between(&io_loop, other, operations, start)
}

fn attached_to_tokio(operations: u64) -> Sample {
    let make = |runtime: &tokio::runtime::Runtime| {
        let backend = TokioBackend::attached(runtime.handle().clone());
        let io_loop = IOLoop::builder().host(backend).attach();
        io_loop.expect("attaching to tokio")
    };
    let runtime = loops::current_thread();
    let io_loop = make(&runtime);
    let other = move |sender: mpsc::Sender<Handle>| {
        let runtime = loops::current_thread();
        let io_loop = make(&runtime);
        sender.send(io_loop.handle()).expect("the first thread");
        runtime.block_on(io_loop.run()).expect("running the loop");
    };
    let start = || runtime.block_on(io_loop.run()).expect("running the loop");
    between(&io_loop, other, operations, start)
}

fn attached_to_async_io(operations: u64) -> Sample {
    let make = || {
        let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).attach();
        io_loop.expect("attaching to async-io")
    };
    let io_loop = make();
    let other = move |sender: mpsc::Sender<Handle>| {
        let io_loop = make();
        sender.send(io_loop.handle()).expect("the first thread");
        async_io::block_on(io_loop.run()).expect("running the loop");
    };
    let start = || async_io::block_on(io_loop.run()).expect("running the loop");
    between(&io_loop, other, operations, start)
}

fn channels(operations: u64) -> Sample {
    let (ping, pinged) = mpsc::channel();
    let (pong, ponged) = mpsc::channel();
    let other = thread::spawn(move || {
        for _ in 0..operations / 2 {
            pinged.recv().expect("a ping");
            pong.send(()).expect("the first thread");
        }
    });
    let sample = timed(|| {
        for _ in 0..operations / 2 {
            ping.send(()).expect("the other thread");
            ponged.recv().expect("a pong");
        }
    });
    other.join().expect("the other thread");
    sample
}

fn notify(operations: u64) -> Sample {
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let other = thread::spawn({
        let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
        move || {
            loops::current_thread().block_on(async {
                for _ in 0..operations / 2 {
                    ping.notified().await;
                    pong.notify_one();
                }
            });
        }
    });
    let runtime = loops::current_thread();
    let sample = timed(|| {
        runtime.block_on(async {
            for _ in 0..operations / 2 {
                ping.notify_one();
                pong.notified().await;
            }
        });
    });
    other.join().expect("the other thread");
    sample
}
