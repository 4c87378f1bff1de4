//! A loop inside a foreign one: when its descriptor is readable, and what a turn does and answers.

use std::io::ErrorKind;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::rig::{Rig, wait_readable};
use super::tools::{Log, stop};
use super::wires::{
    Strict, assert_rests, drain, is_readable, note_panics, pair, send, shared_pair,
};
use ioloop::backends::BackendKind;
use ioloop::embed::Turn;
use ioloop::{IOLoop, Reactor, RunError};

/// Long enough for anything that was set for a few milliseconds.
const A_WHILE: Duration = Duration::from_millis(30);
/// Longer than any case may take.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// One turn that does not wait.
fn turn(io_loop: &IOLoop) -> Turn {
    io_loop.turn(Some(Duration::ZERO)).unwrap()
}

/// Turns as long as the last one says that there is work left.
fn finish(io_loop: &IOLoop) {
    while turn(io_loop).work_left {}
}

/// Waits as a foreign loop does: for the descriptor, and for the deadline where that does not hold
/// it.
fn await_descriptor(io_loop: &IOLoop) {
    let deadline = io_loop.host_deadline();
    let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    wait_readable(&io_loop.descriptor().unwrap(), timeout);
}

/// Something to be done to a loop, and its name.
type Deed = (&'static str, fn(&IOLoop));

// When the descriptor is readable.

pub(super) fn whatever_is_queued_between_turns_makes_the_descriptor_readable_at_once(rig: &Rig) {
    let deeds: [Deed; 9] = [
        ("a callback", |io_loop| _ = io_loop.call_soon(|| ())),
        ("a post", |io_loop| {
            io_loop.handle().add_callback(|| ()).unwrap();
        }),
        ("a poster's post", |io_loop| {
            io_loop.poster().post(|| ()).unwrap();
        }),
        ("another thread's post", |io_loop| {
            let handle = io_loop.handle();
            let poster = thread::spawn(move || handle.add_callback(|| ()));
            poster.join().unwrap().unwrap();
        }),
        ("a call", |io_loop| _ = io_loop.handle().call(|| 7)),
        ("a task", |io_loop| drop(io_loop.spawn(async {}))),
        ("a posted task", |io_loop| {
            drop(io_loop.handle().spawn(|| async {}));
        }),
        ("a stop", |io_loop| io_loop.stop()),
        ("a posted stop", |io_loop| io_loop.handle().stop().unwrap()),
    ];
    let io_loop = Strict::new(rig.io_loop());
    assert!(!is_readable(&io_loop), "there is nothing to do yet");
    // Twice, since the second time what the first left is met.
    for (what, queue) in deeds.iter().chain(&deeds) {
        queue(&io_loop);
        assert!(is_readable(&io_loop), "{what}");
        queue(&io_loop);
        assert!(is_readable(&io_loop), "{what}, twice");
        finish(&io_loop);
        assert!(!is_readable(&io_loop), "{what} is done");
    }
}

pub(super) fn an_earlier_deadline_makes_the_descriptor_readable_at_once(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let fired = Log::new();
    let note = |what| {
        let fired = fired.clone();
        move || fired.push(what)
    };
    let far = io_loop.call_later(AN_HOUR, note("far"));
    // A host that has to hold the deadline itself is rung for it.
    finish(&io_loop);
    assert!(!is_readable(&io_loop));
    // Again and again, since the kernel's timer goes off a moment late.
    for _ in 0..100 {
        io_loop.call_later(Duration::ZERO, note("due"));
        assert!(is_readable(&io_loop));
        finish(&io_loop);
        assert!(!is_readable(&io_loop));
        io_loop.call_at(io_loop.now() - Duration::from_millis(1), note("past"));
        assert!(is_readable(&io_loop));
        finish(&io_loop);
        assert!(!is_readable(&io_loop));
        assert_eq!(fired.take(), ["due", "past"]);
    }
    assert!(far.reset(io_loop.now()));
    assert!(is_readable(&io_loop));
    finish(&io_loop);
    assert!(!is_readable(&io_loop));
    assert_eq!(fired.take(), ["far"]);
}

pub(super) fn a_deadline_makes_the_descriptor_readable_when_it_comes_and_not_before(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let descriptor = io_loop.descriptor().unwrap();
    let fired = Log::new();
    let note = |what| {
        let fired = fired.clone();
        move || fired.push(what)
    };
    io_loop.call_later(AN_HOUR, note("far"));
    // So far away that this thread is done with its turns before.
    let mut delay = Duration::from_millis(5);
    let deadline = loop {
        let deadline = io_loop.now() + delay;
        io_loop.call_at(deadline, note("near"));
        finish(&io_loop);
        if fired.take().is_empty() {
            break deadline;
        }
        delay *= 2;
    };
    await_descriptor(&io_loop);
    assert!(Instant::now() >= deadline, "it woke early");
    finish(&io_loop);
    assert_eq!(fired.take(), ["near"]);
    assert!(!is_readable(&io_loop));

    // One that was cancelled, or put off, does not wake.
    let soon = Duration::from_millis(2);
    let cancelled = io_loop.call_later(soon, note("cancelled"));
    let put_off = io_loop.call_later(soon, note("put off"));
    assert!(cancelled.cancel());
    assert!(put_off.reset(io_loop.now() + AN_HOUR));
    finish(&io_loop);
    assert!(!wait_readable(&descriptor, Some(A_WHILE)));
    assert_eq!(fired.len(), 0);
}

pub(super) fn a_watch_with_pending_data_makes_the_descriptor_readable_at_once(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    let read = Log::new();
    let log = read.clone();
    send(&peer);
    let watch = io_loop.add_reader(ours, move |stream| log.push(drain(stream))).unwrap();
    assert!(is_readable(&io_loop), "added");
    assert!(watch.pause());
    assert!(!is_readable(&io_loop), "paused");
    assert!(watch.resume().unwrap());
    assert!(is_readable(&io_loop), "resumed");
    finish(&io_loop);
    assert_eq!(read.take(), [1]);
    assert!(!is_readable(&io_loop), "drained");
    send(&peer);
    assert!(is_readable(&io_loop), "more has come");
    watch.remove();
    assert!(!is_readable(&io_loop), "removed");
}

pub(super) fn an_idle_loop_is_not_readable_whatever_it_did_before(rig: &Rig) {
    let deeds: [Deed; 11] = [
        ("nothing at all", |_| ()),
        ("a flood of callbacks", |io_loop| {
            for _ in 0..3000 {
                io_loop.call_soon(|| ());
            }
        }),
        ("a flood of posts", |io_loop| {
            for _ in 0..3000 {
                io_loop.handle().add_callback(|| ()).unwrap();
            }
        }),
        ("a callback that was cancelled", |io_loop| {
            assert!(io_loop.call_soon(|| unreachable!()).cancel());
        }),
        ("a panic", |io_loop| _ = io_loop.call_soon(|| panic!("oh no"))),
        ("a timer", |io_loop| {
            io_loop.call_later(Duration::from_millis(1), || ());
            io_loop.turn(None).unwrap();
        }),
        ("a timer that was cancelled", |io_loop| {
            assert!(io_loop.call_later(Duration::ZERO, || ()).cancel());
        }),
        ("a chain of timers and callbacks", |io_loop| {
            io_loop.call_soon(|| {
                let io_loop = IOLoop::current().unwrap();
                io_loop.call_later(Duration::ZERO, || {
                    IOLoop::current().unwrap().call_soon(stop);
                });
            });
        }),
        ("a task that was woken", |io_loop| {
            let call = io_loop.handle().call(|| ());
            let task = io_loop.spawn(async { call.await.unwrap() });
            io_loop.turn(None).unwrap();
            drop(task);
        }),
        ("a task that was cancelled", |io_loop| {
            let task = io_loop.spawn(std::future::pending::<()>());
            turn(io_loop);
            task.cancel();
        }),
        ("a reader, a hang-up", |io_loop| {
            let (ours, peer) = pair();
            send(&peer);
            drop(peer);
            io_loop
                .add_reader(ours, |stream| {
                    assert_eq!(drain(stream), 1);
                    IOLoop::current().unwrap().remove_reader(stream);
                })
                .unwrap();
        }),
    ];
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    for (what, act) in deeds {
        act(&io_loop);
        finish(&io_loop);
        // A turn that has a deadline and passes it is one more thing to come to rest from.
        for timeout in [Duration::ZERO, Duration::from_millis(1)] {
            assert!(!is_readable(&io_loop), "after {what}");
            let turned = io_loop.turn(Some(timeout)).unwrap();
            assert!(!turned.work_left && !turned.stopped, "after {what}");
        }
    }
    assert_eq!(panics.borrow().len(), 1);
    let descriptor = io_loop.descriptor().unwrap();
    assert!(!wait_readable(&descriptor, Some(A_WHILE)));
}

// What a turn does.

pub(super) fn a_turn_says_whether_work_is_left_and_leaves_the_descriptor_readable(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let (calls, posted) = (log.clone(), log.clone());
    io_loop.call_soon(move || {
        calls.push("queues another");
        let calls = calls.clone();
        IOLoop::current().unwrap().call_soon(move || calls.push("queues none"));
    });
    assert!(turn(&io_loop).work_left);
    assert_eq!(log.take(), ["queues another"]);
    assert!(is_readable(&io_loop));
    assert!(!turn(&io_loop).work_left);
    assert_eq!(log.take(), ["queues none"]);
    assert!(!is_readable(&io_loop));

    // What another thread posts during a turn is left too.
    let handle = io_loop.handle();
    io_loop.call_soon(move || {
        let poster = thread::spawn(move || handle.add_callback(|| ()).unwrap());
        poster.join().unwrap();
        posted.push("was posted to");
    });
    assert!(turn(&io_loop).work_left);
    assert_eq!(log.take(), ["was posted to"]);
    assert!(is_readable(&io_loop));
    assert!(!turn(&io_loop).work_left);
    assert!(!is_readable(&io_loop));
}

pub(super) fn a_timer_that_is_due_after_a_turn_is_work_left(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let first = log.clone();
    io_loop.call_later(Duration::ZERO, move || {
        let second = first.clone();
        let io_loop = IOLoop::current().unwrap();
        first.push(1);
        io_loop.call_later(Duration::ZERO, move || second.push(2));
    });
    assert!(turn(&io_loop).work_left);
    assert_eq!(log.take(), [1], "it does not fire in the same turn");
    assert!(is_readable(&io_loop));
    assert!(!turn(&io_loop).work_left);
    assert_eq!(log.take(), [2]);
    assert!(!is_readable(&io_loop));
    // A later one is no work yet.
    io_loop.call_later(AN_HOUR, || ());
    assert!(!turn(&io_loop).work_left);
    assert!(!is_readable(&io_loop));
}

pub(super) fn a_turn_waits_for_the_time_out_and_not_less(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let descriptor = io_loop.descriptor().unwrap();
    let timeout = Duration::from_millis(5);
    // With nothing else, and with a deadline that lies behind.
    for timer in [None, Some(AN_HOUR)] {
        let _timer = timer.map(|delay| io_loop.call_later(delay, || ()));
        finish(&io_loop);
        let start = Instant::now();
        let turned = io_loop.turn(Some(timeout)).unwrap();
        assert!(start.elapsed() >= timeout);
        assert!(!turned.work_left && !turned.stopped);
        assert!(!is_readable(&io_loop), "the time-out is over");
    }
    // A turn that something else ended takes its time-out with it.
    io_loop.call_soon(|| ());
    io_loop.turn(Some(timeout)).unwrap();
    let handle = io_loop.handle();
    let poster = thread::spawn(move || handle.add_callback(|| ()).unwrap());
    while io_loop.metrics().callbacks < 2 {
        io_loop.turn(Some(AN_HOUR)).unwrap();
    }
    poster.join().unwrap();
    finish(&io_loop);
    assert!(!wait_readable(&descriptor, Some(A_WHILE)));
}

pub(super) fn a_turn_ends_its_wait_when_there_is_something_to_do(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    for timeout in [None, Some(AN_HOUR), Some(Duration::MAX)] {
        // A deadline in between,
        let (fired, deadline) = (log.clone(), io_loop.now() + Duration::from_millis(2));
        io_loop.call_at(deadline, move || fired.push(Instant::now() >= deadline));
        while log.len() == 0 {
            io_loop.turn(timeout).unwrap();
        }
        assert_eq!(log.take(), [true]);
        // a post,
        let handle = io_loop.handle();
        let poster = thread::spawn(move || handle.add_callback(stop).unwrap());
        while !io_loop.turn(timeout).unwrap().stopped {}
        poster.join().unwrap();
        // data,
        let (ours, peer) = pair();
        io_loop
            .add_reader(ours, |stream| {
                IOLoop::current().unwrap().remove_reader(stream);
                stop();
            })
            .unwrap();
        let sender = thread::spawn(move || {
            send(&peer);
            peer
        });
        while !io_loop.turn(timeout).unwrap().stopped {}
        drop(sender.join().unwrap());
        // and what is queued before: then there is no wait.
        io_loop.call_soon(stop);
        assert!(io_loop.turn(timeout).unwrap().stopped);
    }
}

pub(super) fn a_turn_runs_what_was_there_when_it_began(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let (ours, peer) = pair();
    send(&peer);
    let (reads, due, soon) = (log.clone(), log.clone(), log.clone());
    io_loop.call_later(Duration::ZERO, move || due.push("timer"));
    io_loop
        .add_reader(ours, move |stream| {
            drain(stream);
            reads.push("reader");
        })
        .unwrap();
    io_loop.call_soon(move || {
        soon.push("callback");
        let later = soon.clone();
        IOLoop::current().unwrap().call_soon(move || later.push("next turn"));
    });
    let turns = io_loop.metrics().turns;
    assert!(turn(&io_loop).work_left);
    assert_eq!(log.take(), ["callback", "reader", "timer"]);
    assert!(!turn(&io_loop).work_left);
    assert_eq!(log.take(), ["next turn"]);
    assert_eq!(io_loop.metrics().turns, turns + 2);
}

pub(super) fn a_turn_says_that_the_loop_was_stopped(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    assert!(!turn(&io_loop).stopped);
    // In the turn,
    io_loop.call_soon(stop);
    assert!(turn(&io_loop).stopped);
    assert!(!turn(&io_loop).stopped, "it was told");
    // before it, when it does not wait, also if called twice,
    io_loop.stop();
    io_loop.stop();
    assert!(io_loop.turn(None).unwrap().stopped);
    assert!(!turn(&io_loop).stopped, "two stops are one");
    // and from a timer, with work left.
    io_loop.call_later(Duration::ZERO, || {
        stop();
        IOLoop::current().unwrap().call_soon(|| ());
    });
    let turned = turn(&io_loop);
    assert!(turned.stopped && turned.work_left);
    let turned = turn(&io_loop);
    assert!(!turned.stopped && !turned.work_left);
}

pub(super) fn the_loop_is_current_and_running_in_a_turn(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let refused = log.clone();
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        refused.push(io_loop.is_running());
        for timeout in [Some(Duration::ZERO), None] {
            let nested = io_loop.turn(timeout);
            refused.push(matches!(nested, Err(RunError::AlreadyRunning)));
        }
        let closed = io_loop.close();
        refused.push(matches!(closed, Err(RunError::AlreadyRunning)));
    });
    assert!(!turn(&io_loop).work_left);
    assert_eq!(log.take(), [true; 4]);
    assert!(!io_loop.is_running());
    assert!(IOLoop::current().is_none());
}

pub(super) fn next_deadline_is_the_earliest_pending_timers(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    assert_eq!(io_loop.next_deadline(), None);
    let now = io_loop.now();
    let (near, far) = (now + AN_HOUR, now + 2 * AN_HOUR);
    let later = io_loop.call_at(far, || ());
    assert_eq!(io_loop.next_deadline(), Some(far));
    let sooner = io_loop.call_at(near, || ());
    assert_eq!(io_loop.next_deadline(), Some(near));
    assert!(sooner.reset(far + AN_HOUR));
    assert_eq!(io_loop.next_deadline(), Some(far));
    assert!(later.cancel());
    assert_eq!(io_loop.next_deadline(), Some(far + AN_HOUR));
    // One that is over already counts until it has fired.
    io_loop.call_at(now, || ());
    assert_eq!(io_loop.next_deadline(), Some(now));
    turn(&io_loop);
    assert_eq!(io_loop.next_deadline(), Some(far + AN_HOUR));
    io_loop.close().unwrap();
    assert_eq!(io_loop.next_deadline(), None);
}

pub(super) fn the_descriptor_is_shared_and_outlives_the_loop(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let descriptor = io_loop.descriptor().unwrap();
    assert_eq!(descriptor, io_loop.descriptor().unwrap());
    io_loop.close().unwrap();
    let error = io_loop.descriptor().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(matches!(io_loop.turn(Some(Duration::ZERO)), Err(RunError::Closed)));
    assert!(!wait_readable(&descriptor, Some(Duration::ZERO)));
}

// Loops inside of loops.

fn bare() -> Strict {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build();
    Strict::new(io_loop.unwrap())
}

pub(super) fn a_turn_inside_another_loops_callback_must_not_wait(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let inner = Rc::new(bare());
    let log = Log::new();
    let (outer_log, inner_log) = (log.clone(), log.clone());
    let nested = Rc::clone(&inner);
    inner.call_soon(move || {
        assert!(!IOLoop::current().unwrap().is_attached());
        assert_eq!(IOLoop::current().unwrap().backend_name(), "bare");
        inner_log.push("inner callback");
    });
    io_loop.call_soon(move || {
        for waits in [None, Some(AN_HOUR), Some(Duration::from_nanos(1))] {
            let refused = nested.turn(waits);
            assert!(matches!(refused, Err(RunError::OtherLoopRunning)));
            assert!(!nested.is_running());
        }
        outer_log.push("refused");
        let turned = nested.turn(Some(Duration::ZERO)).unwrap();
        assert!(!turned.work_left);
        outer_log.push("outer callback");
        // The outer one is current again.
        stop();
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["refused", "inner callback", "outer callback"]);
    assert!(!is_readable(&inner));
}

/// What the loop that is current does for one that is embedded in it.
fn serve(embedded: &Rc<Strict>) {
    if turn(embedded).stopped {
        stop();
    }
    if let Some(deadline) = embedded.host_deadline() {
        let embedded = Rc::clone(embedded);
        IOLoop::current().unwrap().call_at(deadline, move || serve(&embedded));
    }
}

pub(super) fn a_loop_can_be_embedded_in_another_by_its_descriptor(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let inner = Rc::new(bare());
    let embedded = Rc::clone(&inner);
    io_loop.add_reader(inner.descriptor().unwrap(), move |_| serve(&embedded)).unwrap();
    let log = Log::new();
    let (posts, fires, reads) = (log.clone(), log.clone(), log.clone());
    let (ours, peer) = pair();
    inner
        .add_reader(ours, move |stream| {
            reads.push("reader");
            IOLoop::current().unwrap().remove_reader(stream);
            stop();
        })
        .unwrap();
    // Each starts the next, so the outer loop sleeps in between.
    let handle = inner.handle();
    inner.call_later(Duration::from_millis(2), move || {
        fires.push("timer");
        let poster = thread::spawn(move || {
            handle.add_callback(move || send(&peer)).unwrap();
        });
        IOLoop::current().unwrap().call_soon(move || {
            poster.join().unwrap();
            posts.push("callback");
        });
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["timer", "callback", "reader"]);
    // Both rest.
    assert_rests(rig, &io_loop);
    assert!(!is_readable(&inner));
}

pub(super) fn a_loop_that_its_host_has_to_drive_refuses_a_turn(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let ran = log.clone();
    io_loop.call_soon(move || {
        ran.push(());
        stop();
    });
    for timeout in [Some(Duration::ZERO), Some(AN_HOUR), None] {
        match (io_loop.turn(timeout), io_loop.is_embeddable()) {
            // A loop that makes progress by itself.
            (Ok(turned), true) => {
                assert!(turned.stopped);
                io_loop.stop();
            }
            (Err(RunError::Attached), false) => assert!(rig.is_attached()),
            (Err(RunError::NotEmbeddable), false) => assert!(!rig.is_attached()),
            (turned, embeddable) => panic!("{turned:?}, and embeddable: {embeddable}"),
        }
        assert!(!io_loop.is_running());
    }
    rig.run(&io_loop).unwrap();
    assert_eq!(log.len(), 1, "nothing was changed");
}
