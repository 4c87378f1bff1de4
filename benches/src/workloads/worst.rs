//! The longest of all turns, while there is a crowd: what is called once a turn notes how much
//! processor time lies between two of its calls.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ioloop::Reactor;
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use super::ring::register;
use crate::harness::{Contender, Countdown, Picture, Random, Workload, columns};
use crate::loops::{ATTACHED_CURRENT_THREAD, BARE, OWN_ASYNC_IO, current, current_thread};
use crate::peers;
use crate::pipes::Ring;

/// As many turns are kept, the longest ones: a single one may have been the kernel's.
const KEPT: usize = 10;

/// The first timer is due after a second, the last four seconds later.
const FIRST: Duration = Duration::from_secs(1);
const SPREAD: u64 = 4_000_000;

/// Watches that are added in a turn, or removed, and time-outs that are replaced.
const IN_A_TURN: usize = 100;

/// What there is a crowd of; `peers/peer.h` has the same numbers.
#[derive(Clone, Copy)]
enum Crowd {
    /// Timers fire, a second after they were set.
    Timers,
    /// Another thread has posted before the first turn.
    Posts,
    /// Watches are added, and then removed, some in each turn.
    Watches,
    /// Of time-outs that are pending some are cancelled in each turn, and as many set.
    Timeouts,
}

/// What a turn does beside the crowd; says whether that was the last one.
type Step = Box<dyn FnMut() -> bool>;

pub(crate) fn workloads() -> [Workload; 4] {
    [
        workload("worst", "a turn, while so many timers fire", Crowd::Timers, 1_000_000),
        workload("worst-posts", "a turn, while so many posts run", Crowd::Posts, 1_000_000),
        workload(
            "worst-watches",
            "a turn, while so many watches come and go",
            Crowd::Watches,
            9_000,
        ),
        workload(
            "worst-timeouts",
            "a turn, while so many time-outs are replaced",
            Crowd::Timeouts,
            1_000_000,
        ),
    ]
}

fn workload(name: &'static str, what: &'static str, crowd: Crowd, operations: u64) -> Workload {
    let mut contenders = peers::contenders(&peers::C, "worst", &[crowd as u64]);
    contenders.push(Contender::with_values("tokio current-thread", move |operations| {
        on_tokio(crowd, operations)
    }));
    contenders.extend([BARE, OWN_ASYNC_IO, ATTACHED_CURRENT_THREAD].map(|way| {
        Contender::with_values(way.name, move |operations| {
            let hosted = way.open();
            let turns = Rc::new(RefCell::new(Turns::default()));
            let noted = Rc::clone(&turns);
            hosted.io_loop.call_soon(move || turn_by_turn(on_loop(crowd, operations), noted));
            hosted.run();
            turns.take().values()
        })
    }));
    Workload {
        columns: columns(&["longest turn, cpu µs", "tenth longest"], true),
        picture: Picture::Bars(1),
        warm_up: 0,
        ..Workload::new(name, what, operations, contenders)
    }
}

/// Processor time between two turns, the longest.
#[derive(Default)]
struct Turns {
    last: Option<u64>,
    longest: BinaryHeap<Reverse<u64>>,
}

impl Turns {
    /// Called once in each turn. The guard counts the instructions between two calls, by this name.
    #[inline(never)]
    fn note_turn(&mut self) {
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

/// Ten minutes away, or a little more.
fn timeouts() -> impl Iterator<Item = Instant> {
    let (start, mut random) = (Instant::now() + Duration::from_secs(600), Random::default());
    std::iter::repeat_with(move || start + Duration::from_micros(random.below(SPREAD)))
}

/// Notes the turns of a loop from here on, by a descriptor that is ready at each poll.
fn turn_by_turn(mut step: Step, turns: Rc<RefCell<Turns>>) {
    let ready = eventfd(1, EventfdFlags::CLOEXEC).expect("an eventfd");
    let note = move |_: &OwnedFd| {
        turns.borrow_mut().note_turn();
        if step() {
            current().stop();
        }
    };
    current().add_reader(ready, note).expect("watching an eventfd");
}

/// In the first callback of the loop.
fn on_loop(crowd: Crowd, operations: u64) -> Step {
    let (io_loop, left) = (current(), Countdown::new(operations));
    match crowd {
        Crowd::Timers => {
            for deadline in deadlines(operations) {
                let left = left.clone();
                io_loop.call_at(deadline, move || left.count());
            }
            Box::new(move || left.is_finished())
        }
        Crowd::Posts => {
            let (handle, posted) = (io_loop.handle(), left.clone());
            from_a_thread(operations, move || {
                let left = posted.clone();
                handle.add_callback(move || left.count()).expect("an open loop");
            });
            Box::new(move || left.is_finished())
        }
        Crowd::Watches => some_watches(operations, move |eventfd| {
            let watch = io_loop.add_reader(eventfd, |_| {}).expect("watching an eventfd");
            watch.remove_on_drop()
        }),
        Crowd::Timeouts => some_timeouts(operations, move |deadline| {
            io_loop.call_at(deadline, || {}).cancel_on_drop()
        }),
    }
}

fn from_a_thread(operations: u64, post: impl Fn() + Send + 'static) {
    let posting = thread::spawn(move || (0..operations).for_each(|_| post()));
    posting.join().expect("the posting thread");
}

/// Adds some in each turn, and then removes some in each.
fn some_watches<W: 'static>(
    operations: u64,
    mut watch: impl FnMut(Arc<OwnedFd>) -> W + 'static,
) -> Step {
    let mut unwatched = Ring::of_eventfds(operations as usize, 0).readers;
    let mut watches = Vec::with_capacity(unwatched.len());
    Box::new(move || {
        if unwatched.is_empty() {
            watches.truncate(watches.len().saturating_sub(IN_A_TURN));
            return watches.is_empty();
        }
        let some = unwatched.len().saturating_sub(IN_A_TURN);
        watches.extend(unwatched.drain(some..).map(&mut watch));
        false
    })
}

/// Replaces each once, the oldest ones first.
fn some_timeouts<T: 'static>(operations: u64, mut set: impl FnMut(Instant) -> T + 'static) -> Step {
    let mut deadlines = timeouts();
    let mut timers: Vec<T> = deadlines.by_ref().take(operations as usize).map(&mut set).collect();
    let mut next = 0;
    Box::new(move || {
        for timer in timers.iter_mut().skip(next).take(IN_A_TURN) {
            *timer = set(deadlines.next().expect("an endless row"));
        }
        next += IN_A_TURN;
        next >= timers.len()
    })
}

fn on_tokio(crowd: Crowd, operations: u64) -> Vec<f64> {
    let runtime = current_thread();
    let mut step = in_tokio(&runtime, crowd, operations);
    runtime.block_on(async {
        // The first poll of each task sets its timer.
        tokio::task::yield_now().await;
        let mut turns = Turns::default();
        loop {
            turns.note_turn();
            if step() {
                return turns.values();
            }
            tokio::task::yield_now().await;
        }
    })
}

fn in_tokio(runtime: &Runtime, crowd: Crowd, operations: u64) -> Step {
    let _entered = runtime.enter();
    let left = Countdown::new(operations);
    match crowd {
        Crowd::Timers => {
            for deadline in deadlines(operations) {
                let left = left.clone();
                runtime.spawn(async move {
                    tokio::time::sleep_until(deadline.into()).await;
                    left.count();
                });
            }
            Box::new(move || left.is_finished())
        }
        Crowd::Posts => {
            let (handle, posted) = (runtime.handle().clone(), left.clone());
            from_a_thread(operations, move || {
                let left = posted.clone();
                handle.spawn(async move { left.count() });
            });
            Box::new(move || left.is_finished())
        }
        Crowd::Watches => some_watches(operations, register),
        Crowd::Timeouts => some_timeouts(operations, |deadline| {
            let mut timer = Box::pin(tokio::time::sleep_until(deadline.into()));
            let polled = Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            timer
        }),
    }
}
