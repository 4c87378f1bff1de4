//! Many timers at random, one a microsecond, set at once and all fired. What counts is the CPU
//! time: the wall time is given by the deadlines.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ioloop::Reactor;

use crate::harness::{
    CPU, Contender, Countdown, Picture, Random, Sample, Workload, count_down, timed,
};
use crate::loops::{self, async_io_tasks, current, local_tasks, multi_thread_tasks};
use crate::peers;

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![Contender::new("bare BinaryHeap", bare_heap)];
    contenders.extend(loops::contenders(|io_loop, operations| {
        // Set inside the run, so setting them is measured as well.
        io_loop.call_soon(move || schedule(operations));
    }));
    contenders.extend([
        Contender::new("tokio current-thread", current_thread_tasks),
        Contender::new("tokio multi-thread", tasks_on_two_threads),
        Contender::new("async-io", timer_tasks),
    ]);
    contenders.extend(peers::contenders(&peers::C, "timers-fired", &[]));
    contenders.extend(peers::contenders(&peers::PYTHON, "timers-fired", &[]));
    Workload {
        picture: Picture::Bars(CPU),
        ..Workload::new("timers-fired", "a timer set, waited for and fired", 1_000_000, contenders)
    }
}

/// Deadlines at random from now on.
fn deadlines(operations: u64) -> impl Iterator<Item = Instant> {
    let (start, mut random) = (Instant::now(), Random::default());
    (0..operations).map(move |_| start + Duration::from_nanos(random.below(operations * 1000)))
}

fn schedule(operations: u64) {
    let (io_loop, left) = (current(), Rc::new(Cell::new(operations)));
    for deadline in deadlines(operations) {
        let left = Rc::clone(&left);
        io_loop.call_at(deadline, move || {
            if count_down(&left) {
                current().stop();
            }
        });
    }
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

async fn sleep(deadline: Instant, left: Countdown) {
    tokio::time::sleep_until(deadline.into()).await;
    left.count();
}

fn current_thread_tasks(operations: u64) -> Sample {
    local_tasks(operations, |tasks, left| {
        let left = left.clone();
        // Spawned inside the run, as above.
        tasks.spawn_local(async move {
            for deadline in deadlines(operations) {
                tokio::task::spawn_local(sleep(deadline, left.clone()));
            }
        });
    })
}

fn tasks_on_two_threads(operations: u64) -> Sample {
    multi_thread_tasks(operations, |runtime, left| {
        for deadline in deadlines(operations) {
            runtime.spawn(sleep(deadline, left.clone()));
        }
    })
}

fn timer_tasks(operations: u64) -> Sample {
    async_io_tasks(operations, |executor, left| {
        let (inner, left) = (Rc::clone(executor), left.clone());
        let spawn = async move {
            for deadline in deadlines(operations) {
                let left = left.clone();
                let timer = async move {
                    async_io::Timer::at(deadline).await;
                    left.count();
                };
                inner.spawn(timer).detach();
            }
        };
        executor.spawn(spawn).detach();
    })
}
