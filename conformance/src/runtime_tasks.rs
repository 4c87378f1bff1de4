//! The executor that a backend has its loops drive.

use std::future::pending;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::rig::{Rig, Spawn};
use super::tools::{Count, block_on, chain, chain_of_timers, current, exceptions, yield_now};
use ioloop::observe::Origin;
use ioloop::{IOLoop, Reactor, bridge, deferred};

/// A loop, and what spawns on its executor; none where its backend has none.
fn spawning(rig: &Rig) -> Option<(IOLoop, Spawn)> {
    let io_loop = rig.io_loop();
    let spawn = rig.spawn(&io_loop)?;
    Some((io_loop, spawn))
}

/// Drives a loop until a task of its executor has run that is spawned now.
fn run_for_a_task(rig: &Rig, io_loop: &IOLoop, spawn: &Spawn) {
    let handle = io_loop.handle();
    spawn(Box::pin(async move { handle.stop().expect("a loop that runs") }));
    rig.run(io_loop).expect("running until a task has run");
}

pub(super) fn a_task_that_any_thread_spawns_is_polled_on_the_loops_thread(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let (ids, ran) = channel();
    let handle = io_loop.handle();
    let spawner = thread::spawn(move || {
        let again = Arc::clone(&spawn);
        spawn(Box::pin(async move {
            ids.send(thread::current().id()).unwrap();
            yield_now().await;
            ids.send(thread::current().id()).unwrap();
            // By a task, on the thread that drives it.
            again(Box::pin(async move {
                ids.send(thread::current().id()).unwrap();
                handle.stop().unwrap();
            }));
        }));
    });
    rig.run(&io_loop).unwrap();
    spawner.join().unwrap();
    assert_eq!(ran.iter().collect::<Vec<_>>(), [thread::current().id(); 3]);
}

pub(super) fn what_a_callback_spawns_is_polled_in_the_same_run(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    for _ in 0..3 {
        let (spawn, handle) = (Arc::clone(&spawn), io_loop.handle());
        // The only work: without it the loop would sleep.
        io_loop.call_soon(move || spawn(Box::pin(async move { handle.stop().unwrap() })));
        rig.run(&io_loop).unwrap();
    }
}

pub(super) fn a_wake_of_a_task_from_another_thread_wakes_a_sleeping_loop(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    for _ in 0..20 {
        let (resolver, gate) = deferred();
        let (waits, waiting) = channel();
        let handle = io_loop.handle();
        spawn(Box::pin(async move {
            waits.send(()).unwrap();
            gate.await.unwrap();
            handle.stop().unwrap();
        }));
        let waker = thread::spawn(move || {
            waiting.recv().unwrap();
            resolver.resolve(()).unwrap();
        });
        rig.run(&io_loop).unwrap();
        waker.join().unwrap();
    }
}

pub(super) fn tasks_wait_while_nobody_drives_the_loop_and_none_is_lost(rig: &Rig) {
    const TASKS: u32 = 100;
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let ran = Arc::new(AtomicU32::new(0));
    for round in 1..=3 {
        for _ in 0..TASKS {
            let (ran, handle) = (Arc::clone(&ran), io_loop.handle());
            spawn(Box::pin(async move {
                yield_now().await;
                if ran.fetch_add(1, Ordering::Relaxed) + 1 == round * TASKS {
                    handle.stop().unwrap();
                }
            }));
        }
        assert_eq!(ran.load(Ordering::Relaxed), (round - 1) * TASKS, "before it is driven");
        // One that is stopped at once leaves what it has not run for the next.
        io_loop.stop();
        rig.run(&io_loop).unwrap();
        if ran.load(Ordering::Relaxed) < round * TASKS {
            rig.run(&io_loop).unwrap();
        }
        assert_eq!(ran.load(Ordering::Relaxed), round * TASKS);
    }
}

pub(super) fn a_flood_of_tasks_and_the_rest_of_the_loop_starve_neither(rig: &Rig) {
    const EACH: u32 = 100;
    /// Many times what the slowest needs.
    const TURNS: u64 = 20_000;
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let polls = Arc::new(AtomicU32::new(0));
    let over = Arc::new(());
    for _ in 0..50 {
        let (polls, over) = (Arc::clone(&polls), Arc::downgrade(&over));
        spawn(Box::pin(async move {
            while over.strong_count() > 0 {
                polls.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        }));
    }
    // Readable for ever.
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(writer);
    let [events, calls, timers] = [(); 3].map(|()| Count::new());
    let seen = events.clone();
    let watch = io_loop.add_reader(reader, move |mut reader| {
        let _ = reader.read(&mut [0]);
        seen.add();
    });
    let watch = watch.unwrap();
    let called = calls.clone();
    let all = [events.clone(), calls, timers.clone()];
    let polled = Arc::clone(&polls);
    chain(&io_loop, move || {
        called.add();
        let turns = current().metrics().turns;
        let least = all.iter().map(Count::get).min().unwrap_or(0);
        if least.min(polled.load(Ordering::Relaxed)) >= EACH || turns >= TURNS {
            current().stop();
        }
    });
    chain_of_timers(&io_loop, move || _ = timers.add());
    rig.run(&io_loop).unwrap();
    watch.remove();
    drop(over);
    let turns = io_loop.metrics().turns;
    let polls = polls.load(Ordering::Relaxed);
    assert!(turns < TURNS, "{} events, {polls} polls", events.get());
}

pub(super) fn a_panic_of_a_task_leaves_the_loop_and_the_executor_going(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let reported = exceptions(&io_loop);
    for _ in 0..3 {
        // It is the executor's to catch, as async-executor's and tokio's do; otherwise it is the
        // loop's.
        spawn(Box::pin(async { panic!("of a task") }));
        run_for_a_task(rig, &io_loop, &spawn);
        let reports = reported.take();
        assert!(reports.len() <= 1, "{reports:?}");
        assert!(reports.iter().all(|(origin, _)| *origin == Origin::RuntimeTask), "{reports:?}");
    }
}

pub(super) fn a_panic_under_a_bridge_is_its_awaiters_or_is_reported_once(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let reported = exceptions(&io_loop);
    let awaited = bridge::to(|future| spawn(Box::pin(future)), async { panic!("awaited") });
    let error = Result::<(), _>::unwrap_err(rig.run_until(&io_loop, awaited).unwrap());
    assert!(error.is_panic());
    assert_eq!(reported.take(), []);
    // Where the executor polls its tasks in the loop, that has somebody to tell.
    let (sender, is_in_loop) = channel();
    let detached = async move {
        sender.send(IOLoop::current().is_some()).unwrap();
        panic!("nobody awaits it");
    };
    let task = bridge::to(|future| spawn(Box::pin(future)), detached);
    task.keep().detach();
    run_for_a_task(rig, &io_loop, &spawn);
    let expected = is_in_loop.recv().unwrap();
    let expected = expected.then(|| (Origin::Task, String::from("nobody awaits it")));
    assert_eq!(reported.take(), Vec::from_iter(expected));
}

pub(super) fn a_task_under_a_bridge_is_cancelled_from_another_thread(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let captured = Arc::new(());
    let held = Arc::clone(&captured);
    let (waits, waiting) = channel();
    let task = bridge::to(|future| spawn(Box::pin(future)), async move {
        waits.send(()).unwrap();
        pending::<()>().await;
        drop(held);
    });
    let handle = io_loop.handle();
    let canceller = thread::spawn(move || {
        waiting.recv().unwrap();
        task.cancel();
        let error = block_on(task).unwrap_err();
        handle.stop().unwrap();
        error.is_cancelled()
    });
    rig.run(&io_loop).unwrap();
    assert!(canceller.join().unwrap());
    assert_eq!(Arc::strong_count(&captured), 1);
}

pub(super) fn closing_a_loop_drops_the_tasks_of_the_executor_that_it_made(rig: &Rig) {
    for driven in [false, true] {
        let Some((io_loop, spawn)) = spawning(rig) else { return };
        let captured = Arc::new(());
        let held = Arc::clone(&captured);
        spawn(Box::pin(async move {
            pending::<()>().await;
            drop(held);
        }));
        if driven {
            run_for_a_task(rig, &io_loop, &spawn);
        }
        let answer = bridge::to(|future| spawn(Box::pin(future)), pending::<()>());
        drop(spawn);
        assert_eq!(Arc::strong_count(&captured), 2);
        io_loop.close().unwrap();
        assert_eq!(Arc::strong_count(&captured), 1);
        assert!(block_on(answer).unwrap_err().is_closed());
    }
}

pub(super) fn a_task_may_ask_the_loop_that_polls_it_for_anything(rig: &Rig) {
    let Some((io_loop, spawn)) = spawning(rig) else { return };
    let handle = io_loop.handle();
    let (done, is_done) = channel();
    spawn(Box::pin(async move {
        // Where the executor is polled elsewhere on the thread, there is no loop to ask.
        if let Some(io_loop) = IOLoop::current() {
            assert!(io_loop.close().is_err() && io_loop.is_running());
            io_loop.call_later(Duration::ZERO, || ()).cancel();
            let told = done.clone();
            io_loop.spawn(async move { told.send("a task of the loop").unwrap() });
        }
        handle.add_callback(move || done.send("a callback").unwrap()).unwrap();
        let stop = handle.clone();
        handle.add_callback(move || stop.stop().unwrap()).unwrap();
    }));
    rig.run(&io_loop).unwrap();
    assert!(is_done.try_iter().any(|what| what == "a callback"));
}
