//! Futures that run over there and are awaited here, on a bare loop.

use std::future::Future;

use ioloop::backends::BackendKind;
use ioloop::{Handle, IOLoop, bridge};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use super::{on_one_processor, workload};
use crate::harness::{Contender, Sample, Workload, timed};

/// Far futures under way together, where they are.
const AT_ONCE: u64 = 100;

pub(crate) fn workloads() -> Vec<Workload> {
    let operation = "a future that is run on another runtime and awaited on a bare loop";
    let at_once = "the same, with 100 under way at once";
    vec![
        workload("to-tokio", operation, 20_000, to_tokio(1)),
        workload("to-tokio-at-once", at_once, 200_000, to_tokio(AT_ONCE)),
        workload("to-smol", operation, 20_000, to_smol(1)),
        workload("to-smol-at-once", at_once, 200_000, to_smol(AT_ONCE)),
        workload("to-loop", operation, 20_000, to_loop(1)),
        workload("to-loop-at-once", at_once, 200_000, to_loop(AT_ONCE)),
    ]
}

/// `far` runs a future that gives the number on the far side.
fn round_trips<F: Future<Output = u64>>(
    operations: u64,
    at_once: u64,
    far: impl Fn(u64) -> F,
) -> Sample {
    let near = IOLoop::builder().backend(BackendKind::Bare).build().expect("making a loop");
    let near_side = async {
        let mut under_way = Vec::with_capacity(at_once as usize);
        for _ in 0..operations / at_once {
            under_way.extend((0..at_once).map(&far));
            for (n, future) in under_way.drain(..).enumerate() {
                assert_eq!(future.await, n as u64);
            }
        }
    };
    timed(|| near.run_sync(near_side).expect("running the loop"))
}

fn one_worker() -> Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("making a runtime")
}

fn to_tokio(at_once: u64) -> Vec<Contender> {
    vec![
        on_one_processor("spawn and oneshot", move |operations| {
            let runtime = one_worker();
            round_trips(operations, at_once, |n| {
                let (sender, receiver) = oneshot::channel();
                runtime.spawn(async move { sender.send(n) });
                async { receiver.await.expect("a running runtime") }
            })
        }),
        on_one_processor("to_tokio", move |operations| {
            let runtime = one_worker();
            round_trips(operations, at_once, |n| {
                let far = bridge::to_tokio(runtime.handle(), async move { n });
                async { far.await.expect("a running runtime") }
            })
        }),
        on_one_processor("tokio's JoinHandle", move |operations| {
            let runtime = one_worker();
            round_trips(operations, at_once, |n| {
                let far = runtime.spawn(async move { n });
                async { far.await.expect("a running runtime") }
            })
        }),
    ]
}

fn to_smol(at_once: u64) -> Vec<Contender> {
    vec![
        on_one_processor("spawn and oneshot", move |operations| {
            round_trips(operations, at_once, |n| {
                let (sender, receiver) = oneshot::channel();
                smol::spawn(async move { sender.send(n) }).detach();
                async { receiver.await.expect("a running executor") }
            })
        }),
        on_one_processor("to_smol", move |operations| {
            round_trips(operations, at_once, |n| {
                let far = bridge::to_smol(async move { n });
                async { far.await.expect("a running executor") }
            })
        }),
        on_one_processor("smol's Task", move |operations| {
            round_trips(operations, at_once, |n| smol::spawn(async move { n }))
        }),
    ]
}

fn to_loop(at_once: u64) -> Vec<Contender> {
    let to_loop = |run: fn(u64, u64, &Handle) -> Sample| {
        move |operations| {
            let make = || IOLoop::builder().backend(BackendKind::Bare).build();
            let far = IOLoop::spawn_thread("far", make).expect("starting a thread");
            let sample = run(operations, at_once, &far.handle());
            far.handle().stop().expect("a running loop");
            far.join().expect("the far loop");
            sample
        }
    };
    let by_hand = to_loop(|operations, at_once, far| {
        round_trips(operations, at_once, |n| {
            let (sender, receiver) = oneshot::channel();
            let spawn = move || {
                let io_loop = IOLoop::current().expect("a callback has a current loop");
                io_loop.spawn(async move { sender.send(n) });
            };
            far.add_callback(spawn).expect("a running loop");
            async { receiver.await.expect("a running loop") }
        })
    });
    let bridged = to_loop(|operations, at_once, far| {
        round_trips(operations, at_once, |n| {
            let far = bridge::to_loop(far, move || async move { n });
            async { far.await.expect("a running loop") }
        })
    });
    vec![on_one_processor("spawn and oneshot", by_hand), on_one_processor("to_loop", bridged)]
}
