//! Timers that repeat, and are set as often as one likes.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ioloop::{IOLoop, Reactor, Timer, WeakIOLoop};

/// The delay of a timer that is not set.
const NEVER: u64 = u64::MAX;

pub(crate) struct Repeating {
    io_loop: WeakIOLoop,
    timer: OnceCell<Timer>,
    /// When it was due last, or is next.
    due: Cell<Option<Instant>>,
    /// Nanoseconds between two calls; 0 after the last.
    repeat: Cell<u64>,
    /// Set while a callback runs that has not set it again.
    is_last: Cell<bool>,
}

impl Repeating {
    /// A timer that is not set.
    pub(crate) fn new(io_loop: &IOLoop, callback: impl Fn(&Repeating) + 'static) -> Rc<Repeating> {
        let made = Rc::new(Repeating {
            io_loop: io_loop.downgrade(),
            timer: OnceCell::new(),
            due: Cell::default(),
            repeat: Cell::default(),
            is_last: Cell::default(),
        });
        let weak = Rc::downgrade(&made);
        let timer = Timer::new(io_loop, move || {
            // It is held while it is called, since the callback may remove it.
            if let Some(repeating) = weak.upgrade() {
                repeating.set_next();
                callback(&repeating);
            }
        });
        let _ = made.timer.set(timer);
        made
    }

    /// Sets it from now on; false if the loop is closed.
    pub(crate) fn set(&self, delay: u64, repeat: u64) -> bool {
        self.is_last.set(false);
        self.repeat.set(repeat);
        match self.io_loop.upgrade() {
            Some(io_loop) if !io_loop.is_closed() => self.set_in(io_loop.now(), delay),
            _ => false,
        }
    }

    fn set_in(&self, now: Instant, delay: u64) -> bool {
        let Some(timer) = self.timer.get() else { return false };
        if delay == NEVER {
            timer.stop();
            return true;
        }
        let due = now.checked_add(Duration::from_nanos(delay));
        self.due.set(due);
        due.is_some_and(|due| timer.set_at(due))
    }

    /// Sets it for its next call. The times in between that were missed are left out.
    fn set_next(&self) {
        let repeat = self.repeat.get();
        self.is_last.set(repeat == 0);
        if let (1.., Some(io_loop), Some(due)) = (repeat, self.io_loop.upgrade(), self.due.get()) {
            let now = io_loop.now();
            let late = now.saturating_duration_since(due).as_nanos() % u128::from(repeat);
            self.set_in(now, repeat - late as u64);
        }
    }

    /// Whether nothing calls it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_last.get()
    }
}
