//! Watches: how they are replaced, removed and paused.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Drops, Log, one_turn, stop};
use super::wires::{
    Strict, assert_rests, drain, is_at_end, is_readable, pair, send, shared_pair, this_turn,
};
use ioloop::reactor::{Direction, Watcher};
use ioloop::{IOLoop, Reactor, Watch};

// Replacing and removing.

/// Two ready descriptors; whichever is called first replaces the other's callback and removes
/// itself.
fn replaces_a_pending_one(rig: &Rig, direction: Direction) {
    let io_loop = Strict::new(rig.io_loop());
    let ((a, peer_a), (b, peer_b)) = (shared_pair(), shared_pair());
    send(&peer_a);
    send(&peer_b);
    let (log, drops) = (Log::new(), Drops::new());
    for (mine, other) in [(&a, &b), (&b, &a)] {
        let (log, other, captured) = (log.clone(), Rc::clone(other), drops.item());
        let old = Watcher::new(Rc::clone(mine), move |mine| {
            let _captured = &captured;
            log.push("old");
            let io_loop = IOLoop::current().unwrap();
            let log = log.clone();
            let new = Watcher::new(Rc::clone(&other), move |_| log.push("new"));
            io_loop.watch(direction, new).unwrap();
            io_loop.unwatch(direction, mine.as_fd().as_raw_fd());
        });
        io_loop.watch(direction, old).unwrap();
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["old"], "the other's event had come in as well");
    assert_eq!(drops.count(), 2, "one was replaced, one removed");
    assert_eq!(io_loop.metrics().watches, 1);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["new"]);
}

pub(super) fn a_replaced_reader_is_never_called_even_if_its_event_is_pending(rig: &Rig) {
    replaces_a_pending_one(rig, Direction::Read);
}

pub(super) fn a_replaced_writer_is_never_called_even_if_its_event_is_pending(rig: &Rig) {
    replaces_a_pending_one(rig, Direction::Write);
}

pub(super) fn a_replaced_reader_leaves_the_writer_alone(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let log = Log::new();
    for (direction, name) in
        [(Direction::Read, "replaced"), (Direction::Write, "writer"), (Direction::Read, "reader")]
    {
        let log = log.clone();
        let watcher = Watcher::new(Rc::clone(&ours), move |_| log.push(name));
        io_loop.watch(direction, watcher).unwrap();
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["reader", "writer"]);
}

pub(super) fn the_watch_of_a_replaced_reader_has_ended(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let old = io_loop.add_reader(Rc::clone(&ours), |_| panic!("it was replaced")).unwrap();
    let calls = Log::new();
    let log = calls.clone();
    let new = io_loop.add_reader(ours, move |_| log.push(())).unwrap();
    assert!(!old.pause());
    assert!(!old.resume().unwrap());
    assert!(!old.remove());
    drop(old.remove_on_drop());
    one_turn(rig, &io_loop);
    assert_eq!(calls.len(), 1, "its successor goes on");
    assert!(new.remove());
}

pub(super) fn a_watch_that_has_ended_can_be_neither_paused_nor_resumed(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let watch = io_loop.add_reader(ours, |_| ()).unwrap();
    assert!(watch.pause());
    assert!(watch.resume().unwrap());
    assert!(watch.remove());
    assert!(is_at_end(&peer));
    assert!(!watch.pause());
    assert!(!watch.resume().unwrap());
    one_turn(rig, &io_loop);
    assert_eq!(io_loop.metrics().watches, 0);
    assert_rests(rig, &io_loop);
}

pub(super) fn removing_says_whether_there_was_one(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, _peer) = shared_pair();
    assert!(!io_loop.remove_reader(&ours), "never seen");
    assert!(!io_loop.remove_writer(&ours), "never seen");
    io_loop.add_reader(Rc::clone(&ours), |_| ()).unwrap();
    assert!(!io_loop.remove_writer(&ours), "a reader is no writer");
    assert!(io_loop.remove_reader(&ours));
    assert!(!io_loop.remove_reader(&ours), "again");
    io_loop.add_writer(Rc::clone(&ours), |_| ()).unwrap();
    assert!(!io_loop.remove_reader(&ours), "a writer is no reader");
    assert!(io_loop.remove_writer(&ours));
    assert!(!io_loop.remove_writer(&ours), "again");
    assert_eq!(io_loop.metrics().watches, 0);
}

pub(super) fn removing_another_descriptor_suppresses_its_pending_event(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let ((a, peer_a), (b, peer_b)) = (shared_pair(), shared_pair());
    send(&peer_a);
    send(&peer_b);
    let log = Log::new();
    for (mine, other) in [(&a, &b), (&b, &a)] {
        let (log, other) = (log.clone(), Rc::clone(other));
        io_loop
            .add_reader(Rc::clone(mine), move |_| {
                log.push(());
                assert!(IOLoop::current().unwrap().remove_reader(&other));
            })
            .unwrap();
    }
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 1, "both were ready, one was removed");
    assert_eq!(io_loop.metrics().watches, 1);
}

pub(super) fn a_reader_can_suppress_the_writer_of_its_descriptor(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let log = Log::new();
    let reads = log.clone();
    io_loop.add_writer(Rc::clone(&ours), |_| panic!("the reader removed it")).unwrap();
    io_loop
        .add_reader(ours, move |stream| {
            let io_loop = IOLoop::current().unwrap();
            assert!(io_loop.remove_writer(stream) && io_loop.remove_reader(stream));
            reads.push(());
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 1);
    assert_eq!(io_loop.metrics().watches, 0);
    assert!(!is_readable(&io_loop));
}

pub(super) fn what_is_added_anew_inside_a_callback_gets_the_next_event(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let log = Log::new();
    let calls = log.clone();
    io_loop
        .add_reader(ours, move |stream| {
            calls.push(("old", this_turn()));
            let io_loop = IOLoop::current().unwrap();
            assert!(io_loop.remove_reader(stream));
            let calls = calls.clone();
            io_loop
                .add_reader(Rc::clone(stream), move |stream| {
                    calls.push(("new", this_turn()));
                    drain(stream);
                    stop();
                })
                .unwrap();
        })
        .unwrap();
    rig.run(&io_loop).unwrap();
    let calls = log.take();
    let turn = calls[0].1;
    assert_eq!(calls, [("old", turn), ("new", turn + 1)]);
    send(&peer);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take().len(), 1, "the old one is gone");
}

pub(super) fn removing_and_adding_again_in_one_turn_loses_nothing(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    let log = Log::new();
    // Before any poll, in a callback, after the event has come in, and in a timer.
    let renew = {
        let log = log.clone();
        move |ours: &Rc<UnixStream>| {
            let log = log.clone();
            let io_loop = IOLoop::current().unwrap();
            io_loop.remove_reader(ours);
            io_loop.add_reader(Rc::clone(ours), move |stream| log.push(drain(stream))).unwrap();
        }
    };
    io_loop.enter(|| renew(&ours));
    send(&peer);
    io_loop.enter(|| renew(&ours));
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [1]);
    send(&peer);
    let (again, stream) = (renew.clone(), Rc::clone(&ours));
    io_loop.call_soon(move || again(&stream));
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [1]);
    let stream = Rc::clone(&ours);
    io_loop.call_later(Duration::ZERO, move || {
        send(&peer);
        renew(&stream);
    });
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [1]);
}

pub(super) fn what_a_callback_adds_is_seen_by_the_next_look(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let turns = Log::new();
    let watch_ready = {
        let turns = turns.clone();
        move || {
            let (ours, peer) = pair();
            send(&peer);
            turns.push(this_turn());
            let turns = turns.clone();
            IOLoop::current()
                .unwrap()
                .add_reader(ours, move |stream| {
                    let _open = &peer;
                    turns.push(this_turn());
                    IOLoop::current().unwrap().remove_reader(stream);
                    stop();
                })
                .unwrap();
        }
    };
    io_loop.call_later(Duration::ZERO, watch_ready.clone());
    rig.run(&io_loop).unwrap();
    let timed = turns.take();
    assert_eq!(timed, [timed[0], timed[0] + 1], "added by a timer");

    let (ours, peer) = pair();
    send(&peer);
    io_loop
        .add_reader(ours, move |stream| {
            drain(stream);
            watch_ready();
        })
        .unwrap();
    rig.run(&io_loop).unwrap();
    let read = turns.take();
    assert_eq!(read, [read[0], read[0] + 1], "added by a reader");
}

pub(super) fn a_source_is_released_by_its_removal(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let watch = io_loop.add_reader(ours, |_| ()).unwrap();
    assert!(!is_at_end(&peer));
    assert!(watch.remove());
    assert!(is_at_end(&peer), "closed before `remove` returns");

    // Inside its own callback it is in use.
    let (ours, peer) = shared_pair();
    let peer = Rc::new(peer);
    let other_end = Rc::clone(&peer);
    send(&peer);
    let drops = Drops::new();
    let captured = drops.item();
    io_loop
        .add_reader(ours, move |stream| {
            let _captured = &captured;
            assert!(IOLoop::current().unwrap().remove_reader(stream));
            assert_eq!(drain(stream), 1, "it is still open here");
            assert!(!is_at_end(&other_end));
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert!(is_at_end(&peer), "closed when the callback returned");
    assert_eq!(drops.count(), 1, "and so is what the closure captured");
    one_turn(rig, &io_loop);
}

pub(super) fn a_source_stays_open_until_it_is_removed_or_the_loop_closed(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (ours, peer) = pair();
        drop(io_loop.add_reader(ours, |_| ()).unwrap());
        peers.push(peer);
    }
    let (ours, removed) = pair();
    let watch = io_loop.add_writer(ours, |_| ()).unwrap();
    one_turn(rig, &io_loop);
    assert!(!is_at_end(&removed));
    watch.remove();
    assert!(is_at_end(&removed));
    assert!(!peers.iter().any(is_at_end), "nobody removed these");
    io_loop.close().unwrap();
    assert!(peers.iter().all(is_at_end));
}

pub(super) fn removal_takes_a_descriptor_out_of_the_kernel_at_once(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    let dup = ours.try_clone().unwrap();
    send(&peer);
    // Between turns,
    let watch = io_loop.add_reader(Rc::clone(&ours), |_| ()).unwrap();
    assert!(is_readable(&io_loop));
    watch.remove();
    assert!(!is_readable(&io_loop));
    // in a callback,
    let quiet = Rc::new(Cell::new(false));
    let noted = Rc::clone(&quiet);
    io_loop
        .add_reader(ours, move |stream| {
            let io_loop = IOLoop::current().unwrap();
            assert!(is_readable(&io_loop));
            io_loop.remove_reader(stream);
            noted.set(!is_readable(&io_loop));
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert!(quiet.get());
    // and for all duplicates.
    assert_rests(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 1);
    drop(dup);
}

// Pausing.

pub(super) fn a_paused_watch_is_out_of_the_kernel_and_resumes_with_what_is_pending(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let calls = Log::new();
    let log = calls.clone();
    let watch = io_loop.add_reader(ours, move |stream| log.push(drain(stream))).unwrap();
    send(&peer);
    assert!(watch.pause());
    assert!(watch.pause(), "twice is once");
    assert!(!is_readable(&io_loop));
    one_turn(rig, &io_loop);
    assert_eq!(calls.len(), 0);
    assert!(watch.resume().unwrap());
    assert!(watch.resume().unwrap(), "twice is once");
    assert!(is_readable(&io_loop), "the data is still there");
    one_turn(rig, &io_loop);
    assert_eq!(calls.take(), [1]);

    // The hang-up of a paused one is not seen either, until it is resumed.
    assert!(watch.pause());
    drop(peer);
    assert_rests(rig, &io_loop);
    assert_eq!(calls.len(), 0);
    assert!(watch.resume().unwrap());
    one_turn(rig, &io_loop);
    assert_eq!(calls.take(), [0], "end of file");
}

pub(super) fn pausing_one_direction_leaves_the_other(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let log = Log::new();
    let (reads, writes) = (log.clone(), log.clone());
    let reader = io_loop.add_reader(Rc::clone(&ours), move |_| reads.push("reader")).unwrap();
    let writer = io_loop.add_writer(ours, move |_| writes.push("writer")).unwrap();
    for (paused, left) in [(&reader, "writer"), (&writer, "reader")] {
        assert!(paused.pause());
        one_turn(rig, &io_loop);
        assert_eq!(log.take(), [left]);
        // A hang-up wakes both directions, but not a paused one.
        assert!(paused.resume().unwrap());
        one_turn(rig, &io_loop);
        assert_eq!(log.take(), ["reader", "writer"]);
    }
    assert!(writer.pause());
    drop(peer);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["reader"]);
    assert!(reader.pause());
    assert_rests(rig, &io_loop);
}

pub(super) fn a_watch_can_be_paused_from_the_start(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let watch = io_loop.add_reader(ours, |_| panic!("it was never resumed")).unwrap();
    watch.pause();
    send(&peer);
    assert_rests(rig, &io_loop);
    assert_eq!(io_loop.metrics().watches, 1);
    assert!(!is_at_end(&peer), "the source is held");
    assert!(watch.remove());
    drop(peer);
}

pub(super) fn pausing_suppresses_a_pending_event(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let ((a, peer_a), (b, peer_b)) = (pair(), pair());
    send(&peer_a);
    send(&peer_b);
    let watches: Rc<RefCell<Vec<Watch>>> = Rc::default();
    let log = Log::new();
    for (mine, stream) in [a, b].into_iter().enumerate() {
        let (log, known) = (log.clone(), Rc::clone(&watches));
        let watch = io_loop
            .add_reader(stream, move |_| {
                log.push(mine);
                known.borrow()[1 - mine].pause();
                known.borrow()[mine].remove();
            })
            .unwrap();
        watches.borrow_mut().push(watch);
    }
    one_turn(rig, &io_loop);
    let called = log.take();
    assert_eq!(called.len(), 1, "both were ready, one was paused");
    let paused = 1 - called[0];
    assert!(watches.borrow()[paused].resume().unwrap());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [paused]);
}
