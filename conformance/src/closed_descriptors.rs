//! Descriptors that cannot be watched, and those that are closed or get another file behind the
//! loop's back.

use std::cell::RefCell;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::lending::{Number, negative, never_open};
use super::rig::{Rig, wait_readable};
use super::tools::{Drops, Log, one_turn, stop};
use super::wires::{
    Bomb, Strict, assert_rests, drain, is_at_end, is_readable, note_panics, pair, send, shared_pair,
};
use ioloop::observe::Origin;
use ioloop::reactor::{Direction, Watcher};
use ioloop::{IOLoop, Interest, Lent, Reactor, Watch, os_error};

fn regular_file() -> File {
    File::open(std::env::current_exe().unwrap()).unwrap()
}

// Refused.

pub(super) fn regular_files_and_directories_are_refused_with_the_reason(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    for file in [regular_file(), File::open("/").unwrap()] {
        let file = Rc::new(file);
        let number = file.as_raw_fd();
        let drops = Drops::new();
        for direction in [Direction::Read, Direction::Write] {
            let captured = drops.item();
            let watcher = Watcher::new(Rc::clone(&file), move |_| _ = &captured);
            let error = io_loop.watch(direction, watcher).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot watch descriptor {number}: regular files, directories and devices like \
                     /dev/null are always ready, and epoll refuses them; use a blocking thread"
                )
            );
        }
        assert_eq!((drops.count(), Rc::strong_count(&file)), (2, 1));
        assert_eq!(io_loop.metrics().watches, 0);
        assert!(!io_loop.remove_reader(&file) && !io_loop.remove_writer(&file));
    }
    assert_rests(rig, &io_loop);
}

pub(super) fn a_descriptor_that_is_not_open_is_refused(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let drops = Drops::new();
    let refused = negative().into_iter().chain([never_open()]);
    for lent in refused.clone() {
        let number = lent.as_raw_fd();
        for direction in [Direction::Read, Direction::Write] {
            let captured = drops.item();
            let watcher = Watcher::new(lent, move |_| _ = &captured);
            let error = io_loop.watch(direction, watcher).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                format!("cannot watch descriptor {number}: it is not open")
            );
            assert_eq!(os_error(&error), Some(Errno::BADF.raw_os_error()));
            assert!(!io_loop.unwatch(direction, number));
        }
        let error = io_loop.update_handler(lent, Interest::READ).unwrap_err();
        assert!(error.to_string().contains(&format!("descriptor {number}: ")), "{error}");
    }
    assert_eq!(drops.count(), 2 * refused.count(), "the sources were given up");
    assert_eq!(io_loop.metrics().watches, 0);
    assert_rests(rig, &io_loop);
}

pub(super) fn a_number_that_was_refused_can_be_watched_with_another_file(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let mut number = Number::of(regular_file());
    let never = |_: &Lent| panic!("it was refused");
    io_loop.add_reader(number.lend(), never).unwrap_err();
    io_loop.add_writer(number.lend(), never).unwrap_err();
    let (ours, peer) = pair();
    number.reuse(ours);
    let calls = Log::new();
    let log = calls.clone();
    io_loop.add_reader(number.lend(), move |_| log.push(())).unwrap();
    send(&peer);
    one_turn(rig, &io_loop);
    assert_eq!(calls.len(), 1);
    assert_eq!(io_loop.metrics().watches, 1);
}

pub(super) fn a_failed_replacement_leaves_the_old_one(rig: &Rig) {
    for direction in [Direction::Read, Direction::Write] {
        for paused in [false, true] {
            let io_loop = Strict::new(rig.io_loop());
            let (ours, peer) = pair();
            let dup = ours.try_clone().unwrap();
            let mut number = Number::of(ours);
            let (calls, drops) = (Log::new(), Drops::new());
            let (log, captured) = (calls.clone(), drops.item());
            let old = Watcher::new(number.lend(), move |_| {
                let _captured = &captured;
                log.push(());
            });
            let watch = io_loop.watch(direction, old).unwrap();
            if paused {
                watch.pause();
            }
            // What cannot be watched has the number for a while.
            number.reuse(regular_file());
            for refused in [Direction::Read, Direction::Write] {
                let new = Watcher::new(number.lend(), |_| panic!("it was refused"));
                let error = io_loop.watch(refused, new).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
            }
            number.reuse(dup);
            assert_eq!((drops.count(), io_loop.metrics().watches), (0, 1));
            assert!(watch.resume().unwrap());
            send(&peer);
            one_turn(rig, &io_loop);
            assert_eq!(calls.len(), 1, "the old one is called");
            assert!(watch.remove());
            assert!(!is_readable(&io_loop));
        }
    }
}

pub(super) fn a_loop_cannot_wait_for_itself(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let descriptor = io_loop.descriptor().unwrap();
    let dup = descriptor.as_fd().try_clone_to_owned().unwrap();
    for own in [Box::new(descriptor) as Box<dyn AsFd>, Box::new(dup)] {
        let number = own.as_fd().as_raw_fd();
        let error = io_loop.add_reader(own, |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot watch descriptor {number}: it is the loop's own, which would wait for itself"
            )
        );
    }
    assert_eq!(io_loop.metrics().watches, 0);
    assert_rests(rig, &io_loop);
}

pub(super) fn two_loops_cannot_wait_for_each_other(rig: &Rig) {
    let (one, other) = (Strict::new(rig.io_loop()), Strict::new(rig.io_loop()));
    let calls = Log::new();
    let log = calls.clone();
    one.add_reader(other.descriptor().unwrap(), move |_| log.push(())).unwrap();
    let error = other.add_reader(one.descriptor().unwrap(), |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("it waits for this loop"));
    assert_eq!((one.metrics().watches, other.metrics().watches), (1, 0));
    // The one direction that was there first works.
    one_turn(rig, &one);
    assert_eq!(calls.len(), 0);
    other.call_soon(stop);
    one_turn(rig, &one);
    assert_eq!(calls.len(), 1);
    rig.run(&other).unwrap();
}

// Closed or reused behind the loop's back.

pub(super) fn a_number_that_is_reused_after_removal_works(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, first_peer) = pair();
    let mut number = Number::of(ours);
    send(&first_peer);
    let calls = Log::new();
    let mut peers = Vec::new();
    for round in 0..3 {
        let log = calls.clone();
        io_loop.add_reader(number.lend(), move |_| log.push(round)).unwrap();
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), [round]);
        assert!(io_loop.remove_reader(number.lend()));
        let (ours, peer) = pair();
        number.reuse(ours);
        send(&peer);
        peers.push(peer);
        one_turn(rig, &io_loop);
        assert_eq!(calls.len(), 0);
    }
    assert_rests(rig, &io_loop);
}

pub(super) fn a_number_that_is_reused_without_removal_serves_its_new_file_alone(rig: &Rig) {
    for duplicated in [false, true] {
        let io_loop = Strict::new(rig.io_loop());
        let (ours, old_peer) = pair();
        let dup = duplicated.then(|| ours.try_clone().unwrap());
        let mut number = Number::of(ours);
        let drops = Drops::new();
        let captured = drops.item();
        let old = io_loop
            .add_reader(number.lend(), move |_| {
                let _captured = &captured;
                panic!("its file was closed");
            })
            .unwrap();

        // Nobody watches the new file, whose data goes unseen,
        let (ours, peer) = pair();
        let new_file = ours.try_clone().unwrap();
        number.reuse(ours);
        send(&peer);
        one_turn(rig, &io_loop);
        assert!(!is_readable(&io_loop));
        // until somebody does.
        let calls = Log::new();
        let log = calls.clone();
        let new = io_loop
            .add_reader(number.lend(), move |_| {
                log.push(drain(&new_file));
                stop();
            })
            .unwrap();
        assert_eq!(drops.count(), 1, "the old one is gone");
        assert_eq!(io_loop.metrics().watches, 1);
        assert!(!old.remove());
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), [1]);

        // The old file, where it lives on, is an orphan in the kernel's set.
        if duplicated {
            send(&old_peer);
            assert!(is_readable(&io_loop));
            one_turn(rig, &io_loop);
        }
        assert_rests(rig, &io_loop);
        assert!(!is_readable(&io_loop));
        wakes_out_of_its_sleep(rig, &io_loop, &peer);
        assert_eq!(calls.take(), [1]);
        assert!(new.remove());
        drop(dup);
    }
}

/// Lets a peer send while the loop may be asleep; its reader has to stop the loop.
fn wakes_out_of_its_sleep(rig: &Rig, io_loop: &IOLoop, peer: &UnixStream) {
    let peer = peer.try_clone().unwrap();
    let sender = thread::spawn(move || send(&peer));
    rig.run(io_loop).unwrap();
    sender.join().unwrap();
}

pub(super) fn the_other_direction_of_a_reused_number_goes_with_its_file(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, _old_peer) = pair();
    let mut number = Number::of(ours);
    let reader = io_loop.add_reader(number.lend(), |_| panic!("its file was closed")).unwrap();
    let (ours, peer) = pair();
    number.reuse(ours);
    send(&peer);
    let calls = Log::new();
    let log = calls.clone();
    let writer = io_loop.add_writer(number.lend(), move |_| log.push(())).unwrap();
    assert!(!reader.remove());
    assert_eq!(io_loop.metrics().watches, 1);
    one_turn(rig, &io_loop);
    assert_eq!(calls.len(), 1);
    assert!(writer.remove());
    assert_rests(rig, &io_loop);
}

/// Ends a watch whose number means another file by now.
type End = fn(&IOLoop, &Watch, &Number) -> bool;

pub(super) fn an_orphan_is_noticed_and_the_rest_goes_on(rig: &Rig) {
    let ends: [End; 3] = [
        |_, watch, _| watch.remove(),
        |io_loop, _, number| io_loop.remove_reader(number),
        // It finds that there is nothing left to pause.
        |_, watch, _| !watch.pause(),
    ];
    for end in ends {
        let io_loop = Strict::new(rig.io_loop());
        let descriptor = io_loop.descriptor().unwrap();
        let (healthy, healthy_peer) = pair();
        let calls = Log::new();
        let log = calls.clone();
        io_loop
            .add_reader(healthy, move |stream| {
                log.push(drain(stream));
                stop();
            })
            .unwrap();
        let (paused, paused_peer) = pair();
        let asleep = io_loop.add_reader(paused, |_| stop()).unwrap();
        asleep.pause();
        send(&paused_peer);

        let (ours, peer) = pair();
        let dup = ours.try_clone().unwrap();
        let mut number = Number::of(ours);
        let drops = Drops::new();
        let captured = drops.item();
        let watch = io_loop
            .add_reader(number.lend(), move |_| {
                let _captured = &captured;
                panic!("it has ended");
            })
            .unwrap();
        number.reuse(pair().0);
        assert!(end(&io_loop, &watch, &number));
        assert_eq!(drops.count(), 1);
        assert_eq!(io_loop.metrics().watches, 2);
        assert!(!watch.remove() && !watch.pause() && !watch.resume().unwrap());

        // The kernel still reports the file, which the duplicate keeps.
        send(&peer);
        assert!(is_readable(&io_loop));
        one_turn(rig, &io_loop);
        assert_rests(rig, &io_loop);
        assert!(!is_readable(&io_loop), "the orphan is gone");
        // Whoever still holds the old set has that one, and not another file in its place.
        assert_ne!(io_loop.descriptor().unwrap(), descriptor);
        assert!(wait_readable(&descriptor, Some(Duration::ZERO)));

        // Everything else was taken along: a watch, a paused one, timers, posts.
        wakes_out_of_its_sleep(rig, &io_loop, &healthy_peer);
        assert_eq!(calls.take(), [1]);
        let handle = io_loop.handle();
        let poster = thread::spawn(move || handle.add_callback(stop).unwrap());
        rig.run(&io_loop).unwrap();
        poster.join().unwrap();
        assert!(asleep.resume().unwrap());
        rig.run(&io_loop).unwrap();
        asleep.remove();
        assert_rests(rig, &io_loop);
        drop(dup);
    }
}

pub(super) fn ending_one_direction_of_a_dead_number_ends_the_other(rig: &Rig) {
    for pause in [false, true] {
        let io_loop = Strict::new(rig.io_loop());
        let (ours, _peer) = pair();
        let _dup = ours.try_clone().unwrap();
        let mut number = Number::of(ours);
        let (calls, drops) = (Log::new(), Drops::new());
        let watch = |direction| {
            let (log, captured) = (calls.clone(), drops.item());
            let watcher = Watcher::new(number.lend(), move |_| {
                let _captured = &captured;
                log.push(direction);
            });
            io_loop.watch(direction, watcher).unwrap()
        };
        let (reader, writer) = (watch(Direction::Read), watch(Direction::Write));
        number.reuse(pair().0);
        let was_there = if pause { reader.pause() } else { reader.remove() };
        assert_eq!(was_there, !pause);
        assert_eq!((drops.count(), io_loop.metrics().watches), (2, 0));
        assert!(!writer.remove() && !writer.pause() && !writer.resume().unwrap());
        // The old file, which the duplicate keeps, can be written to.
        assert!(is_readable(&io_loop));
        one_turn(rig, &io_loop);
        assert_rests(rig, &io_loop);
        assert_eq!(calls.len(), 0);
    }
}

pub(super) fn a_number_that_comes_back_to_its_file_heals_the_orphan(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let dup = ours.try_clone().unwrap();
    let mut number = Number::of(ours);
    let old = io_loop.add_reader(number.lend(), |_| panic!("it was removed")).unwrap();
    number.reuse(pair().0);
    assert!(old.remove());
    number.reuse(dup.try_clone().unwrap());
    let calls = Log::new();
    let log = calls.clone();
    let new = io_loop.add_reader(number.lend(), move |_| log.push(drain(&dup))).unwrap();
    send(&peer);
    one_turn(rig, &io_loop);
    assert_eq!(calls.take(), [1]);
    assert!(new.remove());
    send(&peer);
    assert_rests(rig, &io_loop);
}

pub(super) fn what_died_unnoticed_goes_when_the_kernels_set_is_made_anew(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    let lend_with_dup = || {
        let (ours, peer) = pair();
        (ours.try_clone().unwrap(), Number::of(ours), peer)
    };
    let (_orphan_dup, mut orphan, orphan_peer) = lend_with_dup();
    let (_dead_dup, mut dead, _dead_peer) = lend_with_dup();
    let removed = io_loop.add_reader(orphan.lend(), |_| ()).unwrap();
    let drops = Drops::new();
    // Two that panic when they are dropped, which they are one by one.
    for direction in [Direction::Read, Direction::Write] {
        let watcher = Watcher::new(Bomb::new(dead.lend(), &drops), |_| ());
        let watch = io_loop.watch(direction, watcher).unwrap();
        if direction == Direction::Write {
            watch.pause();
        }
    }
    orphan.reuse(pair().0);
    removed.remove();
    let (ours, peer) = pair();
    dead.reuse(ours);
    assert_eq!((drops.count(), io_loop.metrics().watches), (0, 2));
    send(&orphan_peer);
    one_turn(rig, &io_loop);
    assert_eq!((drops.count(), io_loop.metrics().watches), (2, 0));
    let report = (Origin::Destructor, "oh no".to_owned());
    assert_eq!(*panics.borrow(), [report.clone(), report]);
    // The number can be watched with the file that it has now.
    let calls = Log::new();
    let log = calls.clone();
    io_loop.add_reader(dead.lend(), move |_| log.push(())).unwrap();
    send(&peer);
    one_turn(rig, &io_loop);
    assert_eq!(calls.len(), 1);
}

pub(super) fn resuming_finds_out_that_a_number_is_another_files(rig: &Rig) {
    for (duplicated, paused, written) in
        [(false, false, false), (true, false, false), (false, false, true), (false, true, true)]
    {
        let io_loop = Strict::new(rig.io_loop());
        let (ours, _old_peer) = pair();
        let _dup = duplicated.then(|| ours.try_clone().unwrap());
        let mut number = Number::of(ours);
        let drops = Drops::new();
        let captured = drops.item();
        let reader = io_loop
            .add_reader(number.lend(), move |_| {
                let _captured = &captured;
                panic!("its file was closed");
            })
            .unwrap();
        // A writer keeps a paused reader's descriptor in the kernel's set.
        let writer = written.then(|| io_loop.add_writer(number.lend(), |_| ()).unwrap());
        assert!(!paused || reader.pause());
        let (ours, peer) = pair();
        let new_file = ours.try_clone().unwrap();
        number.reuse(ours);
        send(&peer);

        assert!(!reader.resume().unwrap(), "it is dead, and says so");
        assert_eq!((drops.count(), io_loop.metrics().watches), (1, 0));
        assert!(!reader.remove() && writer.is_none_or(|writer| !writer.remove()));
        one_turn(rig, &io_loop);
        assert_eq!(io_loop.metrics().events, 0);
        // What a driver does then.
        let calls = Log::new();
        let log = calls.clone();
        let anew = io_loop.add_reader(number.lend(), move |_| log.push(drain(&new_file))).unwrap();
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), [1]);
        assert!(anew.resume().unwrap(), "and one that lives is left alone");
        send(&peer);
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), [1]);
        assert!(anew.remove());
        assert_rests(rig, &io_loop);
    }
}

pub(super) fn a_handler_of_a_reused_number_is_not_updated(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, _peer) = pair();
    let mut number = Number::of(ours);
    let never = |_: &Lent, _| panic!("its file was closed");
    let handler = io_loop.add_handler(number.lend(), Interest::READ, never).unwrap();
    io_loop.update_handler(&number, Interest::READ).unwrap();
    let (ours, peer) = pair();
    number.reuse(ours);
    send(&peer);
    for interest in [Interest::READ, Interest::READ | Interest::WRITE] {
        let error = io_loop.update_handler(&number, interest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("another file's now"), "{error}");
    }
    one_turn(rig, &io_loop);
    assert!(handler.remove());
    assert_rests(rig, &io_loop);
}

/// Isolated: the number stays free until the case takes it again.
pub(super) fn a_socket_may_be_closed_in_a_call_that_its_watch_is_removed_after(rig: &Rig) {
    for duplicated in [false, true] {
        let io_loop = Strict::new(rig.io_loop());
        let (ours, old_peer) = pair();
        let dup = duplicated.then(|| ours.try_clone().unwrap());
        let number = Number::of(ours);
        let lent = number.lend();
        let library = Rc::new(RefCell::new(Some(number)));
        let watch: Rc<RefCell<Option<Watch>>> = Rc::default();
        let own = Rc::clone(&watch);
        let calls = Log::new();
        let log = calls.clone();
        let reader = io_loop
            .add_reader(lent, move |_| {
                log.push("old");
                // The library finds that the connection has failed, and closes it before it
                // returns.
                library.take().unwrap().close();
                assert!(own.take().unwrap().remove());
            })
            .unwrap();
        watch.replace(Some(reader));
        send(&old_peer);
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), ["old"]);
        assert_eq!(io_loop.metrics().watches, 0);
        // The next connection gets the number.
        let (ours, peer) = shared_pair();
        assert_eq!(ours.as_raw_fd(), lent.as_raw_fd(), "the lowest free number");
        let log = calls.clone();
        let next = io_loop
            .add_reader(ours, move |stream| {
                log.push("new");
                drain(stream);
            })
            .unwrap();
        if duplicated {
            send(&old_peer);
        }
        send(&peer);
        one_turn(rig, &io_loop);
        one_turn(rig, &io_loop);
        assert_eq!(calls.take(), ["new"]);
        assert_rests(rig, &io_loop);
        assert!(next.remove());
        drop(dup);
    }
}

/// Isolated: the number stays free until the case takes it again.
pub(super) fn a_watch_ends_although_its_descriptor_was_closed_before(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    for duplicated in [false, true] {
        let drops = Drops::new();
        let watch_closed = || {
            let (ours, peer) = pair();
            let dup = duplicated.then(|| ours.try_clone().unwrap());
            let number = Number::of(ours);
            let captured = drops.item();
            let watcher = Watcher::new(number.lend(), move |_| {
                let _captured = &captured;
                panic!("its file was closed");
            });
            let watch = io_loop.watch(Direction::Read, watcher).unwrap();
            let lent = number.close();
            (watch, lent, peer, dup)
        };
        let mut kept = Vec::new();

        let (watch, lent, peer, dup) = watch_closed();
        assert!(watch.remove(), "through its handle");
        assert_eq!(drops.count(), 1);
        assert!(!watch.remove() && !io_loop.remove_reader(lent));
        kept.push((peer, dup));

        let (watch, lent, peer, dup) = watch_closed();
        // Nothing borrows a descriptor that was closed: a number is enough.
        let number = lent.as_raw_fd();
        assert!(!io_loop.unwatch(Direction::Write, number));
        assert!(io_loop.unwatch(Direction::Read, number), "by its number");
        assert_eq!(drops.count(), 2);
        assert!(!io_loop.unwatch(Direction::Read, number) && !io_loop.unwatch(Direction::Read, -1));
        assert!(!watch.remove());
        kept.push((peer, dup));

        let (watch, lent, peer, dup) = watch_closed();
        assert!(!watch.pause(), "there is nothing left to pause");
        assert_eq!(drops.count(), 3);
        assert!(!io_loop.remove_reader(lent));
        kept.push((peer, dup));

        // An attempt to replace it is refused, and changes nothing.
        let (watch, lent, peer, dup) = watch_closed();
        let error = io_loop.add_reader(lent, |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!((drops.count(), io_loop.metrics().watches), (3, 1));
        assert!(watch.remove());
        kept.push((peer, dup));

        assert_eq!(io_loop.metrics().watches, 0);
        for (peer, dup) in &kept {
            assert_eq!(is_at_end(peer), dup.is_none());
            if dup.is_some() {
                send(peer);
            }
        }
        one_turn(rig, &io_loop);
        one_turn(rig, &io_loop);
        assert_rests(rig, &io_loop);
        assert!(!is_readable(&io_loop));
    }
    // A paused one is not in the kernel's set, and finds out when it is resumed.
    let (ours, _peer) = pair();
    let number = Number::of(ours);
    let watch = io_loop.add_reader(number.lend(), |_| ()).unwrap();
    assert!(watch.pause());
    let lent = number.close();
    let error = watch.resume().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.ends_with(&format!("{}: it is not open", lent.as_raw_fd())));
    assert!(watch.remove());
}

pub(super) fn a_watch_that_cannot_be_resumed_is_removed_and_reported(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (reports, drops) = (Log::new(), Drops::new());
    let reported = reports.clone();
    io_loop.set_exception_handler(move |exception| {
        assert!(!exception.is_panic());
        reported.push((exception.origin, exception.location.map(Location::line)));
    });
    let (ours, peer) = pair();
    let number = Number::of(ours);
    let (captured, called) = (drops.item(), Log::new());
    let calls = called.clone();
    let reader = move |_: &Lent| {
        let _ = &captured;
        calls.push(());
    };
    let line = line!() + 1;
    let watch = io_loop.add_reader(number.lend(), reader).unwrap();
    assert!(watch.pause() && watch.resume_or_remove());
    send(&peer);
    one_turn(rig, &io_loop);
    assert_eq!(called.take().len(), 1);
    assert!(watch.pause());
    let _lent = number.close();
    assert!(!watch.resume_or_remove());
    assert_eq!(drops.count(), 1);
    assert!(!watch.resume_or_remove() && !watch.remove());
    assert_eq!(reports.take(), [(Origin::Reader, Some(line))]);
}

/// Isolated: whoever opens next gets the number that was closed.
pub(super) fn the_next_file_under_a_closed_number_is_watched_like_any_other(rig: &Rig) {
    for duplicated in [false, true] {
        let io_loop = Strict::new(rig.io_loop());
        let (ours, old_peer) = pair();
        let dup = duplicated.then(|| ours.try_clone().unwrap());
        let number = Number::of(ours);
        let never = |_: &Lent| panic!("its file was closed");
        let old = io_loop.add_reader(number.lend(), never).unwrap();
        let number = number.close().as_raw_fd();
        let (ours, peer) = shared_pair();
        assert_eq!(ours.as_raw_fd(), number, "the lowest free number");
        let calls = Log::new();
        let log = calls.clone();
        io_loop
            .add_reader(ours, move |stream| {
                log.push(drain(stream));
                stop();
            })
            .unwrap();
        assert!(!old.remove(), "it was replaced");
        if duplicated {
            send(&old_peer);
            one_turn(rig, &io_loop);
        }
        assert_rests(rig, &io_loop);
        wakes_out_of_its_sleep(rig, &io_loop, &peer);
        assert_eq!(calls.take(), [1]);
        drop((dup, old_peer));
    }
}
