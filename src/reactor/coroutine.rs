//! Futures on any reactor: how one is polled that has no tasks of its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::contain::contain;
use crate::reactor::callback::{Callback, Caller};
use crate::reactor::handles::TimerHandle;
use crate::reactor::post::Poster;

/// A future that a loop polls until it is done, whatever its type; what [`spawn`](crate::spawn)
/// hands to [`Reactor::run_coroutine`](crate::Reactor::run_coroutine).
///
/// That of `spawn` panics neither when it is polled nor when it is dropped after its end, and keeps
/// its result for its [`Task`](crate::Task).
#[must_use = "a coroutine that is dropped is not run"]
pub struct Coroutine {
    future: Pin<Box<dyn Future<Output = ()>>>,
    location: Caller,
}

impl Coroutine {
    /// Erases the type of a future.
    #[track_caller]
    pub fn new(future: impl Future<Output = ()> + 'static) -> Self {
        Coroutine::at(Location::caller(), future)
    }

    pub(crate) fn at(location: Caller, future: impl Future<Output = ()> + 'static) -> Self {
        Coroutine { future: Box::pin(future), location }
    }

    /// The future, for a loop to poll.
    pub fn into_future(self) -> Pin<Box<dyn Future<Output = ()>>> {
        self.future
    }

    /// Where it was made: where `spawn` was called.
    pub fn location(&self) -> Caller {
        self.location
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("location", &self.location).finish_non_exhaustive()
    }
}

thread_local! {
    static IDS: Cell<u64> = const { Cell::new(0) };
    /// Those of this thread, for what a waker posts to find.
    static RUNNING: RefCell<BTreeMap<u64, Weak<Running>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A coroutine of a reactor that has callbacks, timers and posts alone.
pub(crate) struct Running {
    id: u64,
    location: Caller,
    /// Absent while it is polled, and once it is done.
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    waker: Waker,
    woken: Arc<Woken>,
    /// The timer that owns this.
    owner: RefCell<Option<TimerHandle>>,
}

impl Running {
    pub(crate) fn new(coroutine: Coroutine, poster: Poster) -> Rc<Self> {
        let id = IDS.replace(IDS.get() + 1);
        let woken = Arc::new(Woken { id, queued: AtomicBool::new(true), poster });
        let running = Rc::new(Running {
            id,
            location: coroutine.location,
            future: RefCell::new(Some(coroutine.future)),
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            owner: RefCell::new(None),
        });
        // At the end of the thread there may be no list any more; then nothing is polled either.
        let listed = Rc::downgrade(&running);
        let _ = RUNNING.try_with(|all| all.borrow_mut().insert(id, listed));
        running
    }

    /// What the reactor owns while the future is pending: closed, it drops that, and so the future.
    pub(crate) fn owned(self: &Rc<Self>) -> Callback {
        let running = Rc::clone(self);
        Callback::at(self.location, move || drop(running))
    }

    /// The timer of [`owned`](Self::owned), which ends with the future. A closed reactor has taken
    /// none: then the future is dropped here.
    pub(crate) fn set_owner(&self, timer: TimerHandle) {
        match timer.is_cancelled() {
            true => contain(|| drop(self.future.take())),
            false => _ = self.owner.replace(Some(timer)),
        }
    }

    pub(crate) fn first_poll(&self) -> Callback {
        let id = self.id;
        Callback::at(self.location, move || poll(id))
    }
}

fn poll(id: u64) {
    let running = RUNNING.try_with(|all| all.borrow().get(&id).and_then(Weak::upgrade));
    let Some(running) = running.ok().flatten() else { return };
    // A swap, so the poll reads what was written before each wake that found a poll queued.
    running.woken.queued.swap(false, Ordering::AcqRel);
    let taken = running.future.take();
    let Some(mut future) = taken else { return };
    let mut cx = Context::from_waker(&running.waker);
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
    if matches!(polled, Ok(Poll::Pending)) {
        running.future.replace(Some(future));
        return;
    }
    let owner = running.owner.take();
    if let Some(owner) = owner {
        owner.cancel();
    }
    if let Err(panic) = polled {
        contain(|| drop(future));
        // The reactor's to report, as the panic of any callback.
        resume_unwind(panic);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // At the end of the thread there may be no list any more.
        let _ = RUNNING.try_with(|all| all.borrow_mut().remove(&self.id));
    }
}

struct Woken {
    id: u64,
    /// A poll is on its way.
    queued: AtomicBool,
    poster: Poster,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let id = self.id;
            // On a closed loop there is nothing left to poll.
            let _ = self.poster.post(move || poll(id));
        }
    }
}
