//! A loop whose executor nobody asked for is no dearer than one whose backend has none. The only test here, since it
//! counts descriptors of the process.
#![cfg(all(target_os = "linux", any(feature = "async-io", feature = "smol")))]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io;
use std::time::Duration;

use ioloop::backends::{Backend, BackendKind, Registration};
use ioloop::{Builder, IOLoop, Reactor};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; counting allocates nothing, since the thread-local is made of a constant and has
// no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: handed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: handed on as it came, and it came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Allocations, descriptors and turns of a loop that is made, driven through every kind of work, and closed.
fn cost(builder: impl FnOnce() -> Builder) -> (usize, usize, u64) {
    let (allocated, opened) = (COUNT.get(), open_descriptors());
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
    (COUNT.get() - allocated, opened, turns)
}

// B295
#[test]
fn an_executor_that_nobody_asked_for_costs_no_allocation_no_descriptor_and_no_turn() {
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
}
