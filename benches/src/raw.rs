//! The least that a loop can be: the events of an epoll set, level-triggered, and no callbacks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Events taken from the kernel at once, where that is ours to choose.
pub(crate) const EVENTS: usize = 1024;

pub(crate) struct Raw {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Raw {
    pub(crate) fn new() -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll set");
        Raw { epoll, events: Vec::with_capacity(EVENTS) }
    }

    pub(crate) fn add(&self, fd: impl AsFd, key: u64) {
        self.add_for(fd, key, EventFlags::IN);
    }

    /// Told once each time, so it need not be read.
    pub(crate) fn add_edge(&self, fd: impl AsFd, key: u64) {
        self.add_for(fd, key, EventFlags::IN | EventFlags::ET);
    }

    fn add_for(&self, fd: impl AsFd, key: u64, flags: EventFlags) {
        let data = EventData::new_u64(key);
        epoll::add(&self.epoll, fd, data, flags).expect("watching a descriptor");
    }

    pub(crate) fn delete(&self, fd: impl AsFd) {
        epoll::delete(&self.epoll, fd).expect("a watched descriptor");
    }

    /// The keys of what is ready, after a sleep until something is.
    pub(crate) fn wait(&mut self) -> impl Iterator<Item = u64> {
        self.wait_until(None)
    }

    /// The keys of what is ready now.
    pub(crate) fn look(&mut self) -> impl Iterator<Item = u64> {
        self.wait_until(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn wait_until(&mut self, timeout: Option<&Timespec>) -> impl Iterator<Item = u64> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout).expect("a wait");
        self.events.iter().map(|event| event.data.u64())
    }
}
