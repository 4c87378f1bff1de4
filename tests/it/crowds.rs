//! More than one turn serves, and what it must not keep out.

use std::cell::Cell;
use std::future::pending;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, ManualClock, Reactor, timeout};
use testkit::ways::{Way, every_way};

const CROWD: usize = 5000;

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// What counts its calls.
fn counting() -> (Rc<Cell<usize>>, impl Fn() + Clone + 'static) {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    (calls, move || counted.set(counted.get() + 1))
}

fn queue_crowd(io_loop: &IOLoop) -> Rc<Cell<usize>> {
    let (ran, count) = counting();
    for _ in 0..CROWD {
        io_loop.call_soon(count.clone());
    }
    ran
}

/// Sets a crowd of timers, each of which sets itself again for the same time, a second ago. They
/// stop the loop after so many calls.
fn set_again_and_again(io_loop: &IOLoop, most: usize) -> Rc<Cell<usize>> {
    fn set(io_loop: &IOLoop, at: Instant, most: usize, fired: Rc<Cell<usize>>) {
        io_loop.call_at(at, move || {
            fired.set(fired.get() + 1);
            if fired.get() == most {
                stop();
            }
            set(&IOLoop::current().unwrap(), at, most, fired);
        });
    }
    let (past, fired) = (Instant::now() - Duration::from_secs(1), Rc::new(Cell::new(0)));
    for _ in 0..CROWD {
        set(io_loop, past, most, Rc::clone(&fired));
    }
    fired
}

#[test]
fn timers_set_again_for_a_time_that_has_passed_kept_later_ones_out() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let fired = set_again_and_again(&io_loop, 10 * CROWD);
        io_loop.call_later(Duration::ZERO, stop);
        way.until_stopped(&io_loop);
        assert!(fired.get() <= 2 * CROWD, "{} fired before, {}", fired.get(), way.name);
    });
}

#[test]
fn a_time_limit_did_not_end_beside_timers_set_again_for_a_time_that_has_passed() {
    every_way(|way| {
        let io_loop = way.io_loop();
        set_again_and_again(&io_loop, 1000 * CROWD);
        let limited = timeout(&io_loop, Duration::from_millis(1), pending::<()>());
        assert!(way.run(&io_loop, limited).is_err(), "{}", way.name);
    });
}

#[test]
fn a_stop_in_a_reader_or_a_timer_left_callbacks_of_a_crowd_for_the_next_run() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let ran = queue_crowd(&io_loop);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let watch = io_loop.add_writer(ours, |_| stop()).unwrap();
        way.until_stopped(&io_loop);
        assert_eq!(ran.get(), CROWD, "by a writer, {}", way.name);
        watch.remove();

        let ran = queue_crowd(&io_loop);
        io_loop.call_later(Duration::ZERO, stop);
        way.until_stopped(&io_loop);
        assert_eq!(ran.get(), CROWD, "by a timer, {}", way.name);
    });
}

/// Runs a loop that was stopped before.
fn one_pass(way: &Way, io_loop: &IOLoop) {
    io_loop.stop();
    way.until_stopped(io_loop);
}

// B5
#[test]
fn a_pass_that_was_stopped_beforehand_fired_due_timers_by_the_age_of_the_loop() {
    every_way(|way| {
        for age in [0, 1, 1000, 100_000] {
            let clock = ManualClock::new();
            let io_loop = way.on_clock(&clock);
            clock.advance(Duration::from_millis(age));
            let (fired, count) = counting();
            for _ in 0..CROWD {
                io_loop.call_later(Duration::ZERO, count.clone());
            }
            one_pass(way, &io_loop);
            assert_eq!(fired.get(), CROWD, "{age} ms, {}", way.name);
        }
    });
}

// B5
#[test]
fn a_pass_that_was_stopped_beforehand_served_one_poll_of_ready_descriptors() {
    const READY: usize = 200;
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (called, count) = counting();
        for _ in 0..READY {
            let count = count.clone();
            io_loop.add_writer(ours.try_clone().unwrap(), move |_| count()).unwrap();
        }
        for passes in 1..=2 {
            one_pass(way, &io_loop);
            assert_eq!(called.get(), passes * READY, "{}", way.name);
        }
        // A run that goes on is not one of them.
        io_loop.call_soon(|| drop(IOLoop::current().unwrap().call_soon(stop)));
        way.until_stopped(&io_loop);
        assert!(called.get() < 4 * READY, "{} calls in two turns, {}", called.get(), way.name);
    });
}

// B266
#[test]
fn a_turn_made_more_calls_than_the_host_waits_for() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let ran = queue_crowd(&io_loop);
    let (others, count) = counting();
    for _ in 0..200 {
        let count = count.clone();
        io_loop.add_writer(ours.try_clone().unwrap(), move |_| count()).unwrap();
    }
    for _ in 0..CROWD {
        io_loop.call_later(Duration::ZERO, count.clone());
    }
    let mut before = 0;
    while others.get() < CROWD {
        io_loop.turn(Some(Duration::ZERO)).unwrap();
        let calls = ran.get() + others.get();
        assert!(calls - before <= 2048, "{} calls", calls - before);
        before = calls;
    }
}
