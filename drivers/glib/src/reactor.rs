//! GLib itself as a [`Reactor`].
//!
//! GLib dispatches what is ready in the order in which it was attached, whatever its deadline. So
//! there is one source for all callbacks, one for all timers, and one for each descriptor that is
//! watched, in whichever directions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glib::source::{idle_source_new, timeout_source_new};
use glib::thread_guard::ThreadGuard;
use glib::{ControlFlow, MainContext, Priority};
use ioloop::hooks::Hook;
use ioloop::reactor::{Callback, Direction, Owner, Post, Posted, Poster, SleepHook, Watcher};
use ioloop::{CallbackHandle, Closed, Interest, Reactor, Watch};

use crate::ffi::AroundPoll;
use crate::hooks::Hooks;

use self::watches::{Descriptor, Kind, place};

mod watches;

/// Readers, writers, callbacks and timers on a main context of GLib's, for whoever iterates that.
///
/// Three things are GLib's. Timers are exact to the millisecond, and late rather than early. Hooks
/// are called around the polls of whatever loop iterates the context, nested ones too, and may not
/// iterate it themselves. That a peer has ended its writing
/// ([`READ_CLOSED`](ioloop::Interest::READ_CLOSED)) is not told: such an interest is refused.
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
        // Each by itself, so a destructor that panics takes nothing along, and out of every
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
        self.end_watch(id)
    }

    fn pause_watch(&self, id: u64) -> bool {
        self.change_watched(id, |watched| watched.paused = true)
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        // What GLib polls is the file that the number meant when it was added.
        if self.is_reused(place(id).0) {
            self.end_watch(id);
        }
        Ok(self.change_watched(id, |watched| watched.paused = false))
    }

    fn set_watch_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        self.set_interest(id, interest & Interest::all())
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
        // Its place is kept, so the iteration that counted it is not confused.
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
        let kind = match direction {
            Direction::Read => Kind::Reader,
            Direction::Write => Kind::Writer,
        };
        self.0.add_watch(kind, kind.supported(), watcher).map(|id| Watch::new(self.owner(), id))
    }

    fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
        let interest = interest & Interest::all();
        let added = self.0.add_watch(Kind::Handler, interest, watcher);
        added.map(|id| Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        let id = self.0.find_watch(direction, fd);
        id.is_some_and(|id| self.0.end_watch(id))
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
