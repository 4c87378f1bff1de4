//! What a task and its runner share: a result, two wakers, and one word that says whose they are.
//!
//! Each side has one end, and each place one owner at a time. A step that changes the word changes
//! owners, so a side that has lost a race finds out by what the word was before:
//!
//! | place | whose it is |
//! |---|---|
//! | the result | the runner's; from [`OVER`] on the task's, or that of the runner whom the word tells that it is not wanted |
//! | the waiter | the task's while it is not [`WAITED`] for; then that of whoever sets [`OVER`] or [`DROPPED`] first |
//! | the runner | the runner's while it does not [listen](LISTENING); then that of whoever sets [`CANCELLED`], [`DROPPED`] or [`OVER`] first |
#![allow(unsafe_code)]

use std::task::Waker;

use super::Undriven;
use super::place::Place;
use super::sync::{Arc, AtomicU8, Ordering};

/// The result is there, or a promise is cancelled. Nothing changes that.
const OVER: u8 = 1;
/// The waiter is to be woken at the end.
const WAITED: u8 = 2;
/// The runner is to be woken by a cancellation.
const LISTENING: u8 = 4;
/// The future is to be dropped instead of polled.
const CANCELLED: u8 = 8;
/// The task was dropped: its result is not wanted.
const DROPPED: u8 = 16;
/// Nothing runs that a cancellation would have to reach: it is the end.
const PROMISED: u8 = 32;
const CANCELLED_PROMISE: u8 = OVER | PROMISED | CANCELLED;

struct Shared<R> {
    word: AtomicU8,
    result: Place<R>,
    /// Wakes the future that awaits the task.
    waiter: Place<Waker>,
    /// Wakes the task's future on its executor, so a cancellation is noticed.
    runner: Place<Waker>,
    undriven: Undriven,
}

/// The task's end.
pub(super) struct Near<R>(Arc<Shared<R>>);

/// The runner's end.
pub(super) struct Far<R>(Arc<Shared<R>>);

pub(super) fn pair<R>(promised: bool) -> (Near<R>, Far<R>) {
    let shared = Arc::new(Shared {
        word: AtomicU8::new(if promised { PROMISED } else { 0 }),
        result: Place::new(),
        waiter: Place::new(),
        runner: Place::new(),
        undriven: Undriven::default(),
    });
    (Near(Arc::clone(&shared)), Far(shared))
}

impl<R> Near<R> {
    pub(super) fn is_over(&self) -> bool {
        self.0.is(OVER)
    }

    pub(super) fn is_waited(&self) -> bool {
        self.0.is(WAITED)
    }

    pub(super) fn undriven(&self) -> &Undriven {
        &self.0.undriven
    }

    /// Leaves a waker for the end; false if that has come.
    pub(super) fn wait(&mut self, waker: &Waker) -> bool {
        let shared = &*self.0;
        if shared.is(WAITED) && shared.word.fetch_and(!WAITED, Ordering::AcqRel) & OVER != 0 {
            return false;
        }
        // Made before: cloning and dropping a waker is the executor's code.
        let waker = Some(waker.clone());
        // SAFETY: the waiter is not waited for, so it is the task's, and this is its one end.
        let _before = unsafe { shared.waiter.replace(waker) };
        shared.word.fetch_or(WAITED, Ordering::AcqRel) & OVER == 0
    }

    /// Takes the result, after the end; none of a promise that is cancelled.
    pub(super) fn take(self) -> Option<R> {
        match self.0.word.load(Ordering::Acquire) {
            word if word & CANCELLED_PROMISE == CANCELLED_PROMISE => None,
            // SAFETY: after the end the result is the task's, which is not dropped.
            word if word & OVER != 0 => unsafe { self.0.result.replace(None) },
            _ => None,
        }
    }

    pub(super) fn cancel(&self) {
        let end = |word| match word {
            word if word & (OVER | CANCELLED) != 0 => None,
            word if word & PROMISED != 0 => Some(word | CANCELLED | OVER),
            word => Some(word | CANCELLED),
        };
        let shared = &*self.0;
        let changed = shared.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
        let waker = match changed {
            // SAFETY: it is waited for, and this has set the end first.
            Ok(before) if before & (PROMISED | WAITED) == PROMISED | WAITED => unsafe {
                shared.waiter.replace(None)
            },
            // SAFETY: the runner listens, and this has cancelled it first.
            Ok(before) if before & LISTENING != 0 => unsafe { shared.runner.replace(None) },
            _ => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops the task. Returns the result, if it is there.
    pub(super) fn detach(self) -> Option<R> {
        let before = self.0.word.fetch_or(DROPPED, Ordering::AcqRel);
        if before & OVER != 0 {
            return self.take();
        }
        // SAFETY: whether it was waited for or not, this has set the end of that first.
        let _waiter = unsafe { self.0.waiter.replace(None) };
        // SAFETY: the runner listens, and this has ended that first.
        let _runner = (before & (LISTENING | CANCELLED) == LISTENING)
            .then(|| unsafe { self.0.runner.replace(None) });
        None
    }
}

impl<R> Far<R> {
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.is(CANCELLED)
    }

    /// Whether the result is not wanted.
    pub(super) fn is_abandoned(&self) -> bool {
        self.0.is(DROPPED | OVER)
    }

    pub(super) fn undriven(&self) -> &Undriven {
        &self.0.undriven
    }

    /// Has a cancellation wake the runner.
    pub(super) fn listen(&mut self, waker: Waker) {
        const DEAF: u8 = CANCELLED | DROPPED;
        let shared = &*self.0;
        if shared.is(DEAF)
            || shared.is(LISTENING)
                && shared.word.fetch_and(!LISTENING, Ordering::AcqRel) & DEAF != 0
        {
            return;
        }
        // SAFETY: the runner does not listen, so its waker is its own, and this is its one end.
        let _before = unsafe { shared.runner.replace(Some(waker)) };
        if shared.word.fetch_or(LISTENING, Ordering::AcqRel) & DEAF != 0 {
            // SAFETY: those who have cancelled or dropped the task did so before it listened.
            let _waker = unsafe { shared.runner.replace(None) };
        }
    }

    /// Sets the result, and wakes who waits for it. Returns it if it will not be taken.
    pub(super) fn complete(self, result: R) -> Option<R> {
        let shared = &*self.0;
        // SAFETY: the result is the runner's, whose one end this is.
        unsafe { shared.result.fill(result) };
        let before = shared.word.fetch_or(OVER, Ordering::AcqRel);
        let (mut unclaimed, mut waiter, mut runner) = (None, None, None);
        if before & (OVER | DROPPED) != 0 {
            // SAFETY: a task that was dropped, or whose promise was cancelled, leaves it alone.
            unclaimed = unsafe { shared.result.replace(None) };
        } else if before & WAITED != 0 {
            // SAFETY: it is waited for, and this has set the end first.
            waiter = unsafe { shared.waiter.replace(None) };
        }
        if before & (LISTENING | CANCELLED | DROPPED) == LISTENING {
            // SAFETY: the runner listens, and nobody has ended that before.
            runner = unsafe { shared.runner.replace(None) };
        }
        // Before the wake: who takes the result then is the last to have it.
        drop(self);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        drop(runner);
        unclaimed
    }
}

impl<R> Shared<R> {
    /// Whether any of these is set.
    fn is(&self, any: u8) -> bool {
        self.word.load(Ordering::Acquire) & any != 0
    }
}
