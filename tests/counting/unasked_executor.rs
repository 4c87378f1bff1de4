//! A loop whose executor nobody asked for is no dearer than one whose backend has none.

use std::io;
use std::time::Duration;

use ioloop::backends::{Backend, BackendKind, Registration};
use ioloop::{Builder, IOLoop, Reactor};
use testkit::alone::{alone, open_descriptors};
use testkit::counting::counts;

/// Has no executor; a field, as every backend has that can be asked for something.
struct Plain(#[allow(dead_code, reason = "it is there to be stored")] usize);

impl Backend for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn register(&self, _: ioloop::backends::Descriptor) -> io::Result<Box<dyn Registration>> {
        unreachable!("an own loop parks in its descriptor")
    }
}

/// Allocations, descriptors and turns of a loop that is made, driven through every kind of work,
/// and closed.
fn cost(builder: impl FnOnce() -> Builder) -> (usize, usize, u64) {
    let (allocated, opened) = (counts().allocations, open_descriptors());
    let io_loop = builder().build().unwrap();
    for _ in 0..3 {
        io_loop.call_soon(|| ());
        io_loop.call_later(Duration::ZERO, || ());
        io_loop.spawn(futures_lite::future::yield_now());
        io_loop.handle().add_callback(|| IOLoop::current().unwrap().stop()).unwrap();
        io_loop.start().unwrap();
    }
    let opened = open_descriptors() - opened;
    let turns = io_loop.metrics().turns;
    io_loop.close().unwrap();
    drop(io_loop);
    (counts().allocations - allocated, opened, turns)
}

// B295
#[test]
fn an_executor_that_nobody_asked_for_costs_no_allocation_no_descriptor_and_no_turn() {
    const TEST: &str =
        "an_executor_that_nobody_asked_for_costs_no_allocation_no_descriptor_and_no_turn";
    alone(module_path!(), TEST, || {
        let plain = || IOLoop::builder().host(Plain(0));
        // What the thread allocates once.
        cost(plain);
        let expected = cost(plain);
        assert_eq!(cost(plain), expected);
        for kind in [BackendKind::AsyncIo, BackendKind::Smol] {
            if kind.is_compiled() {
                assert_eq!(cost(|| IOLoop::builder().backend(kind)), expected, "{kind}");
            }
        }
    });
}
