//! Readers and writers of any reactor.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::super::lending::never_open;
use super::super::tools::{Count, Drops, Log};
use super::{ENOUGH, ReactorRig, pair};
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Reactor, Watch};

pub(in super::super) fn a_reader_is_called_until_it_has_read_everything(rig: &ReactorRig) {
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
    assert_eq!(log.len(), 0, "not inside the call that adds it");
    rig.run();
    assert_eq!(log.take(), b"abc", "one byte a call, without an edge in between");
}

pub(in super::super) fn an_end_of_file_calls_the_reader(rig: &ReactorRig) {
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

pub(in super::super) fn a_writer_is_called_again_until_it_is_removed(rig: &ReactorRig) {
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

pub(in super::super) fn a_reader_is_not_called_for_a_writable_descriptor(rig: &ReactorRig) {
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

pub(in super::super) fn reader_and_writer_of_one_descriptor_are_independent(rig: &ReactorRig) {
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

pub(in super::super) fn adding_again_replaces_and_the_old_one_is_never_called(rig: &ReactorRig) {
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

pub(in super::super) fn removing_says_whether_there_was_one(rig: &ReactorRig) {
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

pub(in super::super) fn what_a_callback_removed_is_not_called_in_the_same_batch(rig: &ReactorRig) {
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

pub(in super::super) fn removed_and_added_again_in_a_callback_only_the_new_one_is_called(
    rig: &ReactorRig,
) {
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

pub(in super::super) fn a_paused_watch_is_silent_and_resumes_with_what_is_pending(
    rig: &ReactorRig,
) {
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
    assert!(watch.pause());
    ours.write_all(b"z").unwrap();
    assert!(watch.resume_or_remove());
    rig.run();
    assert_eq!(log.take(), [1]);
    assert!(watch.remove() && !watch.resume_or_remove());
}

pub(in super::super) fn a_source_lives_as_long_as_its_watch(rig: &ReactorRig) {
    let (ours, mut theirs) = pair();
    let watch = rig.reactor().add_writer(ours, |_| ()).unwrap();
    let blocked = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock, "the loop keeps it open");
    assert!(watch.remove());
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it was closed with the watch");
}

pub(in super::super) fn a_watch_that_removes_itself_is_dropped_when_its_callback_returns(
    rig: &ReactorRig,
) {
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

pub(in super::super) fn a_hang_up_wakes_reader_and_writer(rig: &ReactorRig) {
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

pub(in super::super) fn a_panicking_reader_is_removed_and_the_others_are_served(rig: &ReactorRig) {
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

pub(in super::super) fn what_a_callback_paused_is_not_called_in_the_same_batch(rig: &ReactorRig) {
    let log = Log::new();
    let watches: Rc<RefCell<Vec<Watch>>> = Rc::default();
    let mut peers = Vec::new();
    for index in 0..4 {
        let (mut ours, theirs) = pair();
        ours.write_all(b"x").unwrap();
        peers.push(ours);
        let (log, all, stop) = (log.clone(), Rc::clone(&watches), rig.stopper());
        let callback = move |_: &UnixStream| {
            log.push(index);
            all.borrow().iter().for_each(|watch| assert!(watch.pause()));
            stop();
        };
        let watch = rig.reactor().add_reader(theirs, callback).unwrap();
        watches.borrow_mut().push(watch);
    }
    rig.run();
    rig.turns(ENOUGH);
    assert_eq!(log.take().len(), 1, "the first one called has paused the others, and itself");
    let first = watches.borrow_mut().pop().unwrap();
    assert!(first.resume().unwrap());
    rig.run();
    assert_eq!(log.take(), [3]);
}

pub(in super::super) fn the_very_source_comes_back_and_as_fd_is_called_once(rig: &ReactorRig) {
    /// Counts how often its descriptor is asked for.
    struct Asked(UnixStream, Count);
    impl AsFd for Asked {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.1.add();
            self.0.as_fd()
        }
    }
    let (mut ours, theirs) = pair();
    let asked = Count::new();
    let source = Rc::new(Asked(theirs, asked.clone()));
    let (log, stop) = (Log::new(), rig.stopper());
    let (seen, expected) = (log.clone(), Rc::downgrade(&source));
    let watch = rig.reactor().add_reader(source, move |source| {
        seen.push(Weak::ptr_eq(&Rc::downgrade(source), &expected));
        stop();
    });
    for _ in 0..3 {
        ours.write_all(b"x").unwrap();
        rig.run();
    }
    assert_eq!(log.take(), [true; 3]);
    assert!(watch.unwrap().remove());
    assert_eq!(asked.get(), 1);
}

pub(in super::super) fn watching_leaves_the_blocking_mode_as_it_is(rig: &ReactorRig) {
    for blocks in [true, false] {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(!blocks).unwrap();
        let ours = Rc::new(ours);
        let reader = rig.reactor().add_reader(Rc::clone(&ours), |_| ()).unwrap();
        let writer = rig.reactor().add_writer(Rc::clone(&ours), |_| ()).unwrap();
        check_mode(&ours, blocks, "watched");
        rig.turns(ENOUGH);
        assert!(reader.pause() && reader.resume().unwrap());
        check_mode(&ours, blocks, "served");
        assert!(reader.remove() && writer.remove());
        check_mode(&ours, blocks, "removed");
    }
}

/// Reads nothing: what blocks waits for its limit, and what does not gets none, so it would
/// hang.
fn check_mode(mut stream: &UnixStream, blocks: bool, when: &str) {
    /// The kernel counts in ticks, so less is asked for.
    const LIMIT: Duration = Duration::from_millis(20);
    stream.set_read_timeout(blocks.then_some(LIMIT)).unwrap();
    let begun = Instant::now();
    let nothing = stream.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    assert!(!blocks || begun.elapsed() >= LIMIT / 4, "{when}, it does not block any more");
}

pub(in super::super) fn regular_files_and_directories_are_refused_and_given_up(rig: &ReactorRig) {
    for path in ["/", "/proc/self/exe"] {
        let file = Rc::new(File::open(path).unwrap());
        for direction in [Direction::Read, Direction::Write] {
            let drops = Drops::new();
            let captured = drops.item();
            let watcher = Watcher::new(Rc::clone(&file), move |_| _ = &captured);
            let error = rig.reactor().watch(direction, watcher).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}: {error}");
            assert_eq!((drops.count(), Rc::strong_count(&file)), (1, 1), "it is given up");
            assert!(!rig.reactor().unwatch(direction, file.as_raw_fd()), "nothing was added");
        }
    }
    rig.wait(2);
}

pub(in super::super) fn a_descriptor_that_is_not_open_is_refused(rig: &ReactorRig) {
    for direction in [Direction::Read, Direction::Write] {
        let error = rig.reactor().watch(direction, Watcher::new(never_open(), |_| ())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    rig.turns(ENOUGH);
}

pub(in super::super) fn a_number_that_is_reused_after_removal_works(rig: &ReactorRig) {
    for round in 0..3 {
        // What was closed with the round before is the lowest number that is free.
        let (mut ours, theirs) = pair();
        ours.write_all(&[round]).unwrap();
        let (log, stop) = (Log::new(), rig.stopper());
        let read = log.clone();
        let callback = move |mut stream: &UnixStream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            read.push(byte[0]);
            stop();
        };
        let watch = rig.reactor().add_reader(theirs, callback).unwrap();
        rig.run();
        assert_eq!(log.take(), [round]);
        assert!(watch.remove());
    }
}
