//! What an event costs in a loop of more and more watches, and a timer beside more and more timers.

use super::{ring, timers_cancelled};
use crate::harness::{Column, Contender, Picture, Workload};
use crate::loops::{ATTACHED_ASYNC_IO, ATTACHED_CURRENT_THREAD, BARE};
use crate::peers;
use crate::pipes::Ring;

const WATCHES: [u64; 5] = [10, 100, 1000, 10_000, 19_000];
const TIMERS: [u64; 7] = [10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Few enough to tell the lines apart.
const DRAWN: [&str; 10] = [
    "raw epoll",
    BARE.name,
    ATTACHED_CURRENT_THREAD.name,
    ATTACHED_ASYNC_IO.name,
    "mio",
    "calloop",
    "libuv",
    "libevent",
    "tokio current-thread",
    "async-io",
];
/// A timer is the same in every loop of ours; and ten million are too much for async-io.
const DRAWN_TIMERS: [&str; 4] = [BARE.name, "libuv", "libevent", "tokio current-thread"];

/// Eventfds, since pipes take two descriptors each.
pub(crate) fn watches() -> Workload {
    let contenders = |size| {
        let mut contenders = ring::contenders(move || Ring::of_eventfds(size as usize, 1));
        contenders.extend(peers::contenders(&peers::C, "ring-of-eventfds", &[size, 1]));
        contenders
    };
    let operation = "ns for an event, in a loop of so many watches";
    workload("growth-watches", operation, ("watches", &DRAWN), &WATCHES, contenders, |_| 30_000)
}

pub(crate) fn timers() -> Workload {
    let operation = "ns for a timer set and cancelled, so many at a time";
    let rounds = |size: u64| 200_000.max(size);
    let contenders = timers_cancelled::contenders;
    workload("growth-timers", operation, ("timers", &DRAWN_TIMERS), &TIMERS, contenders, rounds)
}

fn workload(
    name: &'static str,
    operation: &'static str,
    (axis, drawn): (&'static str, &[&str]),
    sizes: &'static [u64],
    contenders: impl Fn(u64) -> Vec<Contender> + Copy + 'static,
    operations: impl Fn(u64) -> u64 + Copy + 'static,
) -> Workload {
    let grown = move |(index, contender): (usize, Contender)| {
        let (name, program) = (contender.name, contender.program);
        let sample = move |size: &u64| {
            let operations = operations(*size);
            contenders(*size)[index].sample(operations / 10, operations)[0]
        };
        let sizes = move |limit| sizes.iter().filter(|size| **size <= limit).map(sample).collect();
        Contender::with_values(name, sizes).needs(program)
    };
    let contenders = contenders(sizes[0]).into_iter().enumerate();
    let drawn = contenders.filter(|(_, contender)| drawn.contains(&contender.name));
    let column = |size: &u64| Column { name: size.to_string(), compared: false };
    Workload {
        columns: sizes.iter().map(column).collect(),
        warm_up: 0,
        most_rounds: 3,
        picture: Picture::Lines { axis },
        ..Workload::new(name, operation, sizes[sizes.len() - 1], drawn.map(grown).collect())
    }
}
