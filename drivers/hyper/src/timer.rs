//! hyper's time-outs, by the loop's timers.
//!
//! hyper wants timers and sleeps that are `Send` and `Sync`, and the loop's are neither. So a sleep
//! is a state behind a lock, and what sets the loop's timers is found by the thread that it is on
//! ([`HERE`]). Another thread hands its sleeps to the loop's thread through a trigger.
//!
//! hyper ends a sleep with each request, and begins another. So the loop's timer of one that was
//! dropped is kept for the next, whose deadline is later: a timer that fires before the deadline is
//! set again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use ioloop::{Guard, Reactor, TimerHandle, Trigger};

/// hyper's [`Timer`] over the timers of a loop: `Send` and `Sync`, for connections on any thread.
///
/// A clone is a share. Its deadlines are those of the system's clock: a loop on a clock of its own,
/// as in tests, is not followed.
#[derive(Clone)]
pub struct LoopTimer(Arc<Shared>);

struct Shared {
    changed: Arc<Changed>,
    trigger: Trigger,
}

/// The sleeps that the loop's thread has to look at.
type Changed = Mutex<Vec<Arc<State>>>;

/// What sets the timers of a loop, as the sleeps on its thread see it.
trait Alarm {
    /// Sets a timer for a sleep, or ends the one it has; false if the loop is closed.
    fn arm(self: Rc<Self>, state: &Arc<State>) -> bool;
    /// A sleep was dropped.
    fn give_up(self: Rc<Self>, state: &Arc<State>);
    /// The state of one that was dropped, whose timer fires no later than at this deadline.
    fn spare(&self, deadline: Instant) -> Option<Arc<State>>;
}

thread_local! {
    /// The alarms of this thread's loops, by the addresses of what is shared with other threads.
    static HERE: RefCell<Vec<(usize, Rc<dyn Alarm>)>> = const { RefCell::new(Vec::new()) };
}

impl LoopTimer {
    /// A timer of this reactor, which keeps the reactor until its last share and the last sleep are
    /// dropped: pass a [`WeakIOLoop`](ioloop::WeakIOLoop).
    ///
    /// # Errors
    ///
    /// As for [`Trigger::new`]: the loop is closed, or there is no descriptor left.
    pub fn new<R: Reactor + 'static>(reactor: R) -> io::Result<Self> {
        let reactor = Rc::new(reactor);
        let changed = Arc::<Changed>::default();
        let alarms = Rc::new(Alarms {
            reactor: Rc::clone(&reactor),
            set: RefCell::default(),
            spare: RefCell::default(),
            will_tidy: Cell::default(),
        });
        let here = Here { alarms, changed: Arc::clone(&changed) };
        here.announce();
        let trigger = Trigger::new(&*reactor, move || here.look())?;
        Ok(LoopTimer(Arc::new(Shared { changed, trigger })))
    }

    /// What sets the loop's timers, on its thread.
    fn here(&self) -> Option<Rc<dyn Alarm>> {
        let key = Arc::as_ptr(&self.0.changed).addr();
        let find = |here: &RefCell<Vec<(usize, Rc<dyn Alarm>)>>| {
            let here = here.borrow();
            here.iter().find(|(known, _)| *known == key).map(|(_, alarm)| Rc::clone(alarm))
        };
        // A thread that ends has none any more.
        HERE.try_with(find).ok().flatten()
    }

    /// Has the loop's thread look at a sleep; false if there is no loop any more.
    fn tell(&self, state: &Arc<State>) -> bool {
        let Shared { changed, trigger } = &*self.0;
        let lock = || changed.lock().unwrap_or_else(PoisonError::into_inner);
        lock().push(Arc::clone(state));
        let told = trigger.fire().is_ok();
        if !told {
            mem::take(&mut *lock());
        }
        told
    }
}

impl Timer for LoopTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let now = Instant::now();
        // A century where no instant is so far away.
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        self.sleep_until(now.checked_add(duration).unwrap_or_else(|| now + century))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let spare = self.here().and_then(|alarm| alarm.spare(deadline));
        let state = spare.unwrap_or_else(|| {
            let inner = Inner { deadline, armed: None, waker: None, end: None };
            Arc::new(State(Mutex::new(inner)))
        });
        Box::pin(LoopSleep { state, timer: self.clone() })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<LoopSleep>() {
            Some(sleep) => sleep.reset(new_deadline),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl fmt::Debug for LoopTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopTimer").finish_non_exhaustive()
    }
}

/// What [`LoopTimer`] sleeps by. It is over at its deadline, and at once where the loop is closed,
/// so no connection waits for a time-out that cannot come.
///
/// # Cancel safety
///
/// Dropped, it takes its timer from the loop, in the loop's next turn at the latest. While other
/// sleeps of the [`LoopTimer`] go on, one timer may stay for the next sleep.
pub struct LoopSleep {
    state: Arc<State>,
    timer: LoopTimer,
}

struct State(Mutex<Inner>);

struct Inner {
    deadline: Instant,
    /// When the loop's timer is due, or will be once the loop's thread has heard of it.
    armed: Option<Instant>,
    waker: Option<Waker>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The deadline has come, or the loop has gone.
    Over,
    Dropped,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn is_over(&self) {
        let mut inner = self.lock();
        inner.end = inner.end.or(Some(End::Over));
        inner.armed = None;
        let waker = inner.waker.take();
        // Not under the lock: whoever is woken may poll on the spot.
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl LoopSleep {
    fn reset(&self, deadline: Instant) {
        let mut inner = self.state.lock();
        inner.deadline = deadline;
        inner.end = None;
    }
}

impl Future for LoopSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.state.lock();
        if inner.end.is_some() {
            return Poll::Ready(());
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let deadline = inner.deadline;
        if inner.armed.is_some_and(|armed| armed <= deadline) {
            return Poll::Pending;
        }
        inner.armed = Some(deadline);
        drop(inner);
        let is_set = match self.timer.here() {
            Some(alarm) => alarm.arm(&self.state),
            None => self.timer.tell(&self.state),
        };
        if is_set { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Sleep for LoopSleep {}

impl Drop for LoopSleep {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.end = Some(End::Dropped);
        let waker = inner.waker.take();
        let is_armed = inner.armed.is_some();
        drop(inner);
        drop(waker);
        if is_armed {
            match self.timer.here() {
                Some(alarm) => alarm.give_up(&self.state),
                None => _ = self.timer.tell(&self.state),
            }
        }
    }
}

impl fmt::Debug for LoopSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.state.lock().deadline;
        f.debug_struct("LoopSleep").field("deadline", &deadline).finish_non_exhaustive()
    }
}

/// A sleep, and the timer that ends it.
type Set = (Arc<State>, Guard<TimerHandle>);

/// What the loop's thread has of the sleeps.
struct Alarms<R> {
    reactor: Rc<R>,
    /// The timers of those that are set, by the addresses of their states.
    set: RefCell<HashMap<usize, Set>>,
    /// One of the set whose sleep was dropped.
    spare: RefCell<Option<Arc<State>>>,
    will_tidy: Cell<bool>,
}

impl<R: Reactor + 'static> Alarm for Alarms<R> {
    fn arm(self: Rc<Self>, state: &Arc<State>) -> bool {
        let mut inner = state.lock();
        if inner.end.is_some() {
            inner.armed = None;
            drop(inner);
            self.remove(state);
            return true;
        }
        let deadline = inner.deadline;
        inner.armed = Some(deadline);
        drop(inner);
        let known = self.set.borrow().get(&state.address()).map(|(_, timer)| timer.reset(deadline));
        if known == Some(true) {
            return true;
        }
        let (alarms, sleep) = (Rc::clone(&self), Arc::clone(state));
        let timer = self.reactor.call_at(deadline, move || alarms.fire(&sleep));
        let is_set = !timer.is_cancelled();
        let kept = (Arc::clone(state), timer.cancel_on_drop());
        // Not under the borrow: what it holds is dropped with it.
        let old = self.set.borrow_mut().insert(state.address(), kept);
        drop(old);
        is_set
    }

    fn give_up(self: Rc<Self>, state: &Arc<State>) {
        if self.spare.borrow().is_some() {
            return self.remove(state);
        }
        self.spare.replace(Some(Arc::clone(state)));
        if self.set.borrow().len() <= 1 && !self.will_tidy.replace(true) {
            let alarms = Rc::clone(&self);
            self.reactor.call_soon(move || alarms.tidy());
        }
    }

    fn spare(&self, deadline: Instant) -> Option<Arc<State>> {
        let mut spare = self.spare.borrow_mut();
        let mut inner = spare.as_ref()?.lock();
        if inner.armed.is_none_or(|armed| armed > deadline) {
            return None;
        }
        inner.deadline = deadline;
        inner.end = None;
        drop(inner);
        spare.take()
    }
}

impl<R: Reactor + 'static> Alarms<R> {
    /// The timer of a sleep has fired.
    fn fire(self: &Rc<Self>, state: &Arc<State>) {
        let inner = state.lock();
        let is_early = inner.end.is_none() && inner.deadline > self.reactor.now();
        drop(inner);
        if is_early {
            Rc::clone(self).arm(state);
            return;
        }
        self.remove(state);
        state.is_over();
    }

    /// Ends the timer of the spare if nobody sleeps any more: it would be all that keeps the loop.
    fn tidy(&self) {
        self.will_tidy.set(false);
        let is_alone = self.set.borrow().len() <= 1;
        let spare = self.spare.borrow_mut().take_if(|_| is_alone);
        if let Some(spare) = spare {
            self.remove(&spare);
        }
    }

    /// Ends the timer of a sleep, and that of the spare if nobody sleeps any more.
    fn remove(&self, state: &Arc<State>) {
        let old = self.set.borrow_mut().remove(&state.address());
        let is_alone = self.set.borrow().len() <= 1;
        let is_unused = |spare: &mut Arc<State>| is_alone || Arc::ptr_eq(spare, state);
        let spare = self.spare.borrow_mut().take_if(is_unused);
        let unused = spare.and_then(|spare| self.set.borrow_mut().remove(&spare.address()));
        // Not under the borrows: what they hold is dropped with them.
        drop((old, unused));
    }
}

/// The alarms of a loop as its trigger holds them.
struct Here<R: Reactor + 'static> {
    alarms: Rc<Alarms<R>>,
    changed: Arc<Changed>,
}

impl<R: Reactor + 'static> Here<R> {
    fn announce(&self) {
        let alarm: Rc<dyn Alarm> = Rc::clone(&self.alarms) as _;
        let key = Arc::as_ptr(&self.changed).addr();
        // A thread that ends has none any more.
        let _ = HERE.try_with(|here| here.borrow_mut().push((key, alarm)));
    }

    fn take_changed(&self) -> Vec<Arc<State>> {
        mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self) {
        for state in self.take_changed() {
            Rc::clone(&self.alarms).arm(&state);
        }
    }
}

impl<R: Reactor + 'static> Drop for Here<R> {
    /// The loop is closed, or nobody sleeps any more.
    fn drop(&mut self) {
        let key = Arc::as_ptr(&self.changed).addr();
        let known = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let index = here.iter().position(|(known, _)| *known == key)?;
            Some(here.swap_remove(index))
        });
        drop(known);
        drop(self.alarms.spare.take());
        let set = self.alarms.set.take();
        let states = set.values().map(|(state, _)| state);
        self.take_changed().iter().chain(states).for_each(|state| state.is_over());
    }
}
