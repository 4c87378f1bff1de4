//! Timers, descriptors and wake-ups of a libuv loop all arrive, whatever drives the loop that it is
//! in.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use ioloop_with_libuv::{Guest, Uv};
use rustix::event::{PollFd, PollFlags, poll};

use testkit::ways::every_way;

const MS: Duration = Duration::from_millis(1);

/// Stops the current loop once everything has arrived.
struct Seen {
    timers: Cell<u32>,
    reads: Cell<u32>,
    wakeups: Cell<u32>,
}

impl Seen {
    fn one_more(&self, count: fn(&Seen) -> &Cell<u32>) {
        count(self).set(count(self).get() + 1);
        if self.timers.get() >= 10 && self.reads.get() == 3 && self.wakeups.get() == 1 {
            IOLoop::current().unwrap().stop();
        }
    }
}

/// Runs a busy guest until everything has arrived.
fn try_guest(io_loop: &IOLoop, run: impl FnOnce()) {
    let seen = Rc::new(Seen { timers: Cell::new(0), reads: Cell::new(0), wakeups: Cell::new(0) });
    let guest = Rc::new(Guest::new(io_loop, Uv::new().unwrap()).unwrap());
    let timers = Rc::clone(&seen);
    guest.uv().every(2 * MS, move || timers.one_more(|seen| &seen.timers)).unwrap();
    let wakeups = Rc::clone(&seen);
    let wakeup = guest.uv().wakeup(move || wakeups.one_more(|seen| &seen.wakeups)).unwrap();

    // Begun in a callback of the loop: libuv tells the kernel of it only when it is run the next
    // time.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (late, reads) = (Rc::downgrade(&guest), Rc::clone(&seen));
    io_loop.call_later(3 * MS, move || {
        let guest = late.upgrade().unwrap();
        let read = move |fd: &std::os::fd::OwnedFd| {
            let mut stream = UnixStream::from(fd.try_clone().unwrap());
            stream.read_exact(&mut [0]).unwrap();
            reads.one_more(|seen| &seen.reads);
        };
        guest.uv().readable(ours.into(), read).unwrap();
    });
    let writing = thread::spawn(move || {
        let mut theirs = theirs;
        for _ in 0..3 {
            theirs.write_all(b"x").unwrap();
            thread::yield_now();
        }
        wakeup.send();
        (theirs, wakeup)
    });
    run();
    let (_theirs, wakeup) = writing.join().unwrap();
    assert!(seen.timers.get() >= 10);
    assert_eq!((seen.reads.get(), seen.wakeups.get()), (3, 1));

    drop(guest);
    wakeup.send();
    assert_eq!(Rc::strong_count(&seen), 1, "what its handles hold goes with it");
    let left = io_loop.metrics();
    assert_eq!((left.watches, left.timers), (0, 0), "{}", io_loop.listing());
}

#[test]
fn everything_of_a_guest_arrives_in_every_mode() {
    every_way(|way| {
        let io_loop = way.io_loop();
        try_guest(&io_loop, || way.until_stopped(&io_loop));
    });
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    try_guest(&io_loop, || {
        let descriptor = io_loop.descriptor().unwrap();
        while !io_loop.turn(Some(Duration::ZERO)).unwrap().stopped {
            poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None).unwrap();
        }
    });
}

#[test]
fn a_guest_with_nothing_to_do_lets_the_loop_sleep() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let _guest = Guest::new(&io_loop, Uv::new().unwrap()).unwrap();
    io_loop.call_later(2 * MS, || IOLoop::current().unwrap().stop());
    let polls = io_loop.metrics().polls;
    io_loop.start().unwrap();
    assert!(io_loop.metrics().polls - polls < 10, "it spins");
}
