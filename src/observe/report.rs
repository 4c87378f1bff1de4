//! Reports about user code that was slow or that spins. They are on request.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::origin::Origin;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// Something that a loop was asked to report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// User code took at least as long as the
    /// [threshold](crate::IOLoop::set_slow_callback_threshold).
    #[non_exhaustive]
    Slow {
        /// The kind of code.
        origin: Origin,
        /// The location where the code was handed to the loop, if it is known.
        location: Option<Caller>,
        /// How long it took.
        duration: Duration,
    },
    /// A watch was called in many turns in a row, without progress.
    #[non_exhaustive]
    Spinning {
        /// Whether it is a reader, a writer or a handler.
        origin: Origin,
        /// The number of its descriptor.
        fd: RawFd,
        /// The location where it was added, if it is known.
        location: Option<Caller>,
        /// The number of turns in a row.
        turns: u32,
    },
    /// A loop that was never driven was dropped with something to do, or a task that was
    /// [spawned](crate::IOLoop::spawn) on it is awaited on its thread. Reported once.
    ///
    /// A loop runs nothing by itself. It needs [`start`](crate::IOLoop::start) or
    /// [`run_sync`](crate::IOLoop::run_sync). An attached one needs [`run`](crate::IOLoop::run) or
    /// [`run_until`](crate::IOLoop::run_until), awaited; an embedded one a foreign loop that calls
    /// [`turn`](crate::IOLoop::turn).
    #[non_exhaustive]
    NeverDriven {
        /// Whether it was dropped. Otherwise a task is awaited.
        dropped: bool,
        /// How many things there were to do.
        pending: usize,
        /// The location where one of them was handed to the loop, if it is known.
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
    /// How many reports had no handler.
    told: Cell<u64>,
}

impl Reports {
    pub(super) fn set_slow(&self, threshold: Option<Duration>) {
        self.slow.set(threshold);
    }

    pub(crate) fn set_spin(&self, turns: Option<u32>) {
        self.spin.set(turns);
    }

    /// The time that code may take; none if slow code is not reported.
    #[inline]
    pub(super) fn threshold(&self) -> Option<Duration> {
        self.slow.get()
    }

    /// Whether watches that spin are reported.
    #[inline]
    pub(crate) fn counts(&self) -> bool {
        self.spin.get().is_some()
    }

    /// How many turns in a row make a watch one that spins; none if they are not reported.
    pub(crate) fn spin_limit(&self) -> Option<u32> {
        self.spin.get()
    }

    pub(super) fn is_handled(&self) -> bool {
        self.handler.borrow().is_some()
    }

    pub(super) fn handler(&self) -> Option<Handler> {
        self.handler.borrow().clone()
    }

    /// Counts a report without a handler. Returns how many there were.
    pub(super) fn count_told(&self) -> u64 {
        self.told.set(self.told.get() + 1);
        self.told.get()
    }

    /// Sets the handler. Returns the one before, for the caller to drop.
    #[must_use]
    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }
}
