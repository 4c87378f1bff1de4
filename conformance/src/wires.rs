//! What the cases about descriptors share: connected pairs, one turn at a time, whether a loop
//! rests.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::rig::{Rig, wait_readable};
use super::tools::{Dropped, Drops, stop};
use ioloop::observe::{Exception, Origin};
use ioloop::{IOLoop, Reactor};

/// Two ends that do not block.
pub(super) fn pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("a socket pair");
    ours.set_nonblocking(true).expect("not to block");
    peer.set_nonblocking(true).expect("not to block");
    (ours, peer)
}

/// Two ends, the first of which can be shared with a loop.
pub(super) fn shared_pair() -> (Rc<UnixStream>, UnixStream) {
    let (ours, peer) = pair();
    (Rc::new(ours), peer)
}

/// Sends one byte, which makes the other end readable.
pub(super) fn send(mut stream: &UnixStream) {
    stream.write_all(b"x").expect("room for a byte");
}

/// Reads one byte.
pub(super) fn receive(mut stream: &UnixStream) {
    stream.read_exact(&mut [0]).expect("a byte to read");
}

/// Reads all there is, and says how many bytes that was.
pub(super) fn drain(mut stream: &UnixStream) -> usize {
    let mut total = 0;
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return total,
            Ok(n) => total += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("cannot read: {error}"),
        }
    }
}

/// Writes until the stream takes no more.
pub(super) fn fill(mut stream: &UnixStream) {
    loop {
        match stream.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("cannot write: {error}"),
        }
    }
}

/// Whether the other end was closed, with nothing left to read.
pub(super) fn is_at_end(mut stream: &UnixStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // It left something unread.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("cannot read: {error}"),
    }
}

/// The number of the turn that is running.
pub(super) fn this_turn() -> u64 {
    IOLoop::current().expect("a loop").metrics().turns
}

/// Whether the loop's descriptor is readable at this instant.
pub(super) fn is_readable(io_loop: &IOLoop) -> bool {
    let descriptor = io_loop.descriptor().expect("an open loop");
    wait_readable(&descriptor, Some(Duration::ZERO))
}

/// Lets the loop run for a moment in which nothing happens, and fails if it did not sleep through
/// it.
pub(super) fn assert_rests(rig: &Rig, io_loop: &IOLoop) {
    /// More than falling asleep, waking and stopping take under any executor; a loop that spins
    /// makes thousands.
    const FEW: u64 = 20;
    let polls = io_loop.metrics().polls;
    let _timer = io_loop.call_later(Duration::from_millis(10), stop);
    rig.run(io_loop).expect("a run that a timer ends");
    let polls = io_loop.metrics().polls - polls;
    assert!(polls <= FEW, "the loop spins: {polls} polls");
}

/// Notes where each panic came from, and its message.
pub(super) fn note_panics(io_loop: &IOLoop) -> Rc<RefCell<Vec<(Origin, String)>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&seen);
    io_loop.set_exception_handler(move |exception: &Exception| {
        let message = exception.message().unwrap_or_default().to_owned();
        notes.borrow_mut().push((exception.origin, message));
    });
    seen
}

/// A loop on which a panic in a callback, which the loop catches, fails the case in the end.
pub(super) struct Strict {
    io_loop: IOLoop,
    panics: Rc<RefCell<Vec<(Origin, String)>>>,
}

impl Strict {
    pub(super) fn new(io_loop: IOLoop) -> Self {
        let panics = note_panics(&io_loop);
        Strict { io_loop, panics }
    }
}

impl Deref for Strict {
    type Target = IOLoop;

    fn deref(&self) -> &IOLoop {
        &self.io_loop
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(*self.panics.borrow(), [], "panics in callbacks");
        }
    }
}

/// A source whose destructor panics, after counting.
pub(super) struct Bomb<S> {
    source: S,
    dropped: Option<Dropped>,
}

impl<S> Bomb<S> {
    pub(super) fn new(source: S, drops: &Drops) -> Self {
        let dropped = Some(drops.item());
        Bomb { source, dropped }
    }
}

impl<S: AsFd> AsFd for Bomb<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl<S> Drop for Bomb<S> {
    fn drop(&mut self) {
        drop(self.dropped.take());
        panic!("oh no");
    }
}
