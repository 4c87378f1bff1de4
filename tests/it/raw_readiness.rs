//! Few-line programs that hang, or fail, on the raw readiness of a runtime, and what the same does
//! here.
//!
//! They are the guide's reasons; should a runtime change, its half fails and the guide has to.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use ioloop::{IOLoop, Lent, Reactor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn register<T: AsRawFd>(descriptor: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: the tests that break the promise that the descriptor stays open are about what
    // happens then: they lose a wake-up, and touch no memory.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// Whether a descriptor that is readable is reported, once the reactor has had many a chance.
async fn is_reported<T: AsRawFd>(descriptor: &AsyncFd<T>) -> bool {
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let readable = pin!(descriptor.readable());
        if readable.poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
    }
    false
}

/// Runs until the callback has been called `times` times.
fn count_down(times: u32) -> (Rc<Cell<u32>>, impl FnMut() + 'static) {
    let left = Rc::new(Cell::new(times));
    let count = Rc::clone(&left);
    let step = move || {
        count.set(count.get() - 1);
        if count.get() == 0 {
            IOLoop::current().unwrap().stop();
        }
    };
    (left, step)
}

#[test]
fn bytes_that_are_left_over_are_silent_on_tokio() {
    let (ours, mut theirs) = pair();
    theirs.write_all(b"two").unwrap();
    runtime().block_on(async {
        let ours = register(ours).unwrap();
        let mut ready = ours.readable().await.unwrap();
        assert_eq!(ours.get_ref().read(&mut [0]).unwrap(), 1);
        ready.clear_ready();
        drop(ready);
        assert!(!is_reported(&ours).await, "two bytes are there");
    });
}

#[test]
fn bytes_that_are_left_over_are_told_of_again_here() {
    let io_loop = IOLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"two").unwrap();
    let (left, mut step) = count_down(3);
    let reader = move |mut ours: &UnixStream| {
        assert_eq!(ours.read(&mut [0]).unwrap(), 1);
        step();
    };
    io_loop.add_reader(ours, reader).unwrap();
    io_loop.start().unwrap();
    assert_eq!(left.get(), 0);
}

#[test]
fn the_same_descriptor_twice_is_refused_by_both_runtimes() {
    let (ours, _theirs) = pair();
    runtime().block_on(async {
        let _first = register(ours.as_raw_fd()).unwrap();
        let second = register(ours.as_raw_fd()).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AlreadyExists);
    });
    let _first = async_io::Async::new(ours.as_fd()).unwrap();
    let second = async_io::Async::new(ours.as_fd()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn the_same_descriptor_twice_is_nothing_special_here() {
    let (ours, mut theirs) = pair();
    let ours = Rc::new(ours);
    runtime().block_on(async {
        let tokios = register(ours.as_raw_fd()).unwrap();
        let io_loop = IOLoop::attach().unwrap();
        let (left, mut step) = count_down(1);
        io_loop.add_reader(Rc::clone(&ours), move |_| step()).unwrap();
        theirs.write_all(b"x").unwrap();
        io_loop.run().await.unwrap();
        assert_eq!(left.get(), 0);
        assert!(is_reported(&tokios).await, "the runtime is told as well");
    });
}

/// Closes a descriptor, and puts another one behind its number.
fn reuse(number: RawFd, fresh: &UnixStream) -> OwnedFd {
    // SAFETY: whoever owned the number has given it up with `into_raw_fd`.
    let mut closed = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::dup2(fresh, &mut closed).unwrap();
    closed
}

#[test]
fn a_number_that_is_used_again_is_silent_on_tokio() {
    let (old, _old_peer) = pair();
    let (fresh, mut peer) = pair();
    let number = std::os::fd::IntoRawFd::into_raw_fd(old);
    runtime().block_on(async {
        let stale = register(number).unwrap();
        let reused = reuse(number, &fresh);
        let current = register(reused.as_raw_fd()).unwrap();
        drop(stale); // takes the new registration along
        peer.write_all(b"x").unwrap();
        assert!(!is_reported(&current).await, "a byte is there");
    });
}

#[test]
fn a_number_that_is_used_again_works_here() {
    let io_loop = IOLoop::new().unwrap();
    let (old, _old_peer) = pair();
    let (fresh, mut peer) = pair();
    let number = std::os::fd::IntoRawFd::into_raw_fd(old);
    // SAFETY: the promise that it stays open is broken below, which costs the watch and nothing
    // else.
    let lent = unsafe { Lent::new(number) };
    let stale = io_loop.add_reader(lent, |_| panic!("nothing ever comes here")).unwrap();
    let reused = reuse(number, &fresh);
    let (left, mut step) = count_down(1);
    io_loop.add_reader(reused, move |_: &OwnedFd| step()).unwrap();
    assert!(!stale.remove(), "it has gone with its descriptor");
    peer.write_all(b"x").unwrap();
    io_loop.start().unwrap();
    assert_eq!(left.get(), 0);
}

/// The number is what the tests above are about, so it has to be a descriptor to be borrowed
/// from.
#[test]
fn a_number_that_is_used_again_is_an_error_on_async_io() {
    let (old, _old_peer) = pair();
    let (fresh, _peer) = pair();
    let number = std::os::fd::IntoRawFd::into_raw_fd(old);
    // SAFETY: never used as a descriptor after it was closed, but by its number, in the kernel.
    let borrowed: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(number) };
    let stale = async_io::Async::new(borrowed).unwrap();
    let reused = reuse(number, &fresh);
    let current = async_io::Async::new(reused.as_fd()).unwrap();
    drop(stale);
    let mut readable = pin!(current.readable());
    let polled = readable.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let std::task::Poll::Ready(Err(error)) = polled else { panic!("{polled:?}") };
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
}
