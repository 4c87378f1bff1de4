//! What the cases share: a plain executor, a log, things that are dropped visibly.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::mem;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::rig::Rig;
use ioloop::observe::Origin;
use ioloop::{IOLoop, Reactor, RunError};

/// Blocks this thread on a future, with nothing but parking.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Stops the loop that is current.
pub(super) fn stop() {
    IOLoop::current().expect("a callback has a current loop").stop();
}

/// Pending once: what awaits it is polled again in the next turn.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Two futures at once, the first polled first.
pub(super) async fn both<A: Future, B: Future>(one: A, two: B) -> (A::Output, B::Output) {
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        first = first.take().or_else(|| ready(one.as_mut().poll(cx)));
        second = second.take().or_else(|| ready(two.as_mut().poll(cx)));
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            some => {
                (first, second) = some;
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(polled: Poll<T>) -> Option<T> {
    match polled {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Drives a loop for one turn, which does not wait.
pub(super) fn one_turn(rig: &Rig, io_loop: &IOLoop) {
    io_loop.stop();
    rig.run(io_loop).expect("running for one turn");
}

/// Drives a loop, which stays busy, until something is true.
pub(super) fn run_while(rig: &Rig, io_loop: &IOLoop, is_waiting: impl Fn() -> bool + 'static) {
    io_loop.spawn(async move {
        while is_waiting() {
            yield_now().await;
        }
        stop();
    });
    rig.run(io_loop).expect("running until something is true");
}

/// Drives a loop that has a deadline ahead: if a stop was left over, this returns before it.
pub(super) fn assert_blocks(rig: &Rig, io_loop: &IOLoop) {
    let log = Log::new();
    let fired = log.clone();
    io_loop.call_later(Duration::from_millis(1), move || {
        fired.push(());
        stop();
    });
    rig.run(io_loop).expect("running up to a deadline");
    assert_eq!(log.len(), 1, "the run ended before its deadline");
}

/// Polls a future once, and takes no wake.
pub(super) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// How a loop is driven in the way of the rig, for where that must be refused at once.
pub(super) fn refusable(rig: &Rig) -> fn(&IOLoop) -> Result<(), RunError> {
    if rig.is_own() {
        IOLoop::start
    } else if rig.is_embedded() {
        |io_loop| io_loop.turn(Some(Duration::from_millis(1))).map(drop)
    } else {
        // Not under the executor, which may be running already.
        |io_loop| match poll_once(pin!(io_loop.run())) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}

/// Whether two loops that are open are one.
pub(super) fn is_same(one: &IOLoop, other: &IOLoop) -> bool {
    let descriptor = |io_loop: &IOLoop| io_loop.descriptor().expect("an open loop");
    descriptor(one) == descriptor(other)
}

/// Whether this loop is current.
pub(super) fn is_current(io_loop: &IOLoop) -> bool {
    IOLoop::current().is_some_and(|current| is_same(&current, io_loop))
}

/// What a loop reports from now on: what panicked, and its message.
pub(super) fn exceptions(io_loop: &IOLoop) -> Log<(Origin, String)> {
    let log = Log::new();
    let reported = log.clone();
    io_loop.set_exception_handler(move |exception| {
        let message = exception.message().unwrap_or_default();
        reported.push((exception.origin, message.to_owned()));
    });
    log
}

/// A list that callbacks write to.
pub(super) struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Rc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Self {
        Log(Rc::default())
    }

    pub(super) fn push(&self, item: T) {
        self.0.borrow_mut().push(item);
    }

    /// What was written so far, which is cleared.
    pub(super) fn take(&self) -> Vec<T> {
        self.0.take()
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Counts how often its clones were dropped.
#[derive(Clone, Default)]
pub(super) struct Drops(Rc<Cell<usize>>);

/// Counts itself when it is dropped.
pub(super) struct Dropped(Rc<Cell<usize>>);

impl Drops {
    pub(super) fn new() -> Self {
        Drops::default()
    }

    /// Something to capture.
    pub(super) fn item(&self) -> Dropped {
        Dropped(Rc::clone(&self.0))
    }

    pub(super) fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// How many descriptors this process has open.
pub(super) fn open_descriptors() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("the list of descriptors");
    // One is the list's own.
    open.count() - 1
}

/// The names of this process's threads; a thread that has just begun still has its parent's.
pub(super) fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("the list of threads");
    // A thread that ends meanwhile has no name any more.
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| Some(name(task.ok()?)?.trim_end().to_owned())).collect()
}

/// The loop whose callback this is called in.
pub(super) fn current() -> IOLoop {
    IOLoop::current().expect("a callback has a current loop")
}

/// Queues a callback that queues itself again for ever, and calls `step` each time.
pub(super) fn chain(io_loop: &IOLoop, mut step: impl FnMut() + 'static) {
    io_loop.call_soon(move || {
        step();
        chain(&current(), step);
    });
}

/// Sets a timer of no delay that sets itself again for ever, and calls `step` each time.
pub(super) fn chain_of_timers(io_loop: &IOLoop, mut step: impl FnMut() + 'static) {
    io_loop.call_later(Duration::ZERO, move || {
        step();
        chain_of_timers(&current(), step);
    });
}

/// A stream with a byte to be read, and its peer.
pub(super) fn readable_stream() -> (UnixStream, UnixStream) {
    let (stream, mut peer) = UnixStream::pair().expect("a pair of sockets");
    peer.write_all(b".").expect("room for a byte");
    (stream, peer)
}

/// Writes down what is reported to the exception handler, as it describes itself.
pub(super) fn reports(io_loop: &IOLoop) -> Log<String> {
    let log = Log::new();
    let reports = log.clone();
    io_loop.set_exception_handler(move |exception| reports.push(exception.to_string()));
    log
}

/// A number that callbacks count up.
#[derive(Clone, Default)]
pub(super) struct Count(Rc<Cell<u32>>);

impl Count {
    pub(super) fn new() -> Self {
        Count::default()
    }

    /// Adds one, and returns the sum.
    pub(super) fn add(&self) -> u32 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    pub(super) fn get(&self) -> u32 {
        self.0.get()
    }

    /// What was counted so far, which is cleared.
    pub(super) fn take(&self) -> u32 {
        self.0.take()
    }
}
