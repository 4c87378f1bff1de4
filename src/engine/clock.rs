//! A clock for tests, which moves instead of waiting.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::engine::inbox::Inbox;

/// A clock for tests: it stands still, and jumps from deadline to deadline instead of letting a
/// loop wait.
///
/// A loop that was built with it ([`Builder::clock`](crate::Builder::clock)) reads it for
/// [`now`](crate::Reactor::now), and so does everything that is measured by that: timers,
/// [`PeriodicCallback`](crate::PeriodicCallback), [`sleep`](crate::sleep),
/// [`timeout`](crate::timeout) and [`interval`](crate::interval()). An hour's schedule takes as
/// long as its callbacks do, and each of them finds the clock exactly at its deadline.
///
/// ```
/// use std::{cell::RefCell, rc::Rc, time::Duration};
/// use ioloop::{IOLoop, ManualClock, PeriodicCallback, Reactor};
///
/// let minute = Duration::from_secs(60);
/// let clock = ManualClock::new();
/// let io_loop = IOLoop::builder().clock(&clock).build()?;
/// let start = clock.now();
/// let calls = Rc::new(RefCell::new(Vec::new()));
/// let (log, time) = (Rc::clone(&calls), clock.clone());
/// let report = PeriodicCallback::new(&io_loop, 10 * minute, move || {
///     log.borrow_mut().push((time.now() - start).as_secs() / 60);
///     if log.borrow().len() == 2 {
///         time.advance(25 * minute); // one that takes long: the calls that it misses are skipped
///     }
/// })?;
/// report.start();
/// io_loop.call_later(60 * minute, || IOLoop::current().unwrap().stop());
/// io_loop.start()?;
/// assert_eq!(*calls.borrow(), [10, 20, 50, 60]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When it jumps
///
/// A loop that would wait while a timer is pending polls its descriptors once more, without
/// waiting. If no descriptor is ready and nothing is queued or posted, the clock jumps to the
/// earliest deadline. A `stop`, and a turn that has anything to do, let it stand. The clock does
/// not jump to timers that never fire, those of [`Duration::MAX`].
///
/// - An *attached* loop, and one that its runtime drives, returns to its host before each jump:
///   what is ready there goes first.
/// - An *embedded* loop has its [`descriptor`](crate::IOLoop::descriptor) readable while it has a
///   deadline to jump to. A [`turn`](crate::IOLoop::turn) that finds nothing to do makes the clock
///   jump, and says that work is left; the next turn fires the timers. Time-outs of `turn` itself
///   are real time.
///
/// The clock does not know of work outside the loop: another thread, a peer that is about to write,
/// the runtime's timers, bytes of a pty that the kernel's worker has not delivered yet. It jumps
/// past such work, and a `timeout` around it expires at once. Switch the jumps off around it with
/// [`set_auto_advance`](Self::set_auto_advance): loops then wait until there is something to do or
/// until [`advance`](Self::advance) is called. Several loops on one clock are such work for each
/// other: each jumps to its own deadlines, past those of the others.
///
/// A clone is the same clock. tokio's `time::pause` does this for a runtime; neither moves the
/// other. asyncio and Tornado leave it to their users to replace `time`.
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    /// Nanoseconds since the start.
    elapsed: AtomicI64,
    jumps: AtomicBool,
    /// The inboxes of the loops on this clock, by which they are woken.
    loops: Mutex<Vec<Weak<Inbox>>>,
}

/// The clock does not jump further by itself. A delay without an instant so far away ends in a
/// century at the earliest, and must not be reached.
const FURTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60 - 1);

impl ManualClock {
    /// A clock that shows the present time, until it is moved.
    #[expect(clippy::new_without_default, reason = "two clocks are never the same")]
    pub fn new() -> Self {
        ManualClock {
            shared: Arc::new(Shared {
                start: Instant::now(),
                elapsed: AtomicI64::new(0),
                jumps: AtomicBool::new(true),
                loops: Mutex::new(Vec::new()),
            }),
        }
    }

    /// The time on this clock.
    pub fn now(&self) -> Instant {
        let elapsed = self.shared.elapsed.load(Ordering::SeqCst);
        self.shared.start + Duration::from_nanos(elapsed.unsigned_abs())
    }

    /// Moves the clock on, from any thread; it stops at three centuries.
    ///
    /// It calls no callback. In the next turn of each loop the timers that are due fire, by
    /// deadline, and find the clock where it is. A loop that waits is woken.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        // Not to the end: a timer that is set there never fires.
        let add = |elapsed: i64| Some(elapsed.saturating_add(by).min(i64::MAX - 1));
        let _ = self.shared.elapsed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        self.wake_loops();
    }

    /// Sets whether the clock jumps to the next deadline where a loop would wait. At first it does.
    pub fn set_auto_advance(&self, jumps: bool) {
        self.shared.jumps.store(jumps, Ordering::SeqCst);
        if jumps {
            self.wake_loops();
        }
    }

    /// Adds a loop, which is woken when the clock is moved.
    pub(crate) fn add_loop(&self, inbox: &Arc<Inbox>) {
        let mut loops = self.shared.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|inbox| inbox.strong_count() > 0);
        loops.push(Arc::downgrade(inbox));
    }

    /// Whether it would jump to `deadline`.
    pub(crate) fn reaches(&self, deadline: Instant) -> bool {
        self.shared.jumps.load(Ordering::SeqCst) && deadline < self.shared.start + FURTHEST
    }

    /// Jumps to `deadline`, unless it is past.
    pub(crate) fn jump(&self, deadline: Instant) {
        let elapsed = deadline.saturating_duration_since(self.shared.start);
        let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        self.shared.elapsed.fetch_max(elapsed, Ordering::SeqCst);
    }

    fn wake_loops(&self) {
        let loops: Vec<_> = {
            let loops = self.shared.loops.lock().unwrap_or_else(PoisonError::into_inner);
            loops.iter().filter_map(Weak::upgrade).collect()
        };
        // After the lock: the wake of a host may poll in an executor, or call back here.
        for inbox in loops {
            inbox.wake_loop();
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("elapsed", &(self.now() - self.shared.start))
            .field("auto_advance", &self.shared.jumps.load(Ordering::Relaxed))
            .finish()
    }
}
