//! The bytes that a loop keeps for a watch, a timer and a queued callback, beyond what is the
//! user's: the descriptor and the closure. It has 16,000 of them, so tables that double are
//! nearly full.

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::time::Duration;

use async_executor::LocalExecutor;
use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, Mode, PostAction};
use ioloop::Reactor;
use rustix::event::{EventfdFlags, eventfd};
use tokio::task::LocalSet;

use super::ring::register;
use crate::allocations::{live_bytes, start_counting};
use crate::harness::{Contender, Picture, Workload, columns};
use crate::loops::{self, WAYS};
use crate::peers;

/// What the callbacks capture.
type User = [u64; 4];

const USER: User = [1; 4];
const LATER: Duration = Duration::from_secs(600);

pub(crate) fn workload() -> Workload {
    let mut contenders: Vec<_> = WAYS
        .into_iter()
        .map(|way| {
            contender(way.name, move |measure| {
                let hosted = way.open();
                let io_loop = &hosted.io_loop;
                measure.watches(
                    |fd, user| {
                        let watch = io_loop.add_reader(fd, move |_| touch(&user));
                        watch.expect("watching a descriptor");
                    },
                    || {},
                );
                measure.others(|user| drop(io_loop.call_later(LATER, move || touch(&user))), || {});
                measure.others(|user| drop(io_loop.call_soon(move || touch(&user))), || {});
            })
        })
        .collect();
    contenders.extend([
        contender("calloop", on_calloop),
        contender("tokio current-thread", tokio_tasks),
        contender("async-io", async_tasks),
    ]);
    contenders.extend(peers::contenders(&peers::C, "memory", &[]));
    Workload {
        columns: columns(&["bytes a watch", "bytes a timer", "bytes a callback"], false),
        warm_up: 0,
        picture: Picture::None,
        ..Workload::new("memory", "bytes beside the user's own", 16_000, contenders)
    }
}

fn contender(name: &'static str, run: impl Fn(&mut Measure) + 'static) -> Contender {
    Contender::with_values(name, move |operations| {
        start_counting();
        let mut measure = Measure { operations, values: Vec::new() };
        run(&mut measure);
        measure.values
    })
}

struct Measure {
    operations: u64,
    values: Vec<f64>,
}

impl Measure {
    /// `settle` is what is needed before all of them wait.
    fn watches(&mut self, mut add: impl FnMut(OwnedFd, User), settle: impl FnOnce()) {
        let eventfd = |_| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let mut eventfds: Vec<_> = (0..self.operations).map(eventfd).collect();
        self.difference(size_of::<OwnedFd>() + size_of::<User>(), || {
            for fd in eventfds.drain(..) {
                add(fd, USER);
            }
            settle();
        });
    }

    fn others(&mut self, mut add: impl FnMut(User), settle: impl FnOnce()) {
        let operations = self.operations;
        self.difference(size_of::<User>(), || {
            (0..operations).for_each(|_| add(USER));
            settle();
        });
    }

    fn difference(&mut self, users: usize, code: impl FnOnce()) {
        let before = live_bytes();
        code();
        let bytes = (live_bytes() - before) as f64 / self.operations as f64;
        self.values.push(bytes - users as f64);
    }
}

fn touch(user: &User) {
    black_box(user);
}

fn on_calloop(measure: &mut Measure) {
    let event_loop = EventLoop::<()>::try_new().expect("a loop");
    let handle = event_loop.handle();
    measure.watches(
        |fd, user| {
            let source = Generic::new(fd, calloop::Interest::READ, Mode::Level);
            let inserted = handle.insert_source(source, move |_, _, ()| {
                touch(&user);
                Ok(PostAction::Continue)
            });
            inserted.expect("inserting a descriptor");
        },
        || {},
    );
    measure.others(
        |user| {
            let inserted = handle.insert_source(Timer::from_duration(LATER), move |_, _, ()| {
                touch(&user);
                TimeoutAction::Drop
            });
            inserted.expect("inserting a timer");
        },
        || {},
    );
    measure.others(|user| drop(handle.insert_idle(move |()| touch(&user))), || {});
}

/// Tasks are polled once, so they wait for what they wait for.
fn tokio_tasks(measure: &mut Measure) {
    let (runtime, tasks) = (loops::current_thread(), LocalSet::new());
    let _entered = runtime.enter();
    let poll = || {
        tasks.block_on(&runtime, async {
            // Each yield has a few dozen of them polled.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        });
    };
    measure.watches(
        |fd, user| {
            tasks.spawn_local(async move {
                let fd = register(fd);
                drop(fd.readable().await);
                touch(&user);
            });
        },
        poll,
    );
    measure.others(
        |user| {
            tasks.spawn_local(async move {
                tokio::time::sleep(LATER).await;
                touch(&user);
            });
        },
        poll,
    );
    measure.others(|user| drop(tasks.spawn_local(async move { touch(&user) })), || {});
}

fn async_tasks(measure: &mut Measure) {
    let executor = LocalExecutor::new();
    let poll = || while executor.try_tick() {};
    measure.watches(
        |fd, user| {
            let task = executor.spawn(async move {
                let fd = async_io::Async::new_nonblocking(fd).expect("registering a descriptor");
                fd.readable().await.expect("a driven reactor");
                touch(&user);
            });
            task.detach();
        },
        poll,
    );
    measure.others(
        |user| {
            let task = executor.spawn(async move {
                async_io::Timer::after(LATER).await;
                touch(&user);
            });
            task.detach();
        },
        poll,
    );
    measure.others(|user| executor.spawn(async move { touch(&user) }).detach(), || {});
}
