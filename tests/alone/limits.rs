//! A process that runs out of descriptors: each test runs again in a child of its own, whose limit
//! it sets.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{Async, IOLoop, Lent, Reactor, RunError};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::alone::{alone, open_descriptors};

/// Runs `test` in a child process, which runs nothing else.
fn isolated(name: &str, test: impl FnOnce()) {
    alone(module_path!(), name, test);
}

/// Leaves room for that many more descriptors, until it is dropped.
struct Room(Rlimit);

impl Room {
    fn for_only(n: u64) -> Room {
        let before = getrlimit(Resource::Nofile);
        // The next number that would be given out; those below it are taken.
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        let current = Some(u64::try_from(next).unwrap() + n);
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        Room(before)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MFILE)
}

/// Every way to make a loop and to drive it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Own(BackendKind),
    Attached(BackendKind),
    Embedded,
}

impl Way {
    fn all() -> impl Iterator<Item = Way> {
        let compiled = || BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled());
        let attached = compiled().filter(|kind| *kind != BackendKind::Bare);
        compiled().map(Way::Own).chain(attached.map(Way::Attached)).chain([Way::Embedded])
    }

    fn make(self) -> io::Result<IOLoop> {
        match self {
            Way::Own(kind) => IOLoop::builder().backend(kind).build(),
            Way::Attached(kind) => IOLoop::builder().backend(kind).attach(),
            Way::Embedded => IOLoop::builder().backend(BackendKind::Bare).build(),
        }
    }

    fn run(self, io_loop: &IOLoop) -> Result<(), RunError> {
        match self {
            Way::Own(_) => io_loop.start(),
            Way::Attached(_) => block_on(io_loop.run()),
            Way::Embedded => {
                while !io_loop.turn(None)?.stopped {}
                Ok(())
            }
        }
    }
}

/// Where tokio is compiled in, its runtime is entered throughout, and drives what is attached.
#[cfg(feature = "tokio")]
mod host {
    use super::*;

    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
    }

    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.with(|runtime| runtime.block_on(future))
    }

    pub(super) fn enter<T>(code: impl FnOnce() -> T) -> T {
        RUNTIME.with(|runtime| {
            let _entered = runtime.enter();
            code()
        })
    }
}

#[cfg(not(feature = "tokio"))]
mod host {
    use super::*;

    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        async_io::block_on(future)
    }

    pub(super) fn enter<T>(code: impl FnOnce() -> T) -> T {
        code()
    }
}

use host::{block_on, enter};

/// Runs `test` once for every way, with whatever the hosts make once for a process made before.
fn each_way(name: &str, test: impl Fn(Way)) {
    isolated(name, || {
        enter(|| {
            for way in Way::all() {
                drop(way.make().unwrap());
            }
            for way in Way::all() {
                println!("{way:?}");
                test(way);
            }
        });
    });
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

#[test]
fn making_a_loop_without_room_is_an_error_that_leaves_nothing_behind() {
    each_way("making_a_loop_without_room_is_an_error_that_leaves_nothing_behind", |way| {
        let before = open_descriptors();
        // Each time it gets one step further.
        for n in 0..100 {
            let room = Room::for_only(n);
            let made = way.make();
            drop(room);
            match made {
                Err(error) => {
                    assert!(is_out_of_descriptors(&error), "{error}");
                    assert_eq!(open_descriptors(), before, "with room for {n}");
                }
                Ok(io_loop) => {
                    assert!(n >= 3, "an epoll set, a timer and a bell");
                    io_loop.call_soon(stop);
                    way.run(&io_loop).unwrap();
                    io_loop.close().unwrap();
                    drop(io_loop);
                    assert_eq!(open_descriptors(), before);
                    return;
                }
            }
        }
        panic!("a loop needs no hundred descriptors");
    });
}

#[test]
fn a_loop_watches_and_runs_without_room_for_more() {
    each_way("a_loop_watches_and_runs_without_room_for_more", |way| {
        let io_loop = way.make().unwrap();
        // Kept here, so removing its watch makes no room.
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let room = Rc::new(Cell::new(Some(Room::for_only(0))));

        // A watch costs no descriptor, whether it is added, paused, resumed or removed.
        let watch = io_loop.add_reader(Rc::clone(&ours), |_| stop());
        let watch = watch.unwrap();
        peer.write_all(b"x").unwrap();
        way.run(&io_loop).unwrap();
        assert!(watch.pause() && watch.resume().unwrap());
        way.run(&io_loop).unwrap();
        assert!(watch.remove());
        // Nor does a timer.
        io_loop.call_later(Duration::from_millis(1), stop);
        way.run(&io_loop).unwrap();

        // A listener is told until there is room, and then loses nobody.
        let refused = Rc::new(Cell::new(0));
        let (count, limit) = (Rc::clone(&refused), Rc::clone(&room));
        io_loop
            .add_reader(listener, move |listener| match listener.accept() {
                Ok(_) => stop(),
                Err(error) => {
                    assert!(is_out_of_descriptors(&error));
                    count.set(count.get() + 1);
                    if count.get() == 3 {
                        limit.take();
                    }
                }
            })
            .unwrap();
        way.run(&io_loop).unwrap();
        assert_eq!(refused.get(), 3);
        assert_eq!(io_loop.metrics().watches, 1, "its callback did not panic");
    });
}

#[test]
fn a_loop_that_cannot_be_rid_of_an_orphan_goes_on_and_rests_when_there_is_room() {
    each_way(
        "a_loop_that_cannot_be_rid_of_an_orphan_goes_on_and_rests_when_there_is_room",
        |way| {
            let io_loop = way.make().unwrap();
            // Its number gets another file while a duplicate lives on.
            let (ours, mut orphan) = UnixStream::pair().unwrap();
            let _dup = ours.try_clone().unwrap();
            let mut number = OwnedFd::from(ours);
            // SAFETY: that the number stays the same file is not true, on purpose; the loop does
            // nothing with it but watch.
            let lent = unsafe { Lent::new(number.as_raw_fd()) };
            let removed = io_loop.add_reader(lent, |_| unreachable!()).unwrap();
            dup3(&orphan, &mut number, DupFlags::CLOEXEC).unwrap();
            assert!(removed.remove());
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let reader = io_loop
                .add_reader(ours, move |_| {
                    count.set(count.get() + 1);
                    stop();
                })
                .unwrap();

            orphan.write_all(b"x").unwrap();
            let room = Room::for_only(0);
            for _ in 0..2 {
                io_loop.call_later(Duration::from_millis(2), stop);
                way.run(&io_loop).unwrap();
            }
            drop(room);
            assert_eq!(calls.get(), 0);
            peer.write_all(b"x").unwrap();
            way.run(&io_loop).unwrap();
            assert_eq!(calls.get(), 1);
            // The orphan is gone, so nothing wakes the loop any more: a loop that spins makes
            // thousands of polls.
            drop(reader.remove_on_drop());
            let polls = io_loop.metrics().polls;
            io_loop.call_later(Duration::from_millis(10), stop);
            way.run(&io_loop).unwrap();
            assert!(io_loop.metrics().polls - polls < 20);
        },
    );
}

#[test]
fn a_thread_whose_loop_cannot_be_made_hands_on_the_error() {
    isolated("a_thread_whose_loop_cannot_be_made_hands_on_the_error", || {
        let made = {
            let _room = Room::for_only(1);
            IOLoop::spawn_thread("starved", || IOLoop::builder().backend(BackendKind::Bare).build())
        };
        let error = made.map(drop).unwrap_err();
        assert!(is_out_of_descriptors(&error), "{error}");
        assert_ne!(error.kind(), ErrorKind::BrokenPipe);
        let network =
            IOLoop::spawn_thread("fed", || IOLoop::builder().backend(BackendKind::Bare).build());
        let network = network.unwrap();
        network.handle().stop().unwrap();
        network.join().unwrap();
    });
}

// B189
#[test]
fn an_accept_without_room_backs_off_and_takes_the_connection_when_there_is_room() {
    each_way(
        "an_accept_without_room_backs_off_and_takes_the_connection_when_there_is_room",
        |way| {
            let io_loop = way.make().unwrap();
            let listener =
                Async::<std::net::TcpListener>::bind(&io_loop, (Ipv4Addr::LOCALHOST, 0)).unwrap();
            let client = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
            let accepted = Rc::new(Cell::new(None));
            let (reactor, peer) = (io_loop.downgrade(), Rc::clone(&accepted));
            let task = io_loop.spawn(async move {
                let (_, address) = listener.accept(&reactor).await.unwrap();
                peer.set(Some(address));
                stop();
            });

            let room = Room::for_only(0);
            let polls = io_loop.metrics().polls;
            io_loop.call_later(Duration::from_millis(20), stop);
            way.run(&io_loop).unwrap();
            assert_eq!(accepted.get(), None);
            assert!(!task.is_finished(), "it is no error either");
            assert!(io_loop.metrics().polls - polls < 30, "it spins");

            drop(room);
            way.run(&io_loop).unwrap();
            assert_eq!(accepted.get(), Some(client.local_addr().unwrap()));
        },
    );
}
