//! The two traits: what users call, and what their handles ask.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use ioloop::hooks::Hook;
use ioloop::reactor::{Callback, Coroutine, Direction, Owner, Post, Poster, SleepHook, Watcher};
use ioloop::{CallbackHandle, Closed, Interest, Reactor, Watch};

use crate::FakeReactor;
use crate::inner::{Inner, Kind, Queued};
use crate::watches::Watched;

/// A descriptor of the reactor's own for the same file, if poll(2) can wait for that: a file or a
/// directory, which it calls always ready, is refused.
fn pollable(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fd.try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        let text = "a file or a directory is always ready: it cannot be watched";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(file.into())
}

impl Inner {
    /// Adds a reader, a writer or, without a direction, a handler.
    fn add(
        &self,
        direction: Option<Direction>,
        interest: Interest,
        watcher: Watcher,
    ) -> io::Result<u64> {
        let added = self.admit(direction, &watcher);
        match added {
            Ok((number, descriptor)) => {
                if let Some(old) = direction.and_then(|direction| self.find(number, direction)) {
                    self.end_watch(old);
                }
                let (id, paused, watcher) = (self.id(), interest.is_empty(), Some(watcher));
                let descriptor = descriptor.map(Rc::new);
                let watched =
                    Watched { id, number, direction, interest, paused, descriptor, watcher };
                self.watches.borrow_mut().push(watched);
                Ok(id)
            }
            Err(error) => {
                self.discard(watcher);
                Err(error)
            }
        }
    }

    /// The number of a source that may be watched, and the descriptor to ask the kernel about.
    fn admit(
        &self,
        direction: Option<Direction>,
        watcher: &Watcher,
    ) -> io::Result<(RawFd, Option<OwnedFd>)> {
        if self.closed.get() {
            return Err(Closed.into());
        }
        self.failure(true)?;
        let source = watcher.as_fd();
        let number = source.as_raw_fd();
        let is_taken = self.watches.borrow().iter().any(|watched| {
            watched.number == number && (direction.is_none() || watched.direction.is_none())
        });
        if is_taken {
            let text = format!("descriptor {number} is watched already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok((number, (self.kind != Kind::Scripted).then(|| pollable(source)).transpose()?))
    }

    fn find(&self, number: RawFd, direction: Direction) -> Option<u64> {
        let watches = self.watches.borrow();
        let found = watches
            .iter()
            .find(|watched| (watched.number, watched.direction) == (number, Some(direction)));
        found.map(|watched| watched.id)
    }

    fn find_timer(&self, id: u64) -> Option<(Instant, u64)> {
        let timers = self.timers.borrow();
        timers.iter().find(|(_, (handle, _))| *handle == id).map(|(key, _)| *key)
    }
}

impl Reactor for FakeReactor {
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        let interest = match direction {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        };
        let id = self.0.add(Some(direction), interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
        let id = self.0.add(None, interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        let watch = self.0.find(fd, direction);
        watch.is_some_and(|id| self.0.end_watch(id))
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        if self.0.closed.get() {
            self.0.discard(callback);
            return CallbackHandle::cancelled(self.owner());
        }
        // There is one order for all: what was posted before runs before.
        self.0.take_messages();
        let id = self.0.id();
        self.0.queue.borrow_mut().push_back((id, Queued::Callback(callback)));
        CallbackHandle::new(self.owner(), id)
    }

    fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
        let id = self.0.id();
        match self.0.closed.get() {
            true => self.0.discard(hook),
            false => self.0.hooks.borrow_mut().push((id, Some(hook))),
        }
        Ok(Hook::new(self.owner(), id))
    }

    fn run_coroutine(&self, coroutine: Coroutine) {
        self.0.spawn(coroutine);
    }

    fn owner(&self) -> Weak<dyn Owner> {
        Rc::<Inner>::downgrade(&self.0)
    }

    fn poster(&self) -> Poster {
        Poster::new(Arc::clone(&self.0.shared) as Arc<dyn Post + Send + Sync>)
    }
}

impl Owner for Inner {
    fn remove_watch(&self, id: u64) -> bool {
        self.end_watch(id)
    }

    fn pause_watch(&self, id: u64) -> bool {
        self.with_watch(id, |watched| watched.paused = true).is_some()
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        self.failure(false)?;
        Ok(self.with_watch(id, |watched| watched.paused = false).is_some())
    }

    fn set_watch_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        let interest = interest & Interest::all();
        if interest.is_empty() {
            return Ok(self.pause_watch(id));
        }
        let is_other_way = self.with_watch(id, |watched| match watched.direction {
            None => false,
            Some(Direction::Read) => interest.contains(Interest::WRITE),
            Some(Direction::Write) => interest.contains(Interest::READ),
        });
        if is_other_way == Some(true) {
            let text = "a reader waits for no room to write, and a writer for no input";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.failure(false)?;
        let set = self.with_watch(id, |watched| {
            (watched.interest, watched.paused) = (interest, false);
        });
        Ok(set.is_some())
    }

    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            self.discard(callback);
            return None;
        }
        let id = self.id();
        self.timers.borrow_mut().insert((deadline, id), (id, callback));
        Some(id)
    }

    fn now(&self) -> Instant {
        self.time()
    }

    fn cancel_timer(&self, id: u64) -> bool {
        let cancelled = self.find_timer(id).and_then(|key| self.timers.borrow_mut().remove(&key));
        let was_pending = cancelled.is_some();
        self.discard(cancelled);
        was_pending
    }

    fn reset_timer(&self, id: u64, deadline: Instant) -> bool {
        let Some(key) = self.find_timer(id) else { return false };
        let order = self.id();
        let mut timers = self.timers.borrow_mut();
        let timer = timers.remove(&key);
        timer.map(|timer| timers.insert((deadline, order), timer)).is_some()
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let mut queue = self.queue.borrow_mut();
        let entry = queue.iter_mut().find(|(queued, _)| *queued == id);
        let cancelled = entry
            .filter(|(_, queued)| matches!(queued, Queued::Callback(_)))
            .map(|(_, queued)| std::mem::replace(queued, Queued::Cancelled));
        drop(queue);
        let was_queued = cancelled.is_some();
        self.discard(cancelled);
        was_queued
    }

    fn remove_hook(&self, id: u64) -> bool {
        self.end_hook(id)
    }

    fn watch_descriptor(&self, id: u64) -> Option<RawFd> {
        self.with_watch(id, |watched| watched.number)
    }

    fn watch_location(&self, id: u64) -> Option<&'static Location<'static>> {
        let watches = self.watches.try_borrow().ok()?;
        let watched = watches.iter().find(|watched| watched.id == id)?;
        watched.watcher.as_ref().map(Watcher::location)
    }

    fn timer_location(&self, id: u64) -> Option<&'static Location<'static>> {
        let timers = self.timers.try_borrow().ok()?;
        let timer = timers.values().find(|(handle, _)| *handle == id);
        timer.map(|(_, callback)| callback.location())
    }

    fn callback_location(&self, id: u64) -> Option<&'static Location<'static>> {
        let queue = self.queue.try_borrow().ok()?;
        queue.iter().find_map(|(queued, entry)| match entry {
            Queued::Callback(callback) if *queued == id => Some(callback.location()),
            _ => None,
        })
    }
}
