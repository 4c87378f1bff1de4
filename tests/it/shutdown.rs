//! Ending a loop in order, on every backend.

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, LoopThread, ManualClock, Reactor, RunError, Task, Unfinished, sleep};
use testkit::ways::every_way;

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

#[test]
fn a_thread_whose_loop_is_attached_was_said_to_run() {
    let kinds = [BackendKind::AsyncIo, BackendKind::Smol];
    for kind in kinds.into_iter().filter(|kind| kind.is_compiled()) {
        let make = move || IOLoop::builder().backend(kind).attach();
        let error = IOLoop::spawn_thread("attached", make).unwrap_err();
        assert!(matches!(RunError::from(error), RunError::Attached));
    }
}

/// A loop on a thread of its own, on each backend that is compiled in.
fn each_thread() -> impl Iterator<Item = LoopThread> {
    let kinds = BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled());
    kinds.map(|kind| {
        let make = move || IOLoop::builder().backend(kind).build();
        IOLoop::spawn_thread(&kind.to_string(), make).unwrap()
    })
}

// B280
#[test]
fn a_job_that_never_ended_kept_a_loops_thread_from_ending() {
    for thread in each_thread() {
        let (release, released) = channel::<()>();
        let (begun, beginning) = channel();
        let job = move || {
            begun.send(()).unwrap();
            // As a read of a terminal at which nobody types.
            let _ = released.recv();
        };
        let handle = thread.handle();
        handle.add_callback(|| drop(IOLoop::current().unwrap().run_in_executor(job))).unwrap();
        beginning.recv().unwrap();
        let ended = thread.shutdown(Duration::from_millis(1)).unwrap();
        assert_eq!(unfinished(ended), (0, 1));
        assert!(handle.is_closed());
        drop(release);
    }
}

// B280
#[test]
fn closing_waited_beyond_the_grace_for_a_job_and_for_the_runtimes_own() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (release, released) = channel::<()>();
        let (begun, beginning) = channel();
        let job = move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        };
        #[cfg(feature = "tokio")]
        if way.name == "own tokio" {
            // One that the loop does not know of.
            let (release, released) = channel::<()>();
            let spawned = way.run(&io_loop, async move {
                tokio::task::spawn_blocking(move || released.recv().is_ok());
                release
            });
            std::mem::forget(spawned);
        }
        io_loop.run_in_executor(job);
        beginning.recv().unwrap();
        let shutdown = io_loop.shutdown(Duration::from_millis(1));
        assert_eq!(unfinished(way.run(&io_loop, shutdown)), (0, 1));
        io_loop.close().unwrap();
        drop(release);
    });
}

// B280
#[test]
fn a_callback_that_blocked_kept_whoever_shut_its_thread_down() {
    let blocked = each_thread().map(|thread| {
        thread::spawn(move || {
            let (release, released) = channel::<()>();
            let (begun, beginning) = channel();
            let (held, dropped) = channel::<()>();
            let blocks = move || {
                // Dropped when the loop is closed.
                IOLoop::current().unwrap().call_later(HOUR, move || drop(held));
                begun.send(()).unwrap();
                let _ = released.recv();
            };
            thread.handle().add_callback(blocks).unwrap();
            beginning.recv().unwrap();
            let refused = thread.shutdown(Duration::from_millis(1));
            assert!(matches!(refused, Err(RunError::TimedOut)), "{refused:?}");
            drop(release);
            // It ends all the same.
            dropped.recv().unwrap_err();
        })
    });
    let blocked: Vec<_> = blocked.collect();
    blocked.into_iter().for_each(|blocked| blocked.join().unwrap());
}

#[test]
fn the_destructor_of_a_thread_local_held_up_the_shutdown_of_its_loops_thread() {
    /// Waits when it is dropped.
    struct Waits(Receiver<()>);

    impl Drop for Waits {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    thread_local! {
        static LOCAL: Cell<Option<Waits>> = const { Cell::new(None) };
    }

    let thread = IOLoop::spawn_thread("blocked", IOLoop::new).unwrap();
    let (release, released) = channel::<()>();
    let call = thread.handle().call(move || LOCAL.set(Some(Waits(released))));
    futures_lite::future::block_on(call).unwrap();
    let refused = thread.shutdown(Duration::from_millis(1));
    assert!(matches!(refused, Err(RunError::TimedOut)), "{refused:?}");
    drop(release);
}

#[test]
fn a_job_for_a_closed_loop_unwound_with_the_panic_of_its_destructor() {
    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    every_way(|way| {
        let io_loop = way.io_loop();
        io_loop.close().unwrap();
        let bomb = Bomb;
        let job = io_loop.run_in_executor(move || drop(bomb));
        assert!(futures_lite::future::block_on(job).unwrap_err().is_closed());
    });
}

/// A task that shuts its loop down, and what comes of it.
fn shuts_down(io_loop: &IOLoop, grace: Duration) -> Task<(usize, usize)> {
    let shutdown = io_loop.shutdown(grace);
    io_loop.spawn(async move { unfinished(shutdown.await) })
}

fn answer<T>(task: Task<T>) -> T {
    futures_lite::future::block_on(task).unwrap()
}

// B280
#[test]
fn two_shutdowns_in_tasks_waited_for_each_other() {
    every_way(|way| {
        let clock = ManualClock::new();
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        let start = clock.now();
        let (one, other) = (shuts_down(&io_loop, HOUR), shuts_down(&io_loop, HOUR));
        way.until_stopped(&io_loop);
        assert_eq!(clock.now(), start);
        assert_eq!((answer(one), answer(other)), ((0, 0), (0, 0)));

        // The one with the shorter grace ends both.
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        let endless = io_loop.spawn(pending::<()>());
        let (one, other) = (shuts_down(&io_loop, 2 * HOUR), shuts_down(&io_loop, HOUR));
        way.until_stopped(&io_loop);
        assert_eq!(clock.now() - start, HOUR);
        assert_eq!((answer(one), answer(other)), ((1, 0), (1, 0)));
        assert!(endless.is_finished());

        // Neither misses the end of what both wait for.
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        let start = clock.now();
        let nap = sleep(&io_loop, HOUR);
        io_loop.spawn(async move { nap.await.unwrap() }).detach();
        let task = shuts_down(&io_loop, 2 * HOUR);
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(3 * HOUR))), (0, 0));
        assert_eq!(clock.now() - start, HOUR);
        // No stop is left for another run.
        assert!(way.run(&io_loop, async { true }));
        assert_eq!(answer(task), (0, 0));
    });
}

#[test]
fn a_shutdown_that_was_given_up_keeps_no_other_one() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let given_up = io_loop.spawn(io_loop.shutdown(HOUR));
        let endless = io_loop.spawn(pending::<()>());
        way.run(&io_loop, sleep(&io_loop, Duration::ZERO)).unwrap();
        drop(given_up.cancel_on_drop());
        drop(endless.cancel_on_drop());
        assert_eq!(unfinished(way.run(&io_loop, io_loop.shutdown(HOUR))), (0, 0));
    });
}
