//! Hooks: what a user has called before the loop sleeps, after it woke, and while it has nothing to do.

use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};

use crate::engine::Engine;
use crate::engine::hooks::{HookFn, Moment};
use crate::guard::{Guard, Release};
use crate::io_loop::IOLoop;

/// What a hook [before a sleep](IOLoop::before_sleep) answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeforeSleep {
    /// As far as this hook is concerned the loop may sleep.
    Sleep,
    /// Make another turn first: there is something to do that the loop does not know of.
    StayAwake,
}

/// Hooks.
impl IOLoop {
    /// Calls `hook` each time before the loop sleeps.
    ///
    /// For libraries that hold what was read already, where no descriptor tells of it: Wayland's `prepare_read`,
    /// OpenSSL's pending bytes, the flush of an output queue. Hooks are called in the order added. If one answers
    /// [`StayAwake`](BeforeSleep::StayAwake), or queues a callback, or sets a timer that is due, the loop makes another
    /// turn instead. The loop is current in them.
    ///
    /// - An *own* loop calls them before it waits in the kernel.
    /// - An *attached* loop calls them before its future returns `Pending` for want of work; not where it only lets its
    ///   host have a turn.
    /// - An *embedded* loop calls them at the end of each [`turn`](Self::turn) that leaves nothing to do, since the
    ///   foreign loop may sleep then, and before a turn waits by itself.
    ///
    /// A hook that panics is reported and removed.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use ioloop::{BeforeSleep, IOLoop, Reactor};
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
    pub fn before_sleep(&self, hook: impl FnMut() -> BeforeSleep + 'static) -> Hook {
        self.add_hook(Moment::BeforeSleep, Box::new(hook))
    }

    /// Calls `hook` once after each round of hooks [before a sleep](Self::before_sleep), whether or not the loop slept.
    ///
    /// So that what the one prepares the other can end. It is called before the callbacks of the descriptors that
    /// woke the loop. A hook that panics is reported and removed.
    #[doc(alias = "check")]
    #[track_caller]
    pub fn after_wake(&self, mut hook: impl FnMut() + 'static) -> Hook {
        let hook = move || {
            hook();
            BeforeSleep::Sleep
        };
        self.add_hook(Moment::AfterWake, Box::new(hook))
    }

    /// Calls `callback` in each turn that has nothing else to do; while there is one, the loop does not sleep.
    ///
    /// For work in small pieces that gives way to everything else: remove the [`Hook`] when it is done. Descriptors and
    /// timers are looked at between two calls, and an attached loop lets its host have its turn after 61 of them. A
    /// callback that panics is reported and removed. This is GLib's idle source; libuv's idle handle is called in busy
    /// turns as well.
    ///
    /// ```
    /// use std::{cell::{Cell, RefCell}, rc::Rc};
    /// use ioloop::{Hook, IOLoop};
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
        let callback = move || {
            callback();
            BeforeSleep::Sleep
        };
        self.add_hook(Moment::Idle, Box::new(callback))
    }

    #[track_caller]
    fn add_hook(&self, moment: Moment, hook: HookFn) -> Hook {
        let engine = &self.inner.engine;
        let id = engine.add_hook(moment, Location::caller(), hook);
        Hook { engine: Rc::downgrade(engine), moment, id }
    }
}

/// A hook of a loop. Dropping this changes nothing; [`remove_on_drop`](Self::remove_on_drop) gives the guard that removes.
pub struct Hook {
    engine: Weak<Engine>,
    moment: Moment,
    /// None on a loop that was closed already.
    id: Option<u64>,
}

impl Hook {
    /// Removes the hook, which is not called any more, also not in this round; false if it is gone already.
    pub fn remove(&self) -> bool {
        let engine = self.engine.upgrade().zip(self.id);
        engine.is_some_and(|(engine, id)| engine.hooks.remove(self.moment, id, &engine.exceptions))
    }

    /// A guard that removes the hook when it is dropped.
    pub fn remove_on_drop(self) -> Guard<Hook> {
        Guard::new(self)
    }
}

impl Release for Hook {
    fn release(&self) {
        self.remove();
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("moment", &self.moment).finish_non_exhaustive()
    }
}
