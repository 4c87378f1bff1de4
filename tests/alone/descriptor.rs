//! What a host registers is one open file for as long as it is registered, whatever safe code does
//! meanwhile.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, ManualClock, Reactor};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use testkit::alone::{alone, end_at_first_panic};
use testkit::ways::every_way;

/// What no loop gives its watches.
const STRANGER: u64 = 0xdead_beef;

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

fn is_readable(descriptor: impl AsFd) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now)).unwrap() == 1
}

/// A ready descriptor in a loop's set that the loop does not know: it makes the set anew.
fn stranger(io_loop: &IOLoop) -> OwnedFd {
    let stranger = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
    let set = io_loop.descriptor().unwrap();
    let data = epoll::EventData::new_u64(STRANGER);
    epoll::add(&set, &stranger, data, epoll::EventFlags::IN).unwrap();
    stranger
}

fn renew(io_loop: &IOLoop) {
    let _stranger = stranger(io_loop);
    assert!(io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
}

/// The kernel's text on an epoll file: a line for each descriptor in it.
fn entries(epoll: &str) -> Vec<String> {
    // It may have been closed since its name was read.
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("tfd:")).map(str::to_owned).collect()
}

/// Watches that are moved in a turn, at the most, and more than are moved in two.
const PART: usize = 256;
const MANY: usize = 600;

/// Watches many that are never ready.
fn watch_many(io_loop: &IOLoop) {
    // An attached loop may watch a file five hundred times.
    for _ in 0..MANY / 100 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = Rc::new(theirs);
        for _ in 0..100 {
            let theirs = Rc::clone(&theirs);
            let never = move |_: &UnixStream| unreachable!("{theirs:?}");
            io_loop.add_reader(ours.try_clone().unwrap(), never).unwrap();
        }
    }
}

#[test]
fn a_set_of_many_watches_was_made_anew_in_one_turn() {
    const TEST: &str = "a_set_of_many_watches_was_made_anew_in_one_turn";
    alone(module_path!(), TEST, || {
        end_at_first_panic();
        every_way(|way| {
            let clock = ManualClock::new();
            let io_loop = way.on_clock(&clock);
            watch_many(&io_loop);
            let (stranger, old) = (stranger(&io_loop), io_loop.descriptor().unwrap());
            // From here on nothing but the move keeps the loop awake.
            io_loop.call_soon(move || drop(stranger));
            let (looks, left) = (Rc::new(Cell::new(0)), Cell::new(None));
            let (seen, number) = (Rc::clone(&looks), old.as_raw_fd().to_string());
            io_loop.before_sleep(move || {
                let now = entries(&number).len();
                let moved = left.replace(Some(now)).map_or(0, |before| before - now);
                // The stranger leaves it as well.
                assert!(moved <= PART + 1, "{moved} in one turn");
                seen.set(seen.get() + u32::from(moved > 0));
                BeforeSleep::Sleep
            });
            // The clock jumps to it where the loop would sleep.
            let weak = io_loop.downgrade();
            io_loop.call_later(Duration::from_secs(3600), move || {
                let io_loop = weak.upgrade().unwrap();
                assert_ne!(io_loop.descriptor().unwrap(), old, "it slept before all had moved");
                io_loop.stop();
            });
            way.until_stopped(&io_loop);
            assert!(looks.get() >= 2, "{} turns saw some move", looks.get());
            io_loop.close().unwrap();
        });
    });
}

#[test]
fn what_is_ready_is_served_in_each_turn_while_a_set_is_made_anew() {
    const TEST: &str = "what_is_ready_is_served_in_each_turn_while_a_set_is_made_anew";
    alone(module_path!(), TEST, || {
        end_at_first_panic();
        every_way(|way| {
            let io_loop = way.io_loop();
            // One that is moved with the first, and one with the last.
            let calls = Rc::new(Cell::new([0_u32; 2]));
            let (ours, theirs) = UnixStream::pair().unwrap();
            let old = io_loop.descriptor().unwrap();
            let watch = |place: usize| {
                let (calls, old) = (Rc::clone(&calls), old.clone());
                let ready = move |_: &UnixStream| {
                    let mut counts = calls.get();
                    counts[place] += 1;
                    calls.set(counts);
                    assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
                    let io_loop = IOLoop::current().unwrap();
                    if io_loop.descriptor().unwrap() != old {
                        io_loop.stop();
                    }
                };
                io_loop.add_writer(ours.try_clone().unwrap(), ready).unwrap();
            };
            watch(0);
            watch_many(&io_loop);
            watch(1);
            let _stranger = stranger(&io_loop);
            way.until_stopped(&io_loop);
            assert!(calls.get()[0] > (MANY / PART) as u32, "{calls:?} while it was made anew");
            drop(theirs);
            io_loop.close().unwrap();
        });
    });
}

#[test]
fn an_embedded_loop_is_awake_until_all_of_its_set_is_made_anew() {
    const TEST: &str = "an_embedded_loop_is_awake_until_all_of_its_set_is_made_anew";
    alone(module_path!(), TEST, || {
        let io_loop = bare();
        watch_many(&io_loop);
        drop(stranger(&io_loop));
        assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().work_left, "it is gone");
        let stranger = stranger(&io_loop);
        let (old, mut turn) =
            (io_loop.descriptor().unwrap(), io_loop.turn(Some(Duration::ZERO)).unwrap());
        drop(stranger);
        let mut turns = 1;
        while !turn.renewed {
            assert!(turn.work_left && is_readable(&old) && old == io_loop.descriptor().unwrap());
            turn = io_loop.turn(None).unwrap();
            turns += 1;
        }
        assert_eq!(turns, MANY / PART + 1);
        assert!(!turn.work_left && !is_readable(io_loop.descriptor().unwrap()));
        assert_eq!(io_loop.metrics().callbacks, 0, "nobody has called any");
    });
}

#[cfg(any(feature = "async-io", feature = "smol", feature = "tokio"))]
mod hosts {
    use std::os::fd::RawFd;
    use std::task::{Context, Waker};

    use ioloop::backends::Backend;

    use super::*;

    /// Whether any of the process's epoll files watches a descriptor number.
    fn is_watched(number: RawFd) -> bool {
        let watches = |line: &String| line.split_whitespace().nth(1) == Some(&number.to_string());
        let numbers = fs::read_dir("/proc/self/fdinfo").unwrap();
        let mut names = numbers.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| entries(&name).iter().any(watches))
    }

    fn keeps_its_file(backend: impl Backend) {
        let io_loop = bare();
        let descriptor = io_loop.descriptor().unwrap();
        let number = descriptor.as_raw_fd();
        // With it the file outlives all that may be put in the place of the number.
        let _duplicate = descriptor.as_fd().try_clone_to_owned().unwrap();
        let mut registration = backend.register(descriptor.clone()).unwrap();
        assert!(is_watched(number), "{}", backend.name());

        let before = entries(&number.to_string());
        renew(&io_loop);
        assert_ne!(io_loop.descriptor().unwrap(), descriptor);
        assert_ne!(io_loop.descriptor().unwrap().as_raw_fd(), number);
        let after = entries(&number.to_string());
        if cfg!(ioloop_portable) {
            // The crate polling takes its own timer and notifier out of a set that it drops.
            assert!(!after.is_empty() && after.iter().all(|entry| before.contains(entry)));
        } else {
            assert_eq!(after, before, "{}", backend.name());
        }
        io_loop.close().unwrap();

        // It ends as it would have at once: nothing of it stays in the host's set.
        let _ = registration.poll_ready(&mut Context::from_waker(Waker::noop()), None);
        drop(registration);
        assert!(!is_watched(number), "{}", backend.name());
    }

    /// Alone, since every epoll file of the process is looked at.
    #[test]
    fn a_set_made_anew_took_the_number_that_a_host_had_registered() {
        const TEST: &str = "a_set_made_anew_took_the_number_that_a_host_had_registered";
        alone(module_path!(), TEST, each_host_keeps_its_file);
    }

    fn each_host_keeps_its_file() {
        #[cfg(feature = "async-io")]
        keeps_its_file(ioloop::backends::async_io::AsyncIoBackend::new());
        #[cfg(feature = "smol")]
        keeps_its_file(ioloop::backends::smol::SmolBackend::new());
        #[cfg(feature = "tokio")]
        {
            let mut host = tokio::runtime::Builder::new_multi_thread();
            let host = host.worker_threads(1).enable_all().build().unwrap();
            keeps_its_file(ioloop::backends::tokio::TokioBackend::attached(host.handle().clone()));
            keeps_its_file(ioloop::backends::tokio::TokioBackend::own().unwrap());
        }
    }
}

#[test]
fn a_foreign_loop_asks_again_and_hears_of_what_came_before_and_after() {
    let io_loop = bare();
    let timer = io_loop.call_later(Duration::from_secs(3600), || ());
    renew(&io_loop);
    let descriptor = io_loop.descriptor().unwrap();
    assert!(!is_readable(&descriptor));
    io_loop.call_soon(|| ());
    assert!(is_readable(&descriptor));
    assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
    assert!(!is_readable(&descriptor));
    assert!(timer.reset(io_loop.now()));
    assert!(is_readable(&descriptor));
    assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
    let handle = io_loop.handle();
    std::thread::spawn(move || handle.add_callback(|| ())).join().unwrap().unwrap();
    assert!(is_readable(&descriptor));
    assert_eq!(io_loop.descriptor().unwrap(), descriptor);
}
