//! Timers: their deadlines and order, cancelling, resetting, and what a sleep costs.

use std::cell::{Cell, OnceCell};
use std::fs::{self, File};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::rig::{Rig, wait_readable};
use super::tools::{
    Count, Drops, Log, chain, chain_of_timers, current, one_turn, readable_stream, reports, stop,
};
use ioloop::{IOLoop, Reactor, TimerHandle};

const HOUR: Duration = Duration::from_secs(3600);

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// A duration before which there is an instant, and with it one of the longest.
fn longest(reaches: impl Fn(Duration) -> Option<Instant>) -> Instant {
    let found = (0..64).rev().find_map(|bits| reaches(Duration::from_secs(1 << bits)));
    found.expect("an instant more than a second away")
}

/// An instant further in the past than any that a program means.
fn long_past() -> Instant {
    let now = Instant::now();
    longest(|distance| now.checked_sub(distance))
}

/// An instant further in the future than any that a program means.
fn absurdly_far() -> Instant {
    let now = Instant::now();
    longest(|distance| now.checked_add(distance))
}

/// Blocks the thread until an instant has come.
fn block_until(deadline: Instant) {
    while Instant::now() < deadline {
        thread::yield_now();
    }
}

// Firing.

pub(super) fn a_timer_fires_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let start = io_loop.now();
    for (delay, name) in [(millis(1), "later"), (Duration::ZERO, "sooner")] {
        let log = log.clone();
        io_loop.call_at(start + delay, move || {
            log.push(name);
            if log.len() == 2 {
                stop();
            }
        });
    }
    assert_eq!(io_loop.metrics().timers, 2);
    rig.run(&io_loop).unwrap();
    for _ in 0..3 {
        one_turn(rig, &io_loop);
    }
    assert_eq!(log.take(), ["sooner", "later"]);
    assert_eq!(io_loop.metrics().timers, 0);
    assert_eq!(io_loop.metrics().timers_fired, 2);
    assert_eq!(io_loop.next_deadline(), None);
}

pub(super) fn a_timer_never_fires_early(rig: &Rig) {
    const TIMERS: u32 = 60;
    let io_loop = rig.io_loop();
    let (fired, early) = (Count::new(), Count::new());
    let check = |deadline| {
        let (fired, early) = (fired.clone(), early.clone());
        move || {
            if Instant::now() < deadline {
                early.add();
            }
            if fired.add() == 3 * TIMERS {
                stop();
            }
        }
    };
    for n in 0..TIMERS {
        // Steps that no millisecond divides, in no order.
        let delay = micros(37 * u64::from(n * 17 % TIMERS));
        let deadline = io_loop.now() + delay;
        io_loop.call_at(deadline, check(deadline));
        // Counted from the call, which comes later than this.
        let deadline = io_loop.now() + delay;
        io_loop.call_later(delay, check(deadline));
        let deadline = io_loop.now() + delay;
        let timer = io_loop.call_later(HOUR, check(deadline));
        assert!(timer.reset(deadline));
    }
    rig.run(&io_loop).unwrap();
    assert_eq!(early.get(), 0);

    // One at a time, each from a sleep of its own.
    let early = Count::new();
    fn next(io_loop: &IOLoop, left: u32, early: Count) {
        let deadline = io_loop.now() + micros(170);
        io_loop.call_at(deadline, move || {
            if Instant::now() < deadline {
                early.add();
            }
            match left {
                0 => stop(),
                _ => next(&current(), left - 1, early),
            }
        });
    }
    next(&io_loop, 50, early.clone());
    rig.run(&io_loop).unwrap();
    assert_eq!(early.get(), 0);
}

pub(super) fn no_delay_and_a_past_deadline_fire_in_the_next_turn(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let set_all = {
        let log = log.clone();
        move || {
            let io_loop = current();
            let write = |name| {
                let log = log.clone();
                move || log.push(name)
            };
            // Taken first: however long the thread is kept off between two of these, it stays the
            // past.
            let past = io_loop.now() - millis(1);
            io_loop.call_later(Duration::ZERO, write("no delay"));
            io_loop.call_at(io_loop.now(), write("now"));
            io_loop.call_at(past, write("past"));
            io_loop.call_at(long_past(), write("long past"));
            log.push("set");
        }
    };
    // By deadline.
    let expected = ["long past", "past", "no delay", "now"];

    io_loop.enter(&set_all);
    assert_eq!(log.take(), ["set"], "not inside the call");
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), expected);

    io_loop.call_soon(set_all.clone());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["set"], "not in the turn of the callback");
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), expected);

    let (stream, _peer) = readable_stream();
    let in_reader = set_all.clone();
    let once = move |stream: &UnixStream| {
        assert!(current().remove_reader(stream));
        in_reader();
    };
    io_loop.add_reader(stream, once).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["set"], "not in the turn of the reader");
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), expected);

    io_loop.call_later(Duration::ZERO, set_all);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["set"], "not in the turn of the timer");
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), expected);
}

pub(super) fn no_delay_means_the_next_turn_of_a_busy_loop_too(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (calls, overdue, turns) = (Count::new(), Rc::new(Cell::new(None)), Log::new());
    let log = turns.clone();
    chain(&io_loop, move || {
        let io_loop = current();
        match calls.add() {
            // It falls due while the loop is busy, where nobody has read the clock yet.
            1 => overdue.set(Some(io_loop.call_later(millis(1), || ()).deadline())),
            5 => {
                block_until(overdue.get().unwrap());
                let (log, set_in) = (log.clone(), io_loop.metrics().turns);
                io_loop.call_later(Duration::ZERO, move || {
                    log.push(current().metrics().turns - set_in);
                    stop();
                });
            }
            _ => {}
        }
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(turns.take(), [1]);
}

pub(super) fn overdue_timers_fire_by_deadline(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (now, log) = (io_loop.now(), Log::new());
    for ago in [2, 5, 1, 4, 3] {
        let log = log.clone();
        io_loop.call_at(now - millis(ago), move || log.push(ago));
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [5, 4, 3, 2, 1]);
}

pub(super) fn timers_of_equal_deadline_fire_in_the_order_set(rig: &Rig) {
    const TIMERS: usize = 100;
    let io_loop = rig.io_loop();
    for deadline in [io_loop.now() + millis(2), io_loop.now(), long_past()] {
        let log = Log::new();
        let timers = Vec::from_iter((0..TIMERS).map(|n| {
            let log = log.clone();
            io_loop.call_at(deadline, move || {
                log.push(n);
                if log.len() == TIMERS - 2 {
                    stop();
                }
            })
        }));
        // Neither gaps nor another deadline that comes first change the order of the rest.
        assert!(timers[20].cancel());
        assert!(timers[70].cancel());
        if let Some(earlier) = deadline.checked_sub(micros(1)) {
            io_loop.call_at(earlier, || ());
        }
        // One that is set again is set last.
        assert!(timers[40].reset(deadline));
        rig.run(&io_loop).unwrap();
        let mut expected: Vec<_> = (0..TIMERS).filter(|n| ![20, 40, 70].contains(n)).collect();
        expected.push(40);
        assert_eq!(log.take(), expected);
    }
}

pub(super) fn what_a_timer_sets_for_now_waits_for_the_next_turn(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    for (name, then) in [("a", "a2"), ("b", "b2")] {
        let log = log.clone();
        io_loop.call_later(Duration::ZERO, move || {
            log.push(name);
            // Earlier than the other timer of the batch.
            current().call_at(long_past(), move || log.push(then));
        });
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["a", "b"]);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["a2", "b2"]);
}

pub(super) fn an_endless_chain_of_timers_starves_neither_descriptors_nor_stop(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (fired, events) = (Count::new(), Count::new());
    let counter = fired.clone();
    chain_of_timers(&io_loop, move || {
        if counter.add() % 100 == 0 {
            stop();
        }
    });
    let (stream, _peer) = readable_stream();
    let counter = events.clone();
    // Reads nothing, so it is ready in every turn.
    let reader = move |_: &UnixStream| _ = counter.add();
    io_loop.add_reader(stream, reader).unwrap();
    for run in 1..=3 {
        rig.run(&io_loop).unwrap();
        assert_eq!((fired.get(), events.get()), (100 * run, 100 * run));
    }

    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let mut thread = None;
    chain_of_timers(&io_loop, move || {
        let handle = handle.clone();
        thread.get_or_insert_with(|| thread::spawn(move || handle.stop().unwrap()));
    });
    rig.run(&io_loop).unwrap();
}

pub(super) fn call_at_fires_once_the_loops_clock_has_reached_the_deadline(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (start, log) = (io_loop.now(), Log::new());
    let mut timers = Vec::new();
    for after in [4, 1, 3, 2] {
        let (deadline, log) = (start + millis(after), log.clone());
        let timer = io_loop.call_at(deadline, move || {
            log.push(after);
            if after == 4 {
                stop();
            }
            assert!(current().now() >= deadline);
        });
        assert_eq!(timer.deadline(), deadline);
        timers.push(timer);
    }
    assert_eq!(io_loop.next_deadline(), Some(start + millis(1)));
    let reports = reports(&io_loop);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [1, 2, 3, 4]);
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn a_timer_that_panics_is_reported_once_and_the_others_fire(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (reports, log) = (reports(&io_loop), Log::new());
    for name in ["first", "second", "third"] {
        let log = log.clone();
        io_loop.call_later(Duration::ZERO, move || {
            assert_ne!(name, "second", "on purpose");
            log.push(name);
        });
    }
    let last = log.clone();
    io_loop.call_later(millis(1), move || {
        last.push("later");
        stop();
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["first", "third", "later"]);
    let reported = reports.take();
    assert_eq!(reported.len(), 1);
    assert!(reported[0].starts_with("a timer panicked: "), "{}", reported[0]);
    assert!(reported[0].contains("on purpose"), "{}", reported[0]);
    assert_eq!(io_loop.metrics().timers, 0);
}

// Deadlines.

pub(super) fn every_call_that_schedules_returns_a_usable_handle(rig: &Rig) {
    let io_loop = rig.io_loop();
    let ran = Count::new();
    let run = || {
        let ran = ran.clone();
        move || _ = ran.add()
    };
    let callback = io_loop.call_soon(run());
    let later = io_loop.call_later(Duration::ZERO, run());
    let at = io_loop.call_at(io_loop.now(), run());
    let (stream, _peer) = readable_stream();
    let stream = Rc::new(stream);
    let run_reader = run();
    let reader = io_loop.add_reader(Rc::clone(&stream), move |_| run_reader());
    let run_writer = run();
    let writer = io_loop.add_writer(stream, move |_| run_writer());
    assert!(callback.cancel());
    assert!(later.cancel());
    assert!(at.cancel());
    assert!(reader.unwrap().remove());
    assert!(writer.unwrap().remove());
    one_turn(rig, &io_loop);
    assert_eq!(ran.get(), 0);
}

pub(super) fn a_handle_says_the_deadline(rig: &Rig) {
    let io_loop = rig.io_loop();
    let now = io_loop.now();
    for deadline in [now, now - millis(1), long_past(), now + HOUR, absurdly_far()] {
        assert_eq!(io_loop.call_at(deadline, || ()).deadline(), deadline);
    }
    for delay in [Duration::ZERO, micros(1), HOUR] {
        let before = io_loop.now();
        let timer = io_loop.call_later(delay, || ());
        let after = io_loop.now();
        assert!((before + delay..=after + delay).contains(&timer.deadline()));
    }
    let endless = io_loop.call_later(Duration::MAX, || ());
    assert!(endless.deadline() > now + 500_000 * HOUR);

    // As it was, once it fired or was cancelled.
    let fired = io_loop.call_at(now, || ());
    one_turn(rig, &io_loop);
    assert_eq!(fired.deadline(), now);
    let cancelled = io_loop.call_at(now + HOUR, || ());
    assert!(cancelled.cancel());
    assert_eq!(cancelled.deadline(), now + HOUR);
}

pub(super) fn the_clock_moves_while_a_callback_blocks(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reports = reports(&io_loop);
    io_loop.call_soon(|| {
        let before = current().now();
        block_until(before + millis(2));
        assert!(current().now() >= before + millis(2));
    });
    one_turn(rig, &io_loop);
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn a_delay_counts_from_the_call(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reports = reports(&io_loop);
    io_loop.call_soon(|| {
        // A clock read at the beginning of the turn would be late by this.
        block_until(Instant::now() + millis(3));
        let called = Instant::now();
        let timer = current().call_later(millis(2), move || {
            stop();
            assert!(Instant::now() >= called + millis(2));
        });
        assert!(timer.deadline() >= called + millis(2));
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn the_longest_duration_and_an_absurdly_far_deadline_never_fire(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let never = || {
        let item = drops.item();
        move || {
            drop(item);
            unreachable!("an age has passed");
        }
    };
    let _endless = io_loop.call_later(Duration::MAX, never());
    let _almost = io_loop.call_later(Duration::MAX - Duration::from_nanos(1), never());
    let _far = io_loop.call_at(absurdly_far(), never());
    let reset = io_loop.call_later(Duration::ZERO, never());
    assert!(reset.reset(absurdly_far()));

    let distance = io_loop.next_deadline().unwrap() - io_loop.now();
    assert!(distance > 500_000 * HOUR, "{distance:?}");
    for _ in 0..3 {
        one_turn(rig, &io_loop);
    }
    io_loop.call_later(millis(1), stop);
    rig.run(&io_loop).unwrap();
    if rig.is_embedded() {
        io_loop.call_later(millis(1), || ());
        while io_loop.metrics().timers > 4 {
            io_loop.turn(Some(Duration::MAX)).unwrap();
        }
    }
    assert_eq!(drops.count(), 0);
    assert_eq!(io_loop.metrics().timers, 4);
    // They can be taken back like any other.
    assert!(reset.reset(io_loop.now() + HOUR));
    assert!(reset.cancel());
}

// Cancelling.

pub(super) fn a_timer_cancelled_before_its_deadline_does_not_fire(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let timers = Vec::from_iter((0..4).map(|n| {
        let log = log.clone();
        io_loop.call_later(millis(1), move || log.push(n))
    }));
    assert!(timers[0].cancel());
    assert!(timers[0].is_cancelled());
    let mut timers = timers.into_iter().skip(2);
    let in_callback = timers.next().unwrap();
    io_loop.call_soon(move || assert!(in_callback.cancel()));
    let reports = reports(&io_loop);
    io_loop.call_later(millis(2), stop);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [1, 3]);
    assert_eq!(reports.take(), [""; 0]);
}

pub(super) fn cancelling_a_timer_that_fired_or_was_cancelled_is_harmless(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let set = |name| {
        let log = log.clone();
        io_loop.call_later(Duration::ZERO, move || log.push(name))
    };
    let fired = set("fired");
    one_turn(rig, &io_loop);
    // Whoever is set next may get its place.
    let next = set("next");
    assert!(!fired.cancel());
    assert!(!fired.is_cancelled());
    assert!(!fired.reset(io_loop.now() + HOUR));
    assert!(!next.is_cancelled());
    one_turn(rig, &io_loop);

    let cancelled = set("cancelled");
    assert!(cancelled.cancel());
    let last = set("last");
    assert!(!cancelled.cancel());
    assert!(cancelled.is_cancelled());
    assert!(!cancelled.reset(io_loop.now() + HOUR));
    assert!(!last.is_cancelled());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["fired", "next", "last"]);
}

pub(super) fn a_timer_may_cancel_or_reset_itself_while_it_fires(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, slot) = (Log::new(), Rc::new(OnceCell::new()));
    let (inside, this) = (log.clone(), Rc::clone(&slot));
    let deadline = io_loop.now();
    let timer = io_loop.call_at(deadline, move || {
        let this: &TimerHandle = this.get().unwrap();
        inside.push((this.cancel(), this.reset(current().now())));
    });
    slot.set(timer).unwrap();
    for _ in 0..3 {
        one_turn(rig, &io_loop);
    }
    assert_eq!(log.take(), [(false, false)], "it has left the queue, and fires once");
    let timer = slot.get().unwrap();
    assert!(!timer.is_cancelled());
    assert_eq!(timer.deadline(), deadline);
}

pub(super) fn a_timer_that_an_earlier_one_of_its_batch_cancels_does_not_fire(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, drops, slot) = (Log::new(), Rc::new(Drops::new()), Rc::new(Cell::new(None)));
    let (first, later, item) = (log.clone(), Rc::clone(&slot), drops.item());
    let seen = Rc::clone(&drops);
    io_loop.call_later(Duration::ZERO, move || {
        let later: TimerHandle = later.take().unwrap();
        assert!(later.cancel());
        first.push(seen.count());
    });
    let second = log.clone();
    slot.set(Some(io_loop.call_later(Duration::ZERO, move || {
        drop(item);
        second.push(99);
    })));
    let third = log.clone();
    io_loop.call_later(Duration::ZERO, move || third.push(3));
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [1, 3], "its capture went at the cancel");
}

pub(super) fn thousands_of_cancelled_timers_are_gone_and_the_live_ones_fire(rig: &Rig) {
    const TIMERS: usize = 2000;
    let io_loop = rig.io_loop();
    let (drops, log) = (Drops::new(), Log::new());
    let now = io_loop.now();
    let timers = Vec::from_iter((0..TIMERS).map(|n| {
        let (item, log) = (drops.item(), log.clone());
        // Deadlines in no order.
        io_loop.call_at(now - micros((n * 7919 % TIMERS) as u64), move || {
            drop(item);
            log.push(n);
        })
    }));
    let is_live = |n: usize| n % 20 == 7;
    for (n, timer) in timers.iter().enumerate() {
        assert!(is_live(n) || timer.cancel());
    }
    let live = TIMERS / 20;
    assert_eq!(drops.count(), TIMERS - live);
    assert_eq!(io_loop.metrics().timers, live);
    one_turn(rig, &io_loop);
    let mut expected: Vec<_> = (0..TIMERS).filter(|n| is_live(*n)).collect();
    expected.sort_by_key(|n| std::cmp::Reverse(n * 7919 % TIMERS));
    assert_eq!(log.take(), expected);

    // With none alive, there is nothing left to wait for.
    for _ in 0..TIMERS {
        assert!(io_loop.call_later(HOUR, || ()).cancel());
    }
    assert_eq!(io_loop.metrics().timers, 0);
    assert_eq!(io_loop.next_deadline(), None);
}

pub(super) fn a_captured_value_is_dropped_once_its_timer_has_fired(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (drops, seen) = (Rc::new(Drops::new()), Log::new());
    let mut timers = Vec::new();
    for _ in 0..3 {
        let (item, drops, seen) = (drops.item(), Rc::clone(&drops), seen.clone());
        timers.push(io_loop.call_later(Duration::ZERO, move || {
            let _item = &item;
            seen.push(drops.count());
        }));
    }
    one_turn(rig, &io_loop);
    assert_eq!(seen.take(), [0, 1, 2]);
    assert_eq!(drops.count(), 3, "though the handles live");
}

pub(super) fn a_timers_handle_may_be_dropped_and_its_guard_cancels(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, drops) = (Log::new(), Drops::new());
    let set = |name| {
        let (log, item) = (log.clone(), drops.item());
        io_loop.call_later(Duration::ZERO, move || {
            let _item = &item;
            log.push(name);
        })
    };
    drop(set("handle dropped"));
    drop(set("guard dropped").cancel_on_drop());
    assert_eq!(drops.count(), 1, "the guard cancels at once");
    let held = set("guard held").cancel_on_drop();
    assert!(held.reset(io_loop.now()), "a guard is its handle");
    drop(set("kept").cancel_on_drop().keep());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["handle dropped", "guard held", "kept"]);
    // It has nothing left to cancel.
    let next = set("next");
    drop(held);
    assert!(!next.is_cancelled());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["next"]);
}

// Resetting.

pub(super) fn reset_moves_a_deadline_either_way(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (start, log) = (io_loop.now(), Log::new());
    let set = |delay, name| {
        let log = log.clone();
        let due = move || {
            log.push(name);
            if log.len() == 4 {
                stop();
            }
        };
        io_loop.call_at(start + delay, due)
    };
    let hastened = set(HOUR, "hastened");
    let put_off = set(Duration::ZERO, "put off");
    let between = set(millis(2), "between");
    let twice = set(millis(1), "twice");
    assert!(hastened.reset(start + millis(1)));
    assert!(put_off.reset(start + millis(3)));
    assert!(twice.reset(start + HOUR));
    assert!(twice.reset(start));
    assert_eq!(io_loop.next_deadline(), Some(start));
    for (timer, after) in [(&hastened, 1), (&put_off, 3), (&between, 2), (&twice, 0)] {
        assert_eq!(timer.deadline(), start + millis(after));
    }
    assert_eq!(io_loop.metrics().timers, 4);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["twice", "hastened", "between", "put off"]);
    assert!(io_loop.now() >= start + millis(3));
}

pub(super) fn a_timer_reset_by_an_earlier_one_of_its_batch_waits(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (log, slot) = (Log::new(), Rc::new(Cell::new(None)));
    let (first, later) = (log.clone(), Rc::clone(&slot));
    io_loop.call_later(Duration::ZERO, move || {
        let (put_off, again): (TimerHandle, TimerHandle) = later.take().unwrap();
        assert!(put_off.reset(current().now() + HOUR));
        assert!(again.reset(long_past()));
        first.push("first");
    });
    let set = |name| {
        let log = log.clone();
        io_loop.call_later(Duration::ZERO, move || log.push(name))
    };
    slot.set(Some((set("put off"), set("again"))));
    set("last");
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["first", "last"]);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["again"], "due already, but set anew");
    assert_eq!(io_loop.metrics().timers, 1);
}

pub(super) fn a_timer_that_activity_puts_off_fires_once_it_has_ended(rig: &Rig) {
    const IDLE: Duration = millis(2);
    let io_loop = rig.io_loop();
    let (reports, fired) = (reports(&io_loop), Count::new());
    let last = Rc::new(Cell::new(io_loop.now()));
    let (last_activity, counter) = (Rc::clone(&last), fired.clone());
    let timer = io_loop.call_later(IDLE, move || {
        stop();
        counter.add();
        assert!(Instant::now() >= last_activity.get() + IDLE);
    });
    let mut left = 500;
    chain(&io_loop, move || {
        if left > 0 {
            left -= 1;
            last.set(Instant::now());
            // Too late on a machine that stood still meanwhile.
            let _in_time = timer.reset(last.get() + IDLE);
        }
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(fired.get(), 1);
    assert_eq!(reports.take(), [""; 0]);
}

// Sleeping.

/// Sets a timer `left` times, each when the one before has fired, and stops the loop.
fn in_a_row(io_loop: &IOLoop, delay: Duration, left: u32) {
    io_loop.call_later(delay, move || match left {
        1 => stop(),
        _ => in_a_row(&current(), delay, left - 1),
    });
}

pub(super) fn a_cancelled_timer_does_not_end_the_sleep(rig: &Rig) {
    const CANCELLED: u64 = 20;
    let io_loop = rig.io_loop();
    let set =
        || Vec::from_iter((0..CANCELLED).map(|n| io_loop.call_later(micros(500 + 100 * n), || ())));
    let (before, inside) = (set(), set());
    io_loop.call_later(millis(5), stop);
    for timer in before {
        assert!(timer.cancel());
    }
    io_loop.call_soon(move || inside.iter().for_each(|timer| _ = timer.cancel()));
    rig.run(&io_loop).unwrap();
    assert_eq!(io_loop.metrics().timers_fired, 1);
    // One with the callback, one before the sleep, one after it, and what a host wakes for nothing.
    let polls = io_loop.metrics().polls;
    assert!(polls <= 6, "{polls}");
}

pub(super) fn a_crowd_whose_earliest_was_cancelled_is_no_reason_to_spin(rig: &Rig) {
    let io_loop = rig.io_loop();
    let start = io_loop.now();
    // So many, and so far, that the loop does not know which is the earliest once that one is gone.
    let first = io_loop.call_at(start + millis(75), || ());
    for n in 0..100 {
        io_loop.call_at(start + millis(76) + Duration::from_nanos(n), || ());
    }
    io_loop.call_at(start + millis(77), stop);
    assert!(first.cancel());
    rig.run(&io_loop).unwrap();
    let metrics = io_loop.metrics();
    assert_eq!(metrics.timers_fired, 101);
    // A wake-up for each time that the crowd is sorted more finely, one for the timers that come
    // together, one for the last; and what a host wakes for nothing.
    assert!(metrics.turns <= 40 && metrics.wakeups <= 40, "{metrics:?}");
}

pub(super) fn a_timer_cancelled_while_the_loop_sleeps_does_not_end_its_next_sleep(rig: &Rig) {
    const ROUNDS: u32 = 30;

    struct Rounds {
        stream: UnixStream,
        left: Cell<u32>,
        head: Cell<Option<TimerHandle>>,
        /// Heads that fired before they were cancelled, on a machine that was busy elsewhere.
        fired: Count,
    }

    impl Rounds {
        /// Sets a timer to sleep for, and has the peer answer meanwhile.
        fn next(self: Rc<Self>) {
            let Some(left) = self.left.get().checked_sub(1) else {
                return stop();
            };
            self.left.set(left);
            let fired = self.fired.clone();
            let head = current().call_later(millis(1), move || _ = fired.add());
            self.head.set(Some(head));
            (&self.stream).write_all(b".").unwrap();
        }

        fn answered(self: &Rc<Self>) {
            let _in_time = self.head.take().unwrap().cancel();
            let this = Rc::clone(self);
            current().call_later(millis(2), move || this.next());
        }
    }

    let io_loop = rig.io_loop();
    let (stream, mut peer) = UnixStream::pair().unwrap();
    let answering = thread::spawn(move || {
        let mut byte = [0];
        while peer.read(&mut byte).unwrap() > 0 {
            peer.write_all(&byte).unwrap();
        }
    });
    let rounds = Rc::new(Rounds {
        stream: stream.try_clone().unwrap(),
        left: Cell::new(ROUNDS),
        head: Cell::new(None),
        fired: Count::new(),
    });
    let this = Rc::clone(&rounds);
    let reader = move |mut stream: &UnixStream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        this.answered();
    };
    let watch = io_loop.add_reader(stream, reader).unwrap();
    let this = Rc::clone(&rounds);
    io_loop.call_soon(move || this.next());
    rig.run(&io_loop).unwrap();
    // A round sleeps until the answer, and until its end; another wake would be the cancelled
    // timer's. Only where the loop parks by itself: a runtime may wake it for what it has met
    // already.
    let (wakes, fired) = (io_loop.metrics().wakeups, rounds.fired.get());
    let most = u64::from(2 * ROUNDS + ROUNDS / 2 + fired);
    let parks = io_loop.metrics().registrations == 0;
    assert!(rig.is_attached() || !parks || wakes <= most, "{wakes}, {fired}");
    assert!(watch.remove());
    drop(rounds);
    answering.join().unwrap();
}

pub(super) fn small_sleeps_do_not_spin(rig: &Rig) {
    const SLEEPS: u32 = 100;
    let io_loop = rig.io_loop();
    in_a_row(&io_loop, micros(50), SLEEPS);
    rig.run(&io_loop).unwrap();
    // A turn that fires, one that finds nothing to do before the next sleep, and one for a host
    // that wakes the loop for a deadline that it has met by then.
    let metrics = io_loop.metrics();
    let most = 3 * u64::from(SLEEPS) + 2;
    assert!(metrics.polls <= most && metrics.turns <= most, "{metrics:?}");
}

pub(super) fn an_earlier_timer_that_is_set_by_a_post_shortens_the_sleep(rig: &Rig) {
    let io_loop = rig.io_loop();
    let _far = io_loop.call_later(HOUR, || ()).cancel_on_drop();
    for _ in 0..50 {
        let handle = io_loop.handle();
        let thread = thread::spawn(move || {
            handle.add_callback(|| _ = current().call_later(micros(200), stop))
        });
        rig.run(&io_loop).unwrap();
        thread.join().unwrap().unwrap();
    }
    assert_eq!(io_loop.metrics().timers_fired, 50);
}

pub(super) fn an_earlier_timer_that_the_host_sets_shortens_the_sleep(rig: &Rig) {
    let io_loop = rig.io_loop();
    let far = io_loop.call_later(HOUR, || ());
    let reset = io_loop.call_later(HOUR, stop);
    let mut set = 0;
    rig.block_on(async {
        let mut run = pin!(io_loop.run());
        poll_fn(|cx| {
            let polled = run.as_mut().poll(cx);
            // The host comes after the loop, which has gone to sleep by now.
            let fired = io_loop.metrics().timers_fired;
            if set == 0 {
                set = 1;
                io_loop.call_later(millis(1), || ());
            } else if set == 1 && fired == 1 {
                set = 2;
                assert!(reset.reset(io_loop.now() + millis(1)));
            }
            polled
        })
        .await
        .unwrap();
    });
    assert_eq!(io_loop.metrics().timers_fired, 2);
    assert!(far.cancel(), "it is still to come");
}

pub(super) fn an_earlier_timer_between_turns_makes_the_descriptor_readable(rig: &Rig) {
    let io_loop = rig.io_loop();
    let descriptor = io_loop.descriptor().unwrap();
    // Where the descriptor does not hold the deadline the host is rung for a new one, and waits for
    // it.
    let drive_until_fired = |timers| {
        while io_loop.metrics().timers_fired < timers {
            let deadline = io_loop.host_deadline();
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            wait_readable(&descriptor, timeout);
            io_loop.turn(Some(Duration::ZERO)).unwrap();
        }
    };
    let _far = io_loop.call_later(HOUR, || ()).cancel_on_drop();
    let reset = io_loop.call_later(HOUR, || ());
    if io_loop.host_deadline().is_none() {
        assert!(!wait_readable(&descriptor, Some(Duration::ZERO)));
    }
    io_loop.call_later(millis(1), || ());
    drive_until_fired(1);
    assert!(!wait_readable(&descriptor, Some(Duration::ZERO)));
    assert!(reset.reset(io_loop.now() + millis(1)));
    drive_until_fired(2);
    assert!(!wait_readable(&descriptor, Some(Duration::ZERO)));
}

pub(super) fn timers_are_not_on_the_wall_clock(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.call_later(millis(1), stop);
    rig.run(&io_loop).unwrap();
    // Nobody may set the clock of the machine to see what happens; but Linux says which clock each
    // of its timers is on, and 1 is the monotonic one.
    if cfg!(target_os = "linux") {
        let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
        let infos = entries.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
        let infos = Vec::from_iter(infos);
        let lines = infos.iter().flat_map(|info| info.lines());
        let clocks = Vec::from_iter(lines.filter_map(|line| line.strip_prefix("clockid: ")));
        assert!(clocks.contains(&"1"), "{clocks:?}");
        assert!(!clocks.contains(&"0"), "{clocks:?}");
    }
}

// Signals.

const INTERRUPTIONS: u32 = 200;

/// Interrupts this process so often, with a command of the shell after each; gives the child's
/// output.
///
/// A process that is stopped and continued leaves its waits with `EINTR`, as one that handles a
/// signal does. The child must not be killed meanwhile, since it alone continues this process.
fn storm(after_each: &str) -> (Child, File) {
    // The subshell takes its time, so the stop takes effect before it is taken back.
    let script = format!(
        "i=0; while [ $i -lt {INTERRUPTIONS} ]; do
             kill -STOP $PPID; (:); kill -CONT $PPID; {after_each}; i=$((i + 1))
         done"
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = OwnedFd::from(child.stdout.take().unwrap());
    (child, File::from(output))
}

pub(super) fn a_storm_of_signals_does_not_end_a_wait(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (mut child, output) = storm(":");
    // Closed by the child's end.
    io_loop.add_reader(output, |_| stop()).unwrap();
    rig.run(&io_loop).unwrap();
    assert!(child.wait().unwrap().success());
    // A host that sleeps for the loop may have it poll whenever it was interrupted itself.
    let metrics = io_loop.metrics();
    assert!(metrics.registrations > 0 || metrics.polls <= 4, "{metrics:?}");
}

pub(super) fn a_storm_of_signals_neither_shortens_a_sleep_nor_loses_an_event(rig: &Rig) {
    /// Sets timers one after another, for ever.
    fn sleep(io_loop: &IOLoop) {
        let deadline = io_loop.now() + millis(2);
        io_loop.call_at(deadline, move || {
            assert!(Instant::now() >= deadline);
            sleep(&current());
        });
    }

    let io_loop = rig.io_loop();
    let (reports, received) = (reports(&io_loop), Count::new());
    let (mut child, output) = storm("printf .");
    let counter = received.clone();
    let reader = move |mut output: &File| match output.read(&mut [0]).unwrap() {
        0 => stop(),
        _ => _ = counter.add(),
    };
    io_loop.add_reader(output, reader).unwrap();
    sleep(&io_loop);
    rig.run(&io_loop).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(received.get(), INTERRUPTIONS);
    assert_eq!(reports.take(), [""; 0]);
    if !rig.is_embedded() {
        return;
    }

    // A turn that waits does so to its end, or for an event.
    let (mut child, output) = storm("printf .");
    let reader = |mut output: &File| {
        if output.read(&mut [0]).unwrap() == 0 {
            stop();
        }
    };
    let io_loop = rig.io_loop();
    io_loop.add_reader(output, reader).unwrap();
    let mut stopped = false;
    while !stopped {
        let (start, events) = (Instant::now(), io_loop.metrics().events);
        stopped = io_loop.turn(Some(millis(2))).unwrap().stopped;
        assert!(start.elapsed() >= millis(2) || io_loop.metrics().events > events);
    }
    assert!(child.wait().unwrap().success());
}
