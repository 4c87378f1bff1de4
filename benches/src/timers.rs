//! Many timers at random within a twentieth of a second. What counts is the CPU time: the wall time is
//! given by the deadlines.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use ioloop::{IOLoop, Reactor};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;

const SPREAD: Duration = Duration::from_millis(50);

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![Contender::new("bare BinaryHeap", bare_heap)];
    contenders.extend(loops::contenders(|io_loop, operations| {
        // Set inside the run, so that setting them is measured as well.
        let io_loop_ = io_loop.downgrade();
        io_loop.call_soon(move || {
            let io_loop = io_loop_.upgrade().expect("a running loop");
            schedule(&io_loop, operations);
        });
    }));
    contenders.push(Contender::new("tokio sleeping tasks", sleeping_tasks));
    contenders.push(Contender::new("async-io Timer tasks", timer_tasks));
    Workload {
        name: "timers",
        operation: "a timer set, waited for and fired",
        operations: 100_000,
        contenders,
    }
}

/// Deadlines at random from now on, the same for each contender.
fn deadlines(operations: u64) -> impl Iterator<Item = Instant> {
    let start = Instant::now();
    let mut state = 1_u64;
    (0..operations).map(move |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        start + Duration::from_nanos((state >> 33) % SPREAD.as_nanos() as u64)
    })
}

fn schedule(io_loop: &IOLoop, operations: u64) {
    let left = Rc::new(Cell::new(operations));
    for deadline in deadlines(operations) {
        let left = Rc::clone(&left);
        io_loop.call_at(deadline, move || {
            if count_down(&left) {
                IOLoop::current().expect("a callback has a current loop").stop();
            }
        });
    }
}

/// Counts down; says whether that was the last.
fn count_down(left: &Cell<u64>) -> bool {
    left.set(left.get() - 1);
    left.get() == 0
}

/// A heap of deadlines, a callback each, and a sleep when none is due.
fn bare_heap(operations: u64) -> Sample {
    let mut heap = BinaryHeap::new();
    let mut callbacks: Vec<Option<Box<dyn FnOnce()>>> = Vec::new();
    let left = Rc::new(Cell::new(operations));
    timed(|| {
        for deadline in deadlines(operations) {
            let left = Rc::clone(&left);
            heap.push(Reverse((deadline, callbacks.len())));
            callbacks.push(Some(Box::new(move || {
                count_down(&left);
            })));
        }
        while let Some(Reverse((deadline, _))) = heap.peek() {
            let now = Instant::now();
            if *deadline > now {
                thread::sleep(*deadline - now);
                continue;
            }
            while let Some(Reverse((deadline, index))) = heap.peek() {
                if *deadline > now {
                    break;
                }
                if let Some(callback) = callbacks[*index].take() {
                    callback();
                }
                heap.pop();
            }
        }
        assert_eq!(left.get(), 0);
    })
}

fn sleeping_tasks(operations: u64) -> Sample {
    let runtime = loops::current_thread();
    let tasks = LocalSet::new();
    let left = Rc::new(Cell::new(operations));
    let done = Rc::new(Notify::new());
    timed(|| {
        tasks.block_on(&runtime, async {
            for deadline in deadlines(operations) {
                let (left, done) = (Rc::clone(&left), Rc::clone(&done));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep_until(deadline.into()).await;
                    if count_down(&left) {
                        done.notify_one();
                    }
                });
            }
            done.notified().await;
        });
    })
}

fn timer_tasks(operations: u64) -> Sample {
    let executor = LocalExecutor::new();
    let left = Rc::new(Cell::new(operations));
    let done = Rc::new(Notify::new());
    timed(|| {
        for deadline in deadlines(operations) {
            let (left, done) = (Rc::clone(&left), Rc::clone(&done));
            let task = executor.spawn(async move {
                async_io::Timer::at(deadline).await;
                if count_down(&left) {
                    done.notify_one();
                }
            });
            task.detach();
        }
        async_io::block_on(executor.run(done.notified()));
    })
}
