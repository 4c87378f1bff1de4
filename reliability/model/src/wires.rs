//! Pipes and socket pairs at descriptor numbers of the program's choice, which can be closed and
//! used again.
//!
//! The numbers are so high that nobody else gets one of them in between.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};

use ioloop::Lent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::trace::{OPEN, PLACES, Snapshot};

/// The descriptor number of the first place.
const BASE: RawFd = 700;

/// The places, and what is at each.
pub(crate) struct Wires {
    places: RefCell<[Weak<OwnedFd>; PLACES]>,
    /// What the program itself holds.
    held: RefCell<[Option<Rc<OwnedFd>>; PLACES]>,
}

/// Writes, without a signal where nobody reads: a fuzzer's process does not ignore it.
fn write_some(file: &OwnedFd, bytes: &[u8]) -> bool {
    match send(file, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::NOTSOCK) => {
            let mut polled = [PollFd::new(file, PollFlags::OUT)];
            let room = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            let broken = room.is_err() || polled[0].revents().contains(PollFlags::ERR);
            !broken && matches!(write(file, bytes), Ok(1..))
        }
        sent => matches!(sent, Ok(1..)),
    }
}

impl Wires {
    pub(crate) fn new() -> Self {
        Wires {
            places: RefCell::new([const { Weak::new() }; PLACES]),
            held: RefCell::new([const { None }; PLACES]),
        }
    }

    /// A place's number, lent.
    pub(crate) fn lend(place: usize) -> Lent {
        // SAFETY: the promise that the number stays the same open file is broken on purpose: what a
        // loop makes of that is what is tested. Nobody reads or writes through a lent number, and
        // all that the loop does with it is epoll_ctl, which harms no file.
        unsafe { Lent::new(BASE + place as RawFd) }
    }

    /// What is open at a place.
    pub(crate) fn at(&self, place: usize) -> Option<Rc<OwnedFd>> {
        self.places.borrow()[place].upgrade()
    }

    fn put(&self, place: usize, file: impl AsFd) {
        let number = BASE + place as RawFd;
        let fd = fcntl_dupfd_cloexec(file, number).expect("a high descriptor number");
        assert_eq!(fd.as_raw_fd(), number, "the place is free, and nobody else's");
        let fd = Rc::new(fd);
        self.places.borrow_mut()[place] = Rc::downgrade(&fd);
        self.held.borrow_mut()[place] = Some(fd);
    }

    fn is_free(&self, place: usize) -> bool {
        self.at(place).is_none()
    }

    /// Makes a pipe, or a pair of sockets, at the first two places that are free; false if there
    /// are none.
    pub(crate) fn open(&self, sockets: bool) -> bool {
        let mut free = (0..PLACES).filter(|place| self.is_free(*place));
        let (Some(one), Some(other)) = (free.next(), free.next()) else { return false };
        if sockets {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            for end in [&ours, &theirs] {
                end.set_nonblocking(true).expect("a socket without blocking");
                set_socket_send_buffer_size(end, 4096).expect("a small buffer");
            }
            self.put(one, ours);
            self.put(other, theirs);
        } else {
            let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
            let (reading, writing) = pipe.expect("a pipe");
            fcntl_setpipe_size(&writing, 4096).expect("a small pipe");
            self.put(one, reading);
            self.put(other, writing);
        }
        true
    }

    /// Lets go of what is at a place, which closes it unless the loop holds it too; false if that
    /// was done before.
    pub(crate) fn close(&self, place: usize) -> bool {
        let held = self.held.borrow_mut()[place].take();
        held.is_some()
    }

    /// Lets go of everything.
    pub(crate) fn close_all(&self) {
        drop(self.held.take());
    }

    /// Puts a duplicate at a free place.
    pub(crate) fn dup(&self, from: usize, to: usize) -> bool {
        let Some(file) = self.at(from).filter(|_| self.is_free(to)) else { return false };
        self.put(to, file);
        true
    }

    /// Writes one byte, or until it is full; false where that cannot be.
    pub(crate) fn write(&self, place: usize, fill: bool) -> bool {
        let Some(file) = self.at(place) else { return false };
        if !fill {
            return write_some(&file, b"x");
        }
        while write_some(&file, &[0; 4096]) {}
        true
    }

    /// Reads one byte, or all there is; false where that cannot be.
    pub(crate) fn read(&self, place: usize, all: bool) -> bool {
        let Some(file) = self.at(place) else { return false };
        if !all {
            return read(&file, &mut [0]) == Ok(1);
        }
        let mut buffer = [0; 8192];
        loop {
            match read(&file, &mut buffer) {
                Ok(1..) => {}
                Ok(0) | Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Closes a socket's sending side.
    pub(crate) fn shut(&self, place: usize) -> bool {
        self.at(place).is_some_and(|file| shutdown(&file, Shutdown::Write).is_ok())
    }

    /// What poll(2) says about each place.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let open: Vec<_> = (0..PLACES).filter_map(|place| Some((place, self.at(place)?))).collect();
        let all = PollFlags::IN | PollFlags::OUT | PollFlags::PRI;
        let mut polled: Vec<_> = open.iter().map(|(_, file)| PollFd::new(file, all)).collect();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll(2)");
        let mut snapshot = Snapshot::default();
        for ((place, _), polled) in open.iter().zip(&polled) {
            let mut bits = ioloop::Events::empty();
            for (flag, event) in [
                (PollFlags::IN, ioloop::Events::READ),
                (PollFlags::OUT, ioloop::Events::WRITE),
                (PollFlags::PRI, ioloop::Events::PRIORITY),
                (PollFlags::ERR, ioloop::Events::ERROR),
                (PollFlags::HUP, ioloop::Events::HANGUP),
            ] {
                bits.set(event, polled.revents().contains(flag));
            }
            snapshot[*place] = OPEN | bits.bits();
        }
        snapshot
    }
}
