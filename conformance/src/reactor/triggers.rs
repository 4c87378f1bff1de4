//! Triggers on any reactor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;

use super::super::tools::{Drops, Log};
use super::{ENOUGH, ReactorRig};
use ioloop::{Closed, Trigger};

pub(in super::super) fn many_fires_before_a_trigger_runs_are_one_call(rig: &ReactorRig) {
    let calls = Log::new();
    let called = calls.clone();
    let trigger = Trigger::new(rig.reactor(), move || called.push("called")).unwrap();
    for _ in 0..3 {
        trigger.fire().unwrap();
    }
    assert_eq!(calls.len(), 0, "inside the fire");
    rig.turns(ENOUGH);
    assert_eq!(calls.take(), ["called"]);
    rig.turns(ENOUGH);
    assert_eq!(calls.len(), 0, "it was not fired again");
    trigger.clone().fire().unwrap();
    rig.turns(ENOUGH);
    assert_eq!(calls.take(), ["called"]);
}

pub(in super::super) fn a_trigger_that_fires_itself_is_called_again(rig: &ReactorRig) {
    let (own, left, stop) =
        (Rc::new(RefCell::new(None::<Trigger>)), Cell::new(5_u32), rig.stopper());
    let inside = Rc::clone(&own);
    let again = move || match left.get() {
        0 => stop(),
        calls => {
            left.set(calls - 1);
            inside.borrow().as_ref().unwrap().fire().unwrap();
        }
    };
    own.replace(Some(Trigger::new(rig.reactor(), again).unwrap()));
    own.borrow().as_ref().unwrap().fire().unwrap();
    rig.run();
    own.take();
}

pub(in super::super) fn a_trigger_that_another_thread_fires_ends_the_sleep(rig: &ReactorRig) {
    let home = thread::current().id();
    let stop = rig.stopper();
    let called = move || {
        assert_eq!(thread::current().id(), home);
        stop();
    };
    let trigger = Trigger::new(rig.reactor(), called).unwrap();
    for _ in 0..20 {
        let firing = trigger.clone();
        let firing = thread::spawn(move || firing.fire());
        rig.run();
        firing.join().unwrap().unwrap();
    }
}

pub(in super::super) fn a_trigger_is_dropped_on_its_thread_with_its_last_share(rig: &ReactorRig) {
    let (drops, calls) = (Drops::new(), Log::new());
    let (item, called) = (drops.item(), calls.clone());
    let trigger = Trigger::new(rig.reactor(), move || {
        let _held = &item;
        called.push("called");
    });
    let trigger = trigger.unwrap();
    let share = trigger.clone();
    drop(trigger);
    rig.turns(ENOUGH);
    assert_eq!(drops.count(), 0, "there is a share");
    let last = move || {
        share.fire().unwrap();
        drop(share);
    };
    thread::spawn(last).join().unwrap();
    assert_eq!(drops.count(), 0, "on another thread");
    rig.turns(ENOUGH);
    assert_eq!((calls.take(), drops.count()), (vec!["called"], 1));
}

pub(in super::super) fn a_trigger_says_that_its_callback_was_dropped(rig: &ReactorRig) {
    let drops = Drops::new();
    let (item, other) = (drops.item(), drops.item());
    let panics = Trigger::new(rig.reactor(), move || {
        let _held = &item;
        panic!("on purpose");
    });
    let panics = panics.unwrap();
    let open = Trigger::new(rig.reactor(), move || _ = &other).unwrap();
    panics.fire().unwrap();
    rig.turns(ENOUGH);
    assert_eq!((panics.fire(), drops.count()), (Err(Closed), 1));
    assert_eq!(open.fire(), Ok(()));
    rig.close();
    assert_eq!((open.fire(), drops.count()), (Err(Closed), 2));
    assert!(Trigger::new(rig.reactor(), || ()).is_err());
}
