//! A watch that is added and removed at once.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use async_io::Async;
use calloop::generic::Generic;
use calloop::{EventLoop, Mode, PostAction};
use ioloop::Reactor;
use mio::unix::SourceFd;

use super::ring::register;
use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;
use crate::peers;
use crate::pipes::Ring;
use crate::raw::Raw;

pub(crate) fn workload() -> Workload {
    let contender = |name, run: fn(Arc<OwnedFd>, u64) -> Sample| {
        Contender::new(name, move |operations| run(pipe(), operations))
    };
    let mut contenders = vec![
        contender("raw epoll_ctl", raw_epoll),
        Contender::beside_an_idle_thread("raw epoll_ctl beside an idle thread", |operations| {
            raw_epoll(pipe(), operations)
        }),
    ];
    contenders.extend(loops::in_a_callback(|io_loop, operations| {
        let pipe = pipe();
        for _ in 0..operations {
            let watch = io_loop.add_reader(Arc::clone(&pipe), |_| {});
            watch.expect("watching a pipe").remove();
        }
    }));
    contenders.extend([
        contender("mio", on_mio),
        contender("calloop", on_calloop),
        contender("tokio current-thread", async_fds),
        contender("async-io", asyncs),
    ]);
    contenders.extend(peers::contenders(&peers::C, "register", &[]));
    contenders.extend(peers::contenders(&peers::PYTHON, "register", &[]));
    Workload {
        counted: 1000,
        ..Workload::new("register", "a watch added and removed", 200_000, contenders)
    }
}

/// One that is never readable.
fn pipe() -> Arc<OwnedFd> {
    Arc::clone(&Ring::of_eventfds(1, 0).readers[0])
}

fn raw_epoll(pipe: Arc<OwnedFd>, operations: u64) -> Sample {
    let raw = Raw::new();
    timed(|| {
        for _ in 0..operations {
            raw.add(&pipe, 0);
            raw.delete(&pipe);
        }
    })
}

fn on_mio(pipe: Arc<OwnedFd>, operations: u64) -> Sample {
    let poll = mio::Poll::new().expect("a poll");
    let (registry, fd) = (poll.registry(), pipe.as_raw_fd());
    timed(|| {
        for _ in 0..operations {
            let registered =
                registry.register(&mut SourceFd(&fd), mio::Token(0), mio::Interest::READABLE);
            registered.expect("registering a pipe");
            registry.deregister(&mut SourceFd(&fd)).expect("a registered pipe");
        }
    })
}

fn on_calloop(pipe: Arc<OwnedFd>, operations: u64) -> Sample {
    let event_loop = EventLoop::<()>::try_new().expect("a loop");
    let handle = event_loop.handle();
    timed(|| {
        for _ in 0..operations {
            let source = Generic::new(Arc::clone(&pipe), calloop::Interest::READ, Mode::Level);
            let inserted = handle.insert_source(source, |_, _, ()| Ok(PostAction::Continue));
            handle.remove(inserted.expect("inserting a pipe"));
        }
    })
}

fn async_fds(pipe: Arc<OwnedFd>, operations: u64) -> Sample {
    let runtime = loops::current_thread();
    timed(|| {
        runtime.block_on(async {
            for _ in 0..operations {
                drop(register(Arc::clone(&pipe)));
            }
        });
    })
}

fn asyncs(pipe: Arc<OwnedFd>, operations: u64) -> Sample {
    timed(|| {
        for _ in 0..operations {
            let source = Async::new_nonblocking(Arc::clone(&pipe));
            drop(source.expect("registering a pipe"));
        }
    })
}
