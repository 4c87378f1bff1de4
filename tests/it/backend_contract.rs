//! Backends that break the contract of `Backend` are told so, and none of them hangs.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ioloop::backends::async_io::AsyncIoBackend;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};
use ioloop::{IOLoop, Reactor, RunError};

/// How a backend breaks the contract; it does everything else as async-io does.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// `block_on` returns without running the drive.
    DrivesNothing,
    /// `block_on` polls the drive once, and drops it.
    GivesUp,
    /// `enter` does not run what it is given,
    EntersNever,
    /// or runs it twice;
    EntersTwice,
    /// here only once the loop has been made.
    EntersTwiceLater,
}

struct Faulty(Fault, AsyncIoBackend, std::cell::Cell<u32>);

impl Faulty {
    fn with(fault: Fault) -> Self {
        Faulty(fault, AsyncIoBackend::new(), std::cell::Cell::new(0))
    }
}

impl Backend for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        self.1.register(descriptor)
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        match self.0 {
            Fault::DrivesNothing => drop(drive),
            Fault::GivesUp => {
                let mut drive = std::pin::pin!(drive);
                let polled = drive.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert_eq!(polled, Poll::Pending);
            }
            _ => drive.park(),
        }
        Ok(())
    }

    fn enter(&self, turns: &mut dyn FnMut()) {
        self.2.set(self.2.get() + 1);
        let twice =
            self.0 == Fault::EntersTwice || (self.0 == Fault::EntersTwiceLater && self.2.get() > 1);
        if self.0 != Fault::EntersNever {
            turns();
        }
        if twice {
            turns();
        }
    }
}

fn own(fault: Fault) -> IOLoop {
    IOLoop::builder().host(Faulty::with(fault)).build().unwrap()
}

/// What went wrong names the backend and what it did.
#[track_caller]
fn assert_told(result: Result<(), RunError>, what: &str) {
    let told = result.unwrap_err().to_string();
    assert!(told.contains("`faulty`") && told.contains(what), "{told}");
}

#[test]
fn a_block_on_that_does_not_drive_was_taken_for_a_stop() {
    for fault in [Fault::DrivesNothing, Fault::GivesUp] {
        let io_loop = own(fault);
        io_loop.call_later(Duration::from_secs(3600), || ());
        assert_told(io_loop.start(), "`block_on`");
        assert_told(io_loop.run_sync(std::future::pending::<()>()), "`block_on`");
        assert!(!io_loop.is_running());
        io_loop.close().unwrap();
    }
}

#[test]
fn an_enter_that_runs_nothing_or_twice_made_the_loop_hang() {
    for (fault, times) in [(Fault::EntersNever, "0 times"), (Fault::EntersTwice, "2 times")] {
        let io_loop = own(fault);
        io_loop.stop();
        assert_told(io_loop.start(), times);
        io_loop.stop();
        assert_told(io_loop.turn(Some(Duration::ZERO)).map(drop), times);
        let entered = std::panic::AssertUnwindSafe(|| io_loop.enter(|| ()));
        let told = std::panic::catch_unwind(entered).unwrap_err();
        assert!(told.downcast::<String>().unwrap().contains(times));
        // What it holds is dropped all the same.
        let held = Arc::new(());
        let captured = Arc::clone(&held);
        io_loop.call_soon(move || drop(captured));
        io_loop.close().unwrap();
        assert_eq!(Arc::strong_count(&held), 1);

        let attached = IOLoop::builder().host(Faulty::with(fault)).attach().unwrap_err();
        assert!(attached.to_string().contains(times), "{attached}");
    }
}

#[test]
fn an_attached_loop_that_is_entered_twice_ended_and_went_on() {
    let io_loop = IOLoop::builder().host(Faulty::with(Fault::EntersTwiceLater)).attach().unwrap();
    io_loop.call_soon(|| IOLoop::current().unwrap().stop());
    assert_told(async_io::block_on(io_loop.run()), "2 times");
    let waiting = io_loop.run_until(std::future::pending());
    assert_told(async_io::block_on(waiting), "2 times");
}

#[test]
fn a_loop_was_registered_and_its_registration_dropped_outside_of_its_hosts_context() {
    thread_local! {
        static ENTERED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    struct Contextual(AsyncIoBackend);
    struct Registered(Box<dyn Registration>);
    impl Backend for Contextual {
        fn name(&self) -> &str {
            "contextual"
        }
        fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
            assert!(ENTERED.get());
            Ok(Box::new(Registered(self.0.register(descriptor)?)))
        }
        fn enter(&self, turns: &mut dyn FnMut()) {
            let before = ENTERED.replace(true);
            turns();
            ENTERED.set(before);
        }
    }
    impl Registration for Registered {
        fn poll_ready(
            &mut self,
            cx: &mut Context<'_>,
            at: Option<Instant>,
        ) -> Poll<io::Result<()>> {
            assert!(ENTERED.get());
            self.0.poll_ready(cx, at)
        }
    }
    impl Drop for Registered {
        fn drop(&mut self) {
            assert!(ENTERED.get());
        }
    }
    let io_loop = IOLoop::builder().host(Contextual(AsyncIoBackend::new())).attach().unwrap();
    io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
    async_io::block_on(io_loop.run()).unwrap();
    io_loop.close().unwrap();
}
