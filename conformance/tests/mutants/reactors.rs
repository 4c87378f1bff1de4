//! Reactors that break one promise each, around an honest one on poll(2): the fake in real time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::reactor::{
    Callback, Coroutine, Direction, Owner, Post, Posted, Poster, SleepHook, Watcher,
};
use ioloop::{CallbackHandle, Closed, Reactor, TimerHandle, Watch};
use ioloop_conformance::ReactorRig;
use ioloop_fake::FakeReactor;
use rustix::event::{EventfdFlags, eventfd};

thread_local! {
    static LEAKED: RefCell<Vec<Leaked>> = const { RefCell::new(Vec::new()) };
}

type Leaked = Rc<RefCell<Pin<Box<dyn Future<Output = ()>>>>>;

/// Delegates everything to the honest loop, but for what its fault says.
struct Broken(Rc<Inner>);

struct Inner {
    this: Weak<Inner>,
    fault: String,
    honest: FakeReactor,
    closed: Cell<bool>,
    // The honest handles behind those that were handed out.
    watches: RefCell<Vec<Rc<Watch>>>,
    timers: RefCell<Vec<Rc<TimerHandle>>>,
    callbacks: RefCell<Vec<Rc<CallbackHandle>>>,
    /// What a fault holds back: callbacks, and sources that it should have given up.
    held: RefCell<VecDeque<Callback>>,
    kept: RefCell<Vec<Watcher>>,
    /// A callback is running,
    inside: Cell<bool>,
    /// or panicked; and when it began.
    panicked: Cell<bool>,
    begun: Cell<Option<Instant>>,
    posts: Arc<Mutex<Vec<Posted>>>,
}

pub(crate) fn rig(fault: String) -> ReactorRig {
    let honest = FakeReactor::real_time();
    honest.catch_panics(drop);
    let [run, stop] = [(); 2].map(|()| honest.clone());
    let inner = Rc::new_cyclic(|this| Inner {
        this: Weak::clone(this),
        fault,
        honest,
        closed: Cell::new(false),
        watches: RefCell::default(),
        timers: RefCell::default(),
        callbacks: RefCell::default(),
        held: RefCell::default(),
        kept: RefCell::default(),
        inside: Cell::new(false),
        panicked: Cell::new(false),
        begun: Cell::new(None),
        posts: Arc::default(),
    });
    let closed = Rc::clone(&inner);
    let close = move || closed.close();
    ReactorRig::new(Rc::new(Broken(inner)), move || run.run().unwrap(), move || stop.stop(), close)
}

impl Inner {
    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn close(&self) {
        if self.is("close does nothing") {
            return;
        }
        if self.is("close runs what is queued") && !self.closed.get() {
            let stop = self.honest.clone();
            self.honest.call_soon(move || stop.stop());
            self.honest.run().unwrap();
        }
        self.closed.set(true);
        self.honest.close();
    }

    /// Runs a callback as a loop does, but for the faults that are in that.
    fn run(self: &Rc<Self>, callback: Callback) {
        for posted in std::mem::take(&mut *self.posts.lock().unwrap()) {
            drop(self.honest.queue(posted.into()));
        }
        if self.is("a panic takes the next callback along") && self.panicked.replace(false) {
            return;
        }
        self.begun.set(Some(Instant::now()));
        self.inside.set(true);
        let panicked = catch_unwind(AssertUnwindSafe(|| callback.call())).is_err();
        self.panicked.set(panicked);
        loop {
            let next = self.held.borrow_mut().pop_front();
            let Some(next) = next else { break };
            next.call();
        }
        self.inside.set(false);
        self.begun.set(None);
    }

    fn running(self: &Rc<Self>, callback: Callback) -> Callback {
        let this = Rc::clone(self);
        Callback::new(move || this.run(callback))
    }
}

/// A source on a descriptor of its own for the same file, with something done around its callback.
fn around(mut watcher: Watcher, mut act: impl FnMut(&mut Watcher) + 'static) -> Watcher {
    let own = watcher.as_fd().try_clone_to_owned().unwrap();
    Watcher::new(own, move |_| act(&mut watcher))
}

fn is_file(watcher: &Watcher) -> bool {
    let own = watcher.as_fd().try_clone_to_owned().map(File::from);
    own.and_then(|file| file.metadata()).is_ok_and(|file| file.is_file() || file.is_dir())
}

impl Reactor for Broken {
    fn watch(&self, direction: Direction, mut watcher: Watcher) -> io::Result<Watch> {
        let inner = &self.0;
        let mut direction = direction;
        let mut told = false;
        match inner.fault.as_str() {
            "a closed loop accepts a watch" if inner.closed.get() => {
                inner.kept.borrow_mut().push(watcher);
                return Ok(Watch::new(self.owner(), u64::MAX));
            }
            "a regular file is accepted" if is_file(&watcher) => {
                let never = eventfd(0, EventfdFlags::CLOEXEC)?;
                watcher = Watcher::new(never, move |_| _ = &watcher);
            }
            "the blocking mode is changed" => {
                rustix::io::ioctl_fionbio(watcher.as_fd(), true)?;
            }
            "the descriptor is asked for twice" => _ = watcher.as_fd(),
            "a watch is called inside the call that adds it" => watcher.ready(),
            "a watch is called once and not until it has read all" => {
                watcher = around(watcher, move |watcher| {
                    if !std::mem::replace(&mut told, true) {
                        watcher.ready();
                    }
                });
            }
            "a watch that panics goes on" => {
                watcher = around(watcher, |watcher| {
                    let _ = catch_unwind(AssertUnwindSafe(|| watcher.ready()));
                });
            }
            "a second watch leaves the first in place" => watcher = around(watcher, Watcher::ready),
            "a reader is told of room to write" if direction == Direction::Read => {
                (direction, watcher) = (Direction::Write, around(watcher, Watcher::ready));
            }
            "a refused source is kept" if is_file(&watcher) => {
                inner.kept.borrow_mut().push(watcher);
                return Err(io::ErrorKind::Unsupported.into());
            }
            _ => {}
        }
        let watch = inner.honest.watch(direction, watcher)?;
        let mut watches = inner.watches.borrow_mut();
        watches.push(Rc::new(watch));
        Ok(Watch::new(self.owner(), watches.len() as u64 - 1))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        let removed = self.0.honest.unwatch(direction, fd);
        match self.0.fault.as_str() {
            "removing by number says no" => false,
            "removing by number says yes" => true,
            _ => removed,
        }
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        let inner = &self.0;
        match inner.fault.as_str() {
            "a closed loop accepts a callback" if inner.closed.get() => {
                inner.held.borrow_mut().push_back(callback);
                return CallbackHandle::new(self.owner(), u64::MAX);
            }
            "a callback runs inside the call that queues it" => {
                callback.call();
                return inner.honest.queue(Callback::new(|| ()));
            }
            "callbacks run in the turn that queues them" if inner.inside.get() => {
                inner.held.borrow_mut().push_back(callback);
                return CallbackHandle::new(self.owner(), u64::MAX);
            }
            _ => {}
        }
        let callback = match inner.is("callbacks run last in, first out") {
            true => {
                let this = Rc::clone(inner);
                inner.held.borrow_mut().push_back(callback);
                Callback::new(move || {
                    let last = this.held.borrow_mut().pop_back();
                    last.unwrap().call();
                })
            }
            false => inner.running(callback),
        };
        let handle = inner.honest.queue(callback);
        if handle.is_cancelled() {
            return handle;
        }
        let mut callbacks = inner.callbacks.borrow_mut();
        callbacks.push(Rc::new(handle));
        CallbackHandle::new(self.owner(), callbacks.len() as u64 - 1)
    }

    fn add_hook(&self, mut hook: SleepHook) -> io::Result<Hook> {
        let hook = match self.0.fault.as_str() {
            "a hook cannot keep it awake" if hook.is_before() => SleepHook::before(move || {
                hook.call();
                BeforeSleep::Sleep
            }),
            "no hook is called after a sleep" if !hook.is_before() => {
                SleepHook::after(move || _ = &hook)
            }
            _ => hook,
        };
        self.0.honest.add_hook(hook)
    }

    fn run_coroutine(&self, coroutine: Coroutine) {
        let honest = &self.0.honest;
        match self.0.fault.as_str() {
            "a future is polled inside the call" => {
                let mut future = coroutine.into_future();
                let mut cx = Context::from_waker(Waker::noop());
                if future.as_mut().poll(&mut cx).is_pending() {
                    honest.run_coroutine(Coroutine::new(future));
                }
            }
            "a future outlives its loop" => {
                let future = Rc::new(RefCell::new(coroutine.into_future()));
                LEAKED.with_borrow_mut(|leaked| leaked.push(Rc::clone(&future)));
                let shared = poll_fn(move |cx| future.borrow_mut().as_mut().poll(cx));
                honest.run_coroutine(Coroutine::new(shared));
            }
            "a future is polled once" => {
                let (mut future, mut polled) = (coroutine.into_future(), false);
                let once = poll_fn(move |cx| match std::mem::replace(&mut polled, true) {
                    true => Poll::Pending,
                    false => future.as_mut().poll(cx),
                });
                honest.run_coroutine(Coroutine::new(once));
            }
            _ => honest.run_coroutine(coroutine),
        }
    }

    fn owner(&self) -> Weak<dyn Owner> {
        Weak::<Inner>::clone(&self.0.this)
    }

    fn poster(&self) -> Poster {
        let (honest, fault) = (self.0.honest.poster(), self.0.fault.clone());
        Poster::new(Arc::new(BrokenPost { honest, fault, posts: Arc::clone(&self.0.posts) }))
    }
}

struct BrokenPost {
    honest: Poster,
    fault: String,
    posts: Arc<Mutex<Vec<Posted>>>,
}

impl Post for BrokenPost {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        let honest = self.honest.clone();
        match self.fault.as_str() {
            "a post does not wake" => {
                self.posts.lock().unwrap().push(callback);
                Ok(())
            }
            "a post comes a turn late" => {
                let late = honest.clone();
                honest.post(move || _ = late.post(move || Callback::from(callback).call()))
            }
            "a closed loop accepts a post" => {
                let refused = honest.post(|| ()).is_err();
                if refused {
                    self.posts.lock().unwrap().push(callback);
                    return Ok(());
                }
                honest.post(move || Callback::from(callback).call())
            }
            "a hundredth of the posts is lost" => {
                let mut posts = self.posts.lock().unwrap();
                posts.push(Posted::new(|| ()));
                match posts.len() % 100 {
                    0 => Ok(()),
                    _ => honest.post(move || Callback::from(callback).call()),
                }
            }
            _ => honest.post(move || Callback::from(callback).call()),
        }
    }
}

/// Out of the borrow, since what is dropped may ask for anything.
fn find<T>(handles: &RefCell<Vec<Rc<T>>>, id: u64) -> Option<Rc<T>> {
    handles.borrow().get(id as usize).cloned()
}

impl Owner for Inner {
    fn remove_watch(&self, id: u64) -> bool {
        find(&self.watches, id).is_some_and(|watch| match self.fault.as_str() {
            "a removed watch keeps its source" => watch.pause(),
            "a removed watch is called on" => true,
            "a watch is removed again" => !watch.remove() || !self.closed.get(),
            _ => watch.remove(),
        })
    }

    fn pause_watch(&self, id: u64) -> bool {
        let watch = find(&self.watches, id);
        watch.is_some_and(|watch| self.is("a pause does nothing") || watch.pause())
    }

    fn resume_watch(&self, id: u64) -> io::Result<bool> {
        match find(&self.watches, id) {
            Some(_) if self.is("a resume does nothing") => Ok(true),
            Some(watch) => watch.resume(),
            None => Ok(false),
        }
    }

    fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
        let (now, order) = (Instant::now(), self.timers.borrow().len() as u64);
        let mut at = deadline;
        match self.fault.as_str() {
            "a closed loop accepts a timer" if self.closed.get() => {
                self.held.borrow_mut().push_back(callback);
                return Some(u64::MAX);
            }
            "a timer of no delay fires inside the call" if deadline <= now => {
                callback.call();
                return Some(u64::MAX);
            }
            "timers fire in the turn that sets them" if self.inside.get() && deadline <= now => {
                self.held.borrow_mut().push_back(callback);
                return Some(u64::MAX);
            }
            "timers fire early" => at = now,
            "the last of equal deadlines fires first" => {
                at = deadline + Duration::from_nanos(10_000 - order);
            }
            "the longest delay fires at once" if deadline > now + Duration::from_secs(1 << 30) => {
                at = now;
            }
            _ => {}
        }
        let this = self.this.upgrade()?;
        let timer = self.honest.schedule(at, this.running(callback));
        if timer.is_cancelled() {
            return None;
        }
        let mut timers = self.timers.borrow_mut();
        if self.is("the handle of what is over names another") && !timers.is_empty() {
            timers[0] = Rc::new(timer);
            return Some(0);
        }
        timers.push(Rc::new(timer));
        Some(timers.len() as u64 - 1)
    }

    fn now(&self) -> Instant {
        let begun = self.begun.get().filter(|_| self.is("the clock stands still in a callback"));
        begun.unwrap_or_else(Instant::now)
    }

    fn cancel_timer(&self, id: u64) -> bool {
        find(&self.timers, id).is_some_and(|timer| match self.fault.as_str() {
            "a cancelled timer fires" => true,
            "a cancelled timer keeps its callback" => timer.reset(far()),
            "a timer that has fired is cancelled" => !timer.cancel() || !self.closed.get(),
            _ => timer.cancel(),
        })
    }

    fn reset_timer(&self, id: u64, deadline: Instant) -> bool {
        find(&self.timers, id).is_some_and(|timer| match self.fault.as_str() {
            "a reset timer keeps its place" if timer.deadline() == deadline => true,
            "a reset does nothing" => true,
            _ => timer.reset(deadline),
        })
    }

    fn cancel_callback(&self, id: u64) -> bool {
        let callback = find(&self.callbacks, id);
        let _borrowed =
            self.is("a destructor finds the loop borrowed").then(|| self.callbacks.borrow_mut());
        callback.is_some_and(|callback| self.is("a cancelled callback runs") || callback.cancel())
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
