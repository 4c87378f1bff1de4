//! Timers of any reactor.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::super::tools::{Drops, Log};
use super::{ENOUGH, ReactorRig, pair};
use ioloop::{Reactor, Timer, TimerHandle};

pub(in super::super) fn timers_fire_once_by_deadline_and_never_early(rig: &ReactorRig) {
    let reactor = rig.reactor();
    let log = Log::new();
    let start = reactor.now();
    for (name, millis) in [("third", 6), ("first", 2), ("second", 4)] {
        let log = log.clone();
        let deadline = start + Duration::from_millis(millis);
        let clock = Rc::clone(reactor);
        let timer = reactor.call_at(deadline, move || {
            log.push(if clock.now() < deadline { "early" } else { name });
        });
        assert_eq!(timer.deadline(), deadline);
    }
    rig.wait(10);
    rig.turns(2);
    assert_eq!(log.take(), ["first", "second", "third"]);
}

pub(in super::super) fn equal_deadlines_fire_in_order_of_insertion(rig: &ReactorRig) {
    let log = Log::new();
    let deadline = rig.reactor().now() + Duration::from_millis(1);
    for index in 0..20 {
        let log = log.clone();
        rig.reactor().call_at(deadline, move || log.push(index));
    }
    rig.wait(3);
    assert_eq!(log.take(), (0..20).collect::<Vec<_>>());
}

pub(in super::super) fn a_zero_delay_fires_later_not_inside_the_call(rig: &ReactorRig) {
    let (log, stop) = (Log::new(), rig.stopper());
    let reactor = Rc::clone(rig.reactor());
    let outer = log.clone();
    rig.reactor().call_later(Duration::ZERO, move || {
        let inner = outer.clone();
        reactor.call_later(Duration::ZERO, move || {
            inner.push("inner");
            stop();
        });
        outer.push("outer");
    });
    assert_eq!(log.len(), 0);
    rig.run();
    assert_eq!(log.take(), ["outer", "inner"]);
}

pub(in super::super) fn a_cancelled_timer_does_not_fire_and_is_dropped_at_once(rig: &ReactorRig) {
    let (drops, log) = (Drops::new(), Log::new());
    let (captured, late) = (drops.item(), log.clone());
    let timer = rig.reactor().call_later(Duration::from_millis(1), move || {
        drop(captured);
        late.push("cancelled");
    });
    assert!(timer.cancel());
    assert_eq!(drops.count(), 1);
    assert!(timer.is_cancelled() && !timer.cancel());
    let fired = rig.reactor().call_later(Duration::from_millis(1), || ());
    rig.wait(3);
    assert!(!fired.cancel() && !fired.is_cancelled(), "it has fired");
    assert!(!fired.reset(rig.reactor().now()));
    assert_eq!(log.len(), 0, "the other has not");
}

pub(in super::super) fn a_timer_cancelled_by_one_of_the_same_batch_does_not_fire(rig: &ReactorRig) {
    let victim = Rc::new(Cell::new(None::<TimerHandle>));
    let deadline = rig.reactor().now() + Duration::from_millis(1);
    let cancels = Rc::clone(&victim);
    let log = Log::new();
    let (first, second, third) = (log.clone(), log.clone(), log.clone());
    rig.reactor().call_at(deadline, move || {
        first.push(if cancels.take().unwrap().cancel() { "cancelled" } else { "too late" });
    });
    victim.set(Some(rig.reactor().call_at(deadline, move || second.push("fired"))));
    rig.reactor().call_at(deadline, move || third.push("next"));
    rig.wait(3);
    assert_eq!(log.take(), ["cancelled", "next"]);
}

pub(in super::super) fn a_timer_that_was_reset_fires_at_its_new_deadline(rig: &ReactorRig) {
    let log = Log::new();
    let reactor = rig.reactor();
    let start = reactor.now();
    let late = log.clone();
    let timer = reactor.call_later(Duration::from_secs(3600), move || late.push("reset"));
    let between = log.clone();
    reactor.call_at(start + Duration::from_millis(1), move || between.push("other"));
    assert!(timer.reset(start + Duration::from_millis(2)));
    assert_eq!(timer.deadline(), start + Duration::from_millis(2));
    rig.wait(5);
    assert_eq!(log.take(), ["other", "reset"]);
}

pub(in super::super) fn the_longest_delay_never_fires(rig: &ReactorRig) {
    let timer = rig.reactor().call_later(Duration::MAX, || ());
    rig.wait(2);
    assert!(timer.cancel(), "it is still pending");
}

pub(in super::super) fn dropping_a_handle_changes_nothing_and_a_guard_cancels(rig: &ReactorRig) {
    let (log, drops) = (Log::new(), Drops::new());
    let fired = log.clone();
    drop(rig.reactor().call_later(Duration::from_millis(1), move || fired.push("timer")));
    let ran = log.clone();
    drop(rig.reactor().call_soon(move || ran.push("callback")));
    let captured = drops.item();
    let guard = rig.reactor().call_later(Duration::from_millis(1), move || drop(captured));
    drop(guard.cancel_on_drop());
    assert_eq!(drops.count(), 1);
    let (ours, mut theirs) = pair();
    drop(rig.reactor().add_writer(ours, |_| ()).unwrap().remove_on_drop());
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the source was closed");
    rig.wait(3);
    assert_eq!(log.take(), ["callback", "timer"]);
}

pub(in super::super) fn a_timer_that_is_reset_goes_behind_those_of_its_deadline(rig: &ReactorRig) {
    let log = Log::new();
    let deadline = rig.reactor().now() + Duration::from_millis(1);
    let timers = [0, 1, 2].map(|index| {
        let log = log.clone();
        rig.reactor().call_at(deadline, move || log.push(index))
    });
    assert!(timers[1].reset(deadline));
    assert!(timers[0].reset(deadline));
    rig.wait(3);
    assert_eq!(log.take(), [2, 1, 0]);
}

pub(in super::super) fn the_handle_of_what_is_over_names_nobody(rig: &ReactorRig) {
    let reactor = rig.reactor();
    let over = reactor.call_later(Duration::ZERO, || ());
    let ran = reactor.call_soon(|| ());
    let cancelled = reactor.call_soon(|| ());
    assert!(cancelled.cancel());
    rig.wait(1);
    let log = Log::new();
    for _ in 0..100 {
        let (timer, callback) = (log.clone(), log.clone());
        reactor.call_later(Duration::from_millis(1), move || timer.push(()));
        reactor.call_soon(move || callback.push(()));
    }
    assert!(!over.cancel() && !over.reset(reactor.now() + Duration::from_secs(3600)));
    assert!(!ran.cancel() && !cancelled.cancel());
    rig.wait(3);
    assert_eq!(log.len(), 200);
}

pub(in super::super) fn a_delay_counts_from_its_call(rig: &ReactorRig) {
    const BLOCKED: Duration = Duration::from_millis(3);
    let (log, stop) = (Log::new(), rig.stopper());
    let (reactor, seen) = (Rc::clone(rig.reactor()), log.clone());
    rig.reactor().call_soon(move || {
        let before = reactor.now();
        std::thread::sleep(BLOCKED);
        let now = reactor.now();
        let timer = reactor.call_later(BLOCKED, stop);
        seen.push((now - before, timer.deadline() - before));
    });
    rig.run();
    let [(passed, until)] = log.take()[..] else { panic!("it was not called once") };
    assert!(passed >= BLOCKED, "the clock stood still while a callback blocked");
    assert!(until >= 2 * BLOCKED, "the delay counts from before the call");
}

pub(in super::super) fn a_timer_is_set_again_by_its_callback_and_after_it(rig: &ReactorRig) {
    let (calls, stop) = (Rc::new(Cell::new(0)), rig.stopper());
    let timer = Rc::new(OnceCell::<Timer>::new());
    let (counted, own) = (Rc::clone(&calls), Rc::downgrade(&timer));
    let again = move || {
        counted.set(counted.get() + 1);
        let own = own.upgrade().unwrap();
        let timer = own.get().unwrap();
        assert!(!timer.is_set() && timer.deadline().is_none(), "in its callback it is over");
        if counted.get() % 3 == 0 {
            return stop();
        }
        assert!(timer.set(Duration::from_millis(1)));
        assert!(timer.is_set() && timer.deadline().is_some());
    };
    let made = Timer::new(rig.reactor(), again);
    assert!(!made.is_set());
    timer.set(made).unwrap();
    for calls_until_now in [3, 6] {
        assert!(timer.get().unwrap().set(Duration::ZERO));
        rig.run();
        assert_eq!(calls.get(), calls_until_now);
    }
}

pub(in super::super) fn a_timer_that_was_moved_or_stopped_forgets_its_deadline(rig: &ReactorRig) {
    let (log, drops) = (Log::new(), Drops::new());
    let (called, captured) = (log.clone(), drops.item());
    let timer = Timer::new(rig.reactor(), move || {
        let _ = &captured;
        called.push("called");
    });
    assert!(!timer.stop(), "it was not set");
    let soon = Duration::from_millis(1);
    assert!(timer.set(soon) && timer.set(Duration::from_secs(3600)));
    rig.wait(5);
    assert!(timer.stop() && !timer.is_set());
    assert!(timer.set(soon) && timer.stop());
    rig.wait(5);
    assert_eq!(log.len(), 0);
    assert!(timer.set_at(rig.reactor().now() + soon) && timer.set_at(rig.reactor().now()));
    rig.wait(5);
    assert_eq!(log.take(), ["called"]);
    assert!(timer.set(soon));
    assert_eq!(drops.count(), 0);
    drop(timer);
    assert_eq!(drops.count(), 1);
    rig.wait(5);
    assert_eq!(log.len(), 0);
}

pub(in super::super) fn a_timer_that_panics_or_drops_itself_leaves_the_rest(rig: &ReactorRig) {
    let (log, drops) = (Log::new(), Drops::new());
    let called = log.clone();
    let timer = Timer::new(rig.reactor(), move || {
        called.push("called");
        panic!("a timer's callback");
    });
    for _ in 0..2 {
        assert!(timer.set(Duration::ZERO));
        rig.turns(ENOUGH);
        assert_eq!(log.take(), ["called"]);
    }
    let (own, dropped) = (Rc::new(RefCell::new(None::<Timer>)), Log::new());
    let (inside, captured) = (Rc::clone(&own), drops.item());
    let (ended, counted) = (dropped.clone(), drops.clone());
    let last = Timer::new(rig.reactor(), move || {
        drop(inside.take());
        ended.push(counted.count());
        let _ = &captured;
    });
    last.set(Duration::ZERO);
    own.replace(Some(last));
    rig.turns(ENOUGH);
    assert_eq!((dropped.take(), drops.count()), (vec![0], 1), "while it runs, and then");
}

pub(in super::super) fn a_timer_says_that_its_reactor_was_closed(rig: &ReactorRig) {
    let timer = Timer::new(rig.reactor(), || unreachable!("it was closed"));
    assert!(timer.set(Duration::from_secs(3600)));
    rig.close();
    assert!(!timer.is_set() && timer.deadline().is_none());
    assert!(!timer.set(Duration::ZERO) && !timer.is_set());
    assert!(!timer.stop());
}

pub(in super::super) fn a_deadline_may_be_told_by_the_wall_clock(rig: &ReactorRig) {
    let (reactor, hour) = (rig.reactor(), Duration::from_secs(3600));
    let before = reactor.now();
    let past = reactor.instant_at(SystemTime::now() - hour);
    let ahead = reactor.instant_at(SystemTime::now() + hour);
    let after = reactor.now();
    assert!((before..=after).contains(&past));
    // Some time passes between the two clocks' readings.
    assert!(ahead <= after + hour && ahead > before + hour - Duration::from_secs(60));
    assert!(reactor.instant_at(SystemTime::UNIX_EPOCH) <= reactor.now());
}
