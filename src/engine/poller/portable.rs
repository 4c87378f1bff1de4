//! Other systems: the `polling` crate, with the deadline as a time-out of its wait.
//!
//! It is slower than plain epoll, and keeps the same promises. Its descriptor cannot hold the
//! deadline, so the host of a loop is told the deadline, and is woken when it changes.

mod register;

use std::io::{self, Read, Write};
use std::mem;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use polling::PollMode;
use rustix::event::{PollFd, PollFlags, poll};

use self::register::register;
use super::Event;
use super::raw::borrow;
use super::sets::{Set, Sets};
use crate::descriptor::Descriptor;
use crate::engine::deadlines::{NEVER, Nanos};
use crate::engine::tuning::{EVENTS_PER_POLL, WAKE_TRIES};
use crate::reactor::readiness::{Events, Interest};

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "on this platform ioloop needs 64-bit pointers, which the keys of its watches have to fit in"
);

/// The key of our own descriptor. No watch has it, since a watch's slot is below `u32::MAX`.
const WAKER: u64 = u64::MAX - 1;

/// Wakes the poller from any thread.
pub(crate) struct PollWaker(UnixStream);

impl PollWaker {
    pub(crate) fn wake(&self) {
        // A full socket is readable already, which is enough.
        let _ = (0..WAKE_TRIES).any(|_| (&self.0).write(&[1]).is_ok());
    }
}

/// A set of the crate's.
struct Polling {
    poller: polling::Poller,
    /// A duplicate of the crate's own descriptor, which cannot be shared.
    descriptor: Descriptor,
}

pub(crate) struct Poller {
    sets: Sets<Polling>,
    wakes: UnixStream,
    origin: Instant,
    deadline: Nanos,
    events: polling::Events,
    /// The events of the last wait,
    ready: Vec<Event>,
    /// and how many of them were handed out.
    handed: usize,
    /// The room for the events of the next wait.
    room: usize,
    /// Events that were put back, and that the kernel does not report again.
    put_back: Vec<Event>,
}

/// A poller without events, on its way to another thread.
pub(crate) struct Idle {
    polling: Polling,
    wakes: UnixStream,
    origin: Instant,
    deadline: Nanos,
}

impl From<Poller> for Idle {
    fn from(poller: Poller) -> Idle {
        let Poller { sets, wakes, origin, deadline, .. } = poller;
        Idle { polling: sets.current, wakes, origin, deadline }
    }
}

impl From<Idle> for Poller {
    fn from(idle: Idle) -> Poller {
        let Idle { polling, wakes, origin, deadline } = idle;
        let (sets, events, ready) = (Sets::new(polling), room_for(EVENTS_PER_POLL), Vec::new());
        let room = EVENTS_PER_POLL;
        let put_back = Vec::new();
        Poller { sets, wakes, origin, deadline, events, ready, handed: 0, room, put_back }
    }
}

impl Poller {
    /// Whether the descriptor becomes readable at the deadline, so no host has to know it.
    pub(crate) const HOLDS_DEADLINE: bool = false;

    /// A poller, its waker, and the instant that its deadlines count from.
    pub(crate) fn new() -> io::Result<(Poller, PollWaker, Instant)> {
        let (waker, wakes) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wakes.set_nonblocking(true)?;
        let polling = create(&wakes)?;
        let origin = Instant::now();
        let idle = Idle { polling, wakes, origin, deadline: NEVER };
        Ok((idle.into(), PollWaker(waker), origin))
    }

    /// Gives up a forked child's share without a change for its parent. Dropped, the crate would
    /// remove its own descriptors from the set that both share. So they stay open in the child.
    pub(crate) fn abandon(self) {
        mem::forget(self);
    }

    /// The descriptor that becomes readable when there is something to do, except for the deadline.
    pub(crate) fn descriptor(&self) -> Descriptor {
        self.sets.current.descriptor.clone()
    }

    pub(crate) fn add(&mut self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        self.sets.of(key).add(fd, key, interest)
    }

    pub(crate) fn modify(&mut self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        self.sets.of(key).modify(fd, key, interest)
    }

    pub(crate) fn delete(&mut self, fd: RawFd, key: u64) -> io::Result<()> {
        self.sets.of(key).delete(fd)
    }

    /// Whether a number that is refused as invalid means this very set. A duplicate's cannot be
    /// told apart here. The other reason, that very many loops watch one file, is rare.
    pub(crate) fn is_own(&self, _: &PollWaker, _: RawFd) -> bool {
        true
    }

    /// The deadline at which a wait ends.
    #[inline]
    pub(crate) fn armed(&self) -> Nanos {
        self.deadline
    }

    /// Whether the last wait says that `deadline` had not passed: it never does.
    pub(crate) fn is_before(&self, _: Nanos) -> bool {
        false
    }

    /// Whether there was no room for more events in the last wait.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() == EVENTS_PER_POLL
    }

    /// Sets the deadline at which a wait ends.
    pub(crate) fn arm(&mut self, deadline: Nanos) -> io::Result<()> {
        self.deadline = deadline;
        Ok(())
    }

    /// Asks which descriptors are ready, and waits for the first one if `block`.
    ///
    /// May find nothing: a wake and the deadline end a wait as well. A signal ends it, with an
    /// error, only if `heeds`.
    pub(crate) fn wait(&mut self, block: bool, heeds: bool) -> io::Result<()> {
        if self.events.capacity().get() == self.room {
            self.events.clear();
        } else {
            self.events = room_for(self.room);
        }
        self.room = EVENTS_PER_POLL;
        self.ready.clear();
        self.ready.append(&mut self.put_back);
        self.handed = 0;
        let again = self.ready.len();
        let block = block && again == 0;
        let mut timeout = match self.deadline {
            _ if !block => Some(Duration::ZERO),
            NEVER => None,
            nanos => {
                let since_origin = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
                Some(since_origin.saturating_sub(self.origin.elapsed()))
            }
        };
        if block && heeds {
            // The crate goes on waiting after a signal.
            let mut sleeper = [PollFd::new(&self.sets.current.descriptor, PollFlags::IN)];
            let limit = timeout.and_then(|timeout| timeout.try_into().ok());
            poll(&mut sleeper, limit.as_ref())?;
            timeout = Some(Duration::ZERO);
        }
        if !self.sets.are_moving() {
            self.sets.current.poller.wait(&mut self.events, timeout)?;
        } else {
            // The loop does not sleep.
            for set in self.sets.in_turn() {
                if self.events.len() < self.events.capacity().get() {
                    set.poller.wait(&mut self.events, Some(Duration::ZERO))?;
                }
            }
        }
        let mut was_rung = false;
        for event in self.events.iter() {
            match event.key as u64 {
                WAKER => was_rung = true,
                key if self.ready[..again].iter().any(|event| event.key == key) => {}
                key => self.ready.push(Event { key, ready: readiness(event) }),
            }
        }
        if was_rung {
            while let Ok(1..) = self.wakes.read(&mut [0; 64]) {}
        }
        Ok(())
    }

    /// The events of the last wait.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Event> {
        self.ready.iter().copied()
    }

    /// The next event of the last wait.
    pub(crate) fn next_ready(&mut self) -> Option<Event> {
        let event = *self.ready.get(self.handed)?;
        self.handed += 1;
        Some(event)
    }

    /// Has the next wait return the events again that were not handed out. The kernel reports most
    /// of them anew, since they are level-triggered. A file that tells a change once has told it.
    pub(crate) fn put_back_ready(&mut self, _: impl Fn(u64) -> bool) {
        let told_once = |event: &Event| event.ready.contains(Events::PRIORITY);
        self.put_back.extend(self.ready.drain(..).skip(self.handed).filter(told_once));
    }

    /// Whether events were put back that the kernel does not report.
    pub(crate) fn has_put_back(&self) -> bool {
        !self.put_back.is_empty()
    }

    /// Has the next wait return so many events, if there are as many.
    pub(crate) fn make_room(&mut self, events: usize) {
        // And the waker's.
        self.room = self.room.max(events + 1);
    }

    /// Begins to move the watches to a new set, under a new descriptor, if that has not begun.
    pub(crate) fn begin_move(&mut self, _: &PollWaker) -> io::Result<()> {
        let wakes = &self.wakes;
        self.sets.begin(|| create(wakes))
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.sets.are_moving()
    }

    /// The first slot whose watch was not moved.
    pub(crate) fn moved(&self) -> u32 {
        self.sets.moved()
    }

    /// Moves the watch of the next slot; see [`Sets::move_next`].
    pub(crate) fn move_next(&mut self, watch: Option<(RawFd, u64, Interest)>) -> io::Result<bool> {
        self.sets.move_next(watch)
    }

    pub(crate) fn end_move(&mut self) {
        self.sets.end();
    }
}

impl Set for Polling {
    fn insert(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        register(&self.poller, fd, event(key, interest)?)
    }

    fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        self.poller.modify_with_mode(borrow(fd), event(key, interest)?, PollMode::Level)
    }

    fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.poller.delete(borrow(fd))
    }
}

fn room_for(events: usize) -> polling::Events {
    polling::Events::with_capacity(NonZeroUsize::new(events).unwrap_or(NonZeroUsize::MIN))
}

fn create(wakes: &UnixStream) -> io::Result<Polling> {
    let poller = polling::Poller::new()?;
    register(&poller, wakes.as_raw_fd(), event(WAKER, Interest::READ)?)?;
    let descriptor = Descriptor::new(poller.as_fd().try_clone_to_owned()?);
    Ok(Polling { poller, descriptor })
}

/// Level-triggered, also where an edge would do: there a reader has to know of the peer's end, which
/// this poller does not tell.
fn event(key: u64, interest: Interest) -> io::Result<polling::Event> {
    let (read, write) = (interest.contains(Interest::READ), interest.contains(Interest::WRITE));
    let mut event = polling::Event::new(key as usize, read, write);
    event.set_priority(interest.contains(Interest::PRIORITY));
    let told = Interest::READ | Interest::WRITE | Interest::PRIORITY;
    if interest.contains(Interest::READ_CLOSED) {
        let text = "this poller does not tell that a peer has ended its writing; read to the end";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    // Linux reports errors of every descriptor in the set, as poll(2) does. kqueue has no filter
    // for them.
    if !interest.intersects(told) && !interest.is_empty() && !cfg!(target_os = "linux") {
        let text = "this poller tells of errors only those who read or write";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(event)
}

fn readiness(event: polling::Event) -> Events {
    let mut events = Events::empty();
    events.set(Events::READ, event.readable);
    events.set(Events::WRITE, event.writable);
    events.set(Events::PRIORITY, event.is_priority());
    events.set(Events::ERROR, event.is_err() == Some(true));
    events.set(Events::HANGUP, event.is_interrupt());
    events
}
