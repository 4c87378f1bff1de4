//! What a loop watches and calls: it is a `Reactor`, whose handlers have a number too.

use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use crate::engine::Engine;
use crate::engine::hooks::Moment;
use crate::engine::inbox::Inbox;
use crate::engine::watches::Role;
use crate::io_loop::IOLoop;
use crate::reactor::callback::Callback;
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::coroutine::Coroutine;
use crate::reactor::handles::{CallbackHandle, Owner, TimerHandle, Watch};
use crate::reactor::hook::{Hook, SleepHook};
use crate::reactor::post::Poster;
use crate::reactor::readiness::Interest;
use crate::reactor::watcher::Watcher;
use crate::system::{AsFd, AsRawFd, RawFd};

/// Watching, beside what every [`Reactor`] has: Tornado's methods of a
/// [handler](Reactor::add_handler), by its descriptor.
impl IOLoop {
    /// Changes what the handler of a descriptor number waits for; nothing pauses it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound): the descriptor has no handler. Otherwise those of
    /// [`add_reader`](Reactor::add_reader). Nothing is changed then.
    pub fn update_handler(&self, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        self.inner.engine.update_handler(fd.as_fd(), interest & Interest::all())
    }

    /// Removes the handler of a descriptor number; says whether there was one.
    pub fn remove_handler(&self, fd: impl AsFd) -> bool {
        self.inner.engine.unwatch(Role::Handler, fd.as_fd().as_raw_fd())
    }

    /// When the next timer is due on the loop's [clock](crate::Reactor::now), at most three
    /// centuries from when the loop was made; none if there is none.
    ///
    /// Thousands of timers that are far away are not in order yet. If the earliest of them was
    /// cancelled, this sorts some thousands and returns a time before the deadline; a later call
    /// returns the deadline itself. So no call takes long.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.inner.engine.timers.next_deadline()
    }
}

impl Reactor for IOLoop {
    fn watch(&self, direction: Direction, watcher: Watcher) -> io::Result<Watch> {
        let interest = match direction {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        };
        let id = self.inner.engine.watch(direction.into(), interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    fn watch_for(&self, interest: Interest, watcher: Watcher) -> io::Result<Watch> {
        let id = self.inner.engine.watch(Role::Handler, interest, watcher)?;
        Ok(Watch::new(self.owner(), id))
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        self.inner.engine.unwatch(direction.into(), fd)
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        self.queued(self.inner.engine.queue(callback))
    }

    // Written straight into the queue, without a `Callback` in between.
    #[inline(always)]
    fn call_soon(&self, callback: impl FnOnce() + 'static) -> CallbackHandle {
        self.queued(self.inner.engine.call_soon(Location::caller(), callback))
    }

    fn schedule(&self, deadline: Instant, callback: Callback) -> TimerHandle {
        match self.inner.engine.set_timer(deadline, callback) {
            Some(id) => TimerHandle::new(self.owner(), id, deadline),
            None => TimerHandle::cancelled(self.owner(), deadline),
        }
    }

    fn now(&self) -> Instant {
        self.inner.engine.timers.now()
    }

    fn add_hook(&self, mut hook: SleepHook) -> io::Result<Hook> {
        let moment = if hook.is_before() { Moment::BeforeSleep } else { Moment::AfterWake };
        Ok(self.hook_at(moment, hook.location(), Box::new(move |_| hook.call())))
    }

    fn run_coroutine(&self, coroutine: Coroutine) {
        self.inner.engine.spawn(coroutine.location(), coroutine.into_future());
    }

    #[inline]
    fn owner(&self) -> Weak<dyn Owner> {
        let engine: Weak<Engine> = Rc::downgrade(&self.inner.engine);
        engine
    }

    fn poster(&self) -> Poster {
        Poster::new(Arc::<Inbox>::clone(self.inner.engine.inbox()))
    }
}

impl IOLoop {
    // In line, so a handle that is not kept costs nothing.
    #[inline(always)]
    fn queued(&self, number: Option<u64>) -> CallbackHandle {
        match number {
            Some(number) => CallbackHandle::new(self.owner(), number),
            None => CallbackHandle::cancelled(self.owner()),
        }
    }
}
