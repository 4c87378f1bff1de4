//! A ring of pipes, in which bytes go round: what an event costs.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use async_io::Async;
use calloop::generic::Generic;
use calloop::{EventLoop, Mode, PostAction};
use mio::unix::SourceFd;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::harness::{Contender, Countdown, Sample, Workload, count_down, timed};
use crate::loops::{self, async_io_tasks, local_tasks, multi_thread_tasks};
use crate::peers;
use crate::pipes::{Ring, pass, try_pass};
use crate::raw::{EVENTS, Raw};

/// The size is the number of pipes and of bytes on their way.
pub(crate) fn workload(name: &'static str, size: &'static [u64; 2]) -> Workload {
    let [pipes, active] = size.map(|n| n as usize);
    let ring = move || Ring::of_pipes(pipes, active);
    let mut contenders = contenders(ring);
    contenders.insert(
        1,
        Contender::beside_an_idle_thread("raw epoll beside an idle thread", move |operations| {
            raw_epoll(ring(), operations)
        }),
    );
    contenders.extend(peers::contenders(&peers::C, "ring", size));
    contenders.extend(peers::contenders(&peers::PYTHON, "ring", size));
    Workload {
        counted: if pipes == 9900 { 0 } else { 2000 },
        ..Workload::new(
            name,
            "a byte that is read from a pipe and written to the next",
            100_000,
            contenders,
        )
    }
}

/// Those of this process, at any ring.
pub(super) fn contenders(ring: impl Fn() -> Ring + Copy + 'static) -> Vec<Contender> {
    let contender = |name, run: fn(Ring, u64) -> Sample| {
        Contender::new(name, move |operations| run(ring(), operations))
    };
    let mut contenders = vec![contender("raw epoll", raw_epoll)];
    contenders.extend(loops::contenders(move |io_loop, operations| {
        ring().watch(io_loop, operations);
    }));
    contenders.extend([
        contender("mio", on_mio),
        contender("calloop", on_calloop),
        contender("tokio current-thread", current_thread_tasks),
        contender("tokio multi-thread", tasks_on_two_threads),
        contender("async-io", async_tasks),
    ]);
    contenders
}

fn raw_epoll(ring: Ring, operations: u64) -> Sample {
    let mut raw = Raw::new();
    for (index, reader) in ring.readers.iter().enumerate() {
        raw.add(reader, index as u64);
    }
    let left = Cell::new(operations);
    timed(|| {
        while left.get() > 0 {
            for index in raw.wait() {
                ring.pass(index);
                count_down(&left);
            }
        }
    })
}

fn on_mio(ring: Ring, operations: u64) -> Sample {
    let mut poll = mio::Poll::new().expect("a poll");
    for (index, reader) in ring.readers.iter().enumerate() {
        let registry = poll.registry();
        let (mut source, token) = (SourceFd(&reader.as_raw_fd()), mio::Token(index));
        let registered = registry.register(&mut source, token, mio::Interest::READABLE);
        registered.expect("registering a pipe");
    }
    let left = Cell::new(operations);
    let mut events = mio::Events::with_capacity(EVENTS);
    timed(|| {
        while left.get() > 0 {
            poll.poll(&mut events, None).expect("a wait");
            for event in &events {
                ring.pass(event.token().0 as u64);
                count_down(&left);
            }
        }
    })
}

fn on_calloop(ring: Ring, operations: u64) -> Sample {
    let mut event_loop = EventLoop::<()>::try_new().expect("a loop");
    watch_on_calloop(&event_loop, ring, operations);
    timed(|| event_loop.run(None, &mut (), |()| {}).expect("running the loop"))
}

pub(super) fn watch_on_calloop(event_loop: &EventLoop<()>, ring: Ring, operations: u64) {
    let left = Rc::new(Cell::new(operations));
    for (reader, writer) in ring.links() {
        let (left, signal) = (Rc::clone(&left), event_loop.get_signal());
        let source = Generic::new(reader, calloop::Interest::READ, Mode::Level);
        let inserted = event_loop.handle().insert_source(source, move |_, reader, ()| {
            pass(&**reader, &writer);
            if count_down(&left) {
                signal.stop();
            }
            Ok(PostAction::Continue)
        });
        inserted.expect("inserting a pipe");
    }
}

fn current_thread_tasks(ring: Ring, operations: u64) -> Sample {
    local_tasks(operations, |tasks, left| {
        for (reader, writer) in ring.links() {
            tasks.spawn_local(forward(register(reader), writer, left.clone()));
        }
    })
}

fn tasks_on_two_threads(ring: Ring, operations: u64) -> Sample {
    multi_thread_tasks(operations, |runtime, left| {
        for (reader, writer) in ring.links() {
            runtime.spawn(forward(register(reader), writer, left.clone()));
        }
    })
}

pub(super) fn register<T: AsRawFd>(reader: T) -> AsyncFd<T> {
    // SAFETY: the `AsyncFd` owns what is an `OwnedFd` or an `Arc` of one, which stays open and the
    // same file.
    unsafe { AsyncFd::register(reader) }.expect("registering it")
}

/// In the fastest form that is right: the short read clears the readiness, which saves the read
/// that would answer "would block".
pub(super) async fn forward(reader: AsyncFd<Arc<OwnedFd>>, writer: Arc<OwnedFd>, left: Countdown) {
    loop {
        let mut guard = reader.readable().await.expect("a driven reactor");
        match try_pass(guard.get_inner(), &writer) {
            Ok(()) => left.count(),
            Err(Errno::AGAIN) => {}
            Err(_) => return,
        }
        guard.clear_ready();
    }
}

fn async_tasks(ring: Ring, operations: u64) -> Sample {
    async_io_tasks(operations, |executor, left| {
        for (reader, writer) in ring.links() {
            executor.spawn(forward_on_async_io(reader, writer, left.clone())).detach();
        }
    })
}

/// In the fastest form: it waits for the readiness first, which saves the read that would answer
/// "would block".
pub(super) async fn forward_on_async_io(
    reader: Arc<OwnedFd>,
    writer: Arc<OwnedFd>,
    left: Countdown,
) {
    let reader = Async::new_nonblocking(reader).expect("registering a pipe");
    loop {
        reader.readable().await.expect("a driven reactor");
        pass(reader.get_ref(), &writer);
        left.count();
    }
}
