//! Starting, stopping, closing.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use super::rig::Rig;
use super::tools::{
    Drops, Log, assert_blocks, block_on, both, exceptions, is_current, is_same, one_turn,
    poll_once, readable_stream, refusable, run_while, stop, threads, yield_now,
};
use ioloop::backends::BackendKind;
use ioloop::observe::{Metrics, Origin};
use ioloop::{Closed, Handle, IOLoop, JoinError, Reactor, RunError, Watch};

/// Long enough that a timer which must not fire does not.
const NEVER: Duration = Duration::from_secs(3600);

// Start and stop.

pub(super) fn start_runs_queued_callbacks_until_stop(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    for name in ["before", "stopping", "after"] {
        let log = log.clone();
        io_loop.call_soon(move || {
            log.push(name);
            if name == "stopping" {
                stop();
            }
        });
    }
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["before", "stopping", "after"]);
}

pub(super) fn what_the_stopping_callback_queues_runs_next_time(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let later = log.clone();
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        io_loop.stop();
        io_loop.call_soon(move || later.push("queued while stopping"));
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(log.len(), 0);
    io_loop.call_soon(stop);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["queued while stopping"]);
}

fn stop_now() {
    IOLoop::current().expect("a callback has a current loop").stop_now();
}

/// Whatever ends the run, all that is left comes in the next ones, once and in its order.
pub(super) fn a_stop_now_leaves_the_rest_of_its_turn_to_the_next_run(rig: &Rig) {
    const ALL: [&str; 8] =
        ["first", "task", "second", "reader", "writer", "timer", "next timer", "last timer"];
    for stopping in 0..ALL.len() {
        let io_loop = rig.io_loop();
        let reported = exceptions(&io_loop);
        let log = Log::new();
        let note = |index: usize| {
            let log = log.clone();
            move || {
                log.push(ALL[index]);
                if index == stopping {
                    stop_now();
                    // Twice is as once, and a panic of the callback is a panic like any.
                    stop_now();
                    assert!(index % 2 == 0, "odd");
                }
            }
        };
        io_loop.call_soon(note(0));
        let polled = note(1);
        io_loop.spawn(async move { polled() });
        io_loop.call_soon(note(2));
        let (stream, _peer) = readable_stream();
        let stream = Rc::new(stream);
        let ends = |index: usize| {
            let called = note(index);
            move |stream: &Rc<UnixStream>| {
                // Level-triggered, it would come for ever.
                let io_loop = IOLoop::current().expect("a watch has a loop");
                match index {
                    3 => io_loop.remove_reader(stream),
                    _ => io_loop.remove_writer(stream),
                };
                called();
            }
        };
        io_loop.add_writer(Rc::clone(&stream), ends(4)).expect("watching a stream");
        io_loop.add_reader(stream, ends(3)).expect("watching a stream");
        let deadline = io_loop.now();
        (5..8).for_each(|index| drop(io_loop.call_at(deadline, note(index))));
        // A turn that is to be the last polls the descriptors, whatever is queued.
        one_turn(rig, &io_loop);
        let ran = log.take();
        assert_eq!(ran, ALL[..=stopping]);
        let callbacks = ran.len().min(3) as u64;
        assert_eq!(io_loop.metrics().callbacks, callbacks, "what was left out has not run");
        while log.len() < ALL.len() - ran.len() {
            one_turn(rig, &io_loop);
        }
        assert_eq!(log.take(), ALL[stopping + 1..], "after {}", ALL[stopping]);
        assert!(reported.len() <= 1);
        one_turn(rig, &io_loop);
        assert_eq!(log.len(), 0, "once is enough");
    }
}

pub(super) fn a_stop_now_before_the_run_lets_nothing_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.push(what)
    };
    let idle = io_loop.on_idle(note("idle"));
    io_loop.stop_now();
    io_loop.stop();
    rig.run(&io_loop).expect("a run that ends at once");
    assert_eq!(log.take(), Vec::<&str>::new());
    idle.remove();
    io_loop.call_soon(note("callback"));
    io_loop.call_at(io_loop.now(), note("timer"));
    io_loop.stop_now();
    rig.run(&io_loop).expect("a run that ends at once");
    assert_eq!(log.take(), Vec::<&str>::new());
    // From a hook, too: it is no callback, and comes in the turn that it ends.
    let hook = io_loop.before_sleep(|| {
        stop_now();
        ioloop::hooks::BeforeSleep::Sleep
    });
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), Vec::<&str>::new());
    hook.remove();
    // A future that is done has its value all the same.
    let value = rig.run_until(&io_loop, async {
        stop_now();
        7
    });
    assert_eq!(value.expect("its value wins over the stop"), 7);
    assert_eq!(log.take(), ["callback"]);
    assert_blocks(rig, &io_loop);
    assert_eq!(log.take(), ["timer"]);
}

pub(super) fn a_stop_before_the_run_makes_it_one_turn_without_waiting(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let note = |name: &'static str| {
        let log = log.clone();
        move || {
            log.push(name);
            let later = log.clone();
            let io_loop = IOLoop::current().unwrap();
            io_loop.call_soon(move || later.push("queued in the turn"));
        }
    };
    let called = note("callback");
    io_loop.call_soon(called);
    let (_watch, mut peer) = add_reader(&io_loop, note("reader"));
    peer.write_all(b"x").unwrap();
    io_loop.call_later(Duration::ZERO, note("timer"));
    io_loop.call_later(NEVER, || ());
    let turns = io_loop.metrics().turns;

    io_loop.stop();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["callback", "reader", "timer"]);
    assert_eq!(io_loop.metrics().turns, turns + 1);

    assert_blocks(rig, &io_loop);
    assert_eq!(log.take(), ["queued in the turn"; 3]);
}

pub(super) fn a_stop_with_nothing_to_do_does_not_block(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.stop();
    rig.run(&io_loop).unwrap();
    assert_blocks(rig, &io_loop);
}

pub(super) fn two_stops_count_as_one(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.stop();
    io_loop.stop();
    rig.run(&io_loop).unwrap();
    assert_blocks(rig, &io_loop);

    for _ in 0..2 {
        io_loop.call_soon(|| {
            stop();
            stop();
        });
    }
    rig.run(&io_loop).unwrap();
    assert_blocks(rig, &io_loop);
}

pub(super) fn runs_can_be_repeated(rig: &Rig) {
    let io_loop = rig.io_loop();
    let runs = Rc::new(Cell::new(0));
    for _ in 0..200 {
        let runs = Rc::clone(&runs);
        io_loop.call_soon(move || {
            runs.set(runs.get() + 1);
            stop();
        });
        rig.run(&io_loop).unwrap();
        assert!(!io_loop.is_running());
    }
    assert_eq!(runs.get(), 200);
}

pub(super) fn an_event_of_the_stopping_turn_is_delivered_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let mut peers = Vec::new();
    // Both are ready in one poll. Whichever is called first stops the loop, the other is called all
    // the same.
    for name in ["one", "two"] {
        let log = log.clone();
        let (_watch, mut peer) = add_reader(&io_loop, move || {
            log.push(name);
            stop();
        });
        peer.write_all(b"x").unwrap();
        peers.push(peer);
    }
    rig.run(&io_loop).unwrap();
    let mut called = log.take();
    called.sort_unstable();
    assert_eq!(called, ["one", "two"]);
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "an event was delivered twice");
}

pub(super) fn a_stop_from_another_thread_ends_a_sleep(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.call_later(NEVER, || ());
    let handle = io_loop.handle();
    let (asleep, awake) = mpsc::channel();
    let stopper = thread::spawn(move || {
        // Each round meets the loop on its way to sleep, or asleep.
        for () in awake {
            handle.add_callback(stop).unwrap();
        }
        handle.stop().unwrap();
    });
    for _ in 0..100 {
        let asleep = asleep.clone();
        io_loop.call_soon(move || asleep.send(()).unwrap());
        rig.run(&io_loop).unwrap();
    }
    drop(asleep);
    rig.run(&io_loop).unwrap();
    stopper.join().unwrap();
}

// What is refused.

pub(super) fn a_nested_run_is_refused_and_changes_nothing(rig: &Rig) {
    refused_in_every_kind_of_callback(rig, refusable(rig));
}

pub(super) fn a_close_while_running_is_refused_and_changes_nothing(rig: &Rig) {
    refused_in_every_kind_of_callback(rig, IOLoop::close);
}

fn refused_in_every_kind_of_callback(rig: &Rig, attempt: fn(&IOLoop) -> Result<(), RunError>) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let log = Log::new();
    let attempt_in = |name: &'static str| {
        let log = log.clone();
        move || {
            let io_loop = IOLoop::current().unwrap();
            let before = state(&io_loop);
            let refused = attempt(&io_loop);
            assert!(matches!(refused, Err(RunError::AlreadyRunning)), "{refused:?}");
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("`spawn`") && text.contains("`stop`"), "the way out: {text}");
            assert_eq!(state(&io_loop), before);
            assert!(is_current(&io_loop), "the outer loop is current still");
            log.push(name);
        }
    };
    io_loop.call_soon(attempt_in("callback"));
    let attempt_in_task = attempt_in("task");
    io_loop.spawn(async move { attempt_in_task() });
    let (_watch, mut peer) = add_reader(&io_loop, attempt_in("reader"));
    peer.write_all(b"x").unwrap();
    io_loop.call_later(Duration::from_millis(1), attempt_in("timer"));
    let (attempted, failed) = (log.clone(), panicked.clone());
    run_while(rig, &io_loop, move || attempted.len() + failed.len() < 4);
    assert_eq!(panicked.take(), []);
    let mut attempted = log.take();
    attempted.sort_unstable();
    assert_eq!(attempted, ["callback", "reader", "task", "timer"]);
}

pub(super) fn a_refused_close_leaves_everything_in_place(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let note = |name: &'static str| {
        let log = log.clone();
        move || log.push(name)
    };
    io_loop.call_soon(|| {
        let io_loop = IOLoop::current().unwrap();
        assert!(matches!(io_loop.close(), Err(RunError::AlreadyRunning)));
    });
    let panicked = exceptions(&io_loop);
    io_loop.call_soon(note("callback"));
    io_loop.handle().add_callback(|| ()).unwrap();
    let called = note("task");
    let task = io_loop.spawn(async move {
        yield_now().await;
        called();
    });
    let (watch, mut peer) = add_reader(&io_loop, note("reader"));
    peer.write_all(b"x").unwrap();
    io_loop.call_later(Duration::from_millis(1), note("timer"));
    let later = io_loop.call_later(NEVER, || ());
    let called = log.clone();
    run_while(rig, &io_loop, move || called.len() < 4);
    assert_eq!(panicked.take(), []);
    let mut called = log.take();
    called.sort_unstable();
    assert_eq!(called, ["callback", "reader", "task", "timer"]);
    assert!(task.is_finished());
    assert!(later.cancel(), "the timer ahead is still there");
    assert!(watch.remove(), "the watch is still there");
    io_loop.close().unwrap();
}

pub(super) fn a_loop_whose_run_is_held_refuses_close(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let item = drops.item();
    let timer = io_loop.call_later(NEVER, move || drop(item));
    let mut run = Box::pin(io_loop.run());
    let polled = rig.block_on(poll_fn(|_| Poll::Ready(poll_once(run.as_mut()))));
    assert!(polled.is_pending());
    assert!(io_loop.is_running());
    assert!(matches!(io_loop.close(), Err(RunError::AlreadyRunning)));
    assert!(!io_loop.is_closed());
    assert_eq!(drops.count(), 0);
    drop(run);
    assert!(!io_loop.is_running());
    io_loop.close().unwrap();
    assert_eq!(drops.count(), 1);
    assert!(!timer.cancel());
}

pub(super) fn another_loops_callback_may_not_wait_for_this_one(rig: &Rig) {
    let outer = rig.io_loop();
    let inner = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let log = Log::new();
    let (ran, polled) = (log.clone(), log.clone());
    inner.call_soon(move || ran.push("the inner loop's callback"));
    let checked = log.clone();
    let panicked = exceptions(&outer);
    outer.call_soon(move || {
        stop();
        let before = state(&inner);
        for refused in [
            inner.start(),
            inner.run_sync(async { polled.push("a refused future") }),
            inner.turn(None).map(drop),
            inner.turn(Some(Duration::from_millis(1))).map(drop),
        ] {
            assert!(matches!(refused, Err(RunError::OtherLoopRunning)), "{refused:?}");
        }
        assert_eq!(state(&inner), before);
        checked.push("refused");
        inner.turn(Some(Duration::ZERO)).unwrap();
        checked.push("turned");
    });
    rig.run(&outer).unwrap();
    assert_eq!(panicked.take(), []);
    assert_eq!(log.take(), ["refused", "the inner loop's callback", "turned"]);
}

pub(super) fn starting_another_loop_in_a_callback_is_refused(rig: &Rig) {
    let (outer, inner) = (rig.io_loop(), rig.io_loop());
    let log = Log::new();
    let noted = log.clone();
    inner.call_soon(move || noted.push("inner"));
    let (noted, nested) = (log.clone(), inner.clone());
    outer.call_soon(move || {
        stop();
        let before = state(&nested);
        assert!(matches!(nested.start(), Err(RunError::OtherLoopRunning)));
        assert_eq!(state(&nested), before);
        noted.push("refused");
    });
    rig.run(&outer).unwrap();
    assert_eq!(log.take(), ["refused"]);
    // Outside of the callback it runs.
    one_turn(rig, &inner);
    assert_eq!(log.take(), ["inner"]);
}

pub(super) fn a_loop_is_driven_in_its_own_way_only(rig: &Rig) {
    let io_loop = rig.io_loop();
    let before = state(&io_loop);
    let drops = Drops::new();
    let never_polled = || {
        let item = drops.item();
        async move {
            drop(item);
            pending::<()>().await;
        }
    };
    let refusals = if rig.is_attached() {
        [
            io_loop.start(),
            io_loop.run_sync(never_polled()),
            io_loop.run_sync(never_polled()),
            io_loop.turn(Some(Duration::ZERO)).map(drop),
        ]
    } else {
        [
            block_on(io_loop.run()),
            block_on(io_loop.run_until(never_polled())),
            block_on(io_loop.run_until(never_polled())),
            block_on(io_loop.run()),
        ]
    };
    assert_eq!(drops.count(), 2);
    for refused in refusals {
        let as_expected = match refused {
            Err(RunError::Attached) => rig.is_attached(),
            Err(RunError::NotAttached) => !rig.is_attached(),
            _ => false,
        };
        assert!(as_expected, "{refused:?}");
    }
    assert_eq!(state(&io_loop), before);
    one_turn(rig, &io_loop);
}

// Closing.

pub(super) fn a_closed_loop_cannot_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    one_turn(rig, &io_loop);
    io_loop.close().unwrap();
    assert!(io_loop.is_closed() && !io_loop.is_running());
    let drops = Drops::new();
    let never_polled = || {
        let item = drops.item();
        async move {
            drop(item);
            pending::<()>().await;
        }
    };
    let now = Some(Duration::ZERO);
    for refused in [
        refusable(rig)(&io_loop),
        io_loop.start(),
        io_loop.run_sync(never_polled()),
        io_loop.run_sync(never_polled()),
        block_on(io_loop.run()),
        block_on(io_loop.run_until(never_polled())),
        io_loop.turn(None).map(drop),
        io_loop.turn(now).map(drop),
    ] {
        assert!(matches!(refused, Err(RunError::Closed)), "{refused:?}");
    }
    assert_eq!(drops.count(), 3);
    io_loop.stop();
    assert!(matches!(io_loop.start(), Err(RunError::Closed)));
}

pub(super) fn closing_twice_is_closing_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let again = io_loop.clone();
    let drops = Drops::new();
    let _filled = fill(&io_loop, &drops);
    io_loop.close().unwrap();
    assert_eq!(drops.count(), FILLED);
    again.close().unwrap();
    io_loop.close().unwrap();
    assert!(io_loop.is_closed() && again.is_closed());
    drop((io_loop, again));
    assert_eq!(drops.count(), FILLED);
}

pub(super) fn close_drops_everything_once_and_runs_nothing(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let filled = fill(&io_loop, &drops);
    // A clone that a callback holds makes a cycle, which close breaks.
    let (captured, item) = (io_loop.clone(), drops.item());
    io_loop.call_soon(move || drop((captured, item)));
    let weak = io_loop.downgrade();
    assert_eq!(drops.count(), 0);

    io_loop.close().unwrap();
    assert_eq!(drops.count(), FILLED + 1);
    assert_eq!((io_loop.next_deadline(), holdings(&io_loop.metrics())), (None, [0; 4]));
    drop(io_loop);
    assert_eq!(drops.count(), FILLED + 1);
    assert_eq!(filled.ran.take(), [] as [&str; 0]);
    assert!(weak.upgrade().is_none());
}

pub(super) fn dropping_the_last_clone_closes(rig: &Rig) {
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let drops = Drops::new();
    let filled = fill(&io_loop, &drops);
    let clone = io_loop.clone();
    drop(io_loop);
    assert!(!handle.is_closed());
    assert_eq!(drops.count(), 0);
    drop(clone);
    assert!(handle.is_closed());
    assert_eq!(handle.add_callback(|| ()), Err(Closed));
    assert_eq!(drops.count(), FILLED);
    assert_eq!(filled.ran.take(), [] as [&str; 0]);
}

pub(super) fn a_destructor_in_close_may_use_the_loop(rig: &Rig) {
    struct UsesTheLoop(IOLoop, Drops);
    impl Drop for UsesTheLoop {
        fn drop(&mut self) {
            let UsesTheLoop(io_loop, drops) = self;
            assert!(io_loop.is_closed());
            assert!(io_loop.close().is_ok());
            assert!(matches!(io_loop.start(), Err(RunError::Closed)));
            let item = drops.item();
            assert!(io_loop.call_soon(move || drop(item)).is_cancelled());
            let item = drops.item();
            assert!(io_loop.call_later(NEVER, move || drop(item)).is_cancelled());
            let item = drops.item();
            let posted = Captured::default();
            let refused = posted.clone();
            assert_eq!(io_loop.handle().add_callback(move || drop(refused)), Err(Closed));
            assert!(posted.is_free());
            let task = io_loop.spawn(async move { drop(item) });
            assert!(block_on(task).unwrap_err().is_closed());
            let (ours, _theirs) = UnixStream::pair().unwrap();
            assert!(io_loop.add_reader(ours, |_| ()).is_err());
        }
    }
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let drops = Drops::new();
    let uses = || UsesTheLoop(io_loop.clone(), drops.clone());
    let (queued, timed, spawned, watched) = (uses(), uses(), uses(), uses());
    io_loop.call_soon(move || drop(queued));
    io_loop.call_later(NEVER, move || drop(timed));
    io_loop.spawn(async move {
        pending::<()>().await;
        drop(spawned);
    });
    let (ours, _theirs) = UnixStream::pair().unwrap();
    io_loop
        .add_reader(ours, move |_| {
            let _watched = &watched;
        })
        .unwrap();
    io_loop.close().unwrap();
    assert_eq!(panicked.take(), []);
    assert_eq!(drops.count(), 4 * 3);
}

pub(super) fn after_close_scheduling_is_refused_at_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.close().unwrap();
    let drops = Drops::new();
    let refused = || {
        let item = drops.item();
        move || drop(item)
    };
    let callback = io_loop.call_soon(refused());
    assert_eq!(drops.count(), 1, "dropped at once");
    assert!(callback.is_cancelled() && !callback.cancel());
    let deadline = Instant::now() + NEVER;
    for timer in
        [io_loop.call_later(Duration::ZERO, refused()), io_loop.call_at(deadline, refused())]
    {
        assert!(timer.is_cancelled());
        assert!(!timer.cancel() && !timer.reset(deadline));
    }
    assert_eq!(drops.count(), 3);
    let called = refused();
    let task = io_loop.spawn(async move { called() });
    assert!(task.is_finished());
    assert_eq!(drops.count(), 4);
    assert!(block_on(task).unwrap_err().is_closed());
    assert_eq!(holdings(&io_loop.metrics()), [0; 4]);
    let gone = io_loop.descriptor().unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
}

pub(super) fn after_close_watching_is_an_error_that_gives_the_source_up(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (watched, watch_peer) = UnixStream::pair().unwrap();
    let watched = Rc::new(watched);
    let watch = io_loop.add_reader(Rc::clone(&watched), |_| ()).unwrap();
    io_loop.close().unwrap();

    let drops = Drops::new();
    for add_writer in [false, true] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let item = drops.item();
        let callback = move |_: &UnixStream| {
            let _item = &item;
        };
        let error = match add_writer {
            false => io_loop.add_reader(ours, callback).unwrap_err(),
            true => io_loop.add_writer(ours, callback).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(error.to_string().contains("closed"), "{error}");
        assert!(is_hung_up(theirs), "the source was leaked");
    }
    assert_eq!(drops.count(), 2);

    // Removing says false: of what was watched before, and of what never was.
    assert!(!watch.remove() && !watch.pause() && !watch.resume().unwrap());
    for fd in [watched.as_fd(), watch_peer.as_fd()] {
        assert!(!io_loop.remove_reader(fd) && !io_loop.remove_writer(fd));
    }
}

pub(super) fn close_releases_the_sources_and_no_others(rig: &Rig) {
    let io_loop = rig.io_loop();
    let mut owned_peers = Vec::new();
    for _ in 0..2 {
        let (owned, peer) = UnixStream::pair().unwrap();
        io_loop.add_reader(owned, |_| ()).unwrap();
        owned_peers.push(peer);
    }
    let (paused, paused_peer) = UnixStream::pair().unwrap();
    assert!(io_loop.add_reader(paused, |_| ()).unwrap().pause());
    owned_peers.push(paused_peer);
    let (local, mut local_peer) = UnixStream::pair().unwrap();
    let local = Rc::new(local);
    io_loop.add_reader(Rc::clone(&local), |_| ()).unwrap();
    let (shared, mut shared_peer) = UnixStream::pair().unwrap();
    let shared = Arc::new(shared);
    io_loop.add_writer(Arc::clone(&shared), |_| ()).unwrap();

    io_loop.close().unwrap();
    assert!(owned_peers.into_iter().all(is_hung_up));
    for (ours, peer) in [(&*local, &mut local_peer), (&*shared, &mut shared_peer)] {
        peer.write_all(b"x").unwrap();
        let mut ours = ours;
        assert_eq!(ours.read(&mut [0; 2]).unwrap(), 1, "it is open still");
    }
    assert_eq!((Rc::strong_count(&local), Arc::strong_count(&shared)), (1, 1));
}

pub(super) fn after_close_posting_answers_closed(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (handle, poster) = (io_loop.handle(), io_loop.poster());
    io_loop.close().unwrap();
    let post = move || {
        assert!(handle.is_closed());
        let captured = Captured::default();
        let refused = captured.clone();
        assert_eq!(handle.add_callback(move || drop(refused)), Err(Closed));
        assert!(captured.is_free(), "a refused callback was kept");
        let refused = captured.clone();
        assert_eq!(poster.post(move || drop(refused)), Err(Closed));
        assert!(captured.is_free());
        assert_eq!(handle.stop(), Err(Closed));
        let (called, made) = (captured.clone(), captured.clone());
        let call = handle.call(move || drop(called));
        let spawned = handle.spawn(move || async move { drop(made) });
        assert!(call.is_finished() && spawned.is_finished());
        assert!(captured.is_free());
        assert!(block_on(call).unwrap_err().is_closed());
        assert!(block_on(spawned).unwrap_err().is_closed());
    };
    post();
    thread::spawn(post).join().unwrap();
}

pub(super) fn a_thousand_posts_racing_with_close_are_accepted_or_closed(rig: &Rig) {
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let captured = Captured::default();
    let posted = captured.clone();
    let begun = Arc::new(Barrier::new(2));
    let begin = Arc::clone(&begun);
    let poster = thread::spawn(move || {
        begin.wait();
        for _ in 0..1000 {
            let captured = posted.clone();
            let _: Result<(), Closed> = handle.add_callback(move || drop(captured));
        }
    });
    begun.wait();
    io_loop.close().unwrap();
    poster.join().unwrap();
    assert!(captured.is_free());
}

pub(super) fn eight_threads_may_race_with_close(rig: &Rig) {
    const THREADS: usize = 8;
    let io_loop = rig.io_loop();
    let captured = Captured::default();
    let ran = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(Barrier::new(THREADS + 1));
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (handle, begun) = (io_loop.handle(), Arc::clone(&begun));
            let (captured, ran) = (captured.clone(), Arc::clone(&ran));
            thread::spawn(move || {
                begun.wait();
                let mut accepted = 0;
                let mut tasks = Vec::new();
                for _ in 0..50 {
                    let held = captured.clone();
                    let ran = Arc::clone(&ran);
                    let posted = handle.add_callback(move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        drop(held);
                    });
                    accepted += usize::from(posted.is_ok());
                    let held = captured.clone();
                    tasks.push(handle.call(move || drop(held)));
                    let held = captured.clone();
                    tasks.push(handle.spawn(move || async move {
                        yield_now().await;
                        drop(held);
                    }));
                }
                (accepted, tasks)
            })
        })
        .collect();
    begun.wait();
    for _ in 0..20 {
        one_turn(rig, &io_loop);
    }
    io_loop.close().unwrap();
    let mut accepted = 0;
    for worker in workers {
        let (callbacks, tasks) = worker.join().unwrap();
        accepted += callbacks;
        for task in tasks {
            let answer = block_on(task);
            assert!(answer.as_ref().err().is_none_or(JoinError::is_closed), "{answer:?}");
        }
    }
    assert!(ran.load(Ordering::Relaxed) <= accepted);
    assert!(captured.is_free());
}

pub(super) fn work_accepted_before_close_is_answered(rig: &Rig) {
    let io_loop = rig.io_loop();
    let captured = Captured::default();
    let held = || {
        let held = captured.clone();
        move || drop(held)
    };
    let handle = io_loop.handle();
    // One of each is done before close,
    let (called, made, spawned) = (held(), held(), held());
    let done = [
        handle.call(called),
        handle.spawn(|| async move { made() }),
        io_loop.spawn(async move { spawned() }),
    ];
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    // one of each has begun, and one of each has not.
    let (made, spawned) = (held(), held());
    let mut dropped = vec![
        handle.spawn(|| async move {
            pending::<()>().await;
            made();
        }),
        io_loop.spawn(async move {
            pending::<()>().await;
            spawned();
        }),
    ];
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    let (called, made, spawned) = (held(), held(), held());
    dropped.push(handle.call(called));
    dropped.push(handle.spawn(|| async move { made() }));
    dropped.push(io_loop.spawn(async move { spawned() }));
    handle.add_callback(held()).unwrap();

    assert!(!captured.is_free());
    io_loop.close().unwrap();
    assert!(captured.is_free());
    for task in done {
        assert!(block_on(task).is_ok());
    }
    for task in dropped {
        assert!(block_on(task).unwrap_err().is_closed());
    }
}

pub(super) fn panics_in_destructors_are_reported_once_and_the_rest_goes_on(rig: &Rig) {
    struct Panics(&'static str);
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("{}", self.0);
        }
    }
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let reported = |name: &str| (Origin::Destructor, name.to_owned());

    let (queued, timed, watched) = (Panics("queued"), Panics("timed"), Panics("watched"));
    assert!(io_loop.call_soon(move || drop(queued)).cancel());
    assert!(io_loop.call_later(NEVER, move || drop(timed)).cancel());
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let callback = move |_: &UnixStream| {
        let _watched = &watched;
    };
    assert!(io_loop.add_reader(ours, callback).unwrap().remove());
    let spawned = Panics("spawned");
    let task = io_loop.spawn(async move {
        pending::<()>().await;
        drop(spawned);
    });
    one_turn(rig, &io_loop);
    task.cancel();
    one_turn(rig, &io_loop);
    assert!(block_on(task).unwrap_err().is_cancelled());
    let names = ["queued", "timed", "watched", "spawned"];
    assert_eq!(panicked.take(), names.map(reported));

    // In close each is dropped by itself, so one takes nothing along.
    let drops = Drops::new();
    for name in names {
        let (panics, item) = (Panics(name), drops.item());
        io_loop.call_soon(move || drop((panics, item)));
    }
    let filled = fill_but_the_handler(&io_loop, &drops);
    io_loop.close().unwrap();
    assert_eq!(panicked.take(), names.map(reported));
    assert_eq!(drops.count(), names.len() + FILLED - 1);
    drop(filled);
}

pub(super) fn a_panic_ends_what_panicked_and_no_more(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let log = Log::new();
    io_loop.call_soon(|| panic!("callback"));
    io_loop.spawn(async { panic!("task") });
    io_loop.call_later(Duration::ZERO, || panic!("timer"));
    let (ours, theirs) = UnixStream::pair().unwrap();
    io_loop.add_writer(ours, |_| panic!("writer")).unwrap();
    let after = log.clone();
    io_loop.call_soon(move || after.push("the callback after"));
    let after = log.clone();
    io_loop.call_later(Duration::ZERO, move || after.push("the timer after"));
    let (called, reported) = (log.clone(), panicked.clone());
    run_while(rig, &io_loop, move || called.len() + reported.len() < 6);
    assert_eq!(log.take(), ["the callback after", "the timer after"]);
    let mut panicked = panicked.take();
    panicked.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(
        panicked,
        [
            (Origin::Callback, "callback".to_owned()),
            (Origin::Task, "task".to_owned()),
            (Origin::Timer, "timer".to_owned()),
            (Origin::Writer, "writer".to_owned()),
        ]
    );
    assert!(is_hung_up(theirs), "the writer that panicked was removed");
    assert_blocks(rig, &io_loop);
}

// What is left behind.

pub(super) fn close_releases_the_descriptors(rig: &Rig) {
    warm_up(rig);
    let before = rig.open_descriptors();
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let (ours, theirs) = UnixStream::pair().unwrap();
    io_loop.add_reader(ours, |_| ()).unwrap();
    one_turn(rig, &io_loop);
    let open = rig.open_descriptors();
    io_loop.close().unwrap();
    // The poller, its timer, and the source.
    assert!(rig.open_descriptors() + 3 <= open);
    drop((io_loop, theirs));
    assert_eq!(rig.open_descriptors(), before + 1, "the handle keeps the bell");
    drop(handle);
    assert_eq!(rig.open_descriptors(), before);
}

pub(super) fn ten_loops_leave_nothing_behind(rig: &Rig) {
    warm_up(rig);
    let before = rig.open_descriptors();
    for close_first in [true, false].repeat(5) {
        let io_loop = rig.io_loop();
        let drops = Drops::new();
        one_turn(rig, &io_loop);
        let filled = fill(&io_loop, &drops);
        let (weak, handle) = (io_loop.downgrade(), io_loop.handle());
        if close_first {
            io_loop.close().unwrap();
        }
        drop(io_loop);
        assert!(weak.upgrade().is_none());
        assert!(handle.is_closed());
        assert_eq!(drops.count(), FILLED);
        assert!(IOLoop::current().is_none());
        assert!(Handle::installed().is_none());
        drop(filled);
    }
    assert_eq!(rig.open_descriptors(), before);
}

pub(super) fn a_loop_starts_no_thread(rig: &Rig) {
    let run = |io_loop: &IOLoop| {
        io_loop.call_later(Duration::from_millis(1), stop);
        io_loop.spawn(yield_now());
        rig.run(io_loop).unwrap();
    };
    warm_up(rig);
    let before = threads().len();
    let loops: Vec<IOLoop> = (0..5).map(|_| rig.io_loop()).collect();
    for io_loop in &loops {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let watch = io_loop.add_writer(ours, |_| ()).unwrap();
        run(io_loop);
        watch.remove();
    }
    let after = threads();
    assert_eq!(after.len(), before, "{after:?}");
}

pub(super) fn loops_on_several_threads_do_not_race(rig: &Rig) {
    const LOOPS: usize = 10;
    fn stops_itself(io_loop: &IOLoop) -> Log<()> {
        let log = Log::new();
        let (called, fired) = (log.clone(), log.clone());
        io_loop.call_soon(move || called.push(()));
        io_loop.call_later(Duration::from_micros(100), move || {
            fired.push(());
            stop();
        });
        log
    }
    let begun = Arc::new(Barrier::new(5));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let begun = Arc::clone(&begun);
            thread::spawn(move || {
                begun.wait();
                let compiled = BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled());
                for kind in compiled.cycle().take(LOOPS) {
                    let io_loop = IOLoop::builder().backend(kind).build().unwrap();
                    let log = stops_itself(&io_loop);
                    io_loop.start().unwrap();
                    io_loop.close().unwrap();
                    assert_eq!(log.len(), 2);
                }
            })
        })
        .collect();
    begun.wait();
    for _ in 0..LOOPS {
        let io_loop = rig.io_loop();
        let log = stops_itself(&io_loop);
        rig.run(&io_loop).unwrap();
        io_loop.close().unwrap();
        assert_eq!(log.len(), 2);
    }
    for other in others {
        other.join().unwrap();
    }
}

// Several loops on one host.

pub(super) fn several_loops_share_a_host(rig: &Rig) {
    let (one, two) = (rig.io_loop(), rig.io_loop());
    assert!(!is_same(&one, &two));
    let log = Log::new();
    for (io_loop, name) in [(&one, "one"), (&two, "two")] {
        let note = || {
            let (weak, log) = (io_loop.downgrade(), log.clone());
            move || log.push((name, is_current(&weak.upgrade().unwrap())))
        };
        io_loop.call_soon(note());
        io_loop.call_later(Duration::from_millis(1), note());
        let task = note();
        io_loop.spawn(async move {
            yield_now().await;
            task();
        });
    }
    // The one is stopped and closed, and the other goes on.
    let (other, noted) = (one.clone(), log.clone());
    two.spawn(async move {
        while !other.is_running() {
            yield_now().await;
        }
        other.call_later(Duration::from_millis(2), stop);
        while other.is_running() {
            yield_now().await;
        }
        other.close().unwrap();
        let done = move || {
            noted.push(("two", true));
            stop();
        };
        IOLoop::current().unwrap().call_later(Duration::from_millis(1), done);
    });
    let (first, second) = rig.block_on(both(one.run(), two.run()));
    assert!(first.is_ok() && second.is_ok());
    assert!(one.is_closed() && !two.is_closed());
    let mut seen = log.take();
    seen.sort_unstable();
    let expected = [[("one", true); 3].as_slice(), &[("two", true); 4]].concat();
    assert_eq!(seen, expected);
}

pub(super) fn closing_leaves_the_host_usable(rig: &Rig) {
    let io_loop = rig.io_loop();
    one_turn(rig, &io_loop);
    io_loop.close().unwrap();
    rig.block_on(async {
        yield_now().await;
        // Closed inside the host, after a run was given up, with work left.
        let io_loop = rig.io_loop();
        let _filled = fill(&io_loop, &Drops::new());
        assert!(poll_once(pin!(io_loop.run())).is_pending());
        io_loop.close().unwrap();
        yield_now().await;
        let dropped = rig.io_loop();
        let _filled = fill(&dropped, &Drops::new());
        drop(dropped);
        yield_now().await;
    });
    assert_blocks(rig, &rig.io_loop());
}

// What the cases above share.

/// Runs one loop and has it sleep: what the runtime opens or starts once for the process is there
/// from here on, also where it waits with that for its first sleep.
fn warm_up(rig: &Rig) {
    assert_blocks(rig, &rig.io_loop());
}

/// Everything that a refused call must leave as it was.
fn state(io_loop: &IOLoop) -> (bool, bool, Metrics, Option<Instant>) {
    let (running, closed) = (io_loop.is_running(), io_loop.is_closed());
    (running, closed, io_loop.metrics(), io_loop.next_deadline())
}

/// How many watches, timers, callbacks and tasks a loop holds.
fn holdings(metrics: &Metrics) -> [usize; 4] {
    [metrics.watches, metrics.timers, metrics.queued, metrics.tasks]
}

/// What goes to another thread to be run or dropped there.
#[derive(Clone, Default)]
struct Captured(Arc<()>);

impl Captured {
    /// Whether every other clone was dropped.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Adds a reader that reads all there is; returns the other end of what it reads from as well.
fn add_reader(io_loop: &IOLoop, mut called: impl FnMut() + 'static) -> (Watch, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let watch = io_loop.add_reader(ours, move |mut ours| {
        while ours.read(&mut [0; 16]).is_ok_and(|n| n > 0) {}
        called();
    });
    (watch.unwrap(), theirs)
}

/// Whether the other end is closed, or will be as soon as a process that the harness of another
/// test is making has let go of its duplicate.
fn is_hung_up(mut peer: UnixStream) -> bool {
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    peer.read(&mut [0]).is_ok_and(|n| n == 0)
}

/// What [`fill`] put into a loop.
struct Filled {
    /// What of it was run.
    ran: Log<&'static str>,
    _peer: UnixStream,
}

/// How many things [`fill`] puts into a loop.
const FILLED: usize = 6;

/// Puts one of each thing into a loop, each with something captured.
fn fill(io_loop: &IOLoop, drops: &Drops) -> Filled {
    let item = drops.item();
    io_loop.set_exception_handler(move |_| {
        let _held = &item;
    });
    fill_but_the_handler(io_loop, drops)
}

fn fill_but_the_handler(io_loop: &IOLoop, drops: &Drops) -> Filled {
    let ran = Log::new();
    let run = |name: &'static str| {
        let (ran, item) = (ran.clone(), drops.item());
        move || {
            let _held = &item;
            ran.push(name);
        }
    };
    io_loop.call_soon(run("callback"));
    io_loop.call_later(Duration::ZERO, run("timer"));
    let task = run("task");
    io_loop.spawn(async move { task() });
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = (run("reader"), run("paused writer"));
    let ours = Rc::new(ours);
    io_loop.add_reader(Rc::clone(&ours), move |_| reader()).unwrap();
    let paused = io_loop.add_writer(ours, move |_| writer()).unwrap();
    assert!(paused.pause());
    theirs.write_all(b"x").unwrap();
    Filled { ran, _peer: theirs }
}
