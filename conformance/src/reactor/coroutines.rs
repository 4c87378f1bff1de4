//! Futures on any reactor.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::super::tools::{Drops, Log, yield_now};
use super::{ENOUGH, ReactorRig};
use ioloop::{Reactor, Task, sleep, spawn};

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

/// Runs the reactor until a task is done.
fn run<T: 'static>(rig: &ReactorRig, task: Task<T>) -> Result<T, ioloop::JoinError> {
    let (stop, result) = (rig.stopper(), Rc::new(Cell::new(None)));
    let done = Rc::clone(&result);
    spawn(rig.reactor(), async move {
        done.set(Some(task.await));
        stop();
    });
    rig.run();
    result.take().expect("the task is done")
}

pub(in super::super) fn a_spawned_future_is_polled_in_later_turns_and_gives_its_value(
    rig: &ReactorRig,
) {
    let log = Log::new();
    let (spawned, queued) = (log.clone(), log.clone());
    let task = spawn(rig.reactor(), async move {
        spawned.push("first poll");
        yield_now().await;
        spawned.push("second poll");
        Rc::new(7)
    });
    rig.reactor().call_soon(move || queued.push("callback"));
    assert_eq!(log.len(), 0, "inside the call");
    assert_eq!(*run(rig, task).unwrap(), 7);
    assert_eq!(log.take(), ["first poll", "callback", "second poll"]);
}

pub(in super::super) fn a_future_may_wait_for_the_reactor_itself(rig: &ReactorRig) {
    let reactor = Rc::clone(rig.reactor());
    let task = spawn(rig.reactor(), async move {
        for _ in 0..3 {
            sleep(&reactor, Duration::from_millis(1)).await.unwrap();
        }
    });
    run(rig, task).unwrap();
}

pub(in super::super) fn a_wake_from_another_thread_ends_the_sleep(rig: &ReactorRig) {
    let (sender, wakers) = channel::<Waker>();
    let waking = thread::spawn(move || {
        for waker in wakers {
            // Many wakes before the poll are one.
            (0..3).for_each(|_| waker.wake_by_ref());
        }
    });
    let mut polls = 0;
    let task = spawn(
        rig.reactor(),
        poll_fn(move |cx| {
            polls += 1;
            if polls == 20 {
                return Poll::Ready(thread::current().id());
            }
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        }),
    );
    assert_eq!(run(rig, task).unwrap(), thread::current().id());
    waking.join().unwrap();
}

pub(in super::super) fn a_future_that_panics_or_is_cancelled_is_dropped_and_its_task_says_so(
    rig: &ReactorRig,
) {
    let drops = Drops::new();
    let (panics, waits) = (drops.item(), drops.item());
    let panics = spawn(rig.reactor(), async move {
        let _held = panics;
        panic!("on purpose");
    });
    let error: ioloop::JoinError = run::<()>(rig, panics).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(drops.count(), 1);
    let waits = spawn(rig.reactor(), async move {
        let _held = waits;
        pending::<()>().await;
    });
    rig.turns(ENOUGH);
    waits.cancel();
    assert!(run(rig, waits).unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 2);
}

pub(in super::super) fn a_closed_reactor_drops_its_futures(rig: &ReactorRig) {
    let drops = Drops::new();
    let waiting = || {
        let item = drops.item();
        async move {
            let _held = item;
            pending::<()>().await;
        }
    };
    let polled = spawn(rig.reactor(), waiting());
    rig.turns(ENOUGH);
    let queued = spawn(rig.reactor(), waiting());
    assert_eq!(drops.count(), 0);
    rig.close();
    assert_eq!(drops.count(), 2);
    let late = spawn(rig.reactor(), waiting());
    assert_eq!(drops.count(), 3);
    // Its panic must not reach whoever spawns.
    let bomb = Bomb;
    let unwinds = spawn(rig.reactor(), async move {
        let _held = bomb;
        pending::<()>().await;
    });
    assert!(unwinds.is_finished());
    for task in [polled, queued, late] {
        assert!(task.is_finished());
        assert!(super::super::tools::block_on(task).unwrap_err().is_closed());
    }
}
