//! Many live timers, which are moved, cancelled and set anew all the time.
//!
//! The promises: a timer that is neither moved nor cancelled fires once, never before its deadline;
//! timers fire by deadline, and those with equal deadlines in the order in which they were set or
//! moved.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastrand::Rng;
use ioloop::{IOLoop, Reactor, TimerHandle, WeakIOLoop, deferred};

use crate::lateness::{Lateness, Probe};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Timers alive at any time, until the end.
    pub live: usize,
    /// Timers that fire, and are set anew, before the end.
    pub fired: u64,
    /// Deadlines lie at most this far ahead.
    pub ahead: Duration,
}

/// What was done to the timers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Set.
    pub set: u64,
    /// Moved to another deadline.
    pub moved: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Fired.
    pub fired: u64,
}

/// Deadlines lie on a grid, so many are equal.
const GRID: Duration = Duration::from_micros(200);
/// Moved, or cancelled and set anew, for each one that fires.
const MOVED_PER_FIRED: u64 = 2;

/// A timer as it should be.
struct Slot {
    handle: Option<TimerHandle>,
    deadline: Instant,
    /// When it was set or moved, counted.
    stamp: u64,
}

struct Field {
    io_loop: WeakIOLoop,
    size: Size,
    origin: Instant,
    slots: RefCell<Vec<Slot>>,
    random: RefCell<Rng>,
    outcome: RefCell<Outcome>,
    stamp: Cell<u64>,
    /// Deadline and stamp of the last one that fired.
    last: Cell<(Instant, u64)>,
    live: Cell<usize>,
    wrong: RefCell<Option<String>>,
    done: RefCell<Option<ioloop::Resolver<()>>>,
}

/// Sets, moves and cancels, and checks what fires.
pub async fn run(io_loop: &IOLoop, size: Size) -> Result<(Outcome, Lateness)> {
    let (resolver, done) = deferred();
    let origin = io_loop.now();
    let field = Rc::new(Field {
        io_loop: io_loop.downgrade(),
        size,
        origin,
        slots: RefCell::default(),
        random: RefCell::new(Rng::with_seed(7)),
        outcome: RefCell::default(),
        stamp: Cell::new(0),
        last: Cell::new((origin, 0)),
        live: Cell::new(0),
        wrong: RefCell::default(),
        done: RefCell::new(Some(resolver)),
    });
    for place in 0..size.live {
        let (deadline, stamp) = field.next();
        field.slots.borrow_mut().push(Slot { handle: None, deadline, stamp });
        field.set(io_loop, place, deadline, stamp);
    }
    let probe = Probe::start(io_loop);
    ensure!(io_loop.metrics().timers >= size.live, "not all of them are alive");
    done.await?;
    let lateness = probe.finish();
    if let Some(wrong) = field.wrong.borrow_mut().take() {
        bail!(wrong);
    }
    let outcome = field.outcome.borrow().clone();
    let Outcome { set, cancelled, fired, .. } = outcome;
    ensure!(set == cancelled + fired, "of {set} timers {fired} fired, {cancelled} were cancelled");
    ensure!(fired >= size.fired, "only {fired} fired");
    ensure!(field.slots.borrow().iter().all(|slot| slot.handle.is_none()), "some never fired");
    Ok((outcome, lateness))
}

impl Field {
    /// A deadline at random, always ahead, and the stamp that orders it among its equals.
    fn next(&self) -> (Instant, u64) {
        self.stamp.set(self.stamp.get() + 1);
        let steps = |time: Duration| (time.as_micros() / GRID.as_micros()) as u64;
        let ahead = self.random.borrow_mut().u64(0..steps(self.size.ahead));
        let place = steps(self.origin.elapsed()) + 1 + ahead;
        (self.origin + Duration::from_micros(GRID.as_micros() as u64 * place), self.stamp.get())
    }

    fn set(self: &Rc<Self>, io_loop: &IOLoop, place: usize, deadline: Instant, stamp: u64) {
        let field = Rc::clone(self);
        let handle = io_loop.call_at(deadline, move || field.fire(place));
        self.slots.borrow_mut()[place] = Slot { handle: Some(handle), deadline, stamp };
        self.outcome.borrow_mut().set += 1;
        self.live.set(self.live.get() + 1);
    }

    fn fire(self: &Rc<Self>, place: usize) {
        let (deadline, stamp) = {
            let slot = &mut self.slots.borrow_mut()[place];
            if slot.handle.take().is_none() {
                return self.fail("a timer fired that had fired or was cancelled");
            }
            (slot.deadline, slot.stamp)
        };
        self.live.set(self.live.get() - 1);
        self.outcome.borrow_mut().fired += 1;
        if Instant::now() < deadline {
            return self.fail("a timer fired before its deadline");
        }
        if self.last.replace((deadline, stamp)) >= (deadline, stamp) {
            return self.fail("timers fired in another order than by deadline and insertion");
        }
        let fired = self.outcome.borrow().fired;
        match self.io_loop.upgrade() {
            Some(io_loop) if fired < self.size.fired => {
                let (deadline, stamp) = self.next();
                self.set(&io_loop, place, deadline, stamp);
                for _ in 0..MOVED_PER_FIRED {
                    self.disturb(&io_loop);
                }
            }
            // The end: what is alive fires.
            _ if self.live.get() == 0 => self.finish(),
            _ => {}
        }
    }

    /// Moves a timer at random, or cancels it and sets it anew.
    fn disturb(self: &Rc<Self>, io_loop: &IOLoop) {
        let place = self.random.borrow_mut().usize(0..self.size.live);
        let (deadline, stamp) = self.next();
        let cancel = stamp % 4 == 0;
        let done = {
            let slot = &mut self.slots.borrow_mut()[place];
            let Some(handle) = &slot.handle else { return };
            if cancel {
                handle.cancel()
            } else {
                (slot.deadline, slot.stamp) = (deadline, stamp);
                handle.reset(deadline)
            }
        };
        if !done {
            return self.fail("a live timer could be neither moved nor cancelled");
        }
        if cancel {
            self.live.set(self.live.get() - 1);
            self.outcome.borrow_mut().cancelled += 1;
            self.set(io_loop, place, deadline, stamp);
        } else {
            self.outcome.borrow_mut().moved += 1;
        }
    }

    fn fail(&self, what: &str) {
        self.wrong.borrow_mut().get_or_insert(what.to_owned());
        self.finish();
    }

    fn finish(&self) {
        if let Some(done) = self.done.borrow_mut().take() {
            // Whoever waited for it may have given up.
            let _ = done.resolve(());
        }
    }
}
