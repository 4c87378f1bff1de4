//! GLib itself as a [`Reactor`].
//!
//! GLib dispatches what is ready in the order in which it was attached, whatever its deadline. So
//! there is one source for all callbacks, one for all timers, and one for each descriptor that is
//! watched, in whichever directions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glib::source::{idle_source_new, timeout_source_new, unix_fd_source_new};
use glib::thread_guard::ThreadGuard;
use glib::{ControlFlow, IOCondition, MainContext, Priority};
use ioloop::hooks::Hook;
use ioloop::reactor::{Callback, Direction, Owner, Post, Posted, Poster, SleepHook, Watcher};
use ioloop::{CallbackHandle, Closed, Reactor, Watch};

use crate::ffi::AroundPoll;
use crate::hooks::Hooks;

/// Readers, writers, callbacks and timers on a main context of GLib's, for whoever iterates that.
///
/// Three things are GLib's. Timers are exact to the millisecond, and late rather than early. Hooks
/// are called around the polls of whatever loop iterates the context, nested ones too, and may not
/// iterate it themselves. There are readers and writers, but no
/// [handlers](Reactor::add_handler).
///
/// ```
/// use std::time::Duration;
/// use ioloop::Reactor;
/// use ioloop_glib::GlibReactor;
///
/// let main_loop = glib::MainLoop::new(None, false);
/// let reactor = GlibReactor::new(&main_loop.context());
/// let quit = main_loop.clone();
/// reactor.call_later(Duration::from_millis(1), move || quit.quit());
/// main_loop.run();
/// ```
#[derive(Clone)]
pub struct GlibReactor(Rc<Inner>);

struct Inner {
    ids: Cell<u64>,
    queue: RefCell<VecDeque<(u64, Option<Callback>)>>,
    /// By deadline, then by order of insertion; the number of its handle beside each.
    timers: RefCell<BTreeMap<(Instant, u64), (u64, Callback)>>,
    /// The source for the earliest timer.
    alarm: RefCell<Option<(Instant, Attached)>>,
    descriptors: RefCell<BTreeMap<RawFd, Descriptor>>,
    hooks: Hooks,
    shared: Arc<Shared>,
    this: Weak<Inner>,
    closed: Cell<bool>,
}

/// A source of GLib's that leaves its context when it is dropped.
struct Attached(glib::Source);

impl Attached {
    fn new(source: glib::Source, context: &MainContext) -> Self {
        source.attach(Some(context));
        Attached(source)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// What is watched of a descriptor.
#[derive(Default)]
struct Descriptor {
    /// One of our own for the same file: what poll(2) is given stays open, whatever user code does.
    own: Option<Arc<OwnedFd>>,
    /// The reader, then the writer.
    watched: [Option<Watched>; 2],
    source: Option<Attached>,
}

struct Watched {
    id: u64,
    paused: bool,
    /// Absent while its callback runs.
    watcher: Option<Watcher>,
}

/// The side of other threads.
struct Shared {
    context: MainContext,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    posts: Vec<Posted>,
    /// The source that runs the queue once; absent when the reactor is gone.
    bell: Option<Attached>,
    /// It is in the context.
    rung: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what was posted, and takes nothing from now on.
    fn close(&self) {
        let mut inbox = self.inbox();
        let left = (mem::take(&mut inbox.posts), inbox.bell.take());
        drop(inbox);
        guarded(|| drop(left));
    }

    fn ring(&self, inbox: &mut Inbox) -> Result<(), Closed> {
        let Attached(bell) = inbox.bell.as_ref().ok_or(Closed)?;
        if !inbox.rung {
            bell.attach(Some(&self.context));
        }
        inbox.rung = true;
        Ok(())
    }
}

impl Post for Shared {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        let mut inbox = self.inbox();
        self.ring(&mut inbox)?;
        inbox.posts.push(callback);
        Ok(())
    }
}

/// Runs user code, out of which nothing may unwind into GLib; a panic was printed by the standard
/// library's hook.
pub(crate) fn guarded(code: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(code)).is_ok()
}

impl GlibReactor {
    /// The reactor on this context, which this thread has to iterate.
    pub fn new(context: &MainContext) -> Self {
        let shared = Shared { context: context.clone(), inbox: Mutex::default() };
        let inner = Rc::new_cyclic(|this| Inner {
            ids: Cell::new(0),
            queue: RefCell::default(),
            timers: RefCell::default(),
            alarm: RefCell::default(),
            descriptors: RefCell::default(),
            hooks: Hooks::default(),
            shared: Arc::new(shared),
            this: Weak::clone(this),
            closed: Cell::new(false),
        });
        inner.shared.inbox().bell = Some(Attached(inner.bell()));
        GlibReactor(inner)
    }

    /// Drops all that the reactor holds, without calling it, and takes nothing from now on. GLib's
    /// context goes on.
    pub fn close(&self) {
        let inner = &*self.0;
        inner.closed.set(true);
        inner.shared.close();
        inner.alarm.take();
        inner.hooks.clear();
        // Each by itself, so that a destructor that panics takes nothing along, and out of every
        // borrow.
        let (queue, timers) = (inner.queue.take(), inner.timers.take());
        queue.into_iter().for_each(|callback| _ = guarded(|| drop(callback)));
        timers.into_iter().for_each(|timer| _ = guarded(|| drop(timer)));
        for (_, Descriptor { own, watched, source }) in inner.descriptors.take() {
            drop((source, own));
            watched.into_iter().for_each(|watched| _ = guarded(|| drop(watched)));
        }
    }
}

/// A descriptor of the reactor's own for the same file, if poll(2) can wait for that: a file or a
/// directory, which it calls always ready, is refused.
fn pollable(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fd.try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        let reason = "files and directories are always ready; use a blocking thread";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    Ok(file.into())
}

impl fmt::Debug for GlibReactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlibReactor").finish_non_exhaustive()
    }
}

impl Inner {
    fn id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// What GLib may call, on this thread alone: `act`, as long as the reactor lives.
    fn local<A, F>(&self, act: F) -> impl Fn(A) + Send + use<A, F>
    where
        F: Fn(&Inner, A) + 'static,
    {
        let local = ThreadGuard::new((Weak::clone(&self.this), act));
        move |argument| {
            let (this, act) = local.get_ref();
            if let Some(inner) = this.upgrade() {
                act(&inner, argument);
            }
        }
    }

    // Callbacks.

    fn bell(&self) -> glib::Source {
        let run = self.local(|inner, ()| inner.run_queue());
        idle_source_new(Some("ioloop callbacks"), Priority::DEFAULT, move || {
            run(());
            ControlFlow::Break
        })
    }

    fn take_posts(&self, inbox: &mut Inbox) {
        let mut queue = self.queue.borrow_mut();
        queue.extend(inbox.posts.drain(..).map(|post| (self.id(), Some(post.into()))));
    }

    fn run_queue(&self) {
        let mut inbox = self.shared.inbox();
        if self.closed.get() {
            return;
        }
        // The one that GLib is dispatching is used up.
        (inbox.bell, inbox.rung) = (Some(Attached(self.bell())), false);
        self.take_posts(&mut inbox);
        drop(inbox);
        let queued = self.queue.borrow().len();
        for _ in 0..queued {
            let next = self.queue.borrow_mut().pop_front();
            if let Some((_, Some(callback))) = next {
                guarded(|| callback.call());
            }
        }
        if !self.queue.borrow().is_empty() {
            let _ = self.shared.ring(&mut self.shared.inbox());
        }
    }

    // Timers.

    /// Has GLib call when the earliest timer is due.
    fn arm(&self) {
        let earliest = self.timers.borrow().keys().next().map(|(at, _)| *at);
        if self.alarm.borrow().as_ref().map(|(at, _)| *at) == earliest {
            return;
        }
        let alarm = earliest.map(|at| {
            // GLib counts in whole milliseconds, and not for ever.
            let delay = at.saturating_duration_since(Instant::now());
            let delay = (delay + Duration::from_nanos(999_999)).min(Duration::from_secs(3600));
            let fire = self.local(|inner, ()| inner.fire());
            let fire = move || {
                fire(());
                ControlFlow::Break
            };
            let source = timeout_source_new(delay, Some("ioloop timers"), Priority::DEFAULT, fire);
            (at, Attached::new(source, &self.shared.context))
        });
        self.alarm.replace(alarm);
    }

    fn fire(&self) {
        self.alarm.take();
        let (now, newest) = (Instant::now(), self.ids.get());
        loop {
            let mut timers = self.timers.borrow_mut();
            // What was set by these waits for GLib's next iteration, however early its deadline.
            let due = timers.keys().find(|(at, order)| *at <= now && *order <= newest).copied();
            let Some((_, callback)) = due.and_then(|due| timers.remove(&due)) else {
                break;
            };
            drop(timers);
            // For a loop of GLib's that the callback runs.
            self.arm();
            guarded(|| callback.call());
        }
        self.arm();
    }

    fn find_timer(&self, id: u64) -> Option<(Instant, u64)> {
        let timers = self.timers.borrow();
        timers.iter().find(|(_, (handle, _))| *handle == id).map(|(key, _)| *key)
    }

    // Watches.

    /// Has GLib poll for what is watched of a descriptor now.
    fn poll(&self, number: RawFd, descriptor: &mut Descriptor) {
        let wanted = descriptor.watched.iter().zip([IOCondition::IN, IOCondition::OUT]);
        let wanted = wanted.filter(|(watched, _)| watched.as_ref().is_some_and(|w| !w.paused));
        let wanted = wanted.fold(IOCondition::empty(), |sum, (_, condition)| sum | condition);
        descriptor.source = None;
        let Some(own) = descriptor.own.clone().filter(|_| !wanted.is_empty()) else {
            return;
        };
        let dispatch = self.local(move |inner, came| inner.dispatch(number, came));
        let (fd, name) = (own.as_raw_fd(), Some("ioloop watch"));
        let source = unix_fd_source_new(fd, wanted, name, Priority::DEFAULT, move |_, came| {
            let _open = &own;
            dispatch(came);
            ControlFlow::Continue
        });
        descriptor.source = Some(Attached::new(source, &self.shared.context));
    }

    fn dispatch(&self, number: RawFd, came: IOCondition) {
        let failed = IOCondition::ERR | IOCondition::HUP | IOCondition::NVAL;
        let ready = [IOCondition::IN, IOCondition::OUT].map(|way| came.intersects(way | failed));
        let ids = self.descriptors.borrow().get(&number).map(|descriptor| {
            let [reader, writer] = &descriptor.watched;
            [reader, writer].map(|watched| watched.as_ref().map(|watched| watched.id))
        });
        for (id, ready) in ids.into_iter().flatten().zip(ready) {
            if let (Some(id), true) = (id, ready) {
                self.serve(id);
            }
        }
    }

    fn serve(&self, id: u64) {
        let taken = self.with_watched(id, |watched| match watched.paused {
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
        self.with_watched(id, |watched| watched.watcher = left.take());
        guarded(|| drop(left));
    }

    fn with_watched<T>(&self, id: u64, act: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        let (number, way) = place(id);
        let mut descriptors = self.descriptors.borrow_mut();
        let watched = descriptors.get_mut(&number)?.watched[way].as_mut()?;
        (watched.id == id).then(|| act(watched))
    }

    /// Changes a watch, and then what GLib polls for.
    fn change_watched(&self, id: u64, act: impl FnOnce(&mut Watched)) -> bool {
        let changed = self.with_watched(id, act).is_some();
        let (number, _) = place(id);
        if let Some(descriptor) = self.descriptors.borrow_mut().get_mut(&number).filter(|_| changed)
        {
            self.poll(number, descriptor);
        }
        changed
    }
}

/// The id of a watch says where it is: a generation, the descriptor's number, and a bit for the
/// direction.
fn id_at(generation: u64, number: RawFd, direction: Direction) -> u64 {
    let way = u64::from(direction == Direction::Write);
    generation << 32 | u64::from(number.unsigned_abs()) << 1 | way
}

fn place(id: u64) -> (RawFd, usize) {
    ((id as u32 >> 1) as RawFd, (id & 1) as usize)
}

/// Whether a number means the file that it meant once. Files of one kind that have no inode of
/// their own, such as eventfds, cannot be told apart.
fn is_same_file(number: RawFd, once: &OwnedFd) -> bool {
    let file = |number| {
        let file = fs::metadata(format!("/dev/fd/{number}"))?;
        io::Result::Ok((file.dev(), file.ino()))
    };
    match (file(once.as_raw_fd()), file(number)) {
        (Ok(once), Ok(now)) => once == now,
        (Ok(_), Err(_)) => false,
        // There is no such folder.
        (Err(_), _) => true,
    }
}

impl AroundPoll for Inner {
    fn before(&self) -> bool {
        self.hooks.call(true)
    }

    fn after(&self) {
        self.hooks.call(false);
    }
}

impl Owner for Inner {
    fn remove_watch(&self, id: u64) -> bool {
        let (number, way) = place(id);
        let mut descriptors = self.descriptors.borrow_mut();
        let Some(descriptor) = descriptors.get_mut(&number) else {
            return false;
        };
        let removed = descriptor.watched[way].take_if(|watched| watched.id == id);
        if removed.is_some() {
            self.poll(number, descriptor);
        }
        if descriptor.watched.iter().all(Option::is_none) {
            descriptors.remove(&number);
        }
        drop(descriptors);
        let ended = removed.is_some();
        guarded(|| drop(removed));
        ended
    }

    fn pause_watch(&self, id: u64) -> bool {
        self.change_watched(id, |watched| watched.paused = true)
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        let (number, _) = place(id);
        let own = self.descriptors.borrow().get(&number).and_then(|found| found.own.clone());
        // What GLib polls is the file that the number meant when it was added.
        if own.is_some_and(|own| !is_same_file(number, &own)) {
            self.remove_watch(id);
        }
        Ok(self.change_watched(id, |watched| watched.paused = false))
    }

    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        if self.closed.get() {
            guarded(|| drop(callback));
            return None;
        }
        let id = self.id();
        self.timers.borrow_mut().insert((deadline, id), (id, callback));
        self.arm();
        Some(id)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn cancel_timer(&self, id: u64) -> bool {
        let cancelled = self.find_timer(id).and_then(|key| self.timers.borrow_mut().remove(&key));
        self.arm();
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
        let reset = timer.map(|timer| timers.insert((deadline, order), timer)).is_some();
        drop(timers);
        self.arm();
        reset
    }

    fn remove_hook(&self, id: u64) -> bool {
        self.hooks.remove(id)
    }

    fn watch_descriptor(&self, id: u64) -> Option<RawFd> {
        self.with_watched(id, |_| ())?;
        Some(place(id).0)
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let mut queue = self.queue.borrow_mut();
        // Its place is kept, so that the iteration that counted it is not confused.
        let entry = queue.iter_mut().find(|(queued, _)| *queued == id);
        let cancelled = entry.and_then(|(_, callback)| callback.take());
        drop(queue);
        let was_queued = cancelled.is_some();
        guarded(|| drop(cancelled));
        was_queued
    }
}

impl Reactor for GlibReactor {
    fn add_hook(&self, hook: SleepHook) -> io::Result<Hook> {
        let (inner, id) = (&self.0, self.0.id());
        if inner.closed.get() {
            guarded(|| drop(hook));
        } else {
            inner.hooks.add(id, hook, &inner.shared.context, Rc::<Inner>::downgrade(inner));
        }
        Ok(Hook::new(self.owner(), id))
    }

    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        let inner = &self.0;
        if inner.closed.get() {
            guarded(|| drop(watcher));
            return Err(Closed.into());
        }
        let number = watcher.as_fd();
        let (number, own) = (number.as_raw_fd(), pollable(number));
        let own = match own {
            Ok(own) => own,
            Err(error) => {
                guarded(|| drop(watcher));
                return Err(error);
            }
        };
        let id = id_at(inner.id(), number, direction);
        let watched = Watched { id, paused: false, watcher: Some(watcher) };
        let mut descriptors = inner.descriptors.borrow_mut();
        let descriptor = descriptors.entry(number).or_default();
        // The number may be another file's by now.
        descriptor.own = Some(Arc::new(own));
        let replaced = descriptor.watched[place(id).1].replace(watched);
        inner.poll(number, descriptor);
        drop(descriptors);
        guarded(|| drop(replaced));
        Ok(Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        let (number, way) = place(id_at(0, fd, direction));
        let descriptors = self.0.descriptors.borrow();
        let watched = descriptors.get(&number).and_then(|found| found.watched[way].as_ref());
        let id = watched.map(|watched| watched.id);
        drop(descriptors);
        id.is_some_and(|id| self.0.remove_watch(id))
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        if self.0.closed.get() {
            guarded(|| drop(callback));
            return CallbackHandle::cancelled(self.owner());
        }
        let mut inbox = self.0.shared.inbox();
        self.0.take_posts(&mut inbox);
        let _ = self.0.shared.ring(&mut inbox);
        drop(inbox);
        let id = self.0.id();
        self.0.queue.borrow_mut().push_back((id, Some(callback)));
        CallbackHandle::new(self.owner(), id)
    }

    fn owner(&self) -> Weak<dyn Owner> {
        Rc::<Inner>::downgrade(&self.0)
    }

    fn poster(&self) -> Poster {
        Poster::new(Arc::clone(&self.0.shared) as Arc<dyn Post + Send + Sync>)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
    }
}
