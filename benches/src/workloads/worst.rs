//! The longest of all turns, while a crowd of timers waits and then fires: callbacks that queue
//! themselves, one a turn, note how much processor time lies between two of them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use ioloop::Reactor;
use rustix::time::{ClockId, clock_gettime};

use crate::harness::{Contender, Countdown, Picture, Random, Workload, columns};
use crate::loops::{WAYS, current, current_thread};
use crate::peers;

/// As many turns are kept, the longest ones: a single one may have been the kernel's.
const KEPT: usize = 10;

/// The first is due after a second, the last four seconds later.
const FIRST: Duration = Duration::from_secs(1);
const SPREAD: u64 = 4_000_000;

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![Contender::with_values("bare BinaryHeap", bare_heap)];
    contenders.extend(WAYS.map(|way| {
        Contender::with_values(way.name, move |operations| {
            let hosted = way.open();
            let turns = Rc::new(RefCell::new(Turns::default()));
            let noted = Rc::clone(&turns);
            hosted.io_loop.call_soon(move || schedule(operations, noted));
            hosted.run();
            turns.take().values()
        })
    }));
    contenders.extend([
        Contender::with_values("tokio current-thread", tokio_tasks),
        Contender::with_values("async-io", async_io_tasks),
    ]);
    contenders.extend(peers::contenders(&peers::C, "worst", &[]));
    Workload {
        columns: columns(&["longest turn, cpu µs", "tenth longest"], true),
        picture: Picture::Bars(1),
        warm_up: 0,
        ..Workload::new("worst", "a turn, while so many timers fire", 1_000_000, contenders)
    }
}

/// Processor time between two turns, the longest.
#[derive(Default)]
struct Turns {
    last: Option<u64>,
    longest: BinaryHeap<Reverse<u64>>,
}

impl Turns {
    /// Called once in each turn.
    fn note(&mut self) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let now = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        if let Some(last) = self.last.replace(now) {
            self.longest.push(Reverse(now - last));
            if self.longest.len() > KEPT {
                self.longest.pop();
            }
        }
    }

    fn values(self) -> Vec<f64> {
        let longest = self.longest.into_sorted_vec();
        let micros = |index: usize| longest.get(index).map_or(0.0, |turn| turn.0 as f64 / 1000.0);
        vec![micros(0), micros(KEPT - 1)]
    }
}

fn deadlines(operations: u64) -> impl Iterator<Item = Instant> {
    let (start, mut random) = (Instant::now() + FIRST, Random::default());
    (0..operations).map(move |_| start + Duration::from_micros(random.below(SPREAD)))
}

fn schedule(operations: u64, turns: Rc<RefCell<Turns>>) {
    let (io_loop, left) = (current(), Countdown::new(operations));
    for deadline in deadlines(operations) {
        let left = left.clone();
        io_loop.call_at(deadline, move || left.count());
    }
    io_loop.call_soon(|| turn(left, turns));
}

fn turn(left: Countdown, turns: Rc<RefCell<Turns>>) {
    turns.borrow_mut().note();
    if left.is_finished() {
        return current().stop();
    }
    current().call_soon(|| turn(left, turns));
}

fn bare_heap(operations: u64) -> Vec<f64> {
    let mut heap: BinaryHeap<_> = deadlines(operations).map(Reverse).collect();
    let mut turns = Turns::default();
    while !heap.is_empty() {
        turns.note();
        let now = Instant::now();
        while heap.peek().is_some_and(|Reverse(deadline)| *deadline <= now) {
            heap.pop();
        }
    }
    turns.values()
}

fn tokio_tasks(operations: u64) -> Vec<f64> {
    let runtime = current_thread();
    runtime.block_on(async {
        let left = Countdown::new(operations);
        for deadline in deadlines(operations) {
            let left = left.clone();
            runtime.spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                left.count();
            });
        }
        // The first poll of each task sets its timer.
        tokio::task::yield_now().await;
        let mut turns = Turns::default();
        while !left.is_finished() {
            turns.note();
            tokio::task::yield_now().await;
        }
        turns.values()
    })
}

fn async_io_tasks(operations: u64) -> Vec<f64> {
    let (executor, left) = (LocalExecutor::new(), Countdown::new(operations));
    async_io::block_on(executor.run(async {
        for deadline in deadlines(operations) {
            let left = left.clone();
            let timer = async move {
                async_io::Timer::at(deadline).await;
                left.count();
            };
            executor.spawn(timer).detach();
        }
        smol::future::yield_now().await;
        let mut turns = Turns::default();
        while !left.is_finished() {
            turns.note();
            smol::future::yield_now().await;
        }
        turns.values()
    }))
}
