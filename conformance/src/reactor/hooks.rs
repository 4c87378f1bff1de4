//! Hooks around the sleep of any reactor that has them.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use super::super::tools::{Drops, Log};
use super::{ENOUGH, ReactorRig};
use ioloop::Reactor;
use ioloop::hooks::BeforeSleep;

/// Whether a reactor has hooks: one that has none says so, and keeps nothing.
fn has_hooks(rig: &ReactorRig) -> bool {
    let drops = Drops::new();
    let item = drops.item();
    let added = rig.reactor().after_wake(move || _ = &item);
    let is_added = match added {
        Ok(hook) => hook.remove() && !hook.remove(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            false
        }
    };
    assert_eq!(drops.count(), 1);
    is_added
}

pub(in super::super) fn a_hook_keeps_the_reactor_awake_and_one_after_follows_each(
    rig: &ReactorRig,
) {
    if !has_hooks(rig) {
        return;
    }
    let log = Log::new();
    let (before, after) = (log.clone(), log.clone());
    let (left, stop) = (Cell::new(3_u32), rig.stopper());
    // Nothing else wakes it.
    let before = rig.reactor().before_sleep(move || {
        before.push("before");
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            stop();
        }
        BeforeSleep::StayAwake
    });
    let before = before.unwrap().remove_on_drop();
    let after = rig.reactor().after_wake(move || after.push("after")).unwrap();
    rig.run();
    let seen = log.take();
    assert!(seen.len() >= 5, "{seen:?}");
    assert!(seen.chunks(2).all(|pair| pair[0] == "before" && pair[1..] != ["before"]), "{seen:?}");
    drop(before);
    assert!(after.remove());
    rig.turns(ENOUGH);
    assert!(log.take().len() <= 1, "one after the last round");
}

pub(in super::super) fn what_a_hook_queues_is_run_instead_of_a_sleep(rig: &ReactorRig) {
    if !has_hooks(rig) {
        return;
    }
    let (reactor, stop) = (Rc::clone(rig.reactor()), rig.stopper());
    let hook = rig.reactor().before_sleep(move || {
        reactor.call_soon(stop.clone());
        BeforeSleep::Sleep
    });
    let hook = hook.unwrap();
    let hour = rig.reactor().call_later(Duration::from_secs(3600), || unreachable!());
    rig.run();
    assert!(hook.remove() && hour.cancel());
}
