//! What a bridge costs: allocations, counted on the thread that makes them.

use std::future::{Future, pending, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_executor::Executor;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, bridge, deferred};
use testkit::counting::{counts, forget_largest};

/// The least that one of many calls allocated on this thread: queues that grow now and then are no
/// cost of a call.
fn allocations<T>(mut call: impl FnMut() -> T) -> usize {
    let cost = |call: &mut dyn FnMut() -> T| {
        let before = counts().allocations;
        let value = black_box(call());
        let after = counts().allocations;
        drop(value);
        after - before
    };
    (0..20).map(|_| cost(&mut call)).min().unwrap()
}

/// The bytes of the largest allocation that a call made on this thread.
fn largest<T>(call: impl FnOnce() -> T) -> usize {
    forget_largest();
    drop(black_box(call()));
    counts().largest
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

// B236
#[test]
fn to_tokio_costs_what_tokio_does_and_the_handle() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spawned = allocations(|| runtime.spawn(ready(7)));
    assert_eq!(spawned, 1);
    let bridged = allocations(|| bridge::to_tokio(runtime.handle(), ready(7)));
    assert_eq!(bridged, spawned + 1);
    // And its polls and its end cost nothing.
    let ended = allocations(|| {
        let spawned = bridge::to_tokio(runtime.handle(), ready(7));
        runtime.block_on(spawned).unwrap()
    });
    assert_eq!(ended, bridged);
    // The same from inside the runtime.
    let inside = runtime.block_on(async {
        let handle = tokio::runtime::Handle::current();
        allocations(|| bridge::to_tokio(&handle, ready(7)))
    });
    assert_eq!(inside, bridged);
}

// B236
#[test]
fn to_smol_costs_what_smol_does_and_the_handle() {
    smol::block_on(smol::spawn(ready(())));
    let spawned = allocations(|| smol::spawn(ready(7)));
    assert_eq!(spawned, 1);
    assert_eq!(allocations(|| bridge::to_smol(ready(7))), spawned + 1);
}

// B236, B296
#[test]
fn to_an_executor_costs_what_it_does_and_the_handle() {
    let executor = Executor::new();
    let spawned = allocations(|| executor.spawn(ready(7)));
    assert_eq!(spawned, 1);
    let bridged = allocations(|| bridge::to_executor(&executor, ready(7)));
    assert_eq!(bridged, spawned + 1);
    // Whatever spawns it.
    let by_closure = allocations(|| bridge::to(|future| executor.spawn(future).detach(), ready(7)));
    assert_eq!(by_closure, bridged);
}

// B236
#[test]
fn to_the_loop_itself_costs_what_spawn_does() {
    let io_loop = bare();
    let handle = io_loop.handle();
    let current = io_loop.clone();
    let (spawned, bridged) = io_loop
        .run_sync(async move {
            let spawned = allocations(|| current.spawn(ready(7)));
            (spawned, allocations(|| bridge::to_loop(&handle, || ready(7))))
        })
        .unwrap();
    assert_eq!((spawned, bridged), (3, 3));
}

#[test]
fn to_another_loop_costs_a_box_for_what_the_closure_captures() {
    let io_loop = bare();
    let handle = io_loop.handle();
    let far = |captured: Option<usize>| {
        allocations(|| {
            let far = match captured {
                None => bridge::to_loop(&handle, || ready(7)),
                Some(seven) => bridge::to_loop(&handle, move || ready(seven)),
            };
            io_loop.stop();
            io_loop.start().unwrap();
            far
        })
    };
    // One less than `spawn` at its first: each task has ended before the next one.
    assert_eq!((far(None), far(Some(7))), (2, 3));
}

#[test]
fn in_tokio_costs_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let polled = allocations(|| {
        let future = pin!(bridge::in_tokio(runtime.handle(), ready(7)));
        assert_eq!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(7));
    });
    assert_eq!(polled, 0);
}

#[test]
fn a_deferred_is_one_allocation() {
    let made = allocations(|| {
        let (resolver, mut value) = deferred();
        resolver.resolve(7).unwrap();
        let Poll::Ready(value) = pin!(&mut value).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("it was resolved")
        };
        value.unwrap()
    });
    assert_eq!(made, 1);
}

#[test]
fn a_future_is_stored_once_wherever_it_runs() {
    let future = || {
        let held = [7_u8; 8192];
        async move {
            pending::<()>().await;
            held.len()
        }
    };
    // What the executors, and the handle, need beside it.
    let most = size_of_val(&future()) + 1024;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let io_loop = bare();
    assert!(size_of_val(&bridge::in_tokio(runtime.handle(), future())) <= most);
    assert!(largest(|| bridge::to_tokio(runtime.handle(), future())) <= most);
    assert!(largest(|| bridge::to_smol(future())) <= most);
    assert!(largest(|| bridge::to_executor(&Executor::new(), future())) <= most);
    assert!(largest(|| io_loop.spawn(future())) <= most);
}
