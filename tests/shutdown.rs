//! Ending a loop in order, on every backend.

mod ways;

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ioloop::{IOLoop, ManualClock, Reactor, RunError, Unfinished, sleep};
use ways::every_way;

const HOUR: Duration = Duration::from_secs(3600);

fn unfinished(unfinished: Unfinished) -> (usize, usize) {
    (unfinished.tasks, unfinished.jobs)
}

/// Sets a flag when it is dropped.
struct Dropped(Rc<Cell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn what_ends_within_the_grace_period_is_waited_for_and_the_rest_is_dropped() {
    every_way(|way| {
        let clock = ManualClock::new();
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        let start = clock.now();
        let nap = sleep(&io_loop, HOUR);
        let in_time = io_loop.spawn(async { nap.await.map(|()| "in time") });
        let dropped = Rc::new(Cell::new(false));
        let held = Dropped(Rc::clone(&dropped));
        let late = io_loop.spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        let ended = way.run(&io_loop, io_loop.shutdown(2 * HOUR));
        assert_eq!(unfinished(ended), (1, 0));
        assert_eq!(clock.now() - start, 2 * HOUR);
        assert!(dropped.get());
        assert_eq!(io_loop.metrics().tasks, 0);
        io_loop.close().unwrap();
        let (in_time, late) = futures_lite::future::block_on(async { (in_time.await, late.await) });
        assert_eq!(in_time.unwrap().unwrap(), "in time");
        assert!(late.unwrap_err().is_closed());
    });
}

#[test]
fn with_nothing_to_wait_for_it_does_not_wait() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let nap = sleep(&io_loop, Duration::from_millis(1));
        io_loop.spawn(nap);
        // A watch or a timer is no reason to wait.
        io_loop.call_later(HOUR, || ());
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(HOUR))), (0, 0));
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(HOUR))), (0, 0), "twice is once");
        io_loop.close().unwrap();
        let closed = futures_lite::future::block_on(io_loop.shutdown(HOUR));
        assert_eq!(unfinished(closed), (0, 0));
    });
}

#[test]
fn a_loop_that_shuts_down_takes_no_new_work() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (handle, weak) = (io_loop.handle(), io_loop.downgrade());
        let ran = Rc::new(Cell::new(false));
        let set = Rc::clone(&ran);
        let last = io_loop.spawn(async move {
            // By now it shuts down: that was polled first.
            let io_loop = weak.upgrade().unwrap();
            let posted =
                thread::spawn(move || (handle.add_callback(|| ()).is_err(), handle.call(|| ())));
            let (refused, call) = posted.join().unwrap();
            assert!(refused);
            assert!(call.await.unwrap_err().is_closed());
            assert!(io_loop.spawn(async {}).await.unwrap_err().is_closed());
            assert!(io_loop.run_in_executor(|| ()).await.unwrap_err().is_closed());
            // What it needs to finish goes on.
            io_loop.call_soon(move || set.set(true));
            sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
            "done"
        });
        let shutdown = io_loop.shutdown(HOUR);
        let mut shutdown = std::pin::pin!(shutdown);
        let waker = std::task::Waker::noop();
        let polled = shutdown.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
        assert_eq!(unfinished(way.run(&io_loop, shutdown)), (0, 0));
        assert!(ran.get());
        let done = futures_lite::future::block_on(last);
        assert_eq!(done.unwrap(), "done");
    });
}

#[test]
fn jobs_are_waited_for_within_the_grace_period() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (release, released) = channel::<()>();
        let job = io_loop.run_in_executor(move || released.recv().is_ok());
        let releasing = thread::spawn(move || release.send(()).unwrap());
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(HOUR))), (0, 0));
        releasing.join().unwrap();
        assert!(futures_lite::future::block_on(job).unwrap());

        let io_loop = way.io_loop();
        let (release, released) = channel::<()>();
        let (begun, beginning) = channel();
        io_loop.run_in_executor(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        beginning.recv().unwrap();
        let grace = Duration::from_millis(1);
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(grace))), (0, 1));
        drop(release);
    });
}

#[test]
fn a_task_of_the_loop_may_shut_it_down() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let others: Vec<_> = (0..3).map(|_| io_loop.spawn(pending::<()>())).collect();
        let weak = io_loop.downgrade();
        let shutdown = io_loop.spawn(async move {
            let shutdown = weak.upgrade().unwrap().shutdown(Duration::from_millis(1));
            shutdown.await
        });
        way.until_stopped(&io_loop);
        assert_eq!(unfinished(futures_lite::future::block_on(shutdown).unwrap()), (3, 0));
        assert!(others.iter().all(|task| task.is_finished()));
    });
}

#[test]
fn a_loop_on_a_thread_of_its_own_is_shut_down_and_joined() {
    let thread = IOLoop::spawn_thread("shut down", IOLoop::new).unwrap();
    let handle = thread.handle();
    let quick = handle.spawn(|| async {
        let nap = sleep(&IOLoop::current().unwrap(), Duration::from_millis(1));
        nap.await.is_ok()
    });
    let endless = handle.spawn(pending::<()>);
    // Both are there before the shutdown is.
    assert_eq!(unfinished(thread.shutdown(Duration::from_millis(50)).unwrap()), (1, 0));
    assert!(handle.is_closed());
    let (quick, endless) = futures_lite::future::block_on(async { (quick.await, endless.await) });
    assert!(quick.unwrap());
    assert!(endless.unwrap_err().is_closed());

    let thread = IOLoop::spawn_thread("stopped", IOLoop::new).unwrap();
    let handle = thread.handle();
    handle.stop().unwrap();
    while !handle.is_closed() {
        thread::yield_now();
    }
    assert!(matches!(thread.shutdown(HOUR), Err(RunError::Closed)));
}
