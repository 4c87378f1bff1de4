//! A value that goes through three runtimes, from a bare loop to tokio, on to smol, and back: by
//! the bridges, by channels, and by async-compat.
//!
//! All on one processor, whose threads take turns: on two it would be their idle states that are
//! measured.

use std::future::Future;

use async_compat::Compat;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, bridge};
use ioloop_benches::harness::Workload;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::run::{InRust, Run, contender, counted_by_a_slow_clock, job};

pub(crate) fn tables() -> Vec<Workload> {
    [
        ("runtimes-1", "a value there and back", 1, 50_000),
        ("runtimes-100", "a value there and back, with 100 under way", 100, 500_000),
    ]
    .map(|(name, operation, at_once, values)| {
        let runs: [InRust; 4] = [
            ("spawn and oneshot", oneshots),
            ("bridges", bridges),
            ("async-compat", compat),
            ("a task and a channel for each hop", channels),
        ];
        let contenders = runs.map(|(name, run)| contender(name, at_once, run));
        counted_by_a_slow_clock(job(name, operation, at_once, values, contenders.into()))
    })
    .into()
}

/// The threads of tokio and smol are started later, and inherit it.
fn on_one_processor() {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    // Where that is refused, the spread of the results tells.
    let _ = sched_setaffinity(None, &one);
}

/// `far` runs a future, which gives the number.
fn round_trips<F: Future<Output = u64>>(run: &mut Run, far: impl Fn(u64, &IOLoop, &Handle) -> F) {
    on_one_processor();
    let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let tokio = tokio.expect("a runtime");
    let near = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    run.measure(|at_once, work| {
        let near_side = async {
            let mut under_way = Vec::with_capacity(at_once);
            for _ in 0..work / at_once {
                under_way.extend((0..at_once as u64).map(|n| far(n, &near, tokio.handle())));
                for (n, future) in under_way.drain(..).enumerate() {
                    assert_eq!(future.await, n as u64);
                }
            }
        };
        near.run_sync(near_side).expect("it runs");
    });
}

fn oneshots(run: &mut Run) {
    round_trips(run, |n, _, tokio| {
        let (sender, receiver) = oneshot::channel();
        tokio.spawn(async move {
            let (far, back) = oneshot::channel();
            smol::spawn(async move { far.send(n) }).detach();
            sender.send(back.await.expect("a running executor"))
        });
        async { receiver.await.expect("a running runtime") }
    });
}

fn bridges(run: &mut Run) {
    round_trips(run, |n, _, tokio| {
        let far = bridge::to_tokio(tokio, async move {
            bridge::to_smol(async move { n }).await.expect("a running executor")
        });
        async { far.await.expect("a running runtime") }
    });
}

/// Its runtime is its own. It does nothing before it is polled: a task does that.
fn compat(run: &mut Run) {
    round_trips(run, |n, near, _| {
        let far = near.spawn(Compat::new(async move {
            let far = tokio::spawn(async move { smol::spawn(async move { n }).await });
            far.await.expect("a running runtime")
        }));
        async { far.await.expect("a running loop") }
    });
}

/// What one writes for a stream of values: nobody is told of a value by itself.
fn channels(run: &mut Run) {
    on_one_processor();
    let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let tokio = tokio.expect("a runtime");
    let near = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let (to_tokio, at_tokio) = unbounded_channel();
    let (to_smol, at_smol) = unbounded_channel();
    let (back, mut here) = unbounded_channel();
    tokio.spawn(hand_on(at_tokio, to_smol));
    smol::spawn(hand_on(at_smol, back)).detach();
    run.measure(|at_once, work| {
        let near_side = async {
            for _ in 0..work / at_once {
                for n in 0..at_once {
                    to_tokio.send(n).expect("a running runtime");
                }
                for n in 0..at_once {
                    assert_eq!(here.recv().await, Some(n));
                }
            }
        };
        near.run_sync(near_side).expect("it runs");
    });
}

async fn hand_on(mut from: UnboundedReceiver<usize>, to: UnboundedSender<usize>) {
    while let Some(n) = from.recv().await {
        if to.send(n).is_err() {
            return;
        }
    }
}
