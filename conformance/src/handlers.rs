//! Handlers: one callback a descriptor, with an interest, that is told what came.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::net::{RecvFlags, SendFlags};

use super::lending::Number;
use super::rig::Rig;
use super::tools::{Log, one_turn, stop};
use super::wires::{Strict, assert_rests, drain, note_panics, pair, send};
use ioloop::observe::Origin;
use ioloop::{Events, Interest, Reactor};

pub(super) fn a_handler_is_told_what_came(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let log = Log::new();
    let seen = log.clone();
    io_loop
        .add_handler(theirs, Interest::READ | Interest::WRITE, move |_, events| {
            seen.push(events);
            stop();
        })
        .unwrap();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [Events::WRITE]);
    send(&ours);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [Events::READ | Events::WRITE], "one call for both");
    drop(ours);
    rig.run(&io_loop).unwrap();
    let last = log.take();
    assert!(last[0].contains(Events::READ | Events::HANGUP), "{last:?}");
}

pub(super) fn a_handler_gets_only_what_it_asked_for(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let log = Log::new();
    let seen = log.clone();
    let theirs = Rc::new(theirs);
    io_loop
        .add_handler(Rc::clone(&theirs), Interest::READ, move |stream, events| {
            seen.push(events);
            drain(stream);
        })
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0, "writable all the while");
    send(&ours);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [Events::READ]);
}

pub(super) fn a_second_handler_is_refused_and_the_first_stays(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let theirs = Rc::new(Number::of(theirs));
    let log = Log::new();
    let first = log.clone();
    io_loop
        .add_handler(Rc::clone(&theirs), Interest::READ, move |_, _| {
            first.push("first");
            stop();
        })
        .unwrap();
    let by_object = io_loop.add_handler(Rc::clone(&theirs), Interest::READ, |_, _| ());
    let by_number = io_loop.add_handler(theirs.lend(), Interest::WRITE, |_, _| ());
    let as_reader = io_loop.add_reader(Rc::clone(&theirs), |_| ());
    for refused in [by_object, by_number, as_reader] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("watched already"), "{error}");
    }
    assert_eq!(io_loop.metrics().watches, 1);
    send(&ours);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), ["first"]);
    assert!(io_loop.remove_handler(&theirs));
    io_loop.add_reader(Rc::clone(&theirs), |_| stop()).unwrap();
    let beside = io_loop.add_handler(theirs, Interest::READ, |_, _| ());
    assert_eq!(beside.unwrap_err().kind(), ErrorKind::AlreadyExists);
    rig.run(&io_loop).unwrap();
}

pub(super) fn a_failed_add_leaves_no_trace(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let directory = std::fs::File::open("/").unwrap();
    let number = Rc::new(directory);
    for interest in [Interest::READ, Interest::empty()] {
        let refused = io_loop.add_handler(Rc::clone(&number), interest, |_, _| ());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(!io_loop.remove_handler(&number));
        assert_eq!(io_loop.metrics().watches, 0);
        assert_eq!(Rc::strong_count(&number), 1, "the source was given up");
    }
    let (ours, theirs) = pair();
    send(&ours);
    io_loop.add_handler(theirs, Interest::READ, |_, _| stop()).unwrap();
    rig.run(&io_loop).unwrap();
}

pub(super) fn a_handler_gets_the_very_source(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    send(&ours);
    let theirs = Rc::new(theirs);
    let expected = Rc::clone(&theirs);
    let log = Log::new();
    let seen = log.clone();
    io_loop
        .add_handler(theirs, Interest::READ, move |source, _| {
            seen.push(Rc::ptr_eq(source, &expected));
            stop();
        })
        .unwrap();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [true]);
}

pub(super) fn changing_the_interest_pauses_and_resumes(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let theirs = Rc::new(theirs);
    let log = Log::new();
    let seen = log.clone();
    let callback = move |_: &Rc<UnixStream>, events| {
        seen.push(events);
        stop();
    };
    io_loop.add_handler(Rc::clone(&theirs), Interest::empty(), callback).unwrap();
    send(&ours);
    drop(ours);
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0, "held, and paused, and a hang-up does not make it spin");
    io_loop.update_handler(&theirs, Interest::READ).unwrap();
    rig.run(&io_loop).unwrap();
    assert!(log.take()[0].contains(Events::READ), "what was pending is still there");
    io_loop.update_handler(&theirs, Interest::empty()).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 0);
}

pub(super) fn changing_the_interest_of_an_unknown_descriptor_is_an_error(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let error = io_loop.update_handler(&ours, Interest::READ).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("add_handler"), "{error}");
    let theirs = Rc::new(theirs);
    let _reader = io_loop.add_reader(Rc::clone(&theirs), |_| ()).unwrap();
    assert!(io_loop.update_handler(&theirs, Interest::WRITE).is_err(), "a reader is no handler");
    assert!(!io_loop.remove_handler(&theirs));
    assert_eq!(io_loop.metrics().watches, 1);
    assert_rests(rig, &io_loop);
}

pub(super) fn a_panicking_handler_is_removed(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panics = note_panics(&io_loop);
    let (ours, theirs) = pair();
    send(&ours);
    let theirs = Rc::new(theirs);
    io_loop
        .add_handler(Rc::clone(&theirs), Interest::READ, |_, _| {
            stop();
            panic!("on purpose");
        })
        .unwrap();
    rig.run(&io_loop).unwrap();
    assert!(!io_loop.remove_handler(&theirs), "it is gone");
    assert_eq!(Rc::strong_count(&theirs), 1);
    one_turn(rig, &io_loop);
    assert_eq!(*panics.borrow(), [(Origin::Handler, "on purpose".to_owned())]);
}

/// A socket whose peer has ended its writing with a byte unread, and the peer.
fn half_closed() -> (UnixStream, UnixStream) {
    let (ours, theirs) = pair();
    send(&ours);
    ours.shutdown(Shutdown::Write).unwrap();
    (theirs, ours)
}

/// Whether the loop's poller can tell that a peer has ended its writing.
const TELLS_READ_CLOSED: bool =
    cfg!(any(target_os = "linux", target_os = "android")) && cfg!(not(ioloop_portable));

pub(super) fn a_peers_end_is_told_with_its_data_unread(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (ours, theirs) = pair();
    let theirs = Rc::new(theirs);
    let log = Log::new();
    let seen = log.clone();
    let callback = move |_: &Rc<UnixStream>, events| seen.push(events);
    let added = io_loop.add_handler(Rc::clone(&theirs), Interest::READ_CLOSED, callback);
    if !TELLS_READ_CLOSED {
        assert_eq!(added.unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!((Rc::strong_count(&theirs), io_loop.metrics().watches), (1, 0));
        return;
    }
    send(&ours);
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0, "data is not what it waits for");
    ours.shutdown(Shutdown::Write).unwrap();
    for _ in 0..3 {
        one_turn(rig, &io_loop);
        assert_eq!(log.take(), [Events::READ_CLOSED], "in each turn");
    }
    io_loop.update_handler(&theirs, Interest::READ_CLOSED | Interest::READ).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [Events::READ_CLOSED | Events::READ]);
    drop(ours);
    io_loop.update_handler(&theirs, Interest::READ_CLOSED).unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [Events::READ_CLOSED | Events::HANGUP]);
    assert_eq!(drain(&theirs), 1, "nothing was read");
}

pub(super) fn a_peers_end_is_not_told_to_those_who_did_not_ask(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let (theirs, _ours) = half_closed();
    let theirs = Rc::new(theirs);
    let log = Log::new();
    let seen = log.clone();
    io_loop
        .add_handler(Rc::clone(&theirs), Interest::READ, move |_, events| seen.push(events))
        .unwrap();
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [Events::READ]);
    io_loop.update_handler(&theirs, Interest::PRIORITY).unwrap();
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0);
}

pub(super) fn errors_are_told_to_one_who_waits_for_nothing_else(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let log = Log::new();
    let seen = log.clone();
    let added = io_loop.add_handler(Rc::clone(&socket), Interest::ERROR, move |_, events| {
        seen.push(events);
        stop();
    });
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        assert_eq!(added.unwrap_err().kind(), ErrorKind::Unsupported);
        return;
    }
    added.unwrap();
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0, "it can be written to all the while");
    // A port that nobody listens on.
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    socket.connect(nowhere).unwrap();
    socket.send(b"x").unwrap();
    for _ in 0..3 {
        rig.run(&io_loop).unwrap();
        assert_eq!(log.take(), [Events::ERROR], "in each turn until somebody takes it");
    }
    assert!(socket.take_error().unwrap().is_some());
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0);
}

pub(super) fn urgent_data_is_told_to_those_who_asked(rig: &Rig) {
    let io_loop = Strict::new(rig.io_loop());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = Rc::new(listener.accept().unwrap().0);
    let log = Log::new();
    let seen = log.clone();
    io_loop
        .add_handler(Rc::clone(&server), Interest::PRIORITY, move |_, events| {
            seen.push(events);
            stop();
        })
        .unwrap();
    rustix::net::send(&client, b"x", SendFlags::empty()).unwrap();
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0, "plain data is not urgent");
    rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [Events::PRIORITY]);
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [Events::PRIORITY]);
    rustix::net::recv(&server, &mut [0; 1], RecvFlags::OOB).unwrap();
    assert_rests(rig, &io_loop);
    assert_eq!(log.len(), 0);
}
