//! Periodic callbacks: their grid, that they never overlap, and all the ways to stop and start
//! them.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::rig::Rig;
use super::tools::{Drops, Log, assert_blocks, exceptions, one_turn, stop, yield_now};
use super::wires::Strict;
use ioloop::observe::Origin;
use ioloop::{IOLoop, PeriodicCallback, Reactor, sleep};

/// Short, so the cases are short.
const PERIOD: Duration = Duration::from_millis(2);

/// Far away: what has it is not called in any case.
const MINUTE: Duration = Duration::from_secs(60);

type Periodic = PeriodicCallback;

/// Something that a callback stops or restarts, and its owner drops.
type Slot = Rc<RefCell<Option<Periodic>>>;

fn every(io_loop: &IOLoop, period: Duration, callback: impl FnMut() + 'static) -> Periodic {
    PeriodicCallback::new(&io_loop, period, callback).expect("a possible period")
}

/// The deadline of the only timer.
fn deadline(io_loop: &IOLoop) -> Instant {
    assert_eq!(io_loop.metrics().timers, 1, "there is one timer");
    io_loop.next_deadline().expect("a timer")
}

fn is_on_grid(start: Instant, period: Duration, at: Instant) -> bool {
    (at - start).as_nanos() % period.as_nanos() == 0
}

/// The start of the grid of one that was just started, whose timer is the loop's only one.
fn grid_of(io_loop: &IOLoop, period: Duration) -> Instant {
    deadline(io_loop) - period
}

fn current() -> IOLoop {
    IOLoop::current().expect("a callback has a current loop")
}

fn callback_of(slot: &Slot, act: impl Fn(&Periodic)) {
    act(slot.borrow().as_ref().expect("it is there while it is called"));
}

pub(super) fn calls_come_every_period_from_the_start(rig: &Rig) {
    const CALLS: usize = 5;
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let called = log.clone();
    let periodic = every(&io_loop, PERIOD, move || {
        called.push(Instant::now());
        if called.len() == CALLS {
            stop();
        }
    });
    assert_eq!((io_loop.metrics().timers, periodic.period()), (0, PERIOD), "it is made stopped");
    let before = Instant::now();
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);
    assert!(start >= before && start <= Instant::now(), "the grid begins at the start");
    rig.run(&io_loop).unwrap();

    let calls = log.take();
    assert_eq!(calls.len(), CALLS);
    for (call, number) in calls.into_iter().zip(1..) {
        assert!(call >= start + number * PERIOD, "call {number} came early");
    }
    assert!(is_on_grid(start, PERIOD, deadline(&io_loop)));
}

pub(super) fn a_call_that_takes_too_long_skips_the_ones_it_missed(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let ended = log.clone();
    let periodic = every(&io_loop, PERIOD, move || {
        thread::sleep(3 * PERIOD + PERIOD / 2);
        ended.push(Instant::now());
        stop();
    });
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);
    for _ in 0..2 {
        rig.run(&io_loop).unwrap();
        let [ended] = log.take()[..] else { panic!("a call that was missed was made up for") };
        let next = deadline(&io_loop);
        assert!(next > ended, "a call that was missed is still due");
        assert!(is_on_grid(start, PERIOD, next), "the grid has moved");
    }
}

pub(super) fn jitter_moves_the_calls_within_its_window(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let periodic = every(&io_loop, MINUTE, || ()).with_jitter(0.5).unwrap();
    let mut distances = Vec::new();
    for _ in 0..50 {
        let before = Instant::now();
        periodic.start();
        let (next, after) = (deadline(&io_loop), Instant::now());
        assert!(next >= before + MINUTE.mul_f64(0.75), "too early");
        assert!(next <= after + MINUTE.mul_f64(1.25), "too late");
        distances.push(next - before);
        periodic.stop();
    }
    // Between two starts lies far less than a second, of the half minute that they are spread over.
    distances.sort();
    assert!(distances[49] - distances[0] > Duration::from_secs(1), "nothing is moved");

    // The calls go on as well.
    let log = Log::new();
    let called = log.clone();
    let periodic = every(&io_loop, PERIOD, move || {
        called.push(());
        if called.len() == 3 {
            stop();
        }
    });
    let periodic = periodic.with_jitter(1.0).unwrap();
    periodic.start();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.len(), 3);
}

pub(super) fn impossible_periods_and_jitters_are_errors(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let make = |period| {
        let held = drops.item();
        PeriodicCallback::new(&io_loop, period, move || _ = &held)
    };
    let error = make(Duration::ZERO).unwrap_err();
    assert_eq!((error.kind(), drops.count()), (ErrorKind::InvalidInput, 1));
    let error = PeriodicCallback::new_async(&io_loop, Duration::ZERO, || async {});
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    for jitter in [2.0, 100.0, -0.5, f64::NAN, f64::INFINITY] {
        let error = make(PERIOD).unwrap().with_jitter(jitter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{jitter}");
    }
    let error = make(Duration::from_nanos(1)).unwrap().with_jitter(1.5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "a period that rounds to nothing");
    for jitter in [0.0, 0.1, 1.9] {
        assert!(make(PERIOD).unwrap().with_jitter(jitter).is_ok(), "{jitter}");
    }
    // The longest is never called, and does not overflow.
    let longest = every(&io_loop, Duration::MAX, || ()).with_jitter(1.0).unwrap();
    longest.start();
    assert!(deadline(&io_loop) > Instant::now() + MINUTE);
}

pub(super) fn plain_callbacks_are_repeated_until_stopped(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let slot = Slot::default();
    let (called, own) = (log.clone(), Rc::downgrade(&slot));
    slot.replace(Some(every(&io_loop, PERIOD, move || {
        called.push(());
        if called.len() == 3 {
            callback_of(&own.upgrade().unwrap(), |periodic| {
                periodic.stop();
                called.push(());
                assert!(!periodic.is_running());
            });
            stop();
        }
    })));
    callback_of(&slot, Periodic::start);
    rig.run(&io_loop).unwrap();
    // Three calls, and the note that the stop inside the last of them came back.
    assert_eq!((log.len(), io_loop.metrics().timers), (4, 0));
    io_loop.call_later(3 * PERIOD, stop);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.len(), 4, "it was called after its stop");
}

pub(super) fn async_calls_never_overlap(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let noted = log.clone();
    let periodic = PeriodicCallback::new_async(&io_loop, PERIOD, move || {
        let log = noted.clone();
        async move {
            log.push(("begun", Instant::now()));
            sleep(&current(), 2 * PERIOD + PERIOD / 2).await.unwrap();
            log.push(("ended", Instant::now()));
            if log.len() == 6 {
                stop();
            }
        }
    });
    let periodic = periodic.unwrap();
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);
    rig.run(&io_loop).unwrap();
    let (what, when): (Vec<_>, Vec<_>) = log.take().into_iter().unzip();
    assert_eq!(what, ["begun", "ended", "begun", "ended", "begun", "ended"]);
    // The one that is next was set in the poll in which the last ended; one turn more, and it might
    // be due.
    let next = deadline(&io_loop);
    assert!(next > when[5] && is_on_grid(start, PERIOD, next));
    assert!(periodic.is_running());
}

pub(super) fn stopping_twice_is_stopping_once_and_leaves_no_timer(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let periodic = every(&io_loop, MINUTE, || ());
    periodic.stop();
    assert!(!periodic.is_running());
    periodic.start();
    assert!(periodic.is_running());
    assert_eq!(io_loop.metrics().timers, 1);
    for _ in 0..2 {
        periodic.stop();
        assert!(!periodic.is_running());
        assert_eq!(io_loop.metrics().timers, 0);
    }
    periodic.start();
    assert_eq!(io_loop.metrics().timers, 1);
}

pub(super) fn however_often_it_is_started_its_rate_is_the_same(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let periodic = every(&io_loop, MINUTE, || ());
    periodic.start();
    let first = deadline(&io_loop);
    periodic.start();
    assert_eq!(deadline(&io_loop), first, "a second start changes nothing");
    periodic.stop();
    let restarted = Instant::now();
    periodic.start();
    assert!(deadline(&io_loop) >= restarted + MINUTE, "a new start begins a new grid");
}

pub(super) fn a_restart_inside_the_callback_does_not_double_the_rate(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let slot = Slot::default();
    let (called, own) = (log.clone(), Rc::downgrade(&slot));
    slot.replace(Some(every(&io_loop, PERIOD, move || {
        callback_of(&own.upgrade().unwrap(), |periodic| {
            for _ in 0..2 {
                periodic.stop();
                periodic.start();
            }
        });
        called.push(current().metrics().timers);
        if called.len() == 3 {
            stop();
        }
    })));
    callback_of(&slot, Periodic::start);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [1, 1, 1]);
    assert_eq!(io_loop.metrics().timers, 1, "the end of the call set another");
}

pub(super) fn a_restart_while_an_async_call_is_in_flight_does_not_double_the_rate(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (begun, released) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (count, wait) = (Rc::clone(&begun), Rc::clone(&released));
    let periodic = PeriodicCallback::new_async(&io_loop, PERIOD, move || {
        let (count, wait) = (Rc::clone(&count), Rc::clone(&wait));
        async move {
            count.set(count.get() + 1);
            stop();
            while !wait.get() {
                yield_now().await;
            }
        }
    });
    let periodic = periodic.unwrap();
    periodic.start();
    rig.run(&io_loop).unwrap();
    assert_eq!((begun.get(), io_loop.metrics().timers), (1, 0), "none is set during a call");
    periodic.stop();
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);

    // What becomes due while the old call is in flight is skipped.
    let fired = io_loop.metrics().timers_fired;
    let weak = io_loop.downgrade();
    io_loop.spawn(async move {
        while weak.upgrade().is_some_and(|this| this.metrics().timers_fired < fired + 2) {
            yield_now().await;
        }
        stop();
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(begun.get(), 1, "two calls overlap");
    assert!(is_on_grid(start, PERIOD, deadline(&io_loop)));

    // The end of the old call sets no timer beside the new one.
    released.set(true);
    rig.run(&io_loop).unwrap();
    assert_eq!(begun.get(), 2);
    // It has ended in the poll in which it began; one turn more, and the next might be due.
    assert!(is_on_grid(start, PERIOD, deadline(&io_loop)));
    // And what was stopped during a call stays so.
    released.set(false);
    rig.run(&io_loop).unwrap();
    periodic.stop();
    released.set(true);
    one_turn(rig, &io_loop);
    assert_eq!((begun.get(), io_loop.metrics().timers), (3, 0));
}

pub(super) fn a_panicking_callback_is_reported_and_called_again(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = exceptions(&io_loop);
    let log = Log::new();
    let called = log.clone();
    let periodic = every(&io_loop, PERIOD, move || {
        called.push(());
        if called.len() == 2 {
            stop();
        }
        panic!("oh no");
    });
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);
    rig.run(&io_loop).unwrap();
    assert_eq!(reported.take(), [(Origin::Timer, "oh no".into()), (Origin::Timer, "oh no".into())]);
    assert!(is_on_grid(start, PERIOD, deadline(&io_loop)) && periodic.is_running());
    drop(periodic);

    let called = log.clone();
    let periodic = PeriodicCallback::new_async(&io_loop, PERIOD, move || {
        called.push(());
        let calls = called.len();
        // Once where the future is made, then where it is polled.
        assert!(calls != 3, "made");
        async move {
            if calls == 5 {
                stop();
            }
            panic!("polled");
        }
    });
    let periodic = periodic.unwrap();
    periodic.start();
    let start = grid_of(&io_loop, PERIOD);
    rig.run(&io_loop).unwrap();
    let polled = (Origin::Task, "polled".to_owned());
    assert_eq!(reported.take(), [(Origin::Timer, "made".to_owned()), polled.clone(), polled]);
    assert!(is_on_grid(start, PERIOD, deadline(&io_loop)) && periodic.is_running());
}

pub(super) fn a_pending_call_keeps_no_run_from_ending(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let called = log.clone();
    let periodic = every(&io_loop, MINUTE, move || called.push(()));
    periodic.start();
    io_loop.call_soon(stop);
    rig.run(&io_loop).unwrap();
    assert_eq!((log.len(), io_loop.metrics().timers), (0, 1));
    assert!(periodic.is_running(), "the stop was the loop's");
    assert_blocks(rig, &io_loop);
}

pub(super) fn dropping_it_stops_it(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let drops = Drops::new();
    let held = drops.item();
    let periodic = every(&io_loop, MINUTE, move || _ = &held);
    periodic.start();
    drop(periodic);
    assert_eq!((drops.count(), io_loop.metrics().timers), (1, 0));

    // Inside its own callback, whose captures it must not pull away.
    let log = Log::new();
    let slot = Slot::default();
    let (called, own, held) = (log.clone(), Rc::downgrade(&slot), drops.item());
    slot.replace(Some(every(&io_loop, PERIOD, move || {
        let periodic = own.upgrade().unwrap().take();
        drop(periodic);
        stop();
        called.push(());
        _ = &held;
    })));
    callback_of(&slot, Periodic::start);
    rig.run(&io_loop).unwrap();
    assert_eq!((log.len(), drops.count(), io_loop.metrics().timers), (1, 2, 0));

    // An async call that has begun goes on.
    let ended = log.clone();
    let periodic = PeriodicCallback::new_async(&io_loop, PERIOD, move || {
        let ended = ended.clone();
        async move {
            stop();
            yield_now().await;
            yield_now().await;
            ended.push(());
            stop();
        }
    });
    let periodic = periodic.unwrap();
    periodic.start();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.len(), 1);
    drop(periodic);
    rig.run(&io_loop).unwrap();
    assert_eq!((log.len(), io_loop.metrics().timers), (2, 0));
}

pub(super) fn closing_the_loop_ends_it(rig: &Rig) {
    let io_loop = rig.io_loop();
    let periodic = every(&io_loop, MINUTE, || ());
    periodic.start();
    let in_flight = PeriodicCallback::new_async(&io_loop, PERIOD, || async {
        stop();
        std::future::pending().await
    });
    let in_flight = in_flight.unwrap();
    in_flight.start();
    rig.run(&io_loop).unwrap();
    assert!(periodic.is_running() && in_flight.is_running());
    io_loop.close().unwrap();
    assert!(!periodic.is_running() && !in_flight.is_running());
    periodic.start();
    assert!(!periodic.is_running(), "there is nothing to run it");
}
