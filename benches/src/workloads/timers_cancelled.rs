//! Timers that are set and cancelled before they are due: what time-outs cost.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use ioloop::{Reactor, TimerHandle};
use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use crate::harness::{Contender, Random, Sample, Workload, timed};
use crate::loops;
use crate::peers;

const MILLION: u64 = 1_000_000;

pub(crate) fn workload() -> Workload {
    let mut contenders = contenders(MILLION);
    contenders.extend(peers::contenders(&peers::PYTHON, "timers-cancelled", &[MILLION]));
    Workload {
        counted: 10_000,
        ..Workload::new(
            "timers-cancelled",
            "one of a million timers, set and cancelled",
            MILLION,
            contenders,
        )
    }
}

/// With so many timers at a time, or all if there are fewer.
pub(super) fn contenders(live: u64) -> Vec<Contender> {
    let mut contenders =
        peers::contenders(&[peers::LIBEVENT, peers::LIBUV], "timers-cancelled", &[live]);
    contenders.extend(loops::in_a_callback(move |io_loop, operations| {
        set_and_cancel(
            operations,
            live,
            |deadline| io_loop.call_at(deadline, || {}),
            |timer: TimerHandle| {
                timer.cancel();
            },
        );
    }));
    contenders.extend([
        Contender::new("tokio current-thread", move |n| sleeps(&loops::current_thread(), n, live)),
        Contender::new("tokio multi-thread", move |n| sleeps(&loops::multi_thread(), n, live)),
        Contender::new("async-io", move |n| {
            timed(|| async_io::block_on(set_and_drop(n, live, async_io::Timer::at)))
        }),
    ]);
    contenders
}

/// Far enough away that none is due.
fn deadlines(operations: u64) -> impl Iterator<Item = Instant> {
    let (start, mut random) = (Instant::now() + Duration::from_secs(600), Random::default());
    (0..operations).map(move |_| start + Duration::from_micros(random.below(MILLION)))
}

fn set_and_cancel<T>(
    operations: u64,
    live: u64,
    mut set: impl FnMut(Instant) -> T,
    mut cancel: impl FnMut(T),
) {
    let live = live.min(operations);
    let mut timers = Vec::with_capacity(live as usize);
    for _ in 0..operations / live {
        timers.extend(deadlines(live).map(&mut set));
        timers.drain(..).for_each(&mut cancel);
    }
}

fn sleeps(runtime: &Runtime, operations: u64, live: u64) -> Sample {
    let sleep = |deadline: Instant| tokio::time::sleep_until(deadline.into());
    timed(|| runtime.block_on(unconstrained(set_and_drop(operations, live, sleep))))
}

/// A timer of a runtime is set when it is polled, and cancelled when it is dropped.
async fn set_and_drop<F: Future>(operations: u64, live: u64, make: impl Fn(Instant) -> F) {
    poll_fn(|cx| {
        let set = |deadline| {
            let mut timer = Box::pin(make(deadline));
            assert!(timer.as_mut().poll(cx).is_pending());
            timer
        };
        set_and_cancel(operations, live, set, drop);
        Poll::Ready(())
    })
    .await;
}
