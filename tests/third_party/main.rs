//! A runtime and a loop from outside, written against the public API alone, that keep the promises.
#![cfg(feature = "conformance")]

mod backend;
mod poll_loop;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ioloop::conformance::{ReactorRig, Rig};
use ioloop::{IOLoop, Reactor};

use backend::Mini;
use poll_loop::PollLoop;

ioloop::conformance! {
    own {
        own_third_party => Rig::own(|| IOLoop::builder().host(Mini::default()).build()),
    }
    attached {
        attached_third_party => {
            let host = Mini::default();
            let executor = host.clone();
            Rig::attached(
                move || IOLoop::builder().host(host.clone()).attach(),
                move |future| executor.block_on(future),
            )
        },
    }
    embedded {}
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

mod foreign_reactor {
    use super::*;

    ioloop::reactor_conformance! {
        poll_loop => {
            let poll_loop = PollLoop::new();
            let [run, stop, close] = [(); 3].map(|()| poll_loop.clone());
            let reactor = Rc::new(poll_loop);
            ReactorRig::new(reactor, move || run.run(), move || stop.stop(), move || close.close())
        },
    }
}
