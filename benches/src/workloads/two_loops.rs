//! Two threads with a loop each, that have nothing to do with each other: what they share all the
//! same.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;

use ioloop::{IOLoop, Reactor};
use tokio::task::LocalSet;

use super::ring::register;
use crate::harness::{Contender, Countdown, Picture, Sample, Workload, columns, count_down, timed};
use crate::loops::{self, WAYS, current, multi_thread_tasks};
use crate::pipes::Ring;
use crate::raw::Raw;

const PIPES: usize = 100;

pub(crate) fn workload() -> Workload {
    let contender = |name, run: fn(u64, &Barrier)| {
        Contender::with_values(name, move |operations| compare(run, operations))
    };
    let mut contenders = vec![contender("two raw epoll loops", raw_epoll)];
    contenders.extend(WAYS.map(|way| {
        Contender::with_values(way.name, move |operations| {
            let run = move |operations, barrier: &Barrier| {
                let hosted = way.open();
                watch(&hosted.io_loop, operations);
                barrier.wait();
                hosted.run();
            };
            compare(run, operations)
        })
    }));
    contenders.extend([
        contender("two current-thread runtimes of tokio", two_runtimes),
        Contender::with_values("one multi-thread runtime of tokio", one_runtime),
    ]);
    let times = columns(&["wall ns", "cpu ns"], true).into_iter();
    Workload {
        columns: times.chain(columns(&["speed-up"], false)).collect(),
        picture: Picture::Bars(0),
        ..Workload::new(
            "two-loops",
            "an event of either ring, passed on by a post",
            200_000,
            contenders,
        )
    }
}

/// Half of the operations on each of two threads; and as many on one, for the speed-up.
fn compare(run: impl Fn(u64, &Barrier) + Clone + Send + 'static, operations: u64) -> Vec<f64> {
    let on_threads = |threads: usize| {
        let started = Arc::new(Barrier::new(threads + 1));
        let ended = Arc::new(Barrier::new(threads + 1));
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let (run, started, ended) = (run.clone(), Arc::clone(&started), Arc::clone(&ended));
                thread::spawn(move || {
                    run(operations / 2, &started);
                    ended.wait();
                })
            })
            .collect();
        started.wait();
        let sample = timed(|| {
            ended.wait();
        });
        for thread in threads {
            thread.join().expect("a thread with a loop");
        }
        sample
    };
    values(on_threads(1), on_threads(2), operations)
}

fn values(one: Sample, two: Sample, operations: u64) -> Vec<f64> {
    let per_operation = |time: std::time::Duration| time.as_nanos() as f64 / operations as f64;
    let speed_up = 2.0 * one.wall.as_secs_f64() / two.wall.as_secs_f64();
    vec![per_operation(two.wall), per_operation(two.cpu), speed_up]
}

fn ring() -> Arc<Ring> {
    Arc::new(Ring::of_pipes(PIPES, 1))
}

/// What is posted is what was read, and from where, as in all of them. A descriptor that is left
/// readable may be told once more before the post has run.
fn watch(io_loop: &IOLoop, operations: u64) {
    let (ring, left) = (ring(), Rc::new(Cell::new(operations)));
    for (reader, index) in ring.readers.iter().zip(0..) {
        let (ring, left, handle) = (Arc::clone(&ring), Rc::clone(&left), io_loop.handle());
        let watch = io_loop.add_reader(Arc::clone(reader), move |_| {
            if count_down(&left) {
                return current().stop();
            }
            let (ring, taken) = (Arc::clone(&ring), ring.take(index));
            handle.add_callback(move || ring.give(index, taken)).expect("a running loop");
        });
        watch.expect("watching a pipe");
    }
}

fn raw_epoll(operations: u64, started: &Barrier) {
    let (ring, mut raw) = (ring(), Raw::new());
    for (index, reader) in ring.readers.iter().enumerate() {
        raw.add(reader, index as u64);
    }
    let queue = RefCell::new(VecDeque::new());
    let left = Cell::new(operations);
    started.wait();
    while left.get() > 0 {
        for index in raw.wait() {
            queue.borrow_mut().push_back((index, ring.take(index)));
            count_down(&left);
        }
        while let Some((index, taken)) = queue.borrow_mut().pop_front() {
            ring.give(index, taken);
        }
    }
}

/// Each link has a task, which spawns one to pass on what has come.
fn two_runtimes(operations: u64, started: &Barrier) {
    let (runtime, tasks, left) =
        (loops::current_thread(), LocalSet::new(), Countdown::new(operations));
    let _entered = runtime.enter();
    let ring = ring();
    for index in 0..PIPES as u64 {
        tasks.spawn_local(forward(Arc::clone(&ring), index, left.clone(), |ring, index, taken| {
            tokio::task::spawn_local(async move { ring.give(index, taken) });
        }));
    }
    started.wait();
    tasks.block_on(&runtime, left.finished());
}

/// Both rings in the two workers of one.
fn one_runtime(operations: u64) -> Vec<f64> {
    let run = |rings: u64| {
        let operations = rings * operations / 2;
        let rings: Vec<_> = (0..rings).map(|_| ring()).collect();
        multi_thread_tasks(operations, |runtime, left| {
            let pipes =
                rings.iter().flat_map(|ring| (0..PIPES as u64).map(move |index| (ring, index)));
            for (ring, index) in pipes {
                let ring = Arc::clone(ring);
                runtime.spawn(forward(ring, index, left.clone(), |ring, index, taken| {
                    tokio::spawn(async move { ring.give(index, taken) });
                }));
            }
        })
    };
    values(run(1), run(2), operations)
}

async fn forward(ring: Arc<Ring>, index: u64, left: Countdown, post: impl Fn(Arc<Ring>, u64, u64)) {
    let reader = register(Arc::clone(&ring.readers[index as usize]));
    loop {
        reader.readable().await.expect("a driven reactor").clear_ready();
        left.count();
        post(Arc::clone(&ring), index, ring.take(index));
    }
}
