//! Readers and writers: when they are called, with what, and what happens when they panic.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::lending::Number;
use super::rig::Rig;
use super::tools::{Dropped, Drops, Log, one_turn, stop};
use super::wires::{
    Bomb, Strict, assert_rests, drain, fill, is_at_end, is_readable, note_panics, pair, receive,
    send, shared_pair, this_turn,
};
use ioloop::observe::Origin;
use ioloop::reactor::{Direction, Watcher};
use ioloop::{IOLoop, Reactor};

// When a reader or a writer is called.

pub(super) fn a_reader_is_called_when_data_arrives(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let log = Log::new();
    let seen = log.clone();
    io_loop
        .add_reader(ours, move |stream| {
            seen.push(drain(stream));
            stop();
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "nothing has arrived yet");
    send(&peer);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [1]);
    // Out of another thread, so the loop may be asleep.
    let sender = thread::spawn(move || {
        send(&peer);
        peer
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [1]);
    let _peer = sender.join().unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "all was read");
}

pub(super) fn a_reader_that_does_not_drain_is_called_in_each_turn(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let turns = Log::new();
    let log = turns.clone();
    io_loop
        .add_reader(ours, move |stream| {
            log.push(this_turn());
            receive(stream);
            if log.len() == 3 {
                stop();
            }
        })
        .unwrap();
    for _ in 0..3 {
        send(&peer);
    }
    rig.run(&io_loop).unwrap();
    let turns = turns.take();
    assert_eq!(turns, [turns[0], turns[0] + 1, turns[0] + 2]);
    assert_rests(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 3, "three bytes, three calls");
}

pub(super) fn end_of_file_calls_the_reader(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    for half_closed in [false, true] {
        let (ours, peer) = pair();
        let log = Log::new();
        let ends = log.clone();
        let watch = io_loop
            .add_reader(ours, move |stream| {
                ends.push(is_at_end(stream));
            })
            .unwrap();
        one_turn(rig, &io_loop);
        assert_eq!(log.len(), 0, "the peer is open");
        if half_closed {
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        } else {
            drop(peer);
        }
        one_turn(rig, &io_loop);
        assert_eq!(log.take(), [true]);
        watch.remove();
    }
}

pub(super) fn a_writer_is_called_while_there_is_room_until_it_is_removed(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    let calls = Log::new();
    let log = calls.clone();
    let watch = io_loop.add_writer(Rc::clone(&ours), move |_| log.push(())).unwrap();
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(calls.take().len(), 2, "once a turn");
    fill(&ours);
    one_turn(rig, &io_loop);
    assert_eq!(calls.take().len(), 0, "there is no room");
    assert_rests(rig, &io_loop);
    drain(&peer);
    one_turn(rig, &io_loop);
    assert_eq!(calls.take().len(), 1);
    assert!(watch.remove());
    one_turn(rig, &io_loop);
    assert_eq!(calls.take().len(), 0, "it was removed");
    assert_rests(rig, &io_loop);
}

pub(super) fn one_direction_gets_no_events_of_the_other(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (writable, _peer) = pair();
    io_loop.add_reader(writable, |_| panic!("nothing is to be read")).unwrap();
    let (readable, peer) = shared_pair();
    fill(&readable);
    send(&peer);
    io_loop.add_writer(readable, |_| panic!("there is no room to write")).unwrap();
    one_turn(rig, &io_loop);
    assert_rests(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 0);
}

pub(super) fn a_reader_and_a_writer_come_and_go_independently(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let both = [Direction::Read, Direction::Write];
    for first_added in both {
        for first_removed in both {
            let (ours, peer) = shared_pair();
            send(&peer);
            let order = if first_added == Direction::Read {
                both
            } else {
                [Direction::Write, Direction::Read]
            };
            for direction in order {
                let calls = log.clone();
                let watcher = Watcher::new(Rc::clone(&ours), move |_| calls.push(direction));
                io_loop.watch(direction, watcher).unwrap();
                one_turn(rig, &io_loop);
                let called = log.take();
                assert!(called.contains(&direction));
                assert_eq!(called.len(), io_loop.metrics().watches);
            }
            assert!(io_loop.unwatch(first_removed, ours.as_raw_fd()));
            one_turn(rig, &io_loop);
            let other = both.into_iter().find(|other| *other != first_removed);
            assert_eq!(log.take(), [other.unwrap()], "the other goes on");
            assert!(io_loop.unwatch(other.unwrap(), ours.as_raw_fd()));
            one_turn(rig, &io_loop);
            assert_eq!(log.len(), 0);
            assert!(!is_readable(&io_loop), "nothing is left in the kernel");
        }
    }
}

pub(super) fn the_reader_comes_before_the_writer_whatever_the_order_of_adding(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    for order in [["reader", "writer"], ["writer", "reader"]] {
        let (ours, peer) = shared_pair();
        send(&peer);
        for name in order {
            let (log, ours) = (log.clone(), Rc::clone(&ours));
            let note = move |_: &Rc<UnixStream>| log.push((name, this_turn()));
            if name == "reader" {
                io_loop.add_reader(ours, note).unwrap();
            } else {
                io_loop.add_writer(ours, note).unwrap();
            }
        }
        one_turn(rig, &io_loop);
        let calls = log.take();
        let turn = calls[0].1;
        assert_eq!(calls, [("reader", turn), ("writer", turn)]);
        assert!(io_loop.remove_reader(&ours) && io_loop.remove_writer(&ours));
    }
}

pub(super) fn a_hang_up_wakes_the_reader_and_the_writer(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    fill(&ours);
    let log = Log::new();
    let (reads, writes) = (log.clone(), log.clone());
    io_loop
        .add_reader(Rc::clone(&ours), move |stream| {
            // Closed with our data unread, it may say so by an error.
            assert!(matches!((&**stream).read(&mut [0]), Ok(0) | Err(_)));
            assert!(IOLoop::current().unwrap().remove_reader(stream));
            reads.push(("reader", this_turn()));
        })
        .unwrap();
    io_loop
        .add_writer(ours, move |stream| {
            let error = (&**stream).write(&[0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert!(IOLoop::current().unwrap().remove_writer(stream));
            writes.push(("writer", this_turn()));
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "nothing to read, and no room to write");
    drop(peer);
    one_turn(rig, &io_loop);
    let calls = log.take();
    let turn = calls[0].1;
    assert_eq!(calls, [("reader", turn), ("writer", turn)]);
    assert_rests(rig, &io_loop);
}

pub(super) fn a_writer_that_waits_for_room_learns_that_the_reading_end_closed(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    fill(&ours);
    let log = Log::new();
    let errors = log.clone();
    io_loop
        .add_writer(ours, move |mut stream| {
            errors.push(stream.write(&[0]).unwrap_err().kind());
            stop();
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "there is no room");
    // Its buffer is full of what nobody will read.
    drop(peer);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [ErrorKind::BrokenPipe]);
}

pub(super) fn two_descriptors_that_are_ready_are_served_in_one_turn(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let log = Log::new();
    let mut peers = Vec::new();
    for name in ["one", "two"] {
        let (ours, peer) = pair();
        send(&peer);
        peers.push(peer);
        let log = log.clone();
        io_loop.add_reader(ours, move |_| log.push((this_turn(), name))).unwrap();
    }
    one_turn(rig, &io_loop);
    let mut calls = log.take();
    calls.sort_unstable();
    let turn = calls[0].0;
    assert_eq!(calls, [(turn, "one"), (turn, "two")]);
}

pub(super) fn a_reader_that_finds_nothing_is_called_again_later(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    // Two descriptors of one socket: whoever is called first takes what both were told of.
    let (first, peer) = pair();
    let second = first.try_clone().unwrap();
    let found = Log::new();
    for stream in [first, second] {
        let found = found.clone();
        io_loop.add_reader(stream, move |stream| found.push(drain(stream))).unwrap();
    }
    for _ in 0..2 {
        send(&peer);
        one_turn(rig, &io_loop);
        assert_eq!(found.take(), [1, 0]);
    }
    assert_rests(rig, &io_loop);
}

pub(super) fn a_listener_loses_no_connection_however_many_it_takes_a_call(rig: &Rig) {
    const CLIENTS: usize = 7;
    for at_once in [1, 3, CLIENTS] {
        let io_loop = Strict::new(rig.io_loop());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Log::new();
        let log = accepted.clone();
        io_loop
            .add_reader(listener, move |listener| {
                for _ in 0..at_once {
                    match listener.accept() {
                        Ok((_, client)) => log.push(client),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::WouldBlock);
                            break;
                        }
                    }
                }
                if log.len() == CLIENTS {
                    stop();
                }
            })
            .unwrap();
        let clients: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        rig.run(&io_loop).unwrap();
        let known: BTreeSet<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
        assert_eq!(accepted.take().into_iter().collect::<BTreeSet<_>>(), known);
        assert_rests(rig, &io_loop);
    }
}

// What is watched.

pub(super) fn the_callback_gets_the_very_source_that_was_registered(rig: &Rig) {
    struct Named {
        stream: UnixStream,
        name: &'static str,
    }
    impl AsFd for Named {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.stream.as_fd()
        }
    }
    let io_loop = Strict::new(rig.io_loop());
    let (stream, peer) = pair();
    send(&peer);
    let owned = Named { stream, name: "owned" };
    let (stream, _other) = pair();
    let shared = Rc::new(Named { stream, name: "shared" });
    let log = Log::new();
    let (owned_log, shared_log, expected) = (log.clone(), log.clone(), Rc::clone(&shared));
    io_loop.add_reader(owned, move |named| owned_log.push(named.name)).unwrap();
    io_loop
        .add_writer(shared, move |named| {
            assert!(Rc::ptr_eq(named, &expected));
            shared_log.push(named.name);
        })
        .unwrap();
    one_turn(rig, &io_loop);
    let mut names = log.take();
    names.sort_unstable();
    assert_eq!(names, ["owned", "shared"]);
}

pub(super) fn as_fd_is_called_once(rig: &Rig) {
    struct Counting(UnixStream, Rc<Cell<usize>>);
    impl AsFd for Counting {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.1.set(self.1.get() + 1);
            self.0.as_fd()
        }
    }
    let io_loop = Strict::new(rig.io_loop());
    let (stream, _peer) = pair();
    let count = Rc::new(Cell::new(0));
    let watch = io_loop.add_writer(Counting(stream, Rc::clone(&count)), |_| ()).unwrap();
    one_turn(rig, &io_loop);
    watch.pause();
    watch.resume().unwrap();
    one_turn(rig, &io_loop);
    watch.remove();
    assert_eq!(count.get(), 1);
}

pub(super) fn registration_leaves_the_blocking_mode_as_it_is(rig: &Rig) {
    /// A receive that blocks waits at least this long for nothing.
    const AT_LEAST: Duration = Duration::from_millis(10);
    let io_loop = Strict::new(rig.io_loop());
    for blocks in [true, false] {
        let (ours, peer) = shared_pair();
        ours.set_nonblocking(!blocks).unwrap();
        // Well over what is asked for, since the kernel counts in ticks. The end that does not
        // block gets no limit: it would hang.
        ours.set_read_timeout(blocks.then_some(4 * AT_LEAST)).unwrap();
        let log = Log::new();
        let waited = log.clone();
        io_loop
            .add_reader(Rc::clone(&ours), move |stream| {
                receive(stream);
                let start = Instant::now();
                let nothing = (&**stream).read(&mut [0]).unwrap_err();
                assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
                waited.push(start.elapsed());
            })
            .unwrap();
        io_loop.add_writer(Rc::clone(&ours), |_| ()).unwrap();
        send(&peer);
        one_turn(rig, &io_loop);
        let waited = log.take();
        assert_eq!(waited.len(), 1);
        assert!(!blocks || waited[0] >= AT_LEAST, "it did not block");
        io_loop.remove_reader(&ours);
        io_loop.remove_writer(&ours);
    }
}

pub(super) fn a_descriptor_can_be_watched_by_two_loops(rig: &Rig) {
    let loops = [Strict::new(rig.io_loop()), Strict::new(rig.io_loop())];
    let (ours, peer) = shared_pair();
    let told = Log::new();
    for (name, io_loop) in ["first", "second"].into_iter().zip(&loops) {
        let told = told.clone();
        io_loop.add_reader(Rc::clone(&ours), move |_| told.push(name)).unwrap();
    }
    send(&peer);
    for io_loop in &loops {
        one_turn(rig, io_loop);
    }
    assert_eq!(told.take(), ["first", "second"]);
    assert!(loops[0].remove_reader(&ours));
    for io_loop in &loops {
        one_turn(rig, io_loop);
    }
    assert_eq!(told.take(), ["second"], "each has a watch of its own");
}

pub(super) fn a_number_has_one_reader_however_its_descriptor_is_given(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = pair();
    let number = Number::of(ours);
    send(&peer);
    let log = Log::new();
    for name in ["first", "second"] {
        let log = log.clone();
        io_loop.add_reader(number.lend(), move |_| log.push(name)).unwrap();
    }
    assert_eq!(io_loop.metrics().watches, 1);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["second"]);
    assert!(io_loop.remove_reader(number.lend()));
    assert!(!io_loop.remove_reader(number.lend()));
}

pub(super) fn a_watch_is_removed_by_object_or_by_borrowed_descriptor(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, peer) = shared_pair();
    send(&peer);
    let never = |_: &Rc<UnixStream>| panic!("it was removed");
    io_loop.add_reader(Rc::clone(&ours), never).unwrap();
    assert!(io_loop.remove_reader(ours.as_fd()), "by its descriptor");
    io_loop.add_writer(Rc::clone(&ours), never).unwrap();
    assert!(io_loop.remove_writer(&ours), "by the object");

    let number = Number::of(Rc::into_inner(ours).unwrap());
    io_loop.add_reader(number.lend(), |_| panic!("it was removed")).unwrap();
    assert!(io_loop.remove_reader(&number), "added lent, removed owned");
    one_turn(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 0);
}

// Panics.

pub(super) fn a_panic_ends_its_watch_and_nothing_else(rig: &Rig) {
    for (direction, origin) in
        [(Direction::Read, Origin::Reader), (Direction::Write, Origin::Writer)]
    {
        let io_loop = rig.io_loop();
        let panics = note_panics(&io_loop);
        let drops = Drops::new();
        let log = Log::new();
        let mut peers = Vec::new();
        // Whichever the kernel names first, one of the others comes after it.
        for name in ["good", "panics", "good"] {
            let (ours, peer) = pair();
            send(&peer);
            peers.push(peer);
            let (log, captured) = (log.clone(), drops.item());
            let watcher = Watcher::new(ours, move |_| {
                let _captured = &captured;
                log.push(name);
                assert!(name == "good", "oh no");
            });
            io_loop.watch(direction, watcher).unwrap();
        }
        one_turn(rig, &io_loop);
        let mut called = log.take();
        called.sort_unstable();
        assert_eq!(called, ["good", "good", "panics"]);
        assert_eq!(*panics.borrow(), [(origin, "oh no".to_owned())]);
        assert_eq!(drops.count(), 1, "its closure was dropped");
        assert!(is_at_end(&peers[1]), "and its source closed");
        assert_eq!(io_loop.metrics().watches, 2);
        one_turn(rig, &io_loop);
        assert_eq!(log.take(), ["good", "good"]);
        assert_eq!(panics.borrow().len(), 1, "reported once");
    }
}

pub(super) fn a_panic_leaves_the_other_direction_and_a_successor(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    let (ours, peer) = shared_pair();
    send(&peer);
    let log = Log::new();
    let (reads, writes) = (log.clone(), log.clone());
    io_loop.add_writer(Rc::clone(&ours), move |_| writes.push("writer")).unwrap();
    io_loop
        .add_reader(ours, move |stream| {
            let reads = reads.clone();
            let successor = move |_: &Rc<UnixStream>| reads.push("successor");
            IOLoop::current().unwrap().add_reader(Rc::clone(stream), successor).unwrap();
            panic!("after it has replaced itself");
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["writer"]);
    assert_eq!(panics.borrow().len(), 1);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), ["successor", "writer"]);
}

pub(super) fn a_panicking_destructor_is_reported_once_and_the_rest_goes_on(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    let drops = Drops::new();
    let report = [(Origin::Destructor, "oh no".to_owned())];

    // Removed through its handle,
    let watch = io_loop.add_reader(Bomb::new(pair().0, &drops), |_| ());
    assert!(watch.unwrap().remove());
    assert_eq!(*panics.take(), report);
    // inside its own callback,
    let (ours, peer) = pair();
    send(&peer);
    io_loop
        .add_reader(Bomb::new(ours, &drops), |bomb| {
            assert!(IOLoop::current().unwrap().remove_reader(bomb));
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(*panics.take(), report);
    // replaced,
    let (ours, peer) = shared_pair();
    send(&peer);
    let bomb = Bomb::new(Rc::clone(&ours), &drops);
    io_loop.add_reader(bomb, |_| ()).unwrap();
    io_loop.add_reader(ours, |stream| _ = drain(stream)).unwrap();
    assert_eq!(*panics.take(), report);
    // refused,
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let refused = io_loop.add_reader(Bomb::new(file, &drops), |_| ());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(*panics.take(), report);
    // and closed, after all else has gone on.
    one_turn(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 2);
    for _ in 0..2 {
        let bomb = Bomb::new(pair().0, &drops);
        io_loop.add_writer(bomb, |_| ()).unwrap();
    }
    io_loop.close().unwrap();
    assert_eq!(panics.borrow().len(), 2);
    assert_eq!(drops.count(), 6);
}

pub(super) fn a_panicking_as_fd_registers_nothing(rig: &Rig) {
    struct Unwilling(#[expect(dead_code, reason = "it counts drops")] Dropped);
    impl AsFd for Unwilling {
        fn as_fd(&self) -> BorrowedFd<'_> {
            panic!("no descriptor here")
        }
    }
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    let drops = Drops::new();
    let source = Unwilling(drops.item());
    let log = Log::new();
    let after = log.clone();
    io_loop.call_soon(move || {
        let _ = IOLoop::current().unwrap().add_reader(source, |_| ());
        unreachable!("the panic is its caller's");
    });
    io_loop.call_soon(move || after.push("after"));
    one_turn(rig, &io_loop);
    let report = (Origin::Callback, "no descriptor here".to_owned());
    assert_eq!(*panics.borrow(), [report]);
    assert_eq!(drops.count(), 1);
    assert_eq!(io_loop.metrics().watches, 0);
    assert_eq!(log.take(), ["after"], "the loop goes on");
    // So does what is asked outside of any callback.
    let (ours, peer) = pair();
    send(&peer);
    io_loop.add_reader(ours, |stream| _ = drain(stream)).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(io_loop.metrics().events, 1);
}
