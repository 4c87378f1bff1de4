//! A number that is closed behind the reactor's back and is another file's by the time that its
//! watch is resumed.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use glib::MainContext;
use ioloop::{Lent, Reactor};
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
