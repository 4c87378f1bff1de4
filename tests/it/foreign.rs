//! What a host does around a loop: it runs itself inside a callback, calls a library between the
//! hooks and the sleep.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::backends::{BackendKind, Descriptor};
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, Reactor, RunError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use testkit::ways::every_way;

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

/// A foreign loop, with an embedded one in it.
struct Foreign {
    io_loop: IOLoop,
    descriptor: Descriptor,
    /// Whether it heeds what `turn` says of a run inside of its own callback.
    heeds: bool,
    enabled: Cell<bool>,
    refused: Cell<u32>,
}

impl Foreign {
    fn new(heeds: bool) -> Rc<Self> {
        let io_loop = bare();
        let descriptor = io_loop.descriptor().unwrap();
        let (enabled, refused) = (Cell::new(true), Cell::new(0));
        Rc::new(Foreign { io_loop, descriptor, heeds, enabled, refused })
    }

    /// One iteration, which does not wait.
    fn iterate(&self) {
        let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let watched = &mut watched[..usize::from(self.enabled.get())];
        if poll(watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0 {
            self.readable();
        }
    }

    /// As the guide's page on embedding has it.
    fn readable(&self) {
        match self.io_loop.turn(Some(Duration::ZERO)) {
            Err(RunError::AlreadyRunning) => {
                self.refused.set(self.refused.get() + 1);
                self.enabled.set(!self.heeds);
            }
            turned => {
                turned.unwrap();
                self.enabled.set(true);
            }
        }
    }
}

#[test]
fn a_modal_run_of_the_foreign_loop_found_the_descriptor_readable_all_the_time() {
    const ITERATIONS: u32 = 100;
    for heeds in [true, false] {
        let foreign = Foreign::new(heeds);
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let reads = Rc::new(Cell::new(0));
        let count = Rc::clone(&reads);
        let read = move |mut stream: &UnixStream| {
            stream.read_exact(&mut [0]).unwrap();
            count.set(count.get() + 1);
        };
        foreign.io_loop.add_reader(ours, read).unwrap();
        let (inside, seen) = (Rc::downgrade(&foreign), Rc::clone(&reads));
        let modal = move |foreign: Weak<Foreign>| {
            let foreign = foreign.upgrade().unwrap();
            // Something arrives while the dialogue is open, for a callback that has to wait until
            // it is closed.
            peer.write_all(b"x").unwrap();
            (0..ITERATIONS).for_each(|_| foreign.iterate());
            assert_eq!(seen.get(), 0);
            peer
        };
        let kept = Rc::new(Cell::new(None));
        let keeps = Rc::clone(&kept);
        foreign.io_loop.call_soon(move || keeps.set(Some(modal(inside))));
        foreign.iterate();
        assert_eq!(foreign.refused.get(), if heeds { 1 } else { ITERATIONS });
        // Afterwards all goes on.
        let mut peer = kept.take().expect("the dialogue was closed");
        foreign.iterate();
        assert_eq!(reads.get(), 1);
        peer.write_all(b"x").unwrap();
        foreign.iterate();
        assert_eq!(reads.get(), 2);
    }
}

/// A library that has read ahead, and a hook that asks it.
struct Library {
    pending: Cell<bool>,
    asked: Cell<u32>,
}

fn library(io_loop: &IOLoop) -> Rc<Library> {
    let library = Rc::new(Library { pending: Cell::new(false), asked: Cell::new(0) });
    let asked = Rc::clone(&library);
    io_loop.before_sleep(move || {
        asked.asked.set(asked.asked.get() + 1);
        if !asked.pending.take() {
            return BeforeSleep::Sleep;
        }
        IOLoop::current().unwrap().stop();
        BeforeSleep::StayAwake
    });
    library
}

#[test]
fn what_the_host_had_read_ahead_after_the_hook_waited_for_the_next_event() {
    every_way(|way| {
        if !way.is_attached() {
            return;
        }
        let io_loop = way.io_loop();
        let library = library(&io_loop);
        way.block_on(async {
            let (mut run, mut called) = (pin!(io_loop.run()), false);
            poll_fn(|cx| {
                let polled = run.as_mut().poll(cx);
                if polled.is_pending() && library.asked.get() > 0 && !called {
                    // A task of the host's, which calls the library, and says so as the docs have
                    // it.
                    called = true;
                    library.pending.set(true);
                    io_loop.call_soon(|| ());
                }
                polled
            })
            .await
            .unwrap();
        });
        assert!(!library.pending.get());
    });

    let io_loop = bare();
    let library = library(&io_loop);
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert!(library.asked.get() > 0);
    library.pending.set(true);
    io_loop.call_soon(|| ());
    let descriptor = io_loop.descriptor().unwrap();
    let mut stopped = false;
    while !stopped {
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None).unwrap();
        stopped = io_loop.turn(Some(Duration::ZERO)).unwrap().stopped;
    }
    assert!(!library.pending.get());
}
