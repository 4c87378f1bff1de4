//! What a loop reports of its users' code: what took too long, and what spins. Opt-in.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::events::{self, Level};
use super::exceptions::{Exceptions, Origin};
use crate::io_loop::IOLoop;
use crate::reactor::Place;

/// Something that a loop was asked to look out for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Code of the user's held the loop up for at least the
    /// [threshold](IOLoop::set_slow_callback_threshold).
    #[non_exhaustive]
    Slow {
        /// What it was.
        origin: Origin,
        /// Where it was handed to the loop, if that is known.
        place: Option<Place>,
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
        place: Option<Place>,
        /// In how many turns in a row.
        turns: u32,
    },
    /// A loop that nobody had ever driven was dropped with something to do, or a task of it is awaited
    /// on its thread. Reported once.
    ///
    /// A loop runs nothing by itself: it needs [`start`](IOLoop::start) or
    /// [`run_sync`](IOLoop::run_sync); or, attached, somebody who awaits [`run`](IOLoop::run) or
    /// [`run_until`](IOLoop::run_until); or, embedded, a foreign loop that calls
    /// [`turn`](IOLoop::turn).
    #[non_exhaustive]
    NeverDriven {
        /// Whether it was dropped; else a task is awaited.
        dropped: bool,
        /// How many things there were to do.
        pending: usize,
        /// Where one of them was handed to the loop, if that is known.
        place: Option<Place>,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self {
            Report::Slow { origin, place, duration } => {
                write!(f, "{} held the loop up for {duration:?}", origin.name())?;
                place
            }
            Report::Spinning { origin, fd, place, turns } => {
                let name = origin.name();
                write!(
                    f,
                    "{name} of descriptor {fd} was called in {turns} turns in a row without progress"
                )?;
                place
            }
            Report::NeverDriven { dropped, pending, place } => {
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
                place
            }
        };
        place.map_or(Ok(()), |place| write!(f, ", from {place}"))
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

    /// The handler, to be dropped.
    #[must_use]
    pub(super) fn is_handled(&self) -> bool {
        self.handler.borrow().is_some()
    }

    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }
}

impl Exceptions {
    /// Reports code that took so long, if that is as long as somebody asked for.
    pub(super) fn report_slow(&self, origin: Origin, place: Option<Place>, duration: Duration) {
        if self.reports.threshold().is_some_and(|threshold| duration >= threshold) {
            self.tell_report(&Report::Slow { origin, place, duration });
        }
    }

    /// Hands a report to its handler; without one it is told.
    pub(crate) fn tell_report(&self, report: &Report) {
        let handler = self.reports.handler.borrow().clone();
        if !self.call_handler(handler, |handler| handler(report)) {
            let told = &self.reports.told;
            told.set(told.get() + 1);
            if events::is_told(told.get()) {
                events::tell(Level::Warn, format_args!("loop {}: {report}", self.name()));
            }
        }
    }
}

/// Reports.
impl IOLoop {
    /// Has code of the user's [reported](Report::Slow) that holds the loop up for at least `threshold`; none, as at
    /// first, switches it off.
    ///
    /// Callbacks, timers, readers, writers, handlers, hooks, and single polls of tasks and of the future that the loop
    /// runs for are measured, at the price of two looks at the system's clock each. asyncio's
    /// `slow_callback_duration`.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc, thread, time::Duration};
    /// use ioloop::{IOLoop, Reactor, Report};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let reports = Rc::new(RefCell::new(Vec::new()));
    /// let log = Rc::clone(&reports);
    /// io_loop.set_slow_callback_threshold(Some(Duration::from_millis(2)));
    /// io_loop.set_report_handler(move |report| log.borrow_mut().push(report.to_string()));
    /// io_loop.call_soon(|| thread::sleep(Duration::from_millis(3)));
    /// io_loop.stop();
    /// io_loop.start()?;
    /// assert!(reports.borrow()[0].starts_with("a callback held the loop up for "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "slow_callback_duration")]
    pub fn set_slow_callback_threshold(&self, threshold: Option<Duration>) {
        self.inner.engine.exceptions.reports.slow.set(threshold);
    }

    /// Has a watch [reported](Report::Spinning) that is called in `turns` turns in a row without progress, and again
    /// after as many more; none, as at first, switches it off.
    ///
    /// No progress means: after the call that reaches the limit the descriptor is still ready, and `FIONREAD` is
    /// unchanged. For writers and eventfds readiness alone counts, so use a limit of thousands. It costs one
    /// counter per event.
    pub fn set_spin_limit(&self, turns: Option<u32>) {
        self.inner.engine.exceptions.reports.spin.set(turns);
    }

    /// Has `handler` called with each [`Report`], with the loop [current](IOLoop::current). Its panic changes nothing for
    /// the loop.
    ///
    /// Without one a report is one event of `tracing` or record of `log`, whichever feature is on, else a line on
    /// standard error; after the sixteenth only the 32nd, the 64th and so on. A line that cannot be written is lost.
    pub fn set_report_handler(&self, handler: impl Fn(&Report) + 'static) {
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(handler);
        }
        let before = self.inner.engine.exceptions.reports.set_handler(Some(Rc::new(handler)));
        exceptions.discard(before);
    }
}
