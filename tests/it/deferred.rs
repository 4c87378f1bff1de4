//! `add_future`, and what a deferred answers in each of its ends.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use ioloop::observe::Origin;
use ioloop::{IOLoop, JoinError, Reactor, Task, deferred};

type Log<T> = Rc<RefCell<Vec<T>>>;

fn log<T>() -> Log<T> {
    Rc::default()
}

/// Drives a loop for one turn, which does not wait.
fn one_turn(io_loop: &IOLoop) {
    io_loop.stop();
    io_loop.start().unwrap();
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

fn answer<T>(deferred: Task<T>) -> Result<T, JoinError> {
    IOLoop::new().unwrap().run_sync(deferred).unwrap()
}

// B97
#[test]
fn a_worker_thread_completes_a_future_and_the_callback_runs_on_the_loop() {
    let io_loop = IOLoop::new().unwrap();
    let (resolver, value) = deferred();
    let seen = log();
    let called = Rc::clone(&seen);
    io_loop.add_future(value, move |value| {
        called.borrow_mut().push((value.unwrap(), thread::current().id()));
        stop();
    });
    let worker = thread::spawn(move || resolver.resolve(thread::current().id()).unwrap());
    io_loop.start().unwrap();
    let there = worker.thread().id();
    worker.join().unwrap();
    assert_eq!(*seen.borrow(), [(there, thread::current().id())]);
}

// B98
#[test]
fn a_finished_future_still_waits_for_the_next_turn() {
    let io_loop = IOLoop::new().unwrap();
    let seen = log();
    let called = Rc::clone(&seen);
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        let turns = io_loop.metrics().turns;
        let asked = Rc::clone(&called);
        io_loop.add_future(ready(()), move |()| {
            asked.borrow_mut().push(IOLoop::current().unwrap().metrics().turns - turns);
        });
        assert!(called.borrow().is_empty(), "called inside the call");
    });
    one_turn(&io_loop);
    assert!(seen.borrow().is_empty(), "called in the same turn");
    one_turn(&io_loop);
    assert_eq!(*seen.borrow(), [1]);
}

// B99
#[test]
fn callbacks_of_finished_futures_keep_their_order() {
    let io_loop = IOLoop::new().unwrap();
    let seen = log();
    for n in 0..5 {
        let called = Rc::clone(&seen);
        io_loop.add_future(ready(n), move |n| called.borrow_mut().push(n));
        let called = Rc::clone(&seen);
        io_loop.call_soon(move || called.borrow_mut().push(10 + n));
    }
    one_turn(&io_loop);
    assert_eq!(*seen.borrow(), [0, 10, 1, 11, 2, 12, 3, 13, 4, 14]);
}

// B99
#[test]
fn callbacks_of_futures_that_end_elsewhere_keep_the_order_of_their_ends() {
    let io_loop = IOLoop::new().unwrap();
    let seen = log();
    let mut resolvers = Vec::new();
    for n in 0..5 {
        let (resolver, value) = deferred();
        resolvers.push(resolver);
        let called = Rc::clone(&seen);
        io_loop.add_future(value, move |value| called.borrow_mut().push((n, value.unwrap())));
    }
    one_turn(&io_loop);
    let ends = [3, 0, 4, 1, 2];
    let worker = thread::spawn(move || {
        let mut resolvers: Vec<_> = resolvers.into_iter().map(Some).collect();
        for n in ends {
            resolvers[n].take().unwrap().resolve(n).unwrap();
        }
    });
    worker.join().unwrap();
    one_turn(&io_loop);
    assert_eq!(*seen.borrow(), ends.map(|n| (n, n)));
}

// B99
#[test]
fn done_callbacks_of_one_deferred_keep_their_order_and_come_before_the_value() {
    let io_loop = IOLoop::new().unwrap();
    let (resolver, mut value) = deferred();
    let seen = log();
    for n in 0..3 {
        let called = Rc::clone(&seen);
        value.add_done_callback(&io_loop, move |result| {
            called.borrow_mut().push((n, *result.as_ref().unwrap()));
        });
    }
    resolver.resolve(7).unwrap();
    assert!(seen.borrow().is_empty(), "called inside the call");
    assert!(!value.is_finished());
    assert_eq!(io_loop.run_sync(value).unwrap().unwrap(), 7);
    assert_eq!(*seen.borrow(), [(0, 7), (1, 7), (2, 7)]);
}

// B100
#[test]
fn an_error_of_the_callback_is_reported_and_that_of_the_future_is_its_result() {
    let io_loop = IOLoop::new().unwrap();
    let reported = log();
    let handler = Rc::clone(&reported);
    io_loop.set_exception_handler(move |exception| {
        let message = exception.message().unwrap().to_owned();
        handler.borrow_mut().push((exception.origin, message));
    });
    let failing = io_loop.spawn(async { panic!("the future's own") });
    // Its task is held: a panic of the callback must be reported all the same.
    let _held = io_loop.add_future(failing, |result: Result<(), _>| {
        let payload = result.unwrap_err().try_into_panic().unwrap();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "the future's own");
        panic!("the callback's");
    });
    one_turn(&io_loop);
    one_turn(&io_loop);
    assert_eq!(*reported.borrow(), [(Origin::Callback, "the callback's".to_owned())]);
}

#[test]
fn a_future_that_panics_in_add_future_is_reported_and_has_no_callback() {
    let io_loop = IOLoop::new().unwrap();
    let reported = log();
    let handler = Rc::clone(&reported);
    io_loop.set_exception_handler(move |exception| handler.borrow_mut().push(exception.origin));
    io_loop.add_future(async { panic!("it has no value") }, |(): ()| panic!("it was called"));
    one_turn(&io_loop);
    assert_eq!(*reported.borrow(), [Origin::Task]);
}

#[test]
fn a_done_callback_that_panics_is_reported_and_the_result_goes_on() {
    let io_loop = IOLoop::new().unwrap();
    let reported = log();
    let handler = Rc::clone(&reported);
    io_loop.set_exception_handler(move |exception| handler.borrow_mut().push(exception.origin));
    let (resolver, mut value) = deferred();
    value.add_done_callback(&io_loop, |_| panic!("in between"));
    resolver.resolve(7).unwrap();
    assert_eq!(io_loop.run_sync(value).unwrap().unwrap(), 7);
    assert_eq!(*reported.borrow(), [Origin::Callback]);
}

#[test]
fn cancelling_what_add_future_gave_drops_future_and_callback() {
    let io_loop = IOLoop::new().unwrap();
    let held = Rc::new(());
    let (one, other) = (Rc::clone(&held), Rc::clone(&held));
    let future = async move {
        let _one = one;
        pending::<()>().await;
    };
    let task = io_loop.add_future(future, move |()| drop(other));
    one_turn(&io_loop);
    task.cancel();
    one_turn(&io_loop);
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(io_loop.metrics().tasks, 0);
}

#[test]
fn a_promise_that_was_cancelled_waited_for_its_resolver() {
    let (resolver, mut value) = deferred();
    let io_loop = IOLoop::new().unwrap();
    let woken = io_loop.run_sync(async {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            let polled = Pin::new(&mut value).poll(cx);
            value.cancel();
            polled
        })
        .await
        .map_err(|error| (error.is_cancelled(), polls))
    });
    assert_eq!(woken.unwrap(), Err((true, 2)), "the cancellation wakes who awaits it");
    assert!(value.is_finished() && resolver.is_abandoned());
    assert_eq!(resolver.resolve(7), Err(7));
    // One that is resolved is not cancelled any more.
    let (resolver, value) = deferred();
    resolver.resolve(7).unwrap();
    value.cancel();
    assert_eq!(answer(value).unwrap(), 7);
}

#[test]
fn a_cancellation_stopped_at_a_done_callback() {
    let io_loop = IOLoop::new().unwrap();
    let held = Rc::new(());
    let kept = Rc::clone(&held);
    let spawned = io_loop.spawn(async move {
        let _kept = kept;
        pending::<()>().await;
    });
    let (resolver, promised) = deferred();
    for mut task in [spawned, promised] {
        let seen = log();
        for n in 0..2 {
            let called = Rc::clone(&seen);
            task.add_done_callback(&io_loop, move |result| {
                called.borrow_mut().push((n, result.as_ref().unwrap_err().is_cancelled()));
            });
        }
        one_turn(&io_loop);
        task.cancel();
        assert!(io_loop.run_sync(task).unwrap().unwrap_err().is_cancelled());
        assert_eq!(*seen.borrow(), [(0, true), (1, true)]);
    }
    assert_eq!(Rc::strong_count(&held), 1, "the future was dropped");
    assert!(resolver.is_abandoned());
    assert_eq!(io_loop.metrics().tasks, 0);
}

#[test]
fn the_panic_of_a_task_with_done_callbacks_is_reported_once_if_nobody_takes_it() {
    let io_loop = IOLoop::new().unwrap();
    let reported = log();
    let handler = Rc::clone(&reported);
    io_loop.set_exception_handler(move |exception| {
        handler.borrow_mut().push((exception.origin, exception.location.unwrap().line()));
    });
    let (mut task, line) = (io_loop.spawn(async { panic!("its own") }), line!());
    let seen = log();
    let called = Rc::clone(&seen);
    task.add_done_callback(&io_loop, move |result: &Result<(), _>| {
        called.borrow_mut().push(result.as_ref().unwrap_err().is_panic());
    });
    drop(task);
    for _ in 0..4 {
        one_turn(&io_loop);
    }
    assert_eq!((seen.take(), reported.take()), (vec![true], vec![(Origin::Task, line)]));
}

// B231
#[test]
fn a_resolver_that_is_dropped_ends_its_deferred() {
    let (resolver, value) = deferred::<()>();
    drop(resolver);
    assert!(value.is_finished());
    assert!(answer(value).unwrap_err().is_closed());
    // And one that is dropped while it is awaited, by another thread.
    let (resolver, value) = deferred::<()>();
    let worker = thread::spawn(move || drop(resolver));
    assert!(answer(value).unwrap_err().is_closed());
    worker.join().unwrap();
}

// B230
#[test]
fn a_value_that_was_there_before_is_given() {
    let (resolver, value) = deferred();
    resolver.resolve(7).unwrap();
    assert!(value.is_finished());
    assert_eq!(answer(value).unwrap(), 7);
}

// B234
#[test]
fn a_value_for_a_deferred_that_is_gone_comes_back() {
    let (resolver, value) = deferred();
    assert!(!resolver.is_abandoned());
    drop(value);
    assert!(resolver.is_abandoned());
    assert_eq!(resolver.resolve(7), Err(7));
}

// B235
#[test]
fn a_value_for_a_loop_that_was_closed_comes_back() {
    let io_loop = IOLoop::new().unwrap();
    let (resolver, value) = deferred();
    io_loop.add_future(value, |_| panic!("it was called"));
    one_turn(&io_loop);
    io_loop.close().unwrap();
    assert!(resolver.is_abandoned());
    assert_eq!(resolver.resolve(7), Err(7));
}

#[test]
fn a_deferred_whose_callbacks_were_on_a_closed_loop_answers_closed() {
    for closed_before in [false, true] {
        let io_loop = IOLoop::new().unwrap();
        let (resolver, mut value) = deferred();
        if closed_before {
            io_loop.close().unwrap();
        }
        value.add_done_callback(&io_loop, |_| panic!("it was called"));
        io_loop.close().unwrap();
        assert_eq!(resolver.resolve(7), Err(7));
        assert!(answer(value).unwrap_err().is_closed());
    }
}

#[test]
fn done_callbacks_are_called_also_if_the_deferred_is_dropped() {
    let io_loop = IOLoop::new().unwrap();
    let (resolver, mut value) = deferred();
    let seen = log();
    let called = Rc::clone(&seen);
    value.add_done_callback(&io_loop, move |result: &Result<_, _>| {
        called.borrow_mut().push(*result.as_ref().unwrap());
    });
    drop(value);
    resolver.resolve(7).unwrap();
    one_turn(&io_loop);
    assert_eq!(*seen.borrow(), [7]);
}

#[test]
fn what_a_deferred_holds_is_dropped_once_however_it_ends() {
    let value = Arc::new(());
    let (resolver, promised) = deferred();
    resolver.resolve(Arc::clone(&value)).unwrap();
    drop(promised);
    assert_eq!(Arc::strong_count(&value), 1, "it was not taken");
    let (resolver, mut promised) = deferred();
    resolver.resolve(Arc::clone(&value)).unwrap();
    let io_loop = IOLoop::new().unwrap();
    drop(io_loop.run_sync(&mut promised).unwrap().unwrap());
    assert_eq!(Arc::strong_count(&value), 1, "it was taken");
    assert!(io_loop.run_sync(promised).unwrap().unwrap_err().is_closed(), "and is given once");
}
