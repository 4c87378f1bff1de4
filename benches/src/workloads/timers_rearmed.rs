//! Ten thousand timers that are put off again and again: what idle time-outs cost.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use ioloop::Reactor;
use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;
use crate::peers;

/// How often each timer is put off.
const TIMES: u64 = 100;

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![
        Contender::new("tokio current-thread", |n| sleeps(&loops::current_thread(), n)),
        Contender::new("tokio multi-thread", |n| sleeps(&loops::multi_thread(), n)),
    ];
    contenders.extend(loops::in_a_callback(|io_loop, operations| {
        let timers: Vec<_> = deadlines(operations / TIMES)
            .map(|deadline| io_loop.call_at(deadline, || {}))
            .collect();
        for round in deadlines(TIMES) {
            for (nanos, timer) in (0..).zip(&timers) {
                timer.reset(round + Duration::from_nanos(nanos));
            }
        }
    }));
    contenders.push(Contender::new("async-io", timers));
    contenders.extend(peers::contenders(&peers::C, "timers-rearmed", &[TIMES]));
    contenders.extend(peers::contenders(&peers::PYTHON, "timers-rearmed", &[TIMES]));
    Workload {
        counted: 10_000,
        ..Workload::new(
            "timers-rearmed",
            "one of 10,000 live timers, put off",
            1_000_000,
            contenders,
        )
    }
}

/// Each is later than the one before, and none is ever due.
fn deadlines(count: u64) -> impl Iterator<Item = Instant> {
    let start = Instant::now() + Duration::from_secs(600);
    (0..count).map(move |index| start + Duration::from_millis(index))
}

/// In place.
fn sleeps(runtime: &Runtime, operations: u64) -> Sample {
    let put_off = poll_fn(|cx| {
        let set = |deadline: Instant| {
            let mut sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
            assert!(sleep.as_mut().poll(cx).is_pending());
            sleep
        };
        let mut sleeps: Vec<_> = deadlines(operations / TIMES).map(set).collect();
        for round in deadlines(TIMES) {
            for (nanos, sleep) in (0..).zip(&mut sleeps) {
                sleep.as_mut().reset((round + Duration::from_nanos(nanos)).into());
            }
        }
        Poll::Ready(())
    });
    timed(|| runtime.block_on(unconstrained(put_off)))
}

/// In place.
fn timers(operations: u64) -> Sample {
    let put_off = poll_fn(|cx| {
        let set = |deadline| {
            let mut timer = async_io::Timer::at(deadline);
            assert!(std::pin::Pin::new(&mut timer).poll(cx).is_pending());
            timer
        };
        let mut timers: Vec<_> = deadlines(operations / TIMES).map(set).collect();
        for round in deadlines(TIMES) {
            for (nanos, timer) in (0..).zip(&mut timers) {
                timer.set_at(round + Duration::from_nanos(nanos));
            }
        }
        Poll::Ready(())
    });
    timed(|| async_io::block_on(put_off))
}
