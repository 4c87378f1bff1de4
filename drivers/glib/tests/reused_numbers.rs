//! A number that is closed behind the reactor's back and is another file's by the time that its
//! watch is resumed.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use glib::MainContext;
use ioloop::{Events, Interest, Lent, Reactor};
use ioloop_glib::GlibReactor;
use rustix::io::{DupFlags, dup3};

#[test]
fn a_watch_was_resumed_whose_number_had_become_another_files() {
    for paused in [false, true] {
        let context = MainContext::new();
        let _current = context.acquire().unwrap();
        let reactor = GlibReactor::new(&context);
        let mut number = OwnedFd::from(UnixStream::pair().unwrap().0);
        let calls = Rc::new(Cell::new(0));
        let watch = |number: &OwnedFd| {
            let calls = Rc::clone(&calls);
            // SAFETY: that it stays the same file is not true, on purpose; nobody reads from it.
            let lent = unsafe { Lent::new(number.as_raw_fd()) };
            reactor.add_reader(lent, move |_| calls.set(calls.get() + 1)).unwrap()
        };
        let old = watch(&number);
        assert!(old.resume().unwrap());
        assert!(!paused || old.pause());
        let (second, mut peer) = UnixStream::pair().unwrap();
        dup3(second, &mut number, DupFlags::CLOEXEC).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(!old.resume().unwrap(), "it is dead, and says so");
        assert!(!old.remove());
        let new = watch(&number);
        context.iteration(false);
        assert_eq!(calls.get(), 1);
        assert!(new.resume().unwrap());
        assert!(new.remove());
    }
}

#[test]
fn a_handler_of_a_file_that_was_closed_kept_its_number_from_the_next() {
    let context = MainContext::new();
    let _current = context.acquire().unwrap();
    let reactor = GlibReactor::new(&context);
    let mut number = OwnedFd::from(UnixStream::pair().unwrap().0);
    let events = Rc::new(Cell::new(Events::empty()));
    let handle = |number: &OwnedFd, interest| {
        let events = Rc::clone(&events);
        // SAFETY: as above.
        let lent = unsafe { Lent::new(number.as_raw_fd()) };
        reactor.add_handler(lent, interest, move |_, came| events.set(came))
    };
    let old = handle(&number, Interest::READ).unwrap();
    let taken = handle(&number, Interest::READ).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let untold = old.set_interest(Interest::READ_CLOSED).unwrap_err();
    assert_eq!(untold.kind(), ErrorKind::Unsupported);
    let (second, mut peer) = UnixStream::pair().unwrap();
    dup3(second, &mut number, DupFlags::CLOEXEC).unwrap();
    let new = handle(&number, Interest::READ | Interest::WRITE).unwrap();
    assert!(!old.remove(), "it has ended");
    peer.write_all(b"x").unwrap();
    context.iteration(false);
    assert_eq!(events.replace(Events::empty()), Events::READ | Events::WRITE);
    drop(peer);
    assert!(new.set_interest(Interest::ERROR).unwrap());
    context.iteration(false);
    assert_eq!(events.replace(Events::empty()), Events::HANGUP);
    assert_eq!(new.descriptor(), Some(number.as_raw_fd()));
    assert!(new.remove());
    assert!(!context.pending());
}
