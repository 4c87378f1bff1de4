//! What a loop reports of its users' code: what took too long, and what spins. Opt-in.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::origin::Origin;
use crate::reactor::callback::Caller;

/// Something that a loop was asked to look out for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Code of the user's held the loop up for at least the
    /// [threshold](crate::IOLoop::set_slow_callback_threshold).
    #[non_exhaustive]
    Slow {
        /// What it was.
        origin: Origin,
        /// Where it was handed to the loop, if that is known.
        location: Option<Caller>,
        /// How long it took.
        duration: Duration,
    },
    /// A watch was called in many turns in a row, and nothing has changed by it.
    #[non_exhaustive]
    Spinning {
        /// Whether it is a reader, a writer or a handler.
        origin: Origin,
        /// The number of its descriptor.
        fd: RawFd,
        /// Where it was added, if that is known.
        location: Option<Caller>,
        /// In how many turns in a row.
        turns: u32,
    },
    /// A loop that nobody had ever driven was dropped with something to do, or a task that was
    /// [spawned](crate::IOLoop::spawn) on it is awaited on its thread. Reported once.
    ///
    /// A loop runs nothing by itself: it needs [`start`](crate::IOLoop::start) or
    /// [`run_sync`](crate::IOLoop::run_sync); or, attached, somebody who awaits [`run`](crate::IOLoop::run) or
    /// [`run_until`](crate::IOLoop::run_until); or, embedded, a foreign loop that calls
    /// [`turn`](crate::IOLoop::turn).
    #[non_exhaustive]
    NeverDriven {
        /// Whether it was dropped; else a task is awaited.
        dropped: bool,
        /// How many things there were to do.
        pending: usize,
        /// Where one of them was handed to the loop, if that is known.
        location: Option<Caller>,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = match self {
            Report::Slow { origin, location, duration } => {
                write!(f, "{} held the loop up for {duration:?}", origin.name())?;
                location
            }
            Report::Spinning { origin, fd, location, turns } => {
                let name = origin.name();
                write!(
                    f,
                    "{name} of descriptor {fd} was called in {turns} turns in a row without progress"
                )?;
                location
            }
            Report::NeverDriven { dropped, pending, location } => {
                match dropped {
                    true => f.write_str("the loop was dropped, and nobody had ever driven it:")?,
                    false => {
                        f.write_str("a task is awaited, and nobody has ever driven the loop:")?
                    }
                }
                match pending {
                    1 => f.write_str(" 1 thing to do")?,
                    _ => write!(f, " {pending} things to do")?,
                }
                location
            }
        };
        location.map_or(Ok(()), |location| write!(f, ", from {location}"))
    }
}

type Handler = Rc<dyn Fn(&Report)>;

/// The reports of one loop.
#[derive(Default)]
pub(crate) struct Reports {
    handler: RefCell<Option<Handler>>,
    slow: Cell<Option<Duration>>,
    spin: Cell<Option<u32>>,
    /// How many there were that nobody handled.
    told: Cell<u64>,
}

impl Reports {
    pub(crate) fn set_slow(&self, threshold: Option<Duration>) {
        self.slow.set(threshold);
    }

    pub(crate) fn set_spin(&self, turns: Option<u32>) {
        self.spin.set(turns);
    }

    /// How long code may take; none if nobody asked.
    #[inline]
    pub(super) fn threshold(&self) -> Option<Duration> {
        self.slow.get()
    }

    /// When code begins that may turn out to be slow; none if nobody asked.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.slow.get().map(|_| Instant::now())
    }

    /// Whether somebody wants to know of watches that spin.
    #[inline]
    pub(crate) fn counts(&self) -> bool {
        self.spin.get().is_some()
    }

    /// After how many turns in a row a watch is taken to spin; none if nobody asked.
    pub(crate) fn spin_limit(&self) -> Option<u32> {
        self.spin.get()
    }

    pub(super) fn is_handled(&self) -> bool {
        self.handler.borrow().is_some()
    }

    pub(super) fn handler(&self) -> Option<Handler> {
        self.handler.borrow().clone()
    }

    /// Counts a report that nobody handled; says how many there were.
    pub(super) fn count_told(&self) -> u64 {
        self.told.set(self.told.get() + 1);
        self.told.get()
    }

    /// Installs a handler, and returns the one before for the caller to drop.
    #[must_use]
    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }
}
