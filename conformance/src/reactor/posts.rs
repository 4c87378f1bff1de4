//! Posts to any reactor from other threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::ReactorRig;
use ioloop::Reactor;

pub(in super::super) fn a_post_from_another_thread_wakes_a_sleeping_loop(rig: &ReactorRig) {
    let poster = rig.reactor().poster();
    let (sender, receiver) = std::sync::mpsc::channel();
    let from = sender.clone();
    let thread = std::thread::spawn(move || {
        for index in 0..1000 {
            let sender = from.clone();
            poster.post(move || sender.send(index).unwrap()).unwrap();
        }
    });
    let reactor = Rc::clone(rig.reactor());
    let stop = rig.stopper();
    let seen: Rc<RefCell<Vec<u32>>> = Rc::default();
    let log = Rc::clone(&seen);
    // Looks once a millisecond, so the loop sleeps in between.
    fn look(reactor: Rc<dyn Reactor>, found: Rc<dyn Fn() -> bool>, stop: Rc<dyn Fn()>) {
        let next = Rc::clone(&reactor);
        reactor.call_later(Duration::from_millis(1), move || match found() {
            true => stop(),
            false => look(next, found, stop),
        });
    }
    let found = move || {
        log.borrow_mut().extend(receiver.try_iter());
        log.borrow().len() == 1000
    };
    look(reactor, Rc::new(found), Rc::new(stop));
    rig.run();
    thread.join().unwrap();
    assert_eq!(*seen.borrow(), (0..1000).collect::<Vec<_>>(), "all, and in order");
    drop(sender);
}

pub(in super::super) fn posts_and_callbacks_of_the_loops_thread_share_one_queue(rig: &ReactorRig) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let poster = rig.reactor().poster();
    for round in 0..3 {
        let posted = sender.clone();
        poster.post(move || posted.send((round, "posted")).unwrap()).unwrap();
        let queued = sender.clone();
        rig.reactor().call_soon(move || queued.send((round, "queued")).unwrap());
    }
    rig.turns(1);
    let seen: Vec<_> = receiver.try_iter().collect();
    let expected: Vec<_> =
        (0..3).flat_map(|round| [(round, "posted"), (round, "queued")]).collect();
    assert_eq!(seen, expected);
}

pub(in super::super) fn a_post_wakes_a_reactor_that_has_nothing_else_to_do(rig: &ReactorRig) {
    /// In some of them the post comes while the reactor is still awake; not in all of them.
    const ROUNDS: u32 = 200;
    // With nothing at all to wait for, some loops end instead of sleeping.
    let far = rig.reactor().call_later(Duration::from_secs(3600), || ());
    let stop = rig.remote_stop();
    let (ask, asked) = std::sync::mpsc::channel();
    let poster = std::thread::spawn(move || asked.into_iter().for_each(|()| stop()));
    for _ in 0..ROUNDS {
        ask.send(()).unwrap();
        rig.run();
    }
    drop(ask);
    poster.join().unwrap();
    assert!(far.cancel());
}
