//! Queues of callbacks: the plain one, the loop's, and the task queues of executors.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use async_executor::LocalExecutor;
use calloop::{EventLoop, LoopHandle, LoopSignal};
use ioloop::{IOLoop, Reactor};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::harness::{Contender, Sample, timed};
use crate::loops::{self, current};
use crate::peers;

/// What callbacks can be queued in, by each other.
pub(crate) trait Queue: Clone + 'static {
    fn push(&self, callback: impl FnOnce() + 'static);

    /// Called by the last callback.
    fn finish(&self);
}

/// Work that is the same whatever the queue.
pub(crate) trait Work: Copy + 'static {
    /// Queues the first of that many callbacks.
    fn begin<Q: Queue>(self, queue: &Q, operations: u64);
}

/// Every queue there is, at the same work; the plain one first.
pub(crate) fn contenders<W: Work>(name: &'static str, work: W) -> Vec<Contender> {
    let mut contenders = vec![Contender::new("plain queue", move |n| plain(work, n))];
    contenders.extend(loops::contenders(move |io_loop, n| work.begin(io_loop, n)));
    contenders
        .push(Contender::beside_an_idle_thread("plain queue beside an idle thread", move |n| {
            plain(work, n)
        }));
    contenders.push(Contender::new("own bare, by current()", move |n| {
        let hosted = loops::BARE.open();
        hosted.io_loop.call_soon(move || work.begin(&Current, n));
        timed(|| hosted.run())
    }));
    contenders.push(Contender::new("calloop", move |n| idle_callbacks(work, n)));
    contenders.extend(peers::contenders(&[peers::LIBEVENT], name, &[]));
    contenders.push(Contender::new("tokio current-thread", move |n| local_set(work, n)));
    contenders.push(Contender::new("async-io", move |n| local_executor(work, n)));
    contenders.extend(peers::contenders(&peers::PYTHON, name, &[]));
    contenders
}

/// The least that a queue of callbacks can be.
#[derive(Clone, Default)]
struct Plain(Rc<RefCell<VecDeque<Callback>>>);

type Callback = Box<dyn FnOnce()>;

impl Queue for Plain {
    fn push(&self, callback: impl FnOnce() + 'static) {
        self.0.borrow_mut().push_back(Box::new(callback));
    }

    fn finish(&self) {}
}

fn plain(work: impl Work, operations: u64) -> Sample {
    let queue = Plain::default();
    work.begin(&queue, operations);
    timed(|| {
        loop {
            let callback = queue.0.borrow_mut().pop_front();
            let Some(callback) = callback else { break };
            callback();
        }
    })
}

impl Queue for IOLoop {
    fn push(&self, callback: impl FnOnce() + 'static) {
        self.call_soon(callback);
    }

    fn finish(&self) {
        self.stop();
    }
}

/// The loop whose callback is running, looked up each time.
#[derive(Clone)]
struct Current;

impl Queue for Current {
    fn push(&self, callback: impl FnOnce() + 'static) {
        current().call_soon(callback);
    }

    fn finish(&self) {
        current().stop();
    }
}

/// Idle callbacks: what calloop has for a callback that is not an event's.
#[derive(Clone)]
struct Idles(LoopHandle<'static, ()>, LoopSignal);

impl Queue for Idles {
    fn push(&self, callback: impl FnOnce() + 'static) {
        self.0.insert_idle(move |()| callback());
    }

    fn finish(&self) {
        self.1.stop();
    }
}

fn idle_callbacks(work: impl Work, operations: u64) -> Sample {
    let mut event_loop = EventLoop::try_new().expect("a loop");
    let queue = Idles(event_loop.handle(), event_loop.get_signal());
    work.begin(&queue, operations);
    // It would sleep with idle callbacks queued.
    timed(|| event_loop.run(Duration::ZERO, &mut (), |()| {}).expect("running the loop"))
}

/// A task for each callback, in the `LocalSet` that polls the present one.
#[derive(Clone, Default)]
struct SpawnLocal(Rc<Notify>);

impl Queue for SpawnLocal {
    fn push(&self, callback: impl FnOnce() + 'static) {
        tokio::task::spawn_local(async move { callback() });
    }

    fn finish(&self) {
        self.0.notify_one();
    }
}

fn local_set(work: impl Work, operations: u64) -> Sample {
    let runtime = loops::current_thread();
    let tasks = LocalSet::new();
    let queue = SpawnLocal::default();
    timed(|| {
        tasks.block_on(&runtime, async {
            work.begin(&queue, operations);
            queue.0.notified().await;
        });
    })
}

/// A task for each callback, in an executor of smol's.
#[derive(Clone, Default)]
struct Executor(Rc<LocalExecutor<'static>>, Rc<Notify>);

impl Queue for Executor {
    fn push(&self, callback: impl FnOnce() + 'static) {
        self.0.spawn(async move { callback() }).detach();
    }

    fn finish(&self) {
        self.1.notify_one();
    }
}

fn local_executor(work: impl Work, operations: u64) -> Sample {
    let queue = Executor::default();
    work.begin(&queue, operations);
    timed(|| async_io::block_on(queue.0.run(queue.1.notified())))
}
