//! A turn in which nothing happens, of a loop that has a watch and a timer: what an embedded loop
//! costs when it is called for nothing.

use std::os::fd::AsRawFd;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, Mode, PostAction};
use ioloop::Reactor;
use mio::unix::SourceFd;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;
use crate::peers;
use crate::pipes::Ring;
use crate::raw::Raw;

const LATER: Duration = Duration::from_secs(600);

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![
        Contender::new("raw epoll_wait", raw_epoll),
        Contender::new("own bare", |n| turns(loops::BARE, n)),
        Contender::new("own async-io", |n| turns(loops::OWN_ASYNC_IO, n)),
        Contender::new("mio", on_mio),
        Contender::new("calloop", on_calloop),
    ];
    contenders.extend(peers::contenders(&peers::C, "turn", &[]));
    Workload {
        counted: 1000,
        ..Workload::new("turn", "a turn in which nothing happens", 300_000, contenders)
    }
}

fn ring() -> Ring {
    Ring::of_eventfds(1, 0)
}

fn raw_epoll(operations: u64) -> Sample {
    let (ring, mut raw) = (ring(), Raw::new());
    raw.add(&ring.readers[0], 0);
    timed(|| {
        for _ in 0..operations {
            assert_eq!(raw.look().count(), 0);
        }
    })
}

fn turns(way: loops::Way, operations: u64) -> Sample {
    let io_loop = way.open().io_loop;
    ring().watch(&io_loop, u64::MAX);
    io_loop.call_later(LATER, || {});
    timed(|| {
        for _ in 0..operations {
            io_loop.turn(Some(Duration::ZERO)).expect("a turn");
        }
    })
}

fn on_mio(operations: u64) -> Sample {
    let (ring, mut poll) = (ring(), mio::Poll::new().expect("a poll"));
    let fd = ring.readers[0].as_raw_fd();
    let interest = mio::Interest::READABLE;
    let registered = poll.registry().register(&mut SourceFd(&fd), mio::Token(0), interest);
    registered.expect("registering a pipe");
    let mut events = mio::Events::with_capacity(16);
    timed(|| {
        for _ in 0..operations {
            poll.poll(&mut events, Some(Duration::ZERO)).expect("a poll");
        }
    })
}

fn on_calloop(operations: u64) -> Sample {
    let mut event_loop = EventLoop::<()>::try_new().expect("a loop");
    for (reader, _writer) in ring().links() {
        let source = Generic::new(reader, calloop::Interest::READ, Mode::Level);
        let inserted =
            event_loop.handle().insert_source(source, |_, _, ()| Ok(PostAction::Continue));
        inserted.expect("inserting a pipe");
    }
    let timer = Timer::from_duration(LATER);
    let inserted = event_loop.handle().insert_source(timer, |_, _, ()| TimeoutAction::Drop);
    inserted.expect("inserting a timer");
    timed(|| {
        for _ in 0..operations {
            event_loop.dispatch(Duration::ZERO, &mut ()).expect("a turn");
        }
    })
}
