//! Loops on threads of their own that drive one executor together.

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};
use ioloop::backends::BackendKind;
use ioloop::{Builder, Handle, IOLoop, LoopPool, RunError, bridge, sleep};

const HOUR: Duration = Duration::from_secs(3600);

fn pool(number: usize) -> LoopPool {
    IOLoop::spawn_threads(number, "pooled", Builder::build).unwrap()
}

/// Says that it was dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

// B290
#[test]
fn tasks_that_wait_for_each_other_run_on_as_many_threads() {
    const LOOPS: usize = 3;
    let pool = pool(LOOPS);
    let together = Arc::new(Barrier::new(LOOPS));
    let tasks: Vec<_> = (0..LOOPS)
        .map(|_| {
            let together = Arc::clone(&together);
            let blocks = async move {
                together.wait();
                assert!(IOLoop::current().is_some());
                thread::current().name().unwrap().to_owned()
            };
            bridge::to_executor(pool.executor(), blocks)
        })
        .collect();
    let names: HashSet<_> = tasks.into_iter().map(|task| block_on(task).unwrap()).collect();
    let expected = (0..LOOPS).map(|n| format!("pooled {n}"));
    assert_eq!(names, expected.collect());
    pool.shutdown(HOUR).unwrap();
}

// B290
#[test]
fn a_loop_that_stops_leaves_its_part_to_the_others() {
    const LOOPS: usize = 3;
    let pool = pool(LOOPS);
    let ran = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for stopped in pool.handles().skip(1) {
        for n in 0..100 {
            let (ran, stopped) = (Arc::clone(&ran), stopped.clone());
            tasks.push(bridge::to_executor(pool.executor(), async move {
                yield_now().await;
                if n == 50 {
                    // Perhaps that of the thread which runs this.
                    stopped.stop().unwrap();
                }
                yield_now().await;
                ran.fetch_add(1, Ordering::Relaxed);
            }));
        }
    }
    tasks.into_iter().for_each(|task| block_on(task).unwrap());
    assert_eq!(ran.load(Ordering::Relaxed), 200);
    pool.stop();
    pool.join().unwrap();
}

// B292
#[test]
fn a_panic_of_a_task_ends_none_of_the_loops() {
    let pool = pool(2);
    for _ in 0..4 {
        let panics = bridge::to_executor(pool.executor(), async { panic!("of a task") });
        assert!(Result::<(), _>::unwrap_err(block_on(panics)).is_panic());
    }
    assert!(pool.handles().all(|handle| !handle.is_closed()));
    pool.shutdown(HOUR).unwrap();
}

#[test]
fn each_loop_is_reached_by_its_handle() {
    let pool = pool(2);
    assert_eq!(pool.handles().len(), 2);
    for (n, handle) in pool.handles().enumerate() {
        let name = handle.spawn(|| async {
            let local = Rc::new(());
            yield_now().await;
            drop(local);
            thread::current().name().unwrap().to_owned()
        });
        assert_eq!(block_on(name).unwrap(), format!("pooled {n}"));
    }
    pool.shutdown(HOUR).unwrap();
}

#[test]
fn a_shutdown_sees_the_end_of_tasks_on_the_executor_and_on_the_loops() {
    let pool = pool(2);
    let (done, count) = mpsc::channel();
    // A task of a loop spawns one on the executor, which awaits one of the other loop.
    let handles: Vec<Handle> = pool.handles().collect();
    let (resolver, gate) = ioloop::deferred::<()>();
    let executor = Arc::clone(pool.executor());
    let last = done.clone();
    let waits = handles[1].spawn(move || async move {
        gate.await.unwrap();
        last.send("of the other loop").unwrap();
    });
    handles[0]
        .spawn(move || async move {
            let io_loop = ioloop::WeakIOLoop::current().unwrap();
            sleep(&io_loop, Duration::from_millis(5)).await.unwrap();
            let spawned = async move {
                yield_now().await;
                resolver.resolve(()).unwrap();
                waits.await.unwrap();
                done.send("of the executor").unwrap();
            };
            executor.spawn(spawned).detach();
        })
        .detach();
    let unfinished = pool.shutdown(HOUR).unwrap();
    assert_eq!((unfinished.tasks, unfinished.jobs), (0, 0));
    assert_eq!(count.iter().collect::<Vec<_>>(), ["of the other loop", "of the executor"]);
}

#[test]
fn what_is_unfinished_in_the_executor_goes_with_its_last_share() {
    for kept in [false, true] {
        let pool = pool(2);
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let forever = async move {
            let _told = told;
            pending::<()>().await;
        };
        pool.executor().spawn(forever).detach();
        let left = pool.handles().next().unwrap().spawn(pending::<()>);
        let share = kept.then(|| Arc::clone(pool.executor()));
        let unfinished = pool.shutdown(Duration::from_millis(1)).unwrap();
        assert_eq!((unfinished.tasks, unfinished.jobs), (1, 0), "of the loops");
        assert!(block_on(left).unwrap_err().is_closed());
        assert_eq!(dropped.try_recv().is_err(), kept);
        assert_eq!(share.as_ref().is_some_and(|executor| !executor.is_empty()), kept);
        drop(share);
        assert_eq!(dropped.try_recv().is_ok(), kept, "with the last share");
    }
}

#[test]
fn a_loop_that_is_blocked_or_was_stopped_holds_the_others_up_no_longer() {
    let pool = pool(3);
    let handles: Vec<Handle> = pool.handles().collect();
    let (begun, has_begun) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let blocks = move || {
        begun.send(()).unwrap();
        let _ = ends.recv();
    };
    handles[1].add_callback(blocks).unwrap();
    has_begun.recv().unwrap();
    assert!(matches!(pool.shutdown(Duration::ZERO), Err(RunError::TimedOut)));
    assert!(handles[0].is_closed() && handles[2].is_closed() && !handles[1].is_closed());
    drop(end);
}

#[test]
fn a_pool_of_which_one_loop_cannot_be_made_leaves_none() {
    let handles = Arc::new(Mutex::new(Vec::<Handle>::new()));
    let made = Arc::clone(&handles);
    let make = move |builder: Builder| {
        let mut made = made.lock().unwrap();
        if made.len() == 2 {
            return Err(io::Error::other("no third"));
        }
        let io_loop = builder.build()?;
        made.push(io_loop.handle());
        Ok(io_loop)
    };
    let refused = IOLoop::spawn_threads(4, "pooled", make);
    assert_eq!(refused.unwrap_err().to_string(), "no third");
    let handles = handles.lock().unwrap();
    assert_eq!(handles.len(), 2);
    assert!(handles.iter().all(Handle::is_closed));
    let none = IOLoop::spawn_threads(0, "pooled", Builder::build);
    assert_eq!(none.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_loop_of_another_backend_is_in_the_pool_and_leaves_the_executor_to_the_rest() {
    let first = Mutex::new(true);
    let make = move |builder: Builder| {
        let is_first = std::mem::replace(&mut *first.lock().unwrap(), false);
        if is_first { builder.backend(BackendKind::Bare).build() } else { builder.build() }
    };
    let pool = IOLoop::spawn_threads(2, "pooled", make).unwrap();
    let name = async { thread::current().name().unwrap().to_owned() };
    let ran = bridge::to_executor(pool.executor(), name);
    assert_eq!(block_on(ran).unwrap(), "pooled 1");
    pool.shutdown(HOUR).unwrap();
}
