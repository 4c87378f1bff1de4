//! The library's file of what a task and its runner share, and models of the two.
// What only a loop does is not done here.
#![allow(dead_code)]

mod place;
#[path = "../../../../src/task/shared.rs"]
mod shared;

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use crate::explore;
use shared::{Far, Near, pair};

mod sync {
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
}

type Undriven = ();

pub(crate) fn models() {
    explore("a task that is awaited by one waker after another is woken for its result", || {
        let (mut near, far) = pair(false);
        let (side, waker) = side();
        let runner = thread::spawn(move || run(far, 1));
        let result = match near.wait(&Arc::new(Nobody).into()) {
            true => wait(near, &side, &waker),
            false => near.take(),
        };
        assert_eq!(result, Some(Ok(7)));
        assert_eq!(runner.join().unwrap(), None);
        drop(waker);
        assert_eq!(Arc::strong_count(&side), 1, "no waker is left");
    });
    explore("a cancellation, by either of two, ends the runner, or comes too late", || {
        let (near, far) = pair(false);
        let near = loom::sync::Arc::new(near);
        let runner = thread::spawn(move || run(far, 2));
        let other = loom::sync::Arc::clone(&near);
        let canceller = thread::spawn(move || other.cancel());
        near.cancel();
        canceller.join().unwrap();
        assert_eq!(runner.join().unwrap(), None);
        assert!(near.is_over());
    });
    explore("the result of a task that is dropped is on one side", || drop_it(false));
    explore("so it is if the task was cancelled before", || drop_it(true));
    explore("a runner that its own waker holds goes with its task", || {
        let (near, far) = pair(false);
        let held = Arc::new(Held(Mutex::new(None)));
        let left = Arc::downgrade(&held);
        let runner = thread::spawn(move || {
            let mut far: Far<Outcome> = far;
            far.listen(Arc::clone(&held).into());
            *held.0.lock().unwrap() = Some(far);
        });
        near.detach();
        runner.join().unwrap();
        assert!(left.upgrade().is_none());
    });
    explore("a promise is kept or cancelled, and who awaits it is woken", || {
        let (mut near, far) = pair(true);
        let (side, waker) = side();
        let resolver = thread::spawn(move || far.complete(Ok(7)));
        let waits = near.wait(&waker);
        near.cancel();
        let near = if waits { wait(near, &side, &waker) } else { near.take() };
        let far = resolver.join().unwrap();
        assert!(near.is_some() != far.is_some());
    });
    explore("so is one that two threads cancel, and one drops", || {
        let (near, far) = pair(true);
        let near = loom::sync::Arc::new(near);
        let other = loom::sync::Arc::clone(&near);
        let resolver = thread::spawn(move || far.complete(Ok::<_, ()>(7)));
        let canceller = thread::spawn(move || other.cancel());
        near.cancel();
        canceller.join().unwrap();
        let near = loom::sync::Arc::try_unwrap(near).ok().and_then(Near::detach);
        let far = resolver.join().unwrap();
        assert!(near.is_some() != far.is_some());
    });
}

fn drop_it(cancels: bool) {
    let (mut near, far) = pair(false);
    let (side, waker) = side();
    let runner = thread::spawn(move || run(far, 1));
    near.wait(&waker);
    if cancels {
        near.cancel();
    }
    let near = near.detach();
    let far = runner.join().unwrap();
    assert!(near.is_some() != far.is_some());
    drop(waker);
    assert_eq!(Arc::strong_count(&side), 1, "no waker is left");
}

type Outcome = Result<usize, ()>;

/// What `Task::poll` does, until the end.
fn wait(mut near: Near<Outcome>, side: &Side, waker: &Waker) -> Option<Outcome> {
    while !near.is_over() && near.wait(waker) {
        side.0.wait();
    }
    near.take()
}

/// What `Run::poll` does for a future that is ready at its poll of that number.
fn run(mut far: Far<Outcome>, polls: usize) -> Option<Outcome> {
    for _ in 0..polls {
        if far.is_cancelled() {
            return far.complete(Err(()));
        }
        far.listen(Arc::new(Nobody).into());
    }
    far.complete(Ok(7))
}

struct Side(Notify);

fn side() -> (Arc<Side>, Waker) {
    let side = Arc::new(Side(Notify::new()));
    (Arc::clone(&side), side.into())
}

impl Wake for Side {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

struct Held(Mutex<Option<Far<Outcome>>>);

impl Wake for Held {
    fn wake(self: Arc<Self>) {}
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}
