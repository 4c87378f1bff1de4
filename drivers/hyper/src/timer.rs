//! hyper's time-outs, by the loop's timers.
//!
//! hyper wants timers and sleeps that are `Send` and `Sync`, and the loop's are neither. So a sleep
//! is a state behind a lock. When it is polled first it is handed to the loop's thread through a
//! trigger, where a timer of the loop is set for it. hyper moves the deadline of a connection with
//! each request: a later one changes the state alone, and the timer, once it fires, is set again.

use std::cell::RefCell;
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
pub struct LoopTimer {
    changed: Arc<Changed>,
    trigger: Trigger,
}

/// The sleeps that the loop's thread has to look at.
type Changed = Mutex<Vec<Arc<State>>>;

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
        let alarms = Alarms {
            clock: Rc::clone(&reactor),
            changed: Arc::clone(&changed),
            set: Rc::default(),
        };
        let trigger = Trigger::new(&*reactor, move || alarms.look())?;
        Ok(LoopTimer { changed, trigger })
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
        let inner = Inner { deadline, armed: None, waker: None, end: None };
        Box::pin(LoopSleep { state: Arc::new(State(Mutex::new(inner))), timer: self.clone() })
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
/// so that no connection waits for a time-out that cannot come.
///
/// # Cancel safety
///
/// Dropped, it takes its timer from the loop in the loop's next turn.
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

    fn is_over(mut inner: MutexGuard<'_, Inner>) {
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

    /// Has the loop's thread look at it; false if there is no loop any more.
    fn tell(&self) -> bool {
        self.timer
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&self.state));
        let told = self.timer.trigger.fire().is_ok();
        if !told {
            mem::take(&mut *self.timer.changed.lock().unwrap_or_else(PoisonError::into_inner));
        }
        told
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
        if self.tell() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Sleep for LoopSleep {}

impl Drop for LoopSleep {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.end = Some(End::Dropped);
        let waker = inner.waker.take();
        let is_armed = inner.armed.take().is_some();
        drop(inner);
        drop(waker);
        if is_armed {
            self.tell();
        }
    }
}

impl fmt::Debug for LoopSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.state.lock().deadline;
        f.debug_struct("LoopSleep").field("deadline", &deadline).finish_non_exhaustive()
    }
}

/// What the loop's thread has of the sleeps.
struct Alarms<R> {
    clock: Rc<R>,
    changed: Arc<Changed>,
    set: Rc<Set>,
}

/// The timers of those that are set, by the addresses of their states.
type Set = RefCell<HashMap<usize, (Arc<State>, Guard<TimerHandle>)>>;

impl<R: Reactor + 'static> Alarms<R> {
    fn look(&self) {
        let changed = mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        for state in changed {
            arm(&self.clock, &self.set, &state);
        }
    }
}

/// Sets a timer for a sleep, or ends the one it has.
fn arm<R: Reactor + 'static>(clock: &Rc<R>, set: &Rc<Set>, state: &Arc<State>) {
    let key = Arc::as_ptr(state).addr();
    let old = set.borrow_mut().remove(&key);
    // Not under the borrow: what it holds is dropped with it.
    drop(old);
    let (deadline, end) = {
        let inner = state.lock();
        (inner.deadline, inner.end)
    };
    if end.is_some() {
        return;
    }
    let (again, timers, sleep) = (Rc::clone(clock), Rc::downgrade(set), Arc::clone(state));
    let timer = clock.call_at(deadline, move || {
        let Some(set) = timers.upgrade() else { return };
        let mut inner = sleep.lock();
        if inner.deadline > deadline {
            inner.armed = Some(inner.deadline);
            drop(inner);
            return arm(&again, &set, &sleep);
        }
        // Nobody's deadline is moved in between.
        State::is_over(inner);
        drop(set.borrow_mut().remove(&key));
    });
    set.borrow_mut().insert(key, (Arc::clone(state), timer.cancel_on_drop()));
}

impl<R> Drop for Alarms<R> {
    /// The loop is closed, or nobody sleeps any more.
    fn drop(&mut self) {
        let waiting = mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let set = self.set.take();
        waiting
            .iter()
            .chain(set.values().map(|(state, _)| state))
            .for_each(|state| State::is_over(state.lock()));
    }
}
