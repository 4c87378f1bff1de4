//! Queued callbacks: their order and fairness, panics, cancelling, and what they captured.

use std::cell::{Cell, OnceCell};
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{panic_any, set_hook, take_hook};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::rig::Rig;
use super::tools::{
    Count, Drops, Log, chain, chain_of_timers, current, one_turn, readable_stream, reports, stop,
};
use ioloop::observe::Origin;
use ioloop::{CallbackHandle, Handle, IOLoop, Reactor, WeakIOLoop};

/// While callbacks are queued, a loop polls its descriptors, and lets its host run, after this many
/// calls at the latest; [`IOLoop`] documents it.
const CALLS: u32 = 61;

const HOUR: Duration = Duration::from_secs(3600);

// Order.

pub(super) fn callbacks_run_in_the_order_queued(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    for n in 0..100 {
        let log = log.clone();
        io_loop.call_soon(move || {
            log.push(n);
            if n == 50 {
                for n in 100..103 {
                    let log = log.clone();
                    current().call_soon(move || log.push(n));
                }
                current().call_soon(stop);
            }
        });
    }
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), Vec::from_iter(0..103));
}

pub(super) fn posts_from_the_loops_own_thread_and_call_soon_share_one_queue(rig: &Rig) {
    let io_loop = rig.io_loop();
    // A channel, since what is posted has to be `Send`.
    let (log, logged) = channel();
    let queue_all = move |io_loop: &IOLoop| {
        for round in 0..3 {
            let sender = log.clone();
            io_loop.call_soon(move || sender.send((round, "call_soon")).unwrap());
            let sender = log.clone();
            let post = move || sender.send((round, "add_callback")).unwrap();
            io_loop.handle().add_callback(post).unwrap();
            let sender = log.clone();
            let task = io_loop.spawn(async move { sender.send((round, "spawn")).unwrap() });
            task.detach();
            let sender = log.clone();
            let post = move || sender.send((round, "post")).unwrap();
            io_loop.poster().post(post).unwrap();
        }
        io_loop.call_soon(stop);
    };
    let names = ["call_soon", "add_callback", "spawn", "post"];
    let expected: Vec<_> = (0..3).flat_map(|round| names.map(|name| (round, name))).collect();

    // While nobody drives the loop.
    queue_all(&io_loop);
    rig.run(&io_loop).unwrap();
    assert_eq!(logged.try_iter().collect::<Vec<_>>(), expected);

    // In a callback.
    io_loop.call_soon(move || queue_all(&current()));
    rig.run(&io_loop).unwrap();
    assert_eq!(logged.try_iter().collect::<Vec<_>>(), expected);
}

pub(super) fn nothing_is_called_inside_the_call_that_asks_for_it(rig: &Rig) {
    const WAYS: u32 = 6;
    let io_loop = rig.io_loop();
    let ran = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ran);
    let ask_all = move |io_loop: &IOLoop| {
        let run = || {
            let counter = Arc::clone(&counter);
            move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let before = counter.load(Ordering::Relaxed);
        io_loop.call_soon(run());
        io_loop.call_later(Duration::ZERO, run());
        io_loop.call_at(Instant::now(), run());
        io_loop.handle().add_callback(run()).unwrap();
        let called = run();
        io_loop.spawn(async move { called() }).detach();
        let (stream, peer) = readable_stream();
        let called = run();
        io_loop
            .add_reader(stream, move |stream| {
                called();
                let _peer = &peer;
                assert_eq!((&*stream).read(&mut [0]).unwrap(), 1);
            })
            .unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), before);
    };

    // While nobody drives the loop, with the loop entered, and in a callback.
    ask_all(&io_loop);
    io_loop.enter(|| ask_all(&io_loop));
    io_loop.call_soon(move || ask_all(&current()));
    chain(&io_loop, move || {
        if ran.load(Ordering::Relaxed) == 3 * WAYS {
            stop();
        }
    });
    let reports = reports(&io_loop);
    rig.run(&io_loop).unwrap();
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn what_callbacks_queue_waits_for_the_next_turn(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, logged) = channel();
    for (name, queued, posted) in [("a", "a2", "a3"), ("b", "b2", "b3")] {
        let log = log.clone();
        io_loop.call_soon(move || {
            log.send(name).unwrap();
            let sender = log.clone();
            current().call_soon(move || sender.send(queued).unwrap());
            let post = move || log.send(posted).unwrap();
            current().handle().add_callback(post).unwrap();
        });
    }
    one_turn(rig, &io_loop);
    assert_eq!(logged.try_iter().collect::<Vec<_>>(), ["a", "b"]);
    one_turn(rig, &io_loop);
    assert_eq!(logged.try_iter().collect::<Vec<_>>(), ["a2", "a3", "b2", "b3"]);
}

// Fairness, counted in turns.

pub(super) fn an_endless_chain_of_callbacks_does_not_starve_descriptors(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (stream, mut peer) = UnixStream::pair().unwrap();
    let (calls, waited, waiting) = (Count::new(), Count::new(), Rc::new(Cell::new(false)));
    let gaps = Log::new();

    let (counter, flag) = (waited.clone(), Rc::clone(&waiting));
    chain(&io_loop, move || {
        // Seven shares no factor with the distance of two polls: each byte arrives at another
        // place.
        if calls.add() % 7 == 0 && !flag.replace(true) {
            peer.write_all(b".").unwrap();
        }
        if flag.get() {
            counter.add();
        }
    });
    let log = gaps.clone();
    let reader = move |mut stream: &UnixStream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        waiting.set(false);
        log.push(waited.take());
        if log.len() == 50 {
            stop();
        }
    };
    io_loop.add_reader(stream, reader).unwrap();
    rig.run(&io_loop).unwrap();
    let gaps = gaps.take();
    // The turn that polls runs its callback first.
    assert!(gaps.iter().all(|gap| *gap <= CALLS + 1), "{gaps:?}");
}

pub(super) fn a_crowd_of_endless_chains_does_not_starve_descriptors(rig: &Rig) {
    const CROWD: u32 = 600;
    let io_loop = rig.io_loop();
    let calls = Count::new();
    for _ in 0..CROWD {
        let calls = calls.clone();
        chain(&io_loop, move || {
            calls.add();
        });
    }
    let (stream, _peer) = readable_stream();
    io_loop.add_reader(stream, |_| stop()).unwrap();
    rig.run(&io_loop).unwrap();
    // One turn makes more calls than that, so the next one polls; it runs its callbacks first.
    assert!(calls.get() <= 2 * CROWD, "{}", calls.get());
}

/// Callbacks that take longer than a loop may leave its poll out for.
pub(super) fn slow_callbacks_keep_a_descriptor_waiting_for_two_turns_at_most(rig: &Rig) {
    for crowd in [1, 16] {
        let gaps = slow_callbacks_beside_a_reader(rig, crowd, 0);
        // At worst a byte arrives in the first callback of a turn. The next turn runs its callbacks
        // first.
        assert!(gaps.iter().all(|gap| *gap <= 2 * crowd), "{crowd}: {gaps:?}");
    }
}

/// The loop knows how long calls take from those before.
pub(super) fn callbacks_that_become_slow_keep_a_descriptor_waiting_for_sixteen_at_most(rig: &Rig) {
    let gaps = slow_callbacks_beside_a_reader(rig, 1, 500);
    // Once only; all the others are those of the case above.
    assert!(gaps.iter().sum::<u32>() <= 16 + 5 * 2, "{gaps:?}");
}

/// How many slow callbacks run between a byte and its reader's call, five times, after so many
/// quick ones.
fn slow_callbacks_beside_a_reader(rig: &Rig, crowd: u32, mut quick: u32) -> Vec<u32> {
    let io_loop = rig.io_loop();
    let (stream, mut peer) = UnixStream::pair().unwrap();
    let (waited, waiting) = (Count::new(), Rc::new(Cell::new(false)));
    let mut first = true;
    for _ in 0..crowd {
        let (counter, flag) = (waited.clone(), Rc::clone(&waiting));
        let mut peer = std::mem::replace(&mut first, false).then(|| peer.try_clone().unwrap());
        chain(&io_loop, move || {
            if quick > 0 {
                quick -= 1;
                return;
            }
            if !flag.get() {
                if let Some(peer) = &mut peer {
                    flag.set(true);
                    peer.write_all(b".").unwrap();
                }
            }
            if flag.get() {
                counter.add();
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(150) {}
        });
    }
    peer.flush().unwrap();
    let gaps = Log::new();
    let log = gaps.clone();
    let reader = move |mut stream: &UnixStream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        waiting.set(false);
        log.push(waited.take());
        if log.len() == 5 {
            stop();
        }
    };
    io_loop.add_reader(stream, reader).unwrap();
    rig.run(&io_loop).unwrap();
    gaps.take()
}

pub(super) fn an_endless_chain_of_callbacks_does_not_starve_timers(rig: &Rig) {
    let io_loop = rig.io_loop();
    let deadline = io_loop.now() + Duration::from_millis(2);
    let overdue = Count::new();
    let counter = overdue.clone();
    chain(&io_loop, move || {
        if Instant::now() >= deadline {
            counter.add();
        }
    });
    io_loop.call_at(deadline, stop);
    rig.run(&io_loop).unwrap();
    // At worst it falls due right after a poll, and there is another callback in that turn.
    assert!(overdue.get() <= CALLS + 2, "{}", overdue.get());
}

pub(super) fn an_endless_chain_of_callbacks_does_not_starve_stop(rig: &Rig) {
    let io_loop = rig.io_loop();
    let calls = Count::new();
    let counter = calls.clone();
    chain(&io_loop, move || {
        if counter.add() % 100 == 0 {
            stop();
        }
    });
    for run in 1..=3 {
        rig.run(&io_loop).unwrap();
        assert_eq!(calls.get(), 100 * run);
    }
}

pub(super) fn an_endless_chain_of_callbacks_does_not_starve_a_stop_from_another_thread(rig: &Rig) {
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let mut thread = None;
    chain(&io_loop, move || {
        let handle = handle.clone();
        thread.get_or_insert_with(|| thread::spawn(move || handle.stop().unwrap()));
    });
    rig.run(&io_loop).unwrap();
}

pub(super) fn endless_chains_of_callbacks_timers_and_events_share_the_turns(rig: &Rig) {
    const ROUNDS: u32 = 10;
    let io_loop = rig.io_loop();
    let (calls, timers, events) = (Count::new(), Count::new(), Count::new());
    let counter = calls.clone();
    chain(&io_loop, move || {
        if counter.add() == ROUNDS * (CALLS + 1) {
            stop();
        }
    });
    let counter = timers.clone();
    chain_of_timers(&io_loop, move || {
        counter.add();
    });
    let (stream, _peer) = readable_stream();
    let counter = events.clone();
    // Reads nothing, so it is ready in every poll.
    let reader = move |_: &UnixStream| {
        counter.add();
    };
    io_loop.add_reader(stream, reader).unwrap();
    rig.run(&io_loop).unwrap();
    // A timer of no delay fires in the next turn, whether that polls the descriptors or not.
    assert_eq!(timers.get(), calls.get());
    assert!(events.get() >= ROUNDS, "{}", events.get());
}

pub(super) fn a_host_task_alternates_with_a_chain_of_callbacks(rig: &Rig) {
    // A turn's own batch is finished.
    for (crowd, most) in [(1, CALLS), (100, 100)] {
        let io_loop = rig.io_loop();
        let calls = Count::new();
        for _ in 0..crowd {
            let calls = calls.clone();
            chain(&io_loop, move || {
                calls.add();
            });
        }
        let calls_between = Log::new();
        rig.block_on(async {
            let mut run = pin!(io_loop.run());
            // The host's task shares its turn with the loop's, and is always ready for another.
            poll_fn(|cx| {
                let polled = run.as_mut().poll(cx);
                calls_between.push(calls.take());
                if calls_between.len() == 20 {
                    io_loop.stop();
                }
                cx.waker().wake_by_ref();
                polled
            })
            .await
            .unwrap();
        });
        let mut calls_between = calls_between.take();
        // The turn that stops is the only one in its poll.
        assert_eq!(calls_between.pop(), Some(crowd));
        assert!(calls_between.iter().all(|calls| (1..=most).contains(calls)), "{calls_between:?}");
    }
}

// Posting.

pub(super) fn a_post_from_inside_runs_in_the_next_turn(rig: &Rig) {
    let io_loop = rig.io_loop();
    // What the loop would otherwise wait for.
    let _far = io_loop.call_later(HOUR, || ()).cancel_on_drop();
    let turns = Log::new();
    let log = turns.clone();
    let post = move || {
        let (log, posted_in) = (log.clone(), current().metrics().turns);
        let ran = move || {
            log.push(current().metrics().turns - posted_in);
            if log.len() == 4 {
                stop();
            }
        };
        current().call_soon(ran);
    };
    io_loop.call_soon(post.clone());
    io_loop.call_later(Duration::from_millis(1), post.clone());
    let (stream, _peer) = readable_stream();
    let post_once = post.clone();
    let reader = move |mut stream: &UnixStream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        post_once();
    };
    io_loop.add_reader(stream, reader).unwrap();
    io_loop.spawn(async move { post() }).detach();
    rig.run(&io_loop).unwrap();
    assert_eq!(turns.take(), [1; 4]);
}

pub(super) fn a_post_from_another_thread_wakes_a_sleeping_loop(rig: &Rig) {
    const ROUNDS: u32 = 200;
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let (ball, balls) = channel();
    let back = ball.clone();
    let thread = thread::spawn(move || {
        // Each post meets a loop that has nothing to do: asleep, or on the way there.
        for round in balls {
            let back = back.clone();
            let post = move || match round {
                ROUNDS => stop(),
                _ => back.send(round + 1).unwrap(),
            };
            handle.add_callback(post).unwrap();
            if round == ROUNDS {
                break;
            }
        }
    });
    ball.send(1).unwrap();
    rig.run(&io_loop).unwrap();
    thread.join().unwrap();
    assert_eq!(io_loop.metrics().callbacks, u64::from(ROUNDS));
}

pub(super) fn thousands_of_posts_among_timers_all_run(rig: &Rig) {
    const THREADS: u32 = 4;
    const POSTS: u32 = 1024;
    let io_loop = rig.io_loop();
    let reports = reports(&io_loop);
    let fired = Arc::new(AtomicU32::new(0));
    let handle = io_loop.handle();
    let threads = Vec::from_iter((0..THREADS).map(|_| {
        let (handle, fired) = (handle.clone(), Arc::clone(&fired));
        thread::spawn(move || {
            for _ in 0..POSTS {
                let fired = Arc::clone(&fired);
                // Sets a timer of no delay, and another that it cancels.
                let post = move || {
                    let far = current().call_later(HOUR, || unreachable!("it was cancelled"));
                    current().call_later(Duration::ZERO, move || {
                        if fired.fetch_add(1, Ordering::Relaxed) + 1 == THREADS * POSTS {
                            stop();
                        }
                    });
                    assert!(far.cancel());
                };
                handle.add_callback(post).unwrap();
            }
        })
    }));
    rig.run(&io_loop).unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    let metrics = io_loop.metrics();
    assert_eq!(metrics.callbacks, u64::from(THREADS * POSTS));
    assert_eq!(metrics.timers, 0);
    assert_eq!(reports.take(), [""; 0]);
}

// Panics.

pub(super) fn a_callback_that_panics_is_reported_once_and_the_next_one_runs(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (reports, log) = (reports(&io_loop), Log::new());
    io_loop.call_soon(|| panic!("queued"));
    let next = log.clone();
    io_loop.call_soon(move || next.push("next"));
    let post = io_loop.handle().add_callback(|| panic!("posted"));
    post.unwrap();
    let last = log.clone();
    io_loop.call_soon(move || {
        last.push("last");
        stop();
    });
    rig.run(&io_loop).unwrap();
    let reported = ["a callback panicked: queued", "a callback panicked: posted"];
    assert_eq!(reports.take(), reported);
    assert_eq!(log.take(), ["next", "last"]);
    one_turn(rig, &io_loop);
    assert_eq!(reports.len(), 0, "reported once");
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

pub(super) fn a_destructor_that_panics_is_reported_once_and_the_rest_goes_on(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (reports, log) = (reports(&io_loop), Log::new());

    let bomb = Bomb("of a callback");
    let callback = io_loop.call_soon(move || drop(bomb));
    let bomb = Bomb("of a callback that ran");
    io_loop.call_soon(move || drop(bomb));
    let bomb = Bomb("of a timer");
    let timer = io_loop.call_later(HOUR, move || drop(bomb));
    let bomb = Bomb("of a watch");
    let (stream, _peer) = UnixStream::pair().unwrap();
    let hold = move |_: &UnixStream| _ = &bomb;
    let watch = io_loop.add_reader(stream, hold).unwrap();
    let bomb = Bomb("of a task");
    let task = io_loop.spawn(async move {
        let _bomb = bomb;
        pending::<()>().await;
    });
    assert!(callback.cancel());
    let after = log.clone();
    io_loop.call_soon(move || {
        assert!(timer.cancel());
        assert!(watch.remove());
        task.cancel();
        after.push("after");
    });
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(
        reports.take(),
        [
            "a destructor panicked: of a callback",
            "a callback panicked: of a callback that ran",
            "a destructor panicked: of a timer",
            "a destructor panicked: of a watch",
            "a destructor panicked: of a task",
        ]
    );
    assert_eq!(log.take(), ["after"]);

    // Closing drops what there is, each by itself.
    let drops = Drops::new();
    for name in ["of one", "of another"] {
        let (bomb, item) = (Bomb(name), drops.item());
        io_loop.call_later(HOUR, move || drop((bomb, item)));
    }
    io_loop.close().unwrap();
    let mut closed = reports.take();
    closed.sort();
    let expected = ["of another", "of one"].map(|name| format!("a destructor panicked: {name}"));
    assert_eq!(closed, expected);
    assert_eq!(drops.count(), 2);
}

pub(super) fn the_exception_handler_gets_the_payload_and_a_description(rig: &Rig) {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);

    let io_loop = rig.io_loop();
    let seen = Log::new();
    let log = seen.clone();
    io_loop.set_exception_handler(move |exception| {
        let payload = exception.payload.downcast_ref().map(|Payload(n)| *n);
        let message = exception.message().map(str::to_owned);
        log.push((exception.origin, payload, message, exception.to_string()));
    });
    io_loop.call_soon(|| panic_any(Payload(7)));
    io_loop.call_soon(|| panic!("number {}", 8));
    io_loop.call_later(Duration::ZERO, || panic!("number nine"));
    one_turn(rig, &io_loop);

    let (callback, timer) = (Origin::Callback, Origin::Timer);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        seen.take(),
        [
            (callback, Some(7), None, text("a callback panicked: (no message)")),
            (callback, None, Some(text("number 8")), text("a callback panicked: number 8")),
            (timer, None, Some(text("number nine")), text("a timer panicked: number nine")),
        ]
    );
}

pub(super) fn without_its_exception_handler_the_loop_does_as_by_default(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, drops) = (Log::new(), Drops::new());
    let panic_and_go_on = || {
        let log = log.clone();
        io_loop.call_soon(|| panic!("on purpose"));
        io_loop.call_soon(move || log.push("next"));
        one_turn(rig, &io_loop);
    };
    for handler in ["first handler", "second handler"] {
        let (log, item) = (log.clone(), drops.item());
        io_loop.set_exception_handler(move |_| {
            let _item = &item;
            log.push(handler);
        });
    }
    assert_eq!(drops.count(), 1, "the handler that was replaced is gone");
    panic_and_go_on();
    assert_eq!(log.take(), ["second handler", "next"]);

    io_loop.reset_exception_handler();
    assert_eq!(drops.count(), 2, "the handler is gone");
    panic_and_go_on();
    assert_eq!(log.take(), ["next"]);
}

pub(super) fn an_exception_handler_that_panics_is_reported_itself(rig: &Rig) {
    // What is left to report it to is the panic hook, which is the whole process's.
    let panics = Arc::new(AtomicU32::new(0));
    let (counter, before) = (Arc::clone(&panics), take_hook());
    set_hook(Box::new(move |info| {
        counter.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    let io_loop = rig.io_loop();
    let (handled, log) = (Count::new(), Log::new());
    let counter = handled.clone();
    io_loop.set_exception_handler(move |_| {
        counter.add();
        panic!("in the handler");
    });
    for n in 0..2 {
        io_loop.call_soon(|| panic!("in a callback"));
        let log = log.clone();
        io_loop.call_soon(move || log.push(n));
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [0, 1]);
    assert_eq!(handled.get(), 2, "the handler stays");
    assert_eq!(panics.load(Ordering::Relaxed), 4);
}

// Cancelling.

pub(super) fn a_cancelled_callback_does_not_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let callbacks = Vec::from_iter((0..5).map(|n| {
        let log = log.clone();
        io_loop.call_soon(move || log.push(n))
    }));
    for n in [1, 4] {
        assert!(!callbacks[n].is_cancelled());
        assert!(callbacks[n].cancel());
        assert!(callbacks[n].is_cancelled());
        assert!(!callbacks[n].cancel(), "it was cancelled already");
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [0, 2, 3]);
    assert!(callbacks[1].is_cancelled());
}

pub(super) fn a_callback_that_an_earlier_one_of_its_batch_cancels_does_not_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, slot) = (Log::new(), Rc::new(Cell::new(None)));
    let (first, later) = (log.clone(), Rc::clone(&slot));
    io_loop.call_soon(move || {
        let later: CallbackHandle = later.take().unwrap();
        first.push((later.cancel(), later.is_cancelled()));
    });
    let second = log.clone();
    slot.set(Some(io_loop.call_soon(move || second.push((false, false)))));
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [(true, true)]);
}

pub(super) fn a_callback_that_has_run_does_not_say_cancelled(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, slot) = (Log::new(), Rc::new(OnceCell::new()));
    let (inside, this) = (log.clone(), Rc::clone(&slot));
    let callback = io_loop.call_soon(move || {
        let this: &CallbackHandle = this.get().unwrap();
        inside.push((this.cancel(), this.is_cancelled()));
    });
    slot.set(callback).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [(false, false)], "while it runs");

    let callback = slot.get().unwrap();
    assert!(!callback.is_cancelled());
    assert!(!callback.cancel(), "it has run");
    assert!(!callback.is_cancelled());
    // Nor does its handle reach whoever is queued next.
    let counter = Count::new();
    let count = counter.clone();
    io_loop.call_soon(move || _ = count.add());
    assert!(!callback.cancel());
    one_turn(rig, &io_loop);
    assert_eq!(counter.get(), 1);
}

pub(super) fn a_callbacks_handle_may_be_dropped_and_its_guard_cancels(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, drops) = (Log::new(), Drops::new());
    let queue = |name| {
        let (log, item) = (log.clone(), drops.item());
        io_loop.call_soon(move || {
            let _item = &item;
            log.push(name);
        })
    };
    drop(queue("handle dropped"));
    drop(queue("guard dropped").cancel_on_drop());
    assert_eq!(drops.count(), 1, "the guard cancels at once");
    let held = queue("guard held").cancel_on_drop();
    assert!(!held.is_cancelled(), "a guard is its handle");
    let kept = queue("kept").cancel_on_drop().keep();
    drop(kept);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["handle dropped", "guard held", "kept"]);
    // It has nothing left to cancel.
    drop(held);
    drop(queue("after").cancel_on_drop().keep());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["after"]);
}

pub(super) fn cancelling_a_task_is_not_reported(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (reports, drops) = (reports(&io_loop), Drops::new());
    let spawn = || {
        let item = drops.item();
        io_loop.spawn(async move {
            let _item = item;
            pending::<()>().await;
        })
    };
    let (polled, unpolled) = (spawn(), spawn());
    unpolled.cancel();
    one_turn(rig, &io_loop);
    polled.cancel();
    drop(spawn().cancel_on_drop());
    let call = io_loop.handle().call(|| unreachable!("it was cancelled"));
    call.cancel();
    assert!(rig.run_until(&io_loop, polled).unwrap().unwrap_err().is_cancelled());
    assert!(rig.run_until(&io_loop, unpolled).unwrap().unwrap_err().is_cancelled());
    assert!(rig.run_until(&io_loop, call).unwrap().unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 3);
    assert_eq!(io_loop.metrics().tasks, 0);
    assert_eq!(reports.take(), [""; 0]);
}

// Captures.

pub(super) fn captures_are_dropped_as_soon_as_their_callback_has_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (drops, dropped) = (Rc::new(Drops::new()), Log::new());
    for _ in 0..3 {
        let (item, drops, log) = (drops.item(), Rc::clone(&drops), dropped.clone());
        io_loop.call_soon(move || {
            // Held to the end, but not consumed.
            let _item = &item;
            log.push(drops.count());
        });
    }
    one_turn(rig, &io_loop);
    assert_eq!(dropped.take(), [0, 1, 2]);
    assert_eq!(drops.count(), 3);
}

pub(super) fn captures_are_dropped_at_the_cancel(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let item = drops.item();
    let callback = io_loop.call_soon(move || drop(item));
    let item = drops.item();
    let timer = io_loop.call_later(HOUR, move || drop(item));
    assert_eq!(drops.count(), 0);
    assert!(callback.cancel());
    assert_eq!(drops.count(), 1);
    assert!(timer.cancel());
    assert_eq!(drops.count(), 2);
}

/// Asks its loop for everything when it is dropped.
struct Asking {
    io_loop: WeakIOLoop,
    handle: Handle,
    /// Whether the loop accepted, for each of the ways.
    accepted: Log<bool>,
    ran: Arc<AtomicU32>,
}

impl Asking {
    /// Ways to ask.
    const WAYS: u32 = 5;

    fn run(&self) -> impl Fn() + Send + 'static {
        let ran = Arc::clone(&self.ran);
        move || _ = ran.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.accepted.push(self.handle.add_callback(self.run()).is_ok());
        let Some(io_loop) = self.io_loop.upgrade() else {
            return;
        };
        let callback = io_loop.call_soon(self.run());
        self.accepted.push(!callback.is_cancelled());
        let timer = io_loop.call_later(Duration::ZERO, self.run());
        self.accepted.push(!timer.is_cancelled());
        let (stream, _) = readable_stream();
        let run = self.run();
        let read_all = move |mut stream: &UnixStream| {
            // Once for the byte, and again for the end of the file.
            match stream.read(&mut [0]).unwrap() {
                0 => assert!(current().remove_reader(stream)),
                _ => run(),
            }
        };
        self.accepted.push(io_loop.add_reader(stream, read_all).is_ok());
        let run = self.run();
        let task = io_loop.spawn(async move { run() });
        self.accepted.push(!task.is_finished());
    }
}

pub(super) fn a_destructor_may_ask_its_loop_for_anything(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reports = reports(&io_loop);
    let (accepted, ran) = (Log::new(), Arc::new(AtomicU32::new(0)));
    let asking = || Asking {
        io_loop: io_loop.downgrade(),
        handle: io_loop.handle(),
        accepted: accepted.clone(),
        ran: Arc::clone(&ran),
    };
    let queue = || {
        let item = asking();
        io_loop.call_soon(move || drop(item))
    };
    let set = |delay| {
        let item = asking();
        io_loop.call_later(delay, move || drop(item))
    };
    let watch = || {
        let item = asking();
        let (stream, peer) = UnixStream::pair().unwrap();
        let hold = move |_: &UnixStream| _ = (&item, &peer);
        io_loop.add_reader(stream, hold).unwrap()
    };
    let spawn = || {
        let item = asking();
        io_loop.spawn(async move {
            let _item = item;
            pending::<()>().await;
        })
    };

    // While the queues are drained.
    queue();
    set(Duration::ZERO);
    one_turn(rig, &io_loop);
    // By a removal.
    queue().cancel();
    set(HOUR).cancel();
    watch().remove();
    spawn().cancel();
    let asked = 6 * Asking::WAYS;
    // A task is dropped in the next turn, and what its destructor asks for comes after that.
    for _ in 0..3 {
        one_turn(rig, &io_loop);
    }
    assert_eq!(ran.load(Ordering::Relaxed), asked);
    assert_eq!(accepted.take(), vec![true; asked as usize]);
    one_turn(rig, &io_loop);
    assert_eq!(io_loop.metrics().watches, 0);

    // While the loop is closed: then it takes nothing any more.
    queue();
    set(Duration::ZERO);
    watch();
    spawn().detach();
    io_loop.close().unwrap();
    assert_eq!(accepted.take(), vec![false; 4 * Asking::WAYS as usize]);
    assert_eq!(ran.load(Ordering::Relaxed), asked);
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn a_destructor_may_post_while_the_last_reference_to_the_loop_goes(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (accepted, ran) = (Log::new(), Arc::new(AtomicU32::new(0)));
    let asking = Asking {
        io_loop: io_loop.downgrade(),
        handle: io_loop.handle(),
        accepted: accepted.clone(),
        ran: Arc::clone(&ran),
    };
    io_loop.call_soon(move || drop(asking));
    drop(io_loop);
    assert_eq!(accepted.take(), [false]);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

// Generic code.

pub(super) fn whatever_points_to_a_reactor_is_one(rig: &Rig) {
    /// A library's use of its loop.
    fn exercise<R: Reactor>(reactor: R, log: &Sender<&'static str>) {
        let write = |name| {
            let log = log.clone();
            move || log.send(name).unwrap()
        };
        reactor.call_later(Duration::ZERO, write("call_later"));
        reactor.call_at(reactor.now(), write("call_at"));
        reactor.call_soon(write("call_soon"));
        reactor.poster().post(write("post")).unwrap();
        assert!(reactor.call_soon(write("cancelled")).cancel());
        assert!(reactor.call_later(Duration::ZERO, write("cancelled")).cancel());
        let stream = Rc::new(readable_stream().0);
        let read = write("reader");
        let remove = move |stream: &Rc<UnixStream>| {
            read();
            assert!(current().remove_reader(stream));
        };
        reactor.add_reader(Rc::clone(&stream), remove).unwrap();
        let watch = reactor.add_writer(Rc::clone(&stream), |_| ()).unwrap();
        assert!(reactor.remove_writer(&stream));
        assert!(!watch.remove());
        assert!(!reactor.remove_writer(&stream));
    }

    let io_loop = rig.io_loop();
    let (log, logged) = channel();
    let expect_all = |pointer| {
        one_turn(rig, &io_loop);
        let expected = ["call_soon", "post", "reader", "call_later", "call_at"];
        assert_eq!(logged.try_iter().collect::<Vec<_>>(), expected, "{pointer}");
    };
    exercise(io_loop.clone(), &log);
    expect_all("IOLoop");
    exercise(&io_loop, &log);
    expect_all("&IOLoop");
    exercise(Rc::new(io_loop.clone()), &log);
    expect_all("Rc<IOLoop>");
    let erased: Rc<dyn Reactor> = Rc::new(io_loop.clone());
    exercise(&*erased, &log);
    expect_all("&dyn Reactor");
    exercise(Rc::clone(&erased), &log);
    expect_all("Rc<dyn Reactor>");
    exercise(&erased, &log);
    expect_all("&Rc<dyn Reactor>");
    let boxed: Box<dyn Reactor> = Box::new(io_loop.clone());
    exercise(boxed, &log);
    expect_all("Box<dyn Reactor>");
    exercise(io_loop.downgrade(), &log);
    expect_all("WeakIOLoop");
}
