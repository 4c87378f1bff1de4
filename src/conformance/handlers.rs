//! Handlers: one callback a descriptor, with an interest, that is told what came.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::lending::Number;
use super::rig::Rig;
use super::tools::{Log, one_turn, stop};
use super::wires::{Strict, assert_rests, drain, note_panics, pair, send};
use crate::{Events, Interest, Origin, Reactor};

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
