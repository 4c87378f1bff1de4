//! What depends on the number of watches and should not: adding one, and entering a run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use ioloop::Reactor;

use super::ring::register;
use crate::harness::{Contender, Picture, Workload, columns};
use crate::loops::{self, WAYS, Way, current};
use crate::pipes::Ring;
use crate::raw::Raw;

const SIZES: [usize; 3] = [10, 1000, 18_000];

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![Contender::with_values("raw epoll_ctl", raw_epoll)];
    contenders.extend(WAYS.map(|way| {
        Contender::with_values(way.name, move |operations| {
            let mut values: Vec<_> = SIZES.map(|size| add(way, size, operations)).into();
            values.extend(SIZES.map(|size| enter(way, size)));
            values.push(open(way, operations));
            values
        })
    }));
    contenders.push(Contender::with_values("tokio current-thread", async_fds));
    let names = [
        "add, at 10: ns",
        "at 1,000",
        "at 18,000",
        "enter, at 10: ns",
        "at 1,000",
        "at 18,000",
        "make a loop: ns",
    ];
    Workload {
        columns: columns(&names, false),
        warm_up: 0,
        picture: Picture::None,
        ..Workload::new("size", "one in a loop of that many watches", 200, contenders)
    }
}

fn eventfds(size: usize) -> Vec<Arc<OwnedFd>> {
    Ring::of_eventfds(size, 0).readers
}

/// The median in ns.
fn median(times: u64, mut code: impl FnMut()) -> f64 {
    let mut nanos: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            code();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

/// The time of each further watch.
fn add(way: Way, size: usize, operations: u64) -> f64 {
    let hosted = way.open();
    let io_loop = &hosted.io_loop;
    let mut more = eventfds(size + operations as usize).into_iter();
    let mut add =
        || drop(io_loop.add_reader(more.next().expect("enough"), |_| {}).expect("a watch"));
    (0..size).for_each(|_| add());
    median(operations, add)
}

/// The time of a run that ends at once.
fn enter(way: Way, size: usize) -> f64 {
    let hosted = way.open();
    for fd in eventfds(size) {
        hosted.io_loop.add_reader(fd, |_| {}).expect("a watch");
    }
    median(20, || {
        hosted.io_loop.call_soon(|| current().stop());
        hosted.run();
    })
}

/// The time in which a loop is made or attached, where its runtime is there already.
fn open(way: Way, operations: u64) -> f64 {
    let mut runtime = way.open().runtime;
    median(operations, || runtime = way.open_in(runtime.take()).runtime)
}

fn raw_epoll(operations: u64) -> Vec<f64> {
    let add = |size| {
        let (raw, fds) = (Raw::new(), eventfds(size + operations as usize));
        let mut more = fds.iter();
        let mut add = || raw.add(more.next().expect("enough"), 0);
        (0..size).for_each(|_| add());
        median(operations, add)
    };
    SIZES.map(add).into()
}

fn async_fds(operations: u64) -> Vec<f64> {
    let add = |size| {
        let (runtime, mut registered) = (loops::current_thread(), Vec::new());
        let _entered = runtime.enter();
        let mut more = eventfds(size + operations as usize).into_iter();
        let mut add = || registered.push(register(more.next().expect("enough")));
        (0..size).for_each(|_| add());
        median(operations, add)
    };
    SIZES.map(add).into()
}
