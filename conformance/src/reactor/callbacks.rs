//! Queued callbacks of any reactor.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::super::tools::{Drops, Log};
use super::{ReactorRig, pair};
use ioloop::{CallbackHandle, Reactor};

pub(in super::super) fn callbacks_run_in_order_and_never_inside_the_call(rig: &ReactorRig) {
    let log = Log::new();
    for index in 0..3 {
        let log = log.clone();
        rig.reactor().call_soon(move || log.push(index));
    }
    assert_eq!(log.len(), 0);
    rig.reactor().call_soon(rig.stopper());
    rig.run();
    assert_eq!(log.take(), [0, 1, 2]);
}

pub(in super::super) fn what_callbacks_queue_waits_for_the_next_turn(rig: &ReactorRig) {
    let (log, stop) = (Log::new(), rig.stopper());
    let reactor = Rc::clone(rig.reactor());
    let first = log.clone();
    rig.reactor().call_soon(move || {
        let last = first.clone();
        first.push("first");
        reactor.call_soon(move || {
            last.push("queued by the first");
            stop();
        });
    });
    let second = log.clone();
    rig.reactor().call_soon(move || second.push("second"));
    rig.run();
    assert_eq!(log.take(), ["first", "second", "queued by the first"]);
}

pub(in super::super) fn a_cancelled_callback_does_not_run_and_is_dropped_at_once(rig: &ReactorRig) {
    let (drops, log) = (Drops::new(), Log::new());
    let (captured, ran) = (drops.item(), log.clone());
    let handle = rig.reactor().call_soon(move || {
        drop(captured);
        ran.push("cancelled");
    });
    assert!(!handle.is_cancelled());
    assert!(handle.cancel());
    assert_eq!(drops.count(), 1);
    assert!(handle.is_cancelled());
    assert!(!handle.cancel());
    let ran = rig.reactor().call_soon(|| ());
    rig.turns(1);
    assert!(!ran.cancel() && !ran.is_cancelled(), "it has run");
    assert_eq!(log.len(), 0, "the other has not");
}

pub(in super::super) fn a_callback_cancelled_in_the_same_batch_does_not_run(rig: &ReactorRig) {
    let victim = Rc::new(Cell::new(None::<CallbackHandle>));
    let cancels = Rc::clone(&victim);
    let log = Log::new();
    let (first, second, third) = (log.clone(), log.clone(), log.clone());
    rig.reactor().call_soon(move || {
        first.push(if cancels.take().unwrap().cancel() { "cancelled" } else { "too late" });
    });
    victim.set(Some(rig.reactor().call_soon(move || second.push("ran"))));
    rig.reactor().call_soon(move || third.push("next"));
    rig.turns(1);
    assert_eq!(log.take(), ["cancelled", "next"]);
}

pub(in super::super) fn what_a_callback_captured_is_dropped_when_it_has_run(rig: &ReactorRig) {
    let drops = Drops::new();
    let captured = drops.item();
    rig.reactor().call_soon(move || {
        let _ = &captured;
    });
    let seen = Rc::new(Cell::new(0));
    let (now, count) = (Rc::clone(&seen), drops);
    rig.reactor().call_soon(move || now.set(count.count()));
    rig.turns(1);
    assert_eq!(seen.get(), 1, "before the next callback");
}

pub(in super::super) fn a_panicking_callback_or_timer_does_not_stop_the_next(rig: &ReactorRig) {
    let log = Log::new();
    rig.reactor().call_soon(|| panic!("on purpose"));
    let ran = log.clone();
    rig.reactor().call_soon(move || ran.push("callback"));
    let (ran, stop) = (log.clone(), rig.stopper());
    rig.reactor().call_later(Duration::ZERO, || panic!("on purpose"));
    rig.reactor().call_later(Duration::ZERO, move || {
        ran.push("timer");
        stop();
    });
    rig.run();
    assert_eq!(log.take(), ["callback", "timer"]);
}

pub(in super::super) fn a_destructor_may_ask_the_reactor_for_anything(rig: &ReactorRig) {
    /// Asks for one of everything when it is dropped.
    struct Asks(Rc<dyn Reactor>, Log<&'static str>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let log = self.1.clone();
            self.0.call_soon(move || log.push("callback"));
            let log = self.1.clone();
            self.0.call_later(Duration::ZERO, move || log.push("timer"));
            assert!(self.0.call_soon(|| ()).cancel());
            assert!(self.0.call_later(Duration::ZERO, || ()).cancel());
            let watch = self.0.add_writer(pair().0, |_| ()).unwrap();
            assert!(watch.pause() && watch.remove());
            self.0.poster().post(|| ()).unwrap();
            self.1.push("dropped");
        }
    }
    let (reactor, log) = (rig.reactor(), Log::new());
    let hold = || {
        let asks = Asks(Rc::clone(reactor), log.clone());
        move || _ = &asks
    };
    let check = |what: &str| {
        assert_eq!(log.take(), ["dropped"], "{what}");
        rig.wait(1);
        let mut ran = log.take();
        ran.sort_unstable();
        assert_eq!(ran, ["callback", "timer"], "{what}");
    };
    assert!(reactor.call_soon(hold()).cancel());
    check("a cancelled callback");
    assert!(reactor.call_later(Duration::ZERO, hold()).cancel());
    check("a cancelled timer");
    let held = hold();
    let (ours, _theirs) = pair();
    let ours = Rc::new(ours);
    let watch = reactor.add_reader(Rc::clone(&ours), move |_| held()).unwrap();
    assert!(watch.remove());
    check("a removed watch");
    let held = hold();
    reactor.add_reader(Rc::clone(&ours), move |_| held()).unwrap();
    let watch = reactor.add_reader(ours, |_| ()).unwrap();
    check("a replaced watch");
    assert!(watch.remove());
    // The last of those that ran have asked by the time that their own wait is over.
    reactor.call_soon(hold());
    reactor.call_later(Duration::ZERO, hold());
    rig.wait(1);
    rig.wait(1);
    assert_eq!(log.len(), 6, "what has run: {:?}", log.take());
}
