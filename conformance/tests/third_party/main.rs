//! Runtimes from outside, written against the public API alone, that keep the promises.

mod backend;
mod lazy;
mod slow;
mod spawning;
mod thread_local;

use std::pin::pin;
use std::time::Duration;

use ioloop::backends::Backend;
use ioloop::{IOLoop, Reactor};
use ioloop_conformance::Rig;

use backend::Mini;
use lazy::Lazy;
use slow::Slow;
use spawning::Spawning;
use thread_local::ThreadLocal;

fn own<B: Backend>(host: impl Fn() -> B + 'static) -> Rig {
    Rig::own(move || IOLoop::builder().host(host()).build())
}

/// The loops are attached to clones of one host.
macro_rules! attached {
    ($host:expr) => {{
        let host = $host;
        let executor = host.clone();
        Rig::attached(
            move || IOLoop::builder().host(host.clone()).attach(),
            move |future| executor.block_on(future),
        )
    }};
}

ioloop_conformance::suite! {
    own {
        own_third_party => own(Mini::default),
        own_lazy => own(Lazy::default),
        own_slow_to_give_back => own(Slow::default),
        own_thread_local => own(|| ThreadLocal),
        own_spawning => own(Spawning::default).spawns(Spawning::spawn),
    }
    attached {
        attached_third_party => attached!(Mini::default()),
        attached_lazy => attached!(Lazy::default()),
        attached_slow_to_give_back => attached!(Slow::default()).gives_back_late(),
        attached_thread_local => Rig::attached(
            || IOLoop::builder().host(ThreadLocal).attach(),
            ThreadLocal::block_on,
        ),
    }
    embedded {
        embedded_spawning => Rig::embedded(|| IOLoop::builder().host(Spawning::default()).build())
            .spawns(Spawning::spawn),
    }
}

#[test]
fn a_wake_is_looked_at_at_once() {
    const TIMERS: u64 = 50;
    fn again(left: u64) {
        let io_loop = IOLoop::current().unwrap();
        match left {
            0 => io_loop.stop(),
            _ => drop(io_loop.call_later(Duration::from_millis(1), move || again(left - 1))),
        }
    }
    let host = Mini::default();
    let io_loop = IOLoop::builder().host(host.clone()).attach().unwrap();
    io_loop.call_soon(|| again(TIMERS));
    host.block_on(pin!(async { io_loop.run().await.unwrap() }));
    let metrics = io_loop.metrics();
    assert!(metrics.turns < 4 * TIMERS, "{metrics:?}");
}
