//! What a host registers is one open file for as long as it is registered, whatever safe code does
//! meanwhile.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

/// What no loop gives its watches.
const STRANGER: u64 = 0xdead_beef;

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

fn is_readable(descriptor: impl AsFd) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now)).unwrap() == 1
}

/// Has a loop make its kernel set anew, by an event that it does not know.
fn renew(io_loop: &IOLoop) {
    let stranger = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
    let set = io_loop.descriptor().unwrap();
    let data = epoll::EventData::new_u64(STRANGER);
    epoll::add(&set, &stranger, data, epoll::EventFlags::IN).unwrap();
    assert!(io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
}

#[cfg(any(feature = "async-io", feature = "smol", feature = "tokio"))]
mod hosts {
    use std::fs;
    use std::os::fd::{AsRawFd, RawFd};
    use std::task::{Context, Waker};

    use ioloop::backends::Backend;

    use testkit::alone::alone;

    use super::*;

    /// The kernel's text on an epoll file: a line for each descriptor in it.
    fn entries(epoll: &str) -> Vec<String> {
        // It may have been closed since its name was read.
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("tfd:")).map(str::to_owned).collect()
    }

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
