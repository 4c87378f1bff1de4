//! A runtime and a loop from outside, written against the public API alone, that keep the promises.
#![cfg(feature = "conformance")]

mod backend;
mod poll_loop;

use std::rc::Rc;

use ioloop::IOLoop;
use ioloop::conformance::{ReactorRig, Rig};

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

mod foreign_reactor {
    use super::*;

    ioloop::reactor_conformance! {
        poll_loop => {
            let poll_loop = PollLoop::new();
            let (run, stop) = (poll_loop.clone(), poll_loop.clone());
            ReactorRig::new(Rc::new(poll_loop), move || run.run(), move || stop.stop())
        },
    }
}
