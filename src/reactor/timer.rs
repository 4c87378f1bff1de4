//! A timer that is set as often as one likes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::contain::contain;
use crate::reactor::callback::{Callback, Caller};
use crate::reactor::contract::{Reactor, deadline_after};
use crate::reactor::handles::{Owner, TimerHandle};

/// Calls the same callback whenever the time that it was last set to has come.
///
/// For a library that has one timer and moves it, as libcurl's timer callback does, and for a
/// time-out that each event puts off. It is made stopped, and has at most one deadline. After it
/// has fired it can be set again, by its own callback too, where a
/// [`TimerHandle`](crate::TimerHandle) is over. This is libuv's `uv_timer_t`.
///
/// It keeps its callback until it is dropped, and nothing of the reactor. Let the callback capture
/// a `Weak` to what holds the timer. A callback that panics is reported by the loop, and the timer
/// can be set again.
///
/// ```
/// use std::cell::{Cell, OnceCell};
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ioloop::{IOLoop, Timer};
///
/// struct Pump {
///     strokes: Cell<u32>,
///     timer: OnceCell<Timer>,
/// }
///
/// let io_loop = IOLoop::new()?;
/// let pump = Rc::new(Pump { strokes: Cell::new(0), timer: OnceCell::new() });
/// let weak = Rc::downgrade(&pump);
/// let timer = Timer::new(&io_loop, move || {
///     let pump = weak.upgrade().expect("a timer that was dropped is not called");
///     pump.strokes.set(pump.strokes.get() + 1);
///     match pump.strokes.get() {
///         3 => IOLoop::current().unwrap().stop(),
///         _ => _ = pump.timer.get().unwrap().set(Duration::from_millis(1)),
///     }
/// });
/// timer.set(Duration::from_secs(60));
/// assert!(timer.set(Duration::ZERO), "the earlier deadline is forgotten");
/// assert!(pump.timer.set(timer).is_ok());
/// io_loop.start()?;
/// assert_eq!(pump.strokes.get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "uv_timer_t")]
#[must_use = "a timer that is dropped is stopped"]
pub struct Timer(Rc<Shared>);

struct Shared {
    owner: Weak<dyn Owner>,
    /// Absent while it is called.
    callback: RefCell<Option<Box<dyn FnMut()>>>,
    /// While it is set.
    pending: RefCell<Option<TimerHandle>>,
    /// Its time came while it was called.
    is_late: Cell<bool>,
    location: Caller,
}

impl Timer {
    /// Will call `callback` each time that it was [set](Self::set) for.
    #[doc(alias = "uv_timer_init")]
    #[track_caller]
    pub fn new<R: Reactor + ?Sized>(reactor: &R, callback: impl FnMut() + 'static) -> Self {
        Timer::at(reactor.owner(), Location::caller(), callback)
    }

    pub(crate) fn at(
        owner: Weak<dyn Owner>,
        location: Caller,
        callback: impl FnMut() + 'static,
    ) -> Self {
        Timer(Rc::new(Shared {
            owner,
            callback: RefCell::new(Some(Box::new(callback))),
            pending: RefCell::new(None),
            is_late: Cell::new(false),
            location,
        }))
    }

    /// Calls the callback once `delay` has passed, counted from this call, and not at the time that
    /// was set before. False if the loop is closed.
    ///
    /// A zero delay fires in the next turn; [`Duration::MAX`] never.
    #[doc(alias = "uv_timer_start")]
    #[doc(alias = "uv_timer_again")]
    pub fn set(&self, delay: Duration) -> bool {
        let owner = self.0.owner.upgrade();
        owner.is_some_and(|owner| self.set_at(deadline_after(owner.now(), delay)))
    }

    /// Calls the callback once the loop's clock has reached `deadline`, and not at the time that
    /// was set before. False if the loop is closed.
    ///
    /// Among equal deadlines it takes its turn as if it were a new timer.
    pub fn set_at(&self, deadline: Instant) -> bool {
        Shared::set_at(&self.0, deadline)
    }

    /// Forgets the time that it was set to; false if it was not set.
    #[doc(alias = "uv_timer_stop")]
    pub fn stop(&self) -> bool {
        let was_late = self.0.is_late.take();
        let pending = self.0.pending.take();
        pending.is_some_and(|pending| pending.cancel()) || was_late
    }

    /// When it fires next; none if it is not set, as in its own callback, or if its loop is closed.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.pending.borrow().as_ref().map(TimerHandle::deadline)
    }

    /// Whether it is set, and its loop not closed.
    pub fn is_set(&self) -> bool {
        self.0.pending.borrow().is_some()
    }
}

impl Shared {
    fn set_at(shared: &Rc<Self>, deadline: Instant) -> bool {
        shared.is_late.set(false);
        if shared.pending.borrow().as_ref().is_some_and(|pending| pending.reset(deadline)) {
            return true;
        }
        let tick = Tick(Rc::downgrade(shared));
        let callback = Callback::at(shared.location, move || tick.fire());
        let set = TimerHandle::set(Weak::clone(&shared.owner), deadline, callback);
        let is_set = !set.is_cancelled();
        if is_set {
            shared.pending.replace(Some(set));
        }
        is_set
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Held by the loop's timer. Dropped unfired, it tells that the loop was closed.
struct Tick(Weak<Shared>);

impl Tick {
    fn fire(self) {
        let Some(shared) = self.0.upgrade() else { return };
        drop(self);
        let callback = shared.callback.take();
        // Absent if it runs already, and has run the loop itself, as one of GLib may: then it is
        // called again when it has returned.
        let Some(mut callback) = callback else { return shared.is_late.set(true) };
        // Its panic is the loop's to report, but must not take the callback along.
        let called = catch_unwind(AssertUnwindSafe(&mut callback));
        shared.callback.replace(Some(callback));
        if let (true, Some(owner)) = (shared.is_late.take(), shared.owner.upgrade()) {
            Shared::set_at(&shared, owner.now());
        }
        if let Err(panic) = called {
            // The callback goes along where the timer was dropped inside of it, and its destructor
            // may panic too.
            contain(|| drop(shared));
            resume_unwind(panic);
        }
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.pending.take();
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("deadline", &self.deadline())
            .field("location", &self.0.location.to_string())
            .finish_non_exhaustive()
    }
}
