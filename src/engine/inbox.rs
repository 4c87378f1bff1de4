//! The inbox: messages of other threads for the loop, and the wake that they need.

use std::io;
use std::mem;
use std::task::Waker;

use super::arena::Key;
use super::fork::Process;
use super::poller::PollWaker;
use super::queue::{Other, Posts, Queue};
use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Mutex, MutexGuard, PoisonError};
use super::wake::Handshake;
use crate::error::Closed;
use crate::reactor::callback::Posted;

/// A message for a loop.
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
    /// Show the loop to those who inspect the process.
    #[allow(dead_code, reason = "posted with the feature `inspect` alone")]
    Show,
}

struct Contents {
    posts: Posts,
    closed: bool,
    /// Set by a shutdown, never cleared: callbacks are refused, and only wakes are accepted.
    refusing: bool,
    /// The waker of a host that sleeps. It wakes the loop directly; the poller's waker would reach
    /// the host through its reactor only. Taken by the wake.
    host: Option<Waker>,
}

/// The part of a loop that other threads hold.
pub(crate) struct Inbox {
    contents: Mutex<Contents>,
    handshake: Handshake,
    waker: PollWaker,
    /// Whether a poll of the runtime's tasks is queued already.
    runtime_scheduled: AtomicBool,
    /// The process of the loop.
    process: Process,
}

impl Inbox {
    pub(crate) fn new(waker: PollWaker) -> io::Result<Self> {
        let (handshake, process) = (Handshake::new(), Process::this()?);
        let runtime_scheduled = AtomicBool::new(false);
        let contents = Contents { posts: Posts::new(), closed: false, refusing: false, host: None };
        let contents = Mutex::new(contents);
        Ok(Inbox { contents, handshake, waker, runtime_scheduled, process })
    }

    /// Whether this is a forked child, and the loop is its parent's.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_this()
    }

    pub(crate) fn waker(&self) -> &PollWaker {
        &self.waker
    }

    /// Leaves a message, and wakes the loop if it sleeps. If the loop is closed it returns the
    /// message.
    pub(crate) fn post(&self, message: Message) -> Result<(), (Closed, Message)> {
        let Some(mut contents) = self.lock() else {
            return Err((Closed, message));
        };
        let refused = contents.refusing && matches!(message, Message::Callback(_));
        if contents.closed || refused {
            return Err((Closed, message));
        }
        match message {
            Message::Callback(callback) => contents.posts.push(callback),
            Message::Task(key) => contents.posts.push_other(Other::Task(key)),
            Message::Main => contents.posts.push_other(Other::Main),
            Message::Runtime => contents.posts.push_other(Other::Runtime),
            Message::Stop => contents.posts.push_other(Other::Stop),
            Message::Show => contents.posts.push_other(Other::Show),
        }
        if self.handshake.fill() {
            self.wake_unlocked(contents);
        }
        Ok(())
    }

    /// Wakes the loop: by its host's waker if the host sleeps, otherwise by its descriptor, which
    /// becomes readable.
    pub(crate) fn wake_loop(&self) {
        if let Some(contents) = self.lock() {
            self.wake_unlocked(contents);
        }
    }

    /// Has the loop make another turn before it sleeps, and wakes it if it sleeps; one that has not
    /// taken all messages yet was woken for them.
    pub(crate) fn nudge(&self) {
        if !self.is_forked() && self.handshake.fill() {
            self.wake_loop();
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

    /// Sets the waker of a host that is about to sleep; none, and the loop is woken by its
    /// descriptor.
    pub(crate) fn set_host(&self, host: Option<&Waker>) {
        // Cloned before the lock and dropped after it: both may run user code, which may post. It
        // is not compared with the one before: of many hosts no two wakers are known to be the
        // same, and each wake takes it away.
        let host = host.cloned();
        let before = self.lock().map(|mut contents| mem::replace(&mut contents.host, host));
        drop(before);
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.handshake.is_filled()
    }

    /// See [`Handshake::is_awake`].
    #[cfg(feature = "inspect")]
    pub(crate) fn is_awake(&self) -> bool {
        self.handshake.is_awake()
    }

    /// Moves the messages to the end of a queue.
    pub(crate) fn take(&self, queue: &mut Queue) {
        let Some(mut contents) = self.lock() else { return };
        self.handshake.empty();
        queue.append_posts(&mut contents.posts);
    }

    /// Refuses callbacks from now on.
    pub(crate) fn refuse(&self) {
        if let Some(mut contents) = self.lock() {
            contents.refusing = true;
        }
    }

    /// Refuses every message from now on. Returns those that are left.
    pub(crate) fn close(&self) -> Queue {
        let Some(mut contents) = self.lock() else { return Queue::new() };
        contents.closed = true;
        mem::replace(&mut contents.posts, Posts::new()).into_queue()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none_or(|contents| contents.closed)
    }

    /// Returns whether the caller has to queue a poll of the runtime's tasks.
    pub(crate) fn schedule_runtime(&self) -> bool {
        !self.runtime_scheduled.swap(true, Ordering::AcqRel)
    }

    /// Begins the poll of the runtime's tasks: a wake from here on queues another one.
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

    /// None in a forked child, which acts as if the loop were closed: the thread that holds the
    /// lock may not exist there.
    fn lock(&self) -> Option<MutexGuard<'_, Contents>> {
        // No code panics under this lock, so a poisoned one is as good as new.
        (!self.is_forked()).then(|| self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
