//! A callback that is called again and again, on a grid of time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::futures::spawn::spawn_at;
use crate::io_loop::IOLoop;
use crate::reactor::contract::Reactor;
use crate::reactor::grid::{is_jitter_possible, jittered, next_tick};
use crate::reactor::handles::{Owner, now_of};
use crate::reactor::timer::Timer;

/// Calls a callback every period, after Tornado's `PeriodicCallback`.
///
/// - It is made stopped; the first call is one period after [`start`](Self::start).
/// - The period is measured from start to start. A call that takes longer than that skips the calls
///   that it missed: the next one is on the original grid again.
/// - Calls never overlap, also where they are [async](Self::new_async).
/// - A callback that panics is reported by the loop, and called again one period later.
/// - Dropping it stops it. A call that has begun goes on.
///
/// For a stream of ticks inside async code, use [`interval`](crate::interval()).
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ioloop::{IOLoop, PeriodicCallback};
///
/// let io_loop = IOLoop::new()?;
/// let beats = Rc::new(Cell::new(0));
/// let count = Rc::clone(&beats);
/// let heartbeat = PeriodicCallback::new(&io_loop, Duration::from_millis(1), move || {
///     count.set(count.get() + 1);
///     if count.get() == 3 {
///         IOLoop::current().unwrap().stop();
///     }
/// })?;
/// heartbeat.start();
/// io_loop.start()?;
/// assert_eq!(beats.get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It does not hold the reactor. Do not let its own callback capture it: the two would keep each
/// other. To stop it from inside, capture a `Weak`, or a flag that its owner checks.
#[must_use = "a periodic callback that is dropped is stopped"]
pub struct PeriodicCallback {
    state: Rc<State>,
}

struct State {
    owner: Weak<dyn Owner>,
    period: Duration,
    jitter: Cell<f64>,
    random: RefCell<Box<dyn FnMut() -> f64>>,
    running: Cell<bool>,
    /// Counts the starts and stops: what was begun under another number is over.
    run: Cell<u64>,
    /// A call has begun and not ended, perhaps that of a run before.
    calling: Cell<bool>,
    /// When the next call is due; or was, for the one that runs.
    due: Cell<Instant>,
    timer: Timer,
}

impl PeriodicCallback {
    /// Will call `callback` every `period`, once it is [started](Self::start).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a period of zero.
    #[track_caller]
    pub fn new<R: Reactor + ?Sized>(
        reactor: &R,
        period: Duration,
        mut callback: impl FnMut() + 'static,
    ) -> io::Result<Self> {
        PeriodicCallback::beginning(reactor, period, move |_call| callback())
    }

    /// `begin` begins a call, which ends when what it is given is dropped.
    #[track_caller]
    fn beginning<R: Reactor + ?Sized>(
        reactor: &R,
        period: Duration,
        mut begin: impl FnMut(Call) + 'static,
    ) -> io::Result<Self> {
        if period.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a period of zero would leave the loop no time for anything else; use a longer one",
            ));
        }
        let (owner, location) = (reactor.owner(), Location::caller());
        let due = Cell::new(reactor.now());
        let state = Rc::new_cyclic(|this: &Weak<State>| State {
            timer: Timer::at(Weak::clone(&owner), location, {
                let this = Weak::clone(this);
                move || {
                    if let Some(call) = this.upgrade().and_then(|state| state.next_call()) {
                        begin(call);
                    }
                }
            }),
            owner,
            period,
            jitter: Cell::new(0.0),
            random: RefCell::new(Box::new(|| 0.5)),
            running: Cell::new(false),
            run: Cell::new(0),
            calling: Cell::new(false),
            due,
        });
        Ok(PeriodicCallback { state })
    }

    /// Moves each call at random, so callbacks that were started together drift apart.
    ///
    /// Each time between two calls lies in a window around the period that is `jitter` of it wide:
    /// with 0.1, from 95 % to 105 % of it. Calls are not on a grid then. For a window that is not
    /// predictable by others the randomness is not good enough.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, PeriodicCallback};
    ///
    /// let period = Duration::from_secs(60);
    /// let poll = || PeriodicCallback::new(&IOLoop::new()?, period, || println!("poll"));
    /// assert!(poll()?.with_jitter(0.1).is_ok());
    /// assert!(poll()?.with_jitter(2.0).is_err(), "the period could be zero");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a jitter that could make the period zero
    /// or negative, as 2 would, and for one that is negative or not a number.
    pub fn with_jitter(self, jitter: f64) -> io::Result<Self> {
        // The standard library has no random numbers, but hashes with random keys; and those of a
        // counter are as random as jitter has to be.
        let (keys, mut count) = (RandomState::new(), 0u64);
        self.with_jitter_from(jitter, move || {
            count += 1;
            // The 53 bits that a fraction has room for.
            (keys.hash_one(count) >> 11) as f64 / (1u64 << 53) as f64
        })
    }

    /// Takes the randomness, from zero up to less than one, from somewhere else.
    pub(crate) fn with_jitter_from(
        self,
        jitter: f64,
        random: impl FnMut() -> f64 + 'static,
    ) -> io::Result<Self> {
        if !is_jitter_possible(self.state.period, jitter) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a jitter of {jitter} could make the period zero or negative; use 0 up to less than 2"
                ),
            ));
        }
        self.state.jitter.set(jitter);
        drop(self.state.random.replace(Box::new(random)));
        Ok(self)
    }

    /// Starts it: the first call is one period from now. One that is running goes on as it is.
    ///
    /// It runs for as long as it is kept: `PeriodicCallback::new(..)?.start();` as one statement
    /// drops it at once, and it never calls anything. Tornado's holds itself.
    ///
    /// On a closed loop it does not start, as [`is_running`](Self::is_running) tells.
    pub fn start(&self) {
        let state = &self.state;
        if state.running.replace(true) {
            return;
        }
        state.run.set(state.run.get() + 1);
        state.due.set(now_of(&state.owner));
        state.schedule();
    }

    /// Will run the future that `callback` makes every `period`, as a task of the loop, once it is
    /// [started](Self::start).
    ///
    /// While a future is not done the calls that become due are skipped, also after a stop and a
    /// start. A stop lets it go on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, PeriodicCallback, WeakIOLoop, sleep};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let poll = PeriodicCallback::new_async(&io_loop, Duration::from_millis(1), || async {
    ///     // Longer than a period, and still one at a time.
    ///     sleep(&WeakIOLoop::current().unwrap(), Duration::from_millis(3)).await.unwrap();
    ///     IOLoop::current().unwrap().stop();
    /// })?;
    /// poll.start();
    /// io_loop.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a period of zero.
    #[track_caller]
    pub fn new_async<F, Fut>(
        io_loop: &IOLoop,
        period: Duration,
        mut callback: F,
    ) -> io::Result<Self>
    where
        F: FnMut() -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (weak, location) = (io_loop.downgrade(), Location::caller());
        PeriodicCallback::beginning(io_loop, period, move |call| {
            let future = callback();
            let task = spawn_at(&weak, location, async move {
                let _call = call;
                future.await;
            });
            task.detach();
        })
    }

    /// Stops it; its timer is gone then. One that is stopped stays so, and can be started again.
    pub fn stop(&self) {
        let state = &self.state;
        if !state.running.replace(false) {
            return;
        }
        state.run.set(state.run.get() + 1);
        state.timer.stop();
    }

    /// Whether it was started and not stopped since; false too once its loop is closed.
    pub fn is_running(&self) -> bool {
        let state = &self.state;
        state.running.get() && (state.timer.is_set() || state.calling.get())
    }

    /// The time between two calls, without jitter.
    pub fn period(&self) -> Duration {
        self.state.period
    }
}

impl Drop for PeriodicCallback {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    /// Sets the timer for the call after the one that was due.
    fn schedule(&self) {
        let random = (self.random.borrow_mut())();
        let period = jittered(self.period, self.jitter.get(), random);
        let due = next_tick(self.due.get(), period, now_of(&self.owner));
        self.due.set(due);
        self.timer.set_at(due);
    }

    /// The call that is due; none while one that was begun before the last stop goes on.
    fn next_call(self: &Rc<Self>) -> Option<Call> {
        if self.calling.replace(true) {
            self.schedule();
            return None;
        }
        Some(Call { state: Rc::downgrade(self), run: self.run.get() })
    }
}

/// Held by what was called until it is done, in whatever way: then the next call can be scheduled.
struct Call {
    state: Weak<State>,
    run: u64,
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        state.calling.set(false);
        if state.run.get() == self.run {
            state.schedule();
        }
    }
}

impl fmt::Debug for PeriodicCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeriodicCallback")
            .field("period", &self.period())
            .field("running", &self.is_running())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use super::*;
    use crate::reactor::callback::Callback;
    use crate::reactor::contract::Direction;
    use crate::reactor::handles::{CallbackHandle, Owner, Watch};
    use crate::reactor::post::Poster;
    use crate::reactor::watcher::Watcher;

    const PERIOD: Duration = Duration::from_millis(10);

    /// A reactor with timers alone, and a clock that stands still but when it is set.
    #[derive(Clone)]
    struct Clock(Rc<Timers>);

    struct Timers {
        start: Instant,
        now: Cell<Instant>,
        /// In the order of setting; absent once fired or cancelled.
        timers: RefCell<Vec<Option<(Instant, Callback)>>>,
    }

    impl Clock {
        fn new() -> Self {
            let start = Instant::now();
            let now = Cell::new(start);
            Clock(Rc::new(Timers { start, now, timers: RefCell::default() }))
        }

        /// The clock, in milliseconds.
        fn millis(&self) -> f64 {
            (self.now() - self.0.start).as_secs_f64() * 1000.0
        }

        fn advance(&self, millis: u64) {
            self.0.now.set(self.now() + Duration::from_millis(millis));
        }

        fn pending(&self) -> usize {
            self.0.timers.borrow().iter().flatten().count()
        }

        /// Moves the clock to the next deadline, if it is not past it, and fires that timer.
        fn fire_next(&self) {
            let next = {
                let mut timers = self.0.timers.borrow_mut();
                let next = timers.iter_mut().filter(|timer| timer.is_some());
                next.min_by_key(|timer| timer.as_ref().map(|(due, _)| *due)).and_then(Option::take)
            };
            let (due, callback) = next.expect("a timer");
            self.0.now.set(self.now().max(due));
            callback.call();
        }
    }

    impl Reactor for Clock {
        fn watch(&self, _: Direction, _: Watcher) -> io::Result<Watch> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn unwatch(&self, _: Direction, _: RawFd) -> bool {
            false
        }

        fn queue(&self, _: Callback) -> CallbackHandle {
            unimplemented!("timers only")
        }

        fn owner(&self) -> Weak<dyn Owner> {
            Rc::<Timers>::downgrade(&self.0)
        }

        fn poster(&self) -> Poster {
            unimplemented!("timers only")
        }
    }

    impl Owner for Timers {
        fn remove_watch(&self, _: u64) -> bool {
            false
        }

        fn pause_watch(&self, _: u64) -> bool {
            false
        }

        fn resume_watch(&self, _: u64) -> io::Result<bool> {
            Ok(false)
        }

        fn set_timer(&self, deadline: Instant, callback: Callback) -> Option<u64> {
            let mut timers = self.timers.borrow_mut();
            timers.push(Some((deadline, callback)));
            Some(timers.len() as u64 - 1)
        }

        fn now(&self) -> Instant {
            self.now.get()
        }

        fn cancel_timer(&self, id: u64) -> bool {
            let timer = self.timers.borrow_mut()[id as usize].take();
            timer.is_some()
        }

        fn reset_timer(&self, _: u64, _: Instant) -> bool {
            false
        }

        fn cancel_callback(&self, _: u64) -> bool {
            false
        }
    }

    /// Notes when it is called, which takes as long each time as `costs` says.
    fn noting(clock: &Clock, costs: &[u64]) -> (PeriodicCallback, Rc<RefCell<Vec<f64>>>) {
        let log = Rc::new(RefCell::new(Vec::new()));
        let (called, ours) = (Rc::clone(&log), clock.clone());
        let mut costs: Vec<u64> = costs.iter().rev().copied().collect();
        let periodic = PeriodicCallback::new(clock, PERIOD, move || {
            called.borrow_mut().push(ours.millis());
            ours.advance(costs.pop().unwrap_or(0));
        });
        (periodic.unwrap(), log)
    }

    #[test]
    fn it_calls_on_a_grid_from_its_start() {
        let clock = Clock::new();
        let (periodic, log) = noting(&clock, &[0, 9, 0]);
        clock.advance(3);
        periodic.start();
        (0..4).for_each(|_| clock.fire_next());
        assert_eq!(*log.borrow(), [13.0, 23.0, 33.0, 43.0]);
    }

    #[test]
    fn an_overrun_skips_whole_periods() {
        let clock = Clock::new();
        // Tornado's `test_overrun`, and its expectations, from the clock's start and at a
        // thousandth.
        let (periodic, log) = noting(&clock, &[9, 10, 11, 20, 20, 35, 35, 0, 0, 0]);
        periodic.start();
        (0..10).for_each(|_| clock.fire_next());
        let expected = [10, 20, 40, 60, 90, 120, 160, 200, 210, 220].map(f64::from);
        assert_eq!(*log.borrow(), expected);
    }

    #[test]
    fn jitter_moves_each_call() {
        let clock = Clock::new();
        let (periodic, log) = noting(&clock, &[]);
        // Tornado's `test_jitter`.
        let mut random = [0.5, 1.0, 0.0, 0.75, 0.5].into_iter();
        let periodic = periodic.with_jitter_from(0.5, move || random.next().unwrap()).unwrap();
        periodic.start();
        (0..4).for_each(|_| clock.fire_next());
        assert_eq!(*log.borrow(), [10.0, 22.5, 30.0, 41.25]);
    }

    #[test]
    fn a_second_start_sets_no_second_timer() {
        let clock = Clock::new();
        let (periodic, log) = noting(&clock, &[]);
        periodic.start();
        clock.advance(4);
        periodic.start();
        assert_eq!(clock.pending(), 1);
        clock.fire_next();
        assert_eq!(*log.borrow(), [10.0], "the second start moved it");
        periodic.stop();
        periodic.start();
        assert_eq!(clock.pending(), 1);
        drop(periodic);
        assert_eq!(clock.pending(), 0);
    }

    #[test]
    fn random_fractions_are_fractions_and_differ() {
        let clock = Clock::new();
        let (periodic, _log) = noting(&clock, &[]);
        let periodic = periodic.with_jitter(0.5).unwrap();
        let mut random = periodic.state.random.borrow_mut();
        let fractions: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)), "{fractions:?}");
        // A fair one fails here once in 2^100.
        assert!(fractions.iter().any(|fraction| *fraction < 0.5), "{fractions:?}");
        assert!(fractions.iter().any(|fraction| *fraction >= 0.5), "{fractions:?}");
    }
}
