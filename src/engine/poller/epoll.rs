//! Linux: one epoll instance, with the deadline in a timerfd and the waker in an eventfd.
//!
//! Plain epoll, because a general poller crate adds four system calls to every event. The timerfd
//! and the eventfd are edge-triggered: each reports once and need not be read. `epoll_pwait2` is
//! not used: the timerfd is as exact, and valgrind does not know that call.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::Event;
use super::raw::borrow;
use super::sets::{Set, Sets};
use crate::descriptor::Descriptor;
use crate::engine::deadlines::{NEVER, Nanos};
use crate::engine::tuning::{EVENTS_PER_POLL, WAKE_TRIES};
use crate::reactor::readiness::{Events, Interest};

/// Keys of our own descriptors. A watch's key is below them, since its slot is below `TIMER`'s last
/// 32 bits.
const WAKER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Wakes the poller from any thread.
///
/// The eventfd is registered edge-triggered and never read: each write is one wake.
pub(crate) struct PollWaker(OwnedFd);

impl PollWaker {
    pub(crate) fn wake(&self) {
        for _ in 0..WAKE_TRIES {
            match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
                Ok(_) => return,
                // The counter is full, after 2^64 wakes: emptied, it accepts this one.
                Err(Errno::AGAIN) => drop(rustix::io::read(&self.0, &mut [0; 8])),
                Err(_) => {}
            }
        }
    }
}

pub(crate) struct Poller {
    sets: Sets<Descriptor>,
    timer: OwnedFd,
    /// The deadline that the timerfd is set to, until it expires.
    armed: Nanos,
    /// The loop's origin on the kernel's clock.
    origin: Timespec,
    /// The events of the last wait,
    events: Vec<epoll::Event>,
    /// how many of them were handed out,
    handed: usize,
    /// and how many there were, with those of our own.
    found: usize,
    /// The room for the events of the next wait.
    room: usize,
    /// Events that were put back, and that the kernel does not report again.
    put_back: Vec<epoll::Event>,
    /// Set while the buffer has another room than the next wait is to have, or events were put back.
    is_unsettled: bool,
}

/// A poller without events, on its way to another thread.
pub(crate) struct Idle {
    epoll: Descriptor,
    timer: OwnedFd,
    armed: Nanos,
    origin: Timespec,
}

impl From<Poller> for Idle {
    fn from(poller: Poller) -> Idle {
        let Poller { sets, timer, armed, origin, .. } = poller;
        Idle { epoll: sets.current, timer, armed, origin }
    }
}

impl From<Idle> for Poller {
    fn from(idle: Idle) -> Poller {
        let Idle { epoll, timer, armed, origin } = idle;
        let events = Vec::with_capacity(EVENTS_PER_POLL);
        Poller {
            sets: Sets::new(epoll),
            timer,
            armed,
            origin,
            events,
            handed: 0,
            found: 0,
            room: EVENTS_PER_POLL,
            put_back: Vec::new(),
            is_unsettled: false,
        }
    }
}

impl Poller {
    /// Whether the descriptor becomes readable at the deadline, so no host has to know it.
    pub(crate) const HOLDS_DEADLINE: bool = true;

    /// A poller, its waker, and the instant that its deadlines count from.
    pub(crate) fn new() -> io::Result<(Poller, PollWaker, Instant)> {
        let waker = PollWaker(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let epoll = create(&waker, timer.as_fd())?;
        // The clocks are read in this order, so a deadline is never early: the kernel's origin is
        // the later one.
        let start = Instant::now();
        let origin = clock_gettime(ClockId::Monotonic);
        let idle = Idle { epoll, timer, armed: NEVER, origin };
        Ok((idle.into(), waker, start))
    }

    /// Gives up a forked child's share. Closing it is no `epoll_ctl`, so nothing changes for the
    /// parent.
    pub(crate) fn abandon(self) {}

    /// The descriptor that becomes readable when there is something to do.
    pub(crate) fn descriptor(&self) -> Descriptor {
        self.sets.current.clone()
    }

    #[inline]
    pub(crate) fn add(&mut self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        self.sets.of(key).add(fd, key, interest)
    }

    #[inline]
    pub(crate) fn modify(&mut self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        self.sets.of(key).modify(fd, key, interest)
    }

    #[inline]
    pub(crate) fn delete(&mut self, fd: RawFd, key: u64) -> io::Result<()> {
        self.sets.of(key).delete(fd)
    }

    /// Whether a number, which may be a duplicate's, means this very set. Only this set holds the
    /// waker.
    pub(crate) fn is_own(&self, waker: &PollWaker, fd: RawFd) -> bool {
        let (data, edge) = (EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET);
        fd == self.sets.current.as_raw_fd()
            || epoll::modify(borrow(fd), &waker.0, data, edge).is_ok()
    }

    /// The deadline at which a wait ends.
    #[inline]
    pub(crate) fn armed(&self) -> Nanos {
        self.armed
    }

    /// Whether the last wait says that `deadline` had not passed: the timerfd is set to it, and has
    /// not expired. Where there was no room for more events, its own may be still to come.
    #[inline]
    pub(crate) fn is_before(&self, deadline: Nanos) -> bool {
        self.armed == deadline && !self.is_full()
    }

    /// Whether there was no room for more events in the last wait.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.found == EVENTS_PER_POLL
    }

    /// Sets the deadline at which a wait ends. Makes a system call only if it has changed.
    pub(crate) fn arm(&mut self, deadline: Nanos) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = if deadline == NEVER { zero } else { after(self.origin, deadline) };
        let setting = Itimerspec { it_interval: zero, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.armed = deadline;
        Ok(())
    }

    /// Asks which descriptors are ready, and waits for the first one if `block`.
    ///
    /// May find nothing: a wake and the deadline end a wait as well. A signal ends it, with an
    /// error, only if `heeds`.
    // Inlined: after a system call the return predictor misses this return.
    #[inline(always)]
    pub(crate) fn wait(&mut self, block: bool, heeds: bool) -> io::Result<()> {
        if self.is_unsettled { self.settle_and_wait(block, heeds) } else { self.ask(block, heeds) }
    }

    #[inline(always)]
    fn ask(&mut self, block: bool, heeds: bool) -> io::Result<()> {
        self.events.clear();
        self.handed = 0;
        let timeout = (!block).then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        if self.sets.are_moving() {
            self.poll_both()?;
        } else {
            ask(&self.sets.current, &mut self.events, timeout.as_ref(), heeds)?;
        }
        self.found = self.events.len();
        let is_own = |event: &epoll::Event| event.data.u64() >= TIMER;
        if !self.events.iter().any(is_own) {
            return Ok(());
        }
        if self.events.iter().any(|event| event.data.u64() == TIMER) {
            self.armed = NEVER;
        }
        self.events.retain(|event| !is_own(event));
        Ok(())
    }

    /// A loop whose watches are being moved does not sleep.
    #[cold]
    fn poll_both(&mut self) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        for set in self.sets.in_turn() {
            if self.events.len() < self.events.capacity() {
                ask(set, &mut self.events, Some(&now), false)?;
            }
        }
        Ok(())
    }

    /// The events of the last wait.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Event> {
        self.events.iter().map(ready)
    }

    /// The next event of the last wait.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<Event> {
        let event = self.events.get(self.handed)?;
        self.handed += 1;
        Some(ready(event))
    }

    /// Has the next wait return the events again that were not handed out. The kernel reports most
    /// of them anew, since they are level-triggered. Those of `edges` it has told, and a file that
    /// tells a change once has told it.
    pub(crate) fn put_back_ready(&mut self, edges: impl Fn(u64) -> bool) {
        let told_once = |event: &epoll::Event| {
            { event.flags }.contains(EventFlags::PRI) || edges(event.data.u64())
        };
        self.put_back.extend(self.events.drain(..).skip(self.handed).filter(told_once));
        self.is_unsettled |= self.has_put_back();
    }

    /// Whether events were put back that the kernel does not report.
    pub(crate) fn has_put_back(&self) -> bool {
        !self.put_back.is_empty()
    }

    /// Has the next wait return so many events, if there are as many.
    pub(crate) fn make_room(&mut self, events: usize) {
        // And those of our own.
        self.room = self.room.max(events + 2);
        self.is_unsettled = true;
    }

    /// With the room that was made, and with what was put back.
    #[cold]
    #[inline(never)]
    fn settle_and_wait(&mut self, block: bool, heeds: bool) -> io::Result<()> {
        let room = mem::replace(&mut self.room, EVENTS_PER_POLL);
        self.events.clear();
        self.events.shrink_to(room);
        self.events.reserve_exact(room);
        self.is_unsettled = room > EVENTS_PER_POLL || self.has_put_back();
        self.ask(block && !self.has_put_back(), heeds)?;
        for event in mem::take(&mut self.put_back) {
            if !self.events.iter().any(|other| other.data.u64() == event.data.u64()) {
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Begins to move the watches to a new set, under a new descriptor, if that has not begun.
    pub(crate) fn begin_move(&mut self, waker: &PollWaker) -> io::Result<()> {
        let timer = self.timer.as_fd();
        self.sets.begin(|| create(waker, timer))
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

    /// The numbers of the sets that hold watches.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.sets.iter().map(AsRawFd::as_raw_fd)
    }
}

impl Set for Descriptor {
    #[inline(always)]
    fn insert(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(self, borrow(fd), EventData::new_u64(key), flags(interest))?)
    }

    #[inline(always)]
    fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(self, borrow(fd), EventData::new_u64(key), flags(interest))?)
    }

    #[inline(always)]
    fn delete(&self, fd: RawFd) -> io::Result<()> {
        Ok(epoll::delete(self, borrow(fd))?)
    }
}

/// Appends the events of a set, as far as there is room.
#[inline(always)]
fn ask(
    set: &Descriptor,
    events: &mut Vec<epoll::Event>,
    timeout: Option<&Timespec>,
    heeds: bool,
) -> io::Result<()> {
    loop {
        // The timerfd holds the deadline, so a wait can be begun again.
        match epoll::wait(set, spare_capacity(events), timeout) {
            Err(Errno::INTR) if !heeds => {}
            done => return done.map(drop).map_err(Into::into),
        }
    }
}

fn create(waker: &PollWaker, timer: BorrowedFd<'_>) -> io::Result<Descriptor> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let edge = EventFlags::IN | EventFlags::ET;
    epoll::add(&epoll, &waker.0, EventData::new_u64(WAKER), edge)?;
    epoll::add(&epoll, timer, EventData::new_u64(TIMER), edge)?;
    Ok(Descriptor::new(epoll))
}

fn flags(interest: Interest) -> EventFlags {
    const EDGE: u32 = Interest::EDGE.bits() as u32;
    const { assert!(EDGE << 16 == EventFlags::ET.bits(), "no branch is needed") };
    let bits = u32::from(interest.bits());
    let flags = EventFlags::from_bits_retain((bits & !EDGE) | (bits & EDGE) << 16);
    let beside_data = EventFlags::RDHUP | EventFlags::PRI;
    if interest.reads_by_edges() { flags | beside_data } else { flags }
}

fn ready(event: &epoll::Event) -> Event {
    Event { key: event.data.u64(), ready: readiness(event.flags) }
}

fn readiness(flags: EventFlags) -> Events {
    Events::from_bits_truncate(flags.bits() as u16)
}

/// `origin` moved by `nanos`, as a setting of a timerfd; zero would switch it off.
fn after(origin: Timespec, nanos: Nanos) -> Timespec {
    let nsec = origin.tv_nsec + nanos.rem_euclid(NANOS_PER_SEC);
    let sec = origin.tv_sec.saturating_add(nanos.div_euclid(NANOS_PER_SEC));
    let at = Timespec {
        tv_sec: sec.saturating_add(nsec / NANOS_PER_SEC),
        tv_nsec: nsec % NANOS_PER_SEC,
    };
    if at.tv_sec < 0 || (at.tv_sec == 0 && at.tv_nsec == 0) {
        return Timespec { tv_sec: 0, tv_nsec: 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(tv_sec: i64, tv_nsec: i64) -> Timespec {
        Timespec { tv_sec, tv_nsec }
    }

    #[test]
    fn the_bits_are_those_of_epoll() {
        let asked = EventFlags::IN | EventFlags::OUT | EventFlags::PRI | EventFlags::RDHUP;
        let all = asked | EventFlags::ERR;
        assert_eq!(flags(Interest::all()), all);
        let edge = EventFlags::ET;
        assert_eq!(flags(Interest::WRITE | Interest::EDGE), EventFlags::OUT | edge);
        let beside_data = EventFlags::PRI | EventFlags::RDHUP;
        assert_eq!(flags(Interest::READ | Interest::EDGE), EventFlags::IN | beside_data | edge);
        assert_eq!(flags(Interest::READ), EventFlags::IN);
        assert_eq!(flags(Interest::WRITE), EventFlags::OUT);
        assert_eq!(readiness(all | EventFlags::HUP), Events::all());
        assert_eq!(readiness(EventFlags::ERR), Events::ERROR);
        assert_eq!(readiness(EventFlags::RDHUP), Events::READ_CLOSED);
    }

    #[test]
    fn a_poll_before_the_deadline_read_the_clock_as_well() {
        const HOUR: Nanos = 3600 * NANOS_PER_SEC;
        let (mut poller, _waker, _origin) = Poller::new().unwrap();
        poller.arm(HOUR).unwrap();
        poller.wait(false, false).unwrap();
        assert!(poller.is_before(HOUR), "the kernel says so");
        assert!(!poller.is_before(HOUR - 1), "it was not asked");
        poller.arm(1).unwrap();
        poller.wait(true, false).unwrap();
        assert!(!poller.is_before(1), "it has passed");
        poller.arm(HOUR).unwrap();
        let ready = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
        let same = |_| ready.try_clone().unwrap();
        let many: Vec<_> = (0..poller.events.capacity()).map(same).collect();
        for (fd, key) in many.iter().zip(0..) {
            poller.add(fd.as_raw_fd(), key, Interest::READ).unwrap();
        }
        poller.wait(false, false).unwrap();
        assert!(!poller.is_before(HOUR), "the timer's event may not have had room");
        poller.delete(many[0].as_raw_fd(), 0).unwrap();
        poller.wait(false, false).unwrap();
        assert!(poller.is_before(HOUR));
    }

    #[test]
    fn a_deadline_is_never_the_setting_that_means_off() {
        let origin = spec(5, 999_999_999);
        assert_eq!(after(origin, 1), spec(6, 0));
        assert_eq!(after(origin, -1), spec(5, 999_999_998));
        assert_eq!(after(origin, -6_000_000_000), spec(0, 1));
        assert_eq!(after(spec(5, 0), -5_000_000_000), spec(0, 1));
        assert!(after(origin, Nanos::MAX).tv_sec > 1 << 33);
        assert_eq!(after(origin, Nanos::MIN), spec(0, 1));
    }
}
