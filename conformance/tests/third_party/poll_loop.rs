//! A foreign loop on poll(2) that is a `Reactor`: simple, slow, and true to the promises.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::reactor::{Callback, Direction, Owner, Post, Posted, Poster, SleepHook, Watcher};
use ioloop::{CallbackHandle, Closed, Reactor, Watch};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

#[derive(Clone)]
pub(crate) struct PollLoop(Rc<Inner>);

struct Inner {
    ids: Cell<u64>,
    queue: RefCell<VecDeque<(u64, Callback)>>,
    /// By deadline, then by order of insertion; the number of its handle beside each.
    timers: RefCell<BTreeMap<(Instant, u64), (u64, Callback)>>,
    watches: RefCell<Vec<Watched>>,
    /// Absent while it is called.
    hooks: RefCell<Vec<(u64, Option<SleepHook>)>>,
    shared: Arc<Shared>,
    stopped: Cell<bool>,
    closed: Cell<bool>,
}

struct Watched {
    id: u64,
    direction: Direction,
    /// Its own descriptor for the same file: what poll(2) is given stays open, whatever user code
    /// does.
    descriptor: Rc<OwnedFd>,
    number: RawFd,
    paused: bool,
    /// Absent while its callback runs.
    watcher: Option<Watcher>,
}

struct Shared {
    /// Absent once the loop is closed.
    posts: Mutex<Option<Vec<Posted>>>,
    bell: OwnedFd,
}

impl Post for Shared {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        self.posts.lock().unwrap().as_mut().ok_or(Closed)?.push(callback);
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).unwrap();
        Ok(())
    }
}

/// Runs user code; a panic in it was printed by the standard library's hook.
fn guarded(code: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(code)).is_ok()
}

/// A descriptor of the loop's own for the same file, if poll(2) can wait for that: a file or a
/// directory, which it calls always ready, is refused.
fn pollable(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fd.try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "a file or a directory"));
    }
    Ok(file.into())
}

impl PollLoop {
    pub(crate) fn new() -> Self {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        PollLoop(Rc::new(Inner {
            ids: Cell::new(0),
            queue: RefCell::default(),
            timers: RefCell::default(),
            watches: RefCell::default(),
            hooks: RefCell::default(),
            shared: Arc::new(Shared { posts: Mutex::new(Some(Vec::new())), bell }),
            stopped: Cell::new(false),
            closed: Cell::new(false),
        }))
    }

    pub(crate) fn run(&self) {
        while !self.0.stopped.replace(false) {
            self.0.turn();
        }
    }

    pub(crate) fn stop(&self) {
        self.0.stopped.set(true);
    }

    /// Drops all that it holds, and takes nothing from now on.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        // Out of the lock, as everything is out of its borrow: destructors may ask for anything.
        let posts = self.0.shared.posts.lock().unwrap().take();
        guarded(|| drop(posts));
        for (_, callback) in self.0.queue.take() {
            guarded(|| drop(callback));
        }
        for (_, timer) in self.0.timers.take() {
            guarded(|| drop(timer));
        }
        for watched in self.0.watches.take() {
            guarded(|| drop(watched));
        }
        for hook in self.0.hooks.take() {
            guarded(|| drop(hook));
        }
    }
}

impl Inner {
    fn id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    fn take_posts(&self) {
        let posts = self.shared.posts.lock().unwrap().as_mut().map(std::mem::take);
        for post in posts.into_iter().flatten() {
            let entry = (self.id(), post.into());
            self.queue.borrow_mut().push_back(entry);
        }
    }

    fn turn(&self) {
        self.take_posts();
        let queued = self.queue.borrow().len();
        let stays = self.call_hooks(true);
        let busy = queued > 0 || stays || self.stopped.get() || !self.queue.borrow().is_empty();
        let ready = self.look(busy);
        self.call_hooks(false);
        let now = Instant::now();
        let newest = self.ids.get();
        for _ in 0..queued {
            let Some((_, callback)) = self.queue.borrow_mut().pop_front() else {
                break;
            };
            guarded(|| callback.call());
        }
        for id in ready {
            self.serve(id);
        }
        loop {
            let mut timers = self.timers.borrow_mut();
            // What was set in this turn waits for the next, however early its deadline.
            let due = timers.keys().find(|(at, order)| *at <= now && *order <= newest).copied();
            let Some((_, callback)) = due.and_then(|due| timers.remove(&due)) else {
                break;
            };
            drop(timers);
            guarded(|| callback.call());
        }
    }

    /// Calls the hooks before the sleep, or those after it; says whether one wants to stay awake.
    fn call_hooks(&self, before: bool) -> bool {
        let ids: Vec<_> = self.hooks.borrow().iter().map(|(id, _)| *id).collect();
        let mut stays = false;
        for id in ids {
            let taken = self.with_hook(id, |hook| hook.take_if(|hook| hook.is_before() == before));
            let Some(mut hook) = taken.flatten() else { continue };
            let mut returned = None;
            guarded(|| returned = Some(hook.call()));
            stays |= returned == Some(BeforeSleep::StayAwake);
            if returned.is_none() {
                self.remove_hook(id);
            }
            let mut left = Some(hook);
            self.with_hook(id, |hook| *hook = left.take());
            guarded(|| drop(left));
        }
        stays
    }

    fn with_hook<T>(&self, id: u64, act: impl FnOnce(&mut Option<SleepHook>) -> T) -> Option<T> {
        self.hooks
            .borrow_mut()
            .iter_mut()
            .find(|(known, _)| *known == id)
            .map(|(_, hook)| act(hook))
    }

    /// The ids of the watches that are ready, readers first.
    fn look(&self, busy: bool) -> Vec<u64> {
        let now = Instant::now();
        let next =
            self.timers.borrow().keys().next().map(|(at, _)| at.saturating_duration_since(now));
        let timeout = if busy { Some(Duration::ZERO) } else { next };
        let mut waited: Vec<(u64, Direction, Rc<OwnedFd>)> = (self.watches.borrow().iter())
            .filter(|watched| !watched.paused)
            .map(|watched| (watched.id, watched.direction, Rc::clone(&watched.descriptor)))
            .collect();
        waited.sort_by_key(|(_, direction, _)| *direction != Direction::Read);
        let mut polled = vec![PollFd::new(&self.shared.bell, PollFlags::IN)];
        polled.extend(waited.iter().map(|(_, direction, fd)| {
            let reads = *direction == Direction::Read;
            PollFd::new(fd, if reads { PollFlags::IN } else { PollFlags::OUT })
        }));
        let timeout = timeout.map(|timeout| timeout.min(Duration::from_secs(3600)));
        let timeout = timeout.map(|timeout| timeout.try_into().unwrap());
        while let Err(rustix::io::Errno::INTR) = poll(&mut polled, timeout.as_ref()) {}
        if !polled[0].revents().is_empty() {
            rustix::io::read(&self.shared.bell, &mut [0; 8]).unwrap();
        }
        let ready = polled[1..].iter().zip(&waited).filter(|(fd, _)| !fd.revents().is_empty());
        ready.map(|(_, (id, ..))| *id).collect()
    }

    fn serve(&self, id: u64) {
        let taken = self.with_watch(id, |watched| match watched.paused {
            true => None,
            false => watched.watcher.take(),
        });
        let Some(mut watcher) = taken.flatten() else {
            return;
        };
        if !guarded(|| watcher.ready()) {
            self.remove_watch(id);
        }
        let mut left = Some(watcher);
        self.with_watch(id, |watched| watched.watcher = left.take());
        guarded(|| drop(left));
    }

    fn with_watch<T>(&self, id: u64, act: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        self.watches.borrow_mut().iter_mut().find(|watched| watched.id == id).map(act)
    }

    fn find_watch(&self, number: RawFd, direction: Direction) -> Option<u64> {
        let watches = self.watches.borrow();
        let found = watches
            .iter()
            .find(|watched| (watched.number, watched.direction) == (number, direction));
        found.map(|watched| watched.id)
    }

    fn find_timer(&self, id: u64) -> Option<(Instant, u64)> {
        let timers = self.timers.borrow();
        timers.iter().find(|(_, (handle, _))| *handle == id).map(|(key, _)| *key)
    }
}

impl Owner for Inner {
    fn remove_watch(&self, id: u64) -> bool {
        let mut watches = self.watches.borrow_mut();
        let index = watches.iter().position(|watched| watched.id == id);
        let removed = index.map(|index| watches.remove(index));
        drop(watches);
        let ended = removed.is_some();
        guarded(|| drop(removed));
        ended
    }

    fn pause_watch(&self, id: u64) -> bool {
        self.with_watch(id, |watched| watched.paused = true).is_some()
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        Ok(self.with_watch(id, |watched| watched.paused = false).is_some())
    }

    fn remove_hook(&self, id: u64) -> bool {
        let mut hooks = self.hooks.borrow_mut();
        let index = hooks.iter().position(|(known, _)| *known == id);
        let removed = index.map(|index| hooks.remove(index));
        drop(hooks);
        let was_there = removed.is_some();
        guarded(|| drop(removed));
        was_there
    }

    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            guarded(|| drop(callback));
            return None;
        }
        let id = self.id();
        self.timers.borrow_mut().insert((deadline, id), (id, callback));
        Some(id)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn cancel_timer(&self, id: u64) -> bool {
        let cancelled = self.find_timer(id).and_then(|key| self.timers.borrow_mut().remove(&key));
        let was_pending = cancelled.is_some();
        guarded(|| drop(cancelled));
        was_pending
    }

    fn reset_timer(&self, id: u64, deadline: Instant) -> bool {
        let Some(key) = self.find_timer(id) else {
            return false;
        };
        let order = self.id();
        let mut timers = self.timers.borrow_mut();
        let timer = timers.remove(&key);
        timer.map(|timer| timers.insert((deadline, order), timer)).is_some()
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let mut queue = self.queue.borrow_mut();
        // Its place is kept, so that the turn that counted it is not confused.
        let entry = queue.iter_mut().find(|(queued, _)| *queued == id);
        let cancelled = entry.map(|entry| std::mem::replace(entry, (0, Callback::new(|| ()))));
        drop(queue);
        let was_queued = cancelled.is_some();
        guarded(|| drop(cancelled));
        was_queued
    }
}

impl Reactor for PollLoop {
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        if self.0.closed.get() {
            guarded(|| drop(watcher));
            return Err(Closed.into());
        }
        let borrowed = watcher.as_fd();
        let number = borrowed.as_raw_fd();
        let descriptor = match pollable(borrowed) {
            Ok(descriptor) => Rc::new(descriptor),
            Err(error) => {
                guarded(|| drop(watcher));
                return Err(error);
            }
        };
        if let Some(old) = self.0.find_watch(number, direction) {
            self.0.remove_watch(old);
        }
        let id = self.0.id();
        let watcher = Some(watcher);
        let watched = Watched { id, direction, descriptor, number, paused: false, watcher };
        self.0.watches.borrow_mut().push(watched);
        Ok(Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        let watch = self.0.find_watch(fd, direction);
        watch.is_some_and(|id| self.0.remove_watch(id))
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        if self.0.closed.get() {
            guarded(|| drop(callback));
            return CallbackHandle::cancelled(self.owner());
        }
        self.0.take_posts();
        let id = self.0.id();
        self.0.queue.borrow_mut().push_back((id, callback));
        CallbackHandle::new(self.owner(), id)
    }

    fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
        let id = self.0.id();
        match self.0.closed.get() {
            true => _ = guarded(|| drop(hook)),
            false => self.0.hooks.borrow_mut().push((id, Some(hook))),
        }
        Ok(Hook::new(self.owner(), id))
    }

    fn owner(&self) -> Weak<dyn Owner> {
        Rc::<Inner>::downgrade(&self.0)
    }

    fn poster(&self) -> Poster {
        Poster::new(Arc::clone(&self.0.shared) as Arc<dyn Post + Send + Sync>)
    }
}
