//! An executor whose `wake` polls on the spot, and whose wakers call back into the loops of their
//! thread whenever they are cloned, woken or dropped: whoever does that under a borrow or a lock is
//! found out.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use ioloop::{IOLoop, ManualClock, Reactor, WeakIOLoop};

type Panic = Box<dyn Any + Send>;

thread_local! {
    static LOOPS: RefCell<Vec<(WeakIOLoop, Option<ManualClock>)>> = const { RefCell::new(Vec::new()) };
    static IS_CALLING_BACK: Cell<bool> = const { Cell::new(false) };
    static FOUND: RefCell<Option<Panic>> = const { RefCell::new(None) };
    /// The futures of `block_on` that are not being polled.
    static WAITING: RefCell<BTreeMap<usize, Waiting>> = const { RefCell::new(BTreeMap::new()) };
}

/// Has the wakers of this thread call back into a loop, and into its clock.
pub fn know(io_loop: &IOLoop, clock: Option<&ManualClock>) {
    LOOPS.with_borrow_mut(|loops| loops.push((io_loop.downgrade(), clock.cloned())));
}

/// Does a bit of everything that takes a borrow or a lock, and leaves all as it was.
fn call_back() {
    if IS_CALLING_BACK.replace(true) {
        return;
    }
    let loops = LOOPS.with_borrow(Vec::clone);
    let called = catch_unwind(AssertUnwindSafe(|| {
        for (io_loop, clock) in loops {
            let Some(io_loop) = io_loop.upgrade() else { continue };
            let _ = (io_loop.listing(), io_loop.metrics(), io_loop.next_deadline());
            assert_eq!(io_loop.handle().is_closed(), io_loop.is_closed());
            // The portable poller's descriptor does not hold the deadline: a timer that is set
            // between two turns makes it readable, so the host asks for the deadline anew
            // (B257). Set by the last waker of a run, it leaves no quiet descriptor, which six
            // cases expect.
            if cfg!(not(ioloop_portable)) {
                let timer = io_loop.call_later(Duration::from_secs(1 << 30), || ());
                assert_eq!(timer.cancel(), !io_loop.is_closed());
            }
            if let Some(clock) = clock {
                clock.advance(Duration::ZERO);
            }
        }
    }));
    if let Err(panic) = called {
        FOUND.with_borrow_mut(|found| _ = found.get_or_insert(panic));
    }
    IS_CALLING_BACK.set(false);
}

/// What a waker knows of its future.
struct Spot {
    home: Thread,
    /// Woken since the last poll began.
    woken: AtomicBool,
}

impl Spot {
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if thread::current().id() == self.home.id() {
            poll(self.key());
        } else {
            self.home.unpark();
        }
    }
}

/// A future, between two polls.
struct Waiting {
    spot: Arc<Spot>,
    future: NonNull<dyn Future<Output = ()>>,
    ended: NonNull<Cell<Option<Result<(), Panic>>>>,
}

/// Polls a future, if it is not being polled.
fn poll(key: usize) {
    let Some(waiting) = WAITING.with_borrow_mut(|waiting| waiting.remove(&key)) else { return };
    waiting.spot.woken.store(false, Ordering::SeqCst);
    let waker = waker(Arc::clone(&waiting.spot));
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `block_on` is there as long as its future is waiting, keeps it pinned and uses it
        // no more. It was taken out of the waiting ones, so nobody else polls it.
        let future = unsafe { Pin::new_unchecked(&mut *waiting.future.as_ptr()) };
        future.poll(&mut Context::from_waker(&waker))
    }));
    let ended = match polled {
        Ok(Poll::Pending) => {
            WAITING.with_borrow_mut(|all| all.insert(key, waiting));
            return;
        }
        Ok(Poll::Ready(())) => Ok(()),
        Err(panic) => Err(panic),
    };
    // SAFETY: it lives as long as the future.
    unsafe { waiting.ended.as_ref() }.set(Some(ended));
}

/// Blocks on a future. Fails if a waker was used under a borrow.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut output = None;
    let ended = Cell::new(None);
    {
        let mut future = pin!(async { output = Some(future.await) });
        let future: Pin<&mut dyn Future<Output = ()>> = future.as_mut();
        // SAFETY: nothing is moved out of it; the lifetime that is forgotten is that of this block,
        // which ends only when the future has ended, and nobody has it any more.
        let future: NonNull<dyn Future<Output = ()>> = unsafe {
            let future: *mut (dyn Future<Output = ()> + '_) = future.get_unchecked_mut();
            NonNull::new_unchecked(std::mem::transmute::<
                *mut (dyn Future<Output = ()> + '_),
                *mut (dyn Future<Output = ()> + 'static),
            >(future))
        };
        let spot = Arc::new(Spot { home: thread::current(), woken: AtomicBool::new(true) });
        let waiting = Waiting { spot: Arc::clone(&spot), future, ended: NonNull::from(&ended) };
        WAITING.with_borrow_mut(|all| all.insert(spot.key(), waiting));
        let result = loop {
            if spot.woken.load(Ordering::SeqCst) {
                poll(spot.key());
            }
            // A wake in here polls as well.
            call_back();
            if let Some(result) = ended.take() {
                break result;
            }
            if !spot.woken.load(Ordering::SeqCst) {
                thread::park();
            }
        };
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }
    if let Some(found) = FOUND.take() {
        println!("a waker was cloned, woken or dropped under a borrow");
        resume_unwind(found);
    }
    output.expect("it has ended")
}

fn waker(spot: Arc<Spot>) -> Waker {
    const METHODS: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

    unsafe fn share(data: *const ()) -> Arc<Spot> {
        // SAFETY: the data of these wakers is an `Arc<Spot>`.
        unsafe { Arc::from_raw(data.cast()) }
    }

    unsafe fn clone(data: *const ()) -> RawWaker {
        call_back();
        // SAFETY: the waker that is cloned keeps its own share.
        unsafe { Arc::<Spot>::increment_strong_count(data.cast()) };
        RawWaker::new(data, &METHODS)
    }

    unsafe fn wake(data: *const ()) {
        call_back();
        // SAFETY: the share is this waker's, which is used up.
        unsafe { share(data) }.wake();
    }

    unsafe fn wake_by_ref(data: *const ()) {
        call_back();
        // SAFETY: the share stays this waker's.
        unsafe { &*data.cast::<Spot>() }.wake();
    }

    unsafe fn drop_waker(data: *const ()) {
        call_back();
        // SAFETY: the share is this waker's, which is used up.
        drop(unsafe { share(data) });
    }

    // SAFETY: the methods keep to the contract of `RawWakerVTable`, and a `Spot` may be used on any
    // thread.
    unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(spot).cast(), &METHODS)) }
}
