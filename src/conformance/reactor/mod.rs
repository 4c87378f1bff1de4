//! What any [`Reactor`] promises, whoever wrote it: a native loop of somebody else's as well as ours.
//!
//! Written over `Rc<dyn Reactor>`, and run for `IOLoop` on every rig too.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Drops, Log};
use crate::{IOLoop, Reactor, Watch};

/// A reactor under test: the reactor, how to run it, and how to stop it from one of its callbacks.
pub struct ReactorRig {
    reactor: Rc<dyn Reactor>,
    run: Box<dyn Fn()>,
    stop: Rc<dyn Fn()>,
}

impl ReactorRig {
    /// A rig for a reactor. `run` blocks until `stop` was called from one of the reactor's callbacks, and
    /// can be called again.
    pub fn new(
        reactor: Rc<dyn Reactor>,
        run: impl Fn() + 'static,
        stop: impl Fn() + 'static,
    ) -> Self {
        ReactorRig { reactor, run: Box::new(run), stop: Rc::new(stop) }
    }

    fn reactor(&self) -> &Rc<dyn Reactor> {
        &self.reactor
    }

    fn run(&self) {
        (self.run)();
    }

    fn stopper(&self) -> impl Fn() + Clone + use<> {
        let stop = Rc::clone(&self.stop);
        move || stop()
    }

    /// Runs what is queued and ready, for so many turns.
    fn turns(&self, turns: u32) {
        fn again(reactor: &Rc<dyn Reactor>, stop: Rc<dyn Fn()>, left: u32) {
            let next = Rc::clone(reactor);
            reactor.call_soon(move || match left {
                0 => stop(),
                _ => again(&next, stop, left - 1),
            });
        }
        again(&self.reactor, Rc::clone(&self.stop), turns);
        self.run();
    }

    /// Lets time pass, and runs what comes due.
    fn wait(&self, millis: u64) {
        self.reactor.call_later(Duration::from_millis(millis), self.stopper());
        self.run();
    }
}

impl From<Rig> for ReactorRig {
    fn from(rig: Rig) -> ReactorRig {
        let io_loop = rig.io_loop();
        let driven = io_loop.clone();
        ReactorRig::new(
            Rc::new(io_loop),
            move || rig.run(&driven).expect("running the loop"),
            || IOLoop::current().expect("a callback has a current loop").stop(),
        )
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("non-blocking mode");
    theirs.set_nonblocking(true).expect("non-blocking mode");
    (ours, theirs)
}

/// Turns enough for whatever is ready to be served, also where a look is left out while callbacks run.
const ENOUGH: u32 = 200;

pub(super) fn a_reader_is_called_until_it_has_read_everything(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"abc").unwrap();
    let (log, stop) = (Log::new(), rig.stopper());
    let read = log.clone();
    rig.reactor()
        .add_reader(theirs, move |mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            read.push(byte[0]);
            if byte[0] == b'c' {
                stop();
            }
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take(), b"abc", "one byte a call, without an edge in between");
}

pub(super) fn an_end_of_file_calls_the_reader(rig: &ReactorRig) {
    let (ours, theirs) = pair();
    drop(ours);
    let (log, stop) = (Log::new(), rig.stopper());
    let read = log.clone();
    rig.reactor()
        .add_reader(theirs, move |mut stream| {
            read.push(stream.read(&mut [0]).unwrap());
            stop();
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take(), [0]);
}

pub(super) fn a_writer_is_called_again_until_it_is_removed(rig: &ReactorRig) {
    let (ours, _theirs) = pair();
    let (log, stop) = (Log::new(), rig.stopper());
    let calls = log.clone();
    let watch = rig
        .reactor()
        .add_writer(ours, move |_| {
            calls.push(());
            if calls.len() == 3 {
                stop();
            }
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take().len(), 3);
    assert!(watch.remove());
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0);
}

pub(super) fn a_reader_is_not_called_for_a_writable_descriptor(rig: &ReactorRig) {
    let (ours, _theirs) = pair();
    let log = Log::new();
    let (reads, writes) = (log.clone(), log.clone());
    let stop = rig.stopper();
    let shared = Rc::new(ours);
    rig.reactor().add_reader(Rc::clone(&shared), move |_| reads.push("read")).unwrap();
    rig.reactor()
        .add_writer(shared, move |_| {
            writes.push("write");
            stop();
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take(), ["write"]);
}

pub(super) fn reader_and_writer_of_one_descriptor_are_independent(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let theirs = Rc::new(theirs);
    let log = Log::new();
    let add_reader = || {
        let (log, stop) = (log.clone(), rig.stopper());
        let callback = move |_: &Rc<UnixStream>| {
            log.push("read");
            stop();
        };
        rig.reactor().add_reader(Rc::clone(&theirs), callback).unwrap()
    };
    let add_writer = || {
        let (log, stop) = (log.clone(), rig.stopper());
        let callback = move |_: &Rc<UnixStream>| {
            log.push("write");
            stop();
        };
        rig.reactor().add_writer(Rc::clone(&theirs), callback).unwrap()
    };
    let (reader, writer) = (add_reader(), add_writer());
    rig.run();
    assert_eq!(log.take(), ["read", "write"]);
    assert!(reader.remove());
    rig.run();
    assert_eq!(log.take(), ["write"]);
    let reader = add_reader();
    assert!(writer.remove());
    rig.run();
    assert_eq!(log.take(), ["read"]);
    // The writer added first, the reader is called first all the same.
    assert!(reader.remove());
    add_writer();
    add_reader();
    rig.run();
    assert_eq!(log.take(), ["read", "write"]);
}

pub(super) fn adding_again_replaces_and_the_old_one_is_never_called(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let theirs = Rc::new(theirs);
    let drops = Drops::new();
    let (log, stop) = (Log::new(), rig.stopper());
    let old = {
        let (log, captured) = (log.clone(), drops.item());
        let callback = move |_: &Rc<UnixStream>| {
            let _ = &captured;
            log.push("old");
        };
        rig.reactor().add_reader(Rc::clone(&theirs), callback).unwrap()
    };
    let new = log.clone();
    let callback = move |_: &Rc<UnixStream>| {
        new.push("new");
        stop();
    };
    rig.reactor().add_reader(Rc::clone(&theirs), callback).unwrap();
    assert_eq!(drops.count(), 1, "the old callback is dropped when it is replaced");
    assert!(!old.remove(), "the handle of the old one names nobody");
    rig.run();
    assert_eq!(log.take(), ["new"]);
}

pub(super) fn removing_says_whether_there_was_one(rig: &ReactorRig) {
    let (ours, _theirs) = pair();
    let ours = Rc::new(ours);
    let reactor = rig.reactor();
    assert!(!reactor.remove_reader(&ours));
    assert!(!reactor.remove_writer(&ours));
    let watch = reactor.add_reader(Rc::clone(&ours), |_| ()).unwrap();
    assert!(!reactor.remove_writer(&ours));
    assert!(reactor.remove_reader(&ours));
    assert!(!reactor.remove_reader(&ours));
    assert!(!watch.remove() && !watch.pause() && !watch.resume().unwrap());
    reactor.add_writer(Rc::clone(&ours), |_| ()).unwrap();
    assert!(reactor.remove_writer(&ours));
}

pub(super) fn what_a_callback_removed_is_not_called_in_the_same_batch(rig: &ReactorRig) {
    let log = Log::new();
    let watches: Rc<RefCell<Vec<Watch>>> = Rc::default();
    let mut peers = Vec::new();
    for index in 0..4 {
        let (mut ours, theirs) = pair();
        ours.write_all(b"x").unwrap();
        peers.push(ours);
        let (log, watches, stop) = (log.clone(), Rc::clone(&watches), rig.stopper());
        let callback = {
            let watches = Rc::clone(&watches);
            move |_: &UnixStream| {
                log.push(index);
                for watch in watches.take() {
                    watch.remove();
                }
                stop();
            }
        };
        let watch = rig.reactor().add_reader(theirs, callback).unwrap();
        watches.borrow_mut().push(watch);
    }
    rig.run();
    assert_eq!(log.take().len(), 1, "the first one called has removed the others, and itself");
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0);
}

pub(super) fn removed_and_added_again_in_a_callback_only_the_new_one_is_called(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let (log, stop) = (Log::new(), rig.stopper());
    let reactor = Rc::clone(rig.reactor());
    let old = log.clone();
    rig.reactor()
        .add_reader(Rc::new(theirs), move |stream| {
            old.push(if reactor.remove_reader(stream) { "old" } else { "no reader to remove" });
            let (new, stop) = (old.clone(), stop.clone());
            let callback = move |_: &Rc<UnixStream>| {
                new.push("new");
                stop();
            };
            reactor.add_reader(Rc::clone(stream), callback).unwrap();
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take(), ["old", "new"]);
}

pub(super) fn a_paused_watch_is_silent_and_resumes_with_what_is_pending(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    let (log, stop) = (Log::new(), rig.stopper());
    let read = log.clone();
    let callback = move |mut stream: &UnixStream| {
        read.push(stream.read(&mut [0; 8]).unwrap());
        stop();
    };
    let watch = rig.reactor().add_reader(theirs, callback).unwrap();
    assert!(watch.pause());
    ours.write_all(b"xy").unwrap();
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0);
    assert!(watch.resume().unwrap());
    rig.run();
    assert_eq!(log.take(), [2]);
}

pub(super) fn a_source_lives_as_long_as_its_watch(rig: &ReactorRig) {
    let (ours, mut theirs) = pair();
    let watch = rig.reactor().add_writer(ours, |_| ()).unwrap();
    let blocked = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock, "the loop keeps it open");
    assert!(watch.remove());
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it was closed with the watch");
}

pub(super) fn a_watch_that_removes_itself_is_dropped_when_its_callback_returns(rig: &ReactorRig) {
    let (ours, mut theirs) = pair();
    let own: Rc<RefCell<Option<Watch>>> = Rc::default();
    let (slot, stop) = (Rc::clone(&own), rig.stopper());
    let log = Log::new();
    let seen = log.clone();
    let watch = rig
        .reactor()
        .add_writer(ours, move |mut stream| {
            let removed = slot.take().unwrap().remove();
            seen.push((removed, stream.write(b"x").unwrap()));
            stop();
        })
        .unwrap();
    own.replace(Some(watch));
    rig.run();
    assert_eq!(log.take(), [(true, 1)], "the source was still open");
    let mut rest = Vec::new();
    theirs.set_nonblocking(false).unwrap();
    theirs.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"x", "and was closed after");
}

pub(super) fn a_hang_up_wakes_reader_and_writer(rig: &ReactorRig) {
    let (ours, theirs) = pair();
    while (&ours).write(&[0; 4096]).is_ok() {}
    let log = Log::new();
    let ours = Rc::new(ours);
    let (reads, writes) = (log.clone(), log.clone());
    let (slot, stop) = (Rc::new(Cell::new(None::<Watch>)), rig.stopper());
    let own = Rc::clone(&slot);
    let callback = move |_: &Rc<UnixStream>| {
        reads.push("read");
        own.take().map(|watch| watch.pause());
    };
    slot.set(Some(rig.reactor().add_reader(Rc::clone(&ours), callback).unwrap()));
    let callback = move |_: &Rc<UnixStream>| {
        writes.push("write");
        stop();
    };
    rig.reactor().add_writer(ours, callback).unwrap();
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0, "full, and nothing to read");
    drop(theirs);
    rig.run();
    assert_eq!(log.take(), ["read", "write"]);
}

pub(super) fn a_panicking_reader_is_removed_and_the_others_are_served(rig: &ReactorRig) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let (mut healthy_peer, healthy) = pair();
    healthy_peer.write_all(b"x").unwrap();
    let (log, stop) = (Log::new(), rig.stopper());
    let (bad, good) = (log.clone(), log.clone());
    rig.reactor()
        .add_reader(theirs, move |_| {
            bad.push("panicking");
            panic!("on purpose");
        })
        .unwrap();
    let mut calls = 0;
    rig.reactor()
        .add_reader(healthy, move |_| {
            calls += 1;
            if calls == 3 {
                good.push("healthy");
                stop();
            }
        })
        .unwrap();
    rig.run();
    assert_eq!(log.take(), ["panicking", "healthy"]);
}

pub(super) fn callbacks_run_in_order_and_never_inside_the_call(rig: &ReactorRig) {
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

pub(super) fn what_callbacks_queue_waits_for_the_next_turn(rig: &ReactorRig) {
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

pub(super) fn a_cancelled_callback_does_not_run_and_is_dropped_at_once(rig: &ReactorRig) {
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

pub(super) fn a_callback_cancelled_in_the_same_batch_does_not_run(rig: &ReactorRig) {
    let victim = Rc::new(Cell::new(None::<crate::CallbackHandle>));
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

pub(super) fn what_a_callback_captured_is_dropped_when_it_has_run(rig: &ReactorRig) {
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

pub(super) fn a_panicking_callback_or_timer_does_not_stop_the_next(rig: &ReactorRig) {
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

pub(super) fn timers_fire_once_by_deadline_and_never_early(rig: &ReactorRig) {
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

pub(super) fn equal_deadlines_fire_in_order_of_insertion(rig: &ReactorRig) {
    let log = Log::new();
    let deadline = rig.reactor().now() + Duration::from_millis(1);
    for index in 0..20 {
        let log = log.clone();
        rig.reactor().call_at(deadline, move || log.push(index));
    }
    rig.wait(3);
    assert_eq!(log.take(), (0..20).collect::<Vec<_>>());
}

pub(super) fn a_zero_delay_fires_later_not_inside_the_call(rig: &ReactorRig) {
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

pub(super) fn a_cancelled_timer_does_not_fire_and_is_dropped_at_once(rig: &ReactorRig) {
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

pub(super) fn a_timer_cancelled_by_one_of_the_same_batch_does_not_fire(rig: &ReactorRig) {
    let victim = Rc::new(Cell::new(None::<crate::TimerHandle>));
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

pub(super) fn a_timer_that_was_reset_fires_at_its_new_deadline(rig: &ReactorRig) {
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

pub(super) fn the_longest_delay_never_fires(rig: &ReactorRig) {
    let timer = rig.reactor().call_later(Duration::MAX, || ());
    rig.wait(2);
    assert!(timer.cancel(), "it is still pending");
}

pub(super) fn dropping_a_handle_changes_nothing_and_a_guard_cancels(rig: &ReactorRig) {
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

pub(super) fn a_post_from_another_thread_wakes_a_sleeping_loop(rig: &ReactorRig) {
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
    // Looks once a millisecond, so that the loop sleeps in between.
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

pub(super) fn posts_and_callbacks_of_the_loops_thread_share_one_queue(rig: &ReactorRig) {
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
