//! Hooks: called before the loop sleeps, around the sleep, after it woke, and while it has nothing
//! to do.

use std::io;
use std::panic::Location;

use crate::engine::hooks::{HookFn, Moment};
use crate::io_loop::IOLoop;
use crate::reactor::callback::Caller;
use crate::reactor::contract::Reactor;
use crate::reactor::hook::{BeforeSleep, Hook};

/// Hooks around the sleep, and idle callbacks.
impl IOLoop {
    /// Calls `hook` before each sleep of the loop, and before each poll of the descriptors in a
    /// busy turn.
    ///
    /// For libraries that have read ahead, so no descriptor is ready for it, and for those whose
    /// output has to be flushed: OpenSSL's pending bytes, Wayland's display, X11's queue. Hooks are
    /// called in the order added, with the loop current. If one returns
    /// [`StayAwake`](BeforeSleep::StayAwake), or queues a callback, or sets a timer that is due,
    /// the loop makes another turn and does not sleep. In a busy turn the loop does not sleep
    /// anyway, so what the hook returns changes nothing there.
    ///
    /// - An *own* loop sleeps in the kernel, or in its runtime's.
    /// - An *attached* loop sleeps while its future is pending because there is no work, not when
    ///   it only yields to its host.
    /// - An *embedded* loop may sleep from the end of each [`turn`](Self::turn) that leaves nothing
    ///   to do, since the foreign loop may, and in a turn that waits by itself.
    ///
    /// On the last two the host runs between the hook and the wake-up. If a task or a callback of
    /// the host makes a library read ahead there, no hook notices. Follow it by `call_soon(|| ())`,
    /// which ends the sleep, so the hooks are called again.
    ///
    /// A hook that panics is reported and removed.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use ioloop::hooks::BeforeSleep;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// /// A library that has read ahead.
    /// let pending = Rc::new(RefCell::new(vec!["third", "second", "first"]));
    /// let io_loop = IOLoop::new()?;
    /// io_loop.before_sleep(move || match pending.borrow_mut().pop() {
    ///     Some("third") => {
    ///         IOLoop::current().unwrap().stop();
    ///         BeforeSleep::StayAwake
    ///     }
    ///     Some(_) => BeforeSleep::StayAwake,
    ///     None => BeforeSleep::Sleep,
    /// });
    /// io_loop.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "prepare")]
    #[track_caller]
    pub fn before_sleep(&self, mut hook: impl FnMut() -> BeforeSleep + 'static) -> Hook {
        self.add_hook(Moment::BeforeSleep, Box::new(move |_| hook()))
    }

    /// Calls `hook` once after each round of hooks [before a sleep](Self::before_sleep), whether or
    /// not the loop slept.
    ///
    /// So it can end what the first has begun, whatever happens in between: also where a run fails
    /// on its way to sleep, where the future of a run is dropped while it sleeps, and where a loop
    /// is closed or dropped between two turns of a foreign loop. It is called before the callbacks
    /// of the descriptors that woke the loop. The loop is current in it, except while the last
    /// clone of the loop is being dropped. A hook that panics is reported and removed.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    /// use ioloop::hooks::BeforeSleep;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let held = Rc::new(Cell::new(true)); // a lock that others may have while the loop sleeps
    /// let (before, after) = (Rc::clone(&held), Rc::clone(&held));
    /// io_loop.before_sleep(move || {
    ///     before.set(false);
    ///     BeforeSleep::Sleep
    /// });
    /// io_loop.after_wake(move || after.set(true));
    /// let in_callback = Rc::clone(&held);
    /// io_loop.call_later(Duration::from_millis(1), move || {
    ///     assert!(in_callback.get());
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.start()?;
    /// assert!(held.get());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "check")]
    #[track_caller]
    pub fn after_wake(&self, mut hook: impl FnMut() + 'static) -> Hook {
        self.add_hook(Moment::AfterWake, quiet(move |_| hook()))
    }

    /// Calls `hook` with each sleep of the loop in the kernel, for it to call the sleep inside.
    ///
    /// For what has to be let go during a sleep and taken again after it, by a scope: an
    /// interpreter's lock, a mutex, a measurement. Nothing of the loop runs inside the sleep,
    /// neither a callback nor another hook. The first hook added is the outermost. They are called
    /// after the hooks [before a sleep](Self::before_sleep) and before those [after
    /// it](Self::after_wake), and only where the loop may wait: a busy turn polls without them.
    ///
    /// A hook that returns without having called the sleep gives it up: the loop polls its
    /// descriptors without waiting, and makes another turn. A second call does nothing. A hook that
    /// panics is reported and removed.
    ///
    /// ```
    /// use std::sync::{Mutex, MutexGuard, PoisonError};
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    /// use ioloop::backends::BackendKind;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// static LOCK: Mutex<()> = Mutex::new(());
    /// let lock = || LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    /// let held: Rc<Cell<Option<MutexGuard<()>>>> = Rc::new(Cell::new(Some(lock())));
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// let in_hook = Rc::clone(&held);
    /// io_loop.around_sleep(move |sleep| {
    ///     drop(in_hook.take()); // others run while the loop sleeps
    ///     sleep();
    ///     in_hook.set(Some(lock()));
    /// })?;
    /// io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
    /// io_loop.start()?;
    /// assert!(held.take().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the loop does not sleep itself: on an
    /// attached loop, and on an own one whose runtime has to sleep for it, as tokio's. There no
    /// closure can be around the sleep, since the loop has returned to its host by then. Use a pair
    /// of [`before_sleep`](Self::before_sleep) and [`after_wake`](Self::after_wake) there, or a
    /// hook of the host's (tokio's `on_thread_park`).
    ///
    /// An *embedded* loop sleeps itself in a [`turn`](Self::turn) that waits; the sleeps of the
    /// foreign loop between two turns are the foreign loop's, to be bracketed there.
    #[track_caller]
    pub fn around_sleep(
        &self,
        mut hook: impl FnMut(&mut dyn FnMut()) + 'static,
    ) -> io::Result<Hook> {
        let hook = quiet(move |sleep| hook(sleep));
        self.add_hook_of_own_sleep(Moment::AroundSleep, hook)
    }

    /// Calls `hook` each time a signal handler has interrupted a sleep of the loop, which then goes
    /// on.
    ///
    /// For a language whose signal handlers only set a flag, to be seen by the thread itself
    /// (Python's `PyErr_CheckSignals`). It is called outside of the sleep, after the hooks [after
    /// it](Self::after_wake). Unless it queues something or stops the loop, the loop sleeps again,
    /// until the time that it would have slept to.
    ///
    /// It is called only for a signal that interrupts the sleep: one that this thread handles, and
    /// that arrives while the thread waits in the kernel. One that arrives a moment before does not
    /// end the wait. For a signal that must not be missed, have its handler write to a descriptor,
    /// as [`signal`](crate::signal) does.
    ///
    /// # Errors
    ///
    /// As for [`around_sleep`](Self::around_sleep): a host that sleeps for the loop does not report
    /// interruptions.
    #[doc(alias = "EINTR")]
    #[track_caller]
    pub fn on_interrupt(&self, mut hook: impl FnMut() + 'static) -> io::Result<Hook> {
        self.add_hook_of_own_sleep(Moment::Interrupted, quiet(move |_| hook()))
    }

    /// Calls `callback` in each turn that has nothing else to do; while there is one, the loop does
    /// not sleep.
    ///
    /// For work in small pieces that gives way to everything else: remove the [`Hook`] when it is
    /// done. The loop polls its descriptors and fires its timers between two calls. An attached
    /// loop returns to its host after 61 of them, or once they have taken a tenth of a millisecond.
    /// A callback that panics is reported and removed. This is GLib's idle source; libuv's idle
    /// handle is called in busy turns as well.
    ///
    /// ```
    /// use std::{cell::{Cell, RefCell}, rc::Rc};
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (sum, next) = (Rc::new(Cell::new(0)), Cell::new(1));
    /// let total = Rc::clone(&sum);
    /// io_loop.on_idle(move || {
    ///     total.set(total.get() + next.get());
    ///     next.set(next.get() + 1);
    ///     if next.get() > 100 {
    ///         IOLoop::current().unwrap().stop();
    ///     }
    /// });
    /// io_loop.start()?;
    /// assert_eq!(sum.get(), 5050);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn on_idle(&self, mut callback: impl FnMut() + 'static) -> Hook {
        self.add_hook(Moment::Idle, quiet(move |_| callback()))
    }

    #[track_caller]
    fn add_hook(&self, moment: Moment, hook: HookFn) -> Hook {
        self.hook_at(moment, Location::caller(), hook)
    }

    pub(super) fn hook_at(&self, moment: Moment, location: Caller, hook: HookFn) -> Hook {
        let id = self.inner.engine.add_hook(moment, location, hook);
        Hook::new(self.owner(), id.unwrap_or(u64::MAX))
    }

    /// For what makes sense only where the loop sleeps itself.
    #[track_caller]
    fn add_hook_of_own_sleep(&self, moment: Moment, hook: HookFn) -> io::Result<Hook> {
        if self.inner.hosting.host_sleeps() {
            self.inner.engine.exceptions.discard(hook);
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "the loop does not sleep itself, {} sleeps for it: use `before_sleep` and `after_wake`",
                    self.backend_name()
                ),
            ));
        }
        Ok(self.add_hook(moment, hook))
    }
}

/// A hook that returns nothing.
fn quiet(mut hook: impl FnMut(&mut dyn FnMut()) + 'static) -> HookFn {
    Box::new(move |sleep| {
        hook(sleep);
        BeforeSleep::Sleep
    })
}
