//! The inbox: what other threads leave for the loop, and the bell that wakes it.

use std::io;
use std::mem;
use std::task::Waker;

use super::arena::Key;
use super::fork::Process;
use super::poller::PollWaker;
use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Mutex, MutexGuard, PoisonError};
use super::wake::Handshake;
use crate::error::Closed;
use crate::reactor::callback::Posted;

/// What can be left for a loop.
pub(crate) enum Message {
    Callback(Posted),
    /// Poll this task.
    Task(Key),
    /// Poll the future of `run_until` or `run_sync`.
    Main,
    /// Poll the tasks of the runtime's executor.
    Runtime,
    /// Stop at the end of the turn.
    Stop,
}

#[derive(Default)]
struct Contents {
    messages: Vec<Message>,
    closed: bool,
    /// Callbacks are refused, in a loop that shuts down: nothing but wakes is taken.
    refusing: bool,
    /// Wakes the loop's host, which sleeps: nearer than the waker, which the host would hear only through its reactor.
    host: Option<Waker>,
}

/// The part of a loop that other threads hold.
pub(crate) struct Inbox {
    contents: Mutex<Contents>,
    handshake: Handshake,
    waker: PollWaker,
    /// The tasks of the runtime's executor are queued for a poll already.
    runtime_scheduled: AtomicBool,
    /// Whose loop it is.
    process: Process,
}

impl Inbox {
    pub(crate) fn new(waker: PollWaker) -> io::Result<Self> {
        let (handshake, process) = (Handshake::new(), Process::this()?);
        let runtime_scheduled = AtomicBool::new(false);
        Ok(Inbox { contents: Mutex::default(), handshake, waker, runtime_scheduled, process })
    }

    /// Whether this process was forked from the one whose loop it is.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_this()
    }

    pub(crate) fn waker(&self) -> &PollWaker {
        &self.waker
    }

    /// Leaves a message, and wakes the loop if it sleeps. Gives the message back if the loop is closed.
    pub(crate) fn post(&self, message: Message) -> Result<(), (Closed, Message)> {
        let Some(mut contents) = self.lock() else {
            return Err((Closed, message));
        };
        let refused = contents.refusing && matches!(message, Message::Callback(_));
        if contents.closed || refused {
            return Err((Closed, message));
        }
        contents.messages.push(message);
        if self.handshake.fill() {
            self.wake_unlocked(contents);
        }
        Ok(())
    }

    /// Wakes the loop's host, if it sleeps; else the loop's descriptor becomes readable.
    pub(crate) fn wake_loop(&self) {
        if let Some(contents) = self.lock() {
            self.wake_unlocked(contents);
        }
    }

    fn wake_unlocked(&self, mut contents: MutexGuard<'_, Contents>) {
        let host = contents.host.take();
        drop(contents);
        match host {
            Some(host) => host.wake(),
            None => self.waker.wake(),
        }
    }

    /// Sets whom to wake in place of ringing; none is the descriptor alone.
    pub(crate) fn set_host(&self, host: Option<&Waker>) {
        // Cloned before the lock and dropped after it: both may be user code, which may post. Not compared first: of
        // many hosts no two wakers are known to be the same, and a wake takes this one away.
        let host = host.cloned();
        let before = self.lock().map(|mut contents| mem::replace(&mut contents.host, host));
        drop(before);
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.handshake.is_filled()
    }

    /// Exchanges the messages for the empty `room`, whose capacity is used again.
    pub(crate) fn take(&self, room: &mut Vec<Message>) {
        let Some(mut contents) = self.lock() else { return };
        self.handshake.empty();
        mem::swap(&mut contents.messages, room);
    }

    /// No callback is taken from now on.
    pub(crate) fn refuse(&self) {
        if let Some(mut contents) = self.lock() {
            contents.refusing = true;
        }
    }

    /// No message is taken from now on; returns what was left.
    pub(crate) fn close(&self) -> Vec<Message> {
        let Some(mut contents) = self.lock() else { return Vec::new() };
        contents.closed = true;
        mem::take(&mut contents.messages)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none_or(|contents| contents.closed)
    }

    /// Says whether the caller has to queue a poll of the runtime's tasks.
    pub(crate) fn schedule_runtime(&self) -> bool {
        !self.runtime_scheduled.swap(true, Ordering::AcqRel)
    }

    /// The poll of the runtime's tasks begins: wakes from here on queue another one.
    pub(crate) fn begin_runtime_poll(&self) {
        self.runtime_scheduled.swap(false, Ordering::AcqRel);
    }

    /// See [`Handshake::sleep`].
    pub(crate) fn sleep(&self) -> bool {
        self.handshake.sleep()
    }

    /// See [`Handshake::leave`].
    pub(crate) fn leave(&self) {
        self.handshake.leave();
    }

    /// See [`Handshake::rouse`].
    pub(crate) fn rouse(&self) {
        self.handshake.rouse();
    }

    /// None in a forked child, where the thread that holds the lock may be missing: there it is as if closed.
    fn lock(&self) -> Option<MutexGuard<'_, Contents>> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        (!self.is_forked()).then(|| self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
