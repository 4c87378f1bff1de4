//! What other threads hold: the inbox, what wakes the reactor, and the wakers of futures.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use ioloop::Closed;
use ioloop::reactor::{Post, Posted};

pub(crate) enum Message {
    Callback(Posted),
    /// The task of this number was woken.
    Poll(u64),
}

pub(crate) struct Shared {
    /// Absent once the reactor is closed.
    inbox: Mutex<Option<Vec<Message>>>,
    /// For a reactor that waits: the end that it polls, and the other.
    bell: Option<(UnixStream, UnixStream)>,
}

impl Shared {
    pub(crate) fn new(waits: bool) -> io::Result<Self> {
        let bell = waits.then(UnixStream::pair).transpose()?;
        if let Some((polled, rung)) = &bell {
            polled.set_nonblocking(true)?;
            rung.set_nonblocking(true)?;
        }
        Ok(Shared { inbox: Mutex::new(Some(Vec::new())), bell })
    }

    pub(crate) fn take(&self) -> Vec<Message> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn close(&self) -> Option<Vec<Message>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The end that is readable once the reactor was woken.
    pub(crate) fn bell(&self) -> Option<&UnixStream> {
        self.bell.as_ref().map(|(polled, _)| polled)
    }

    /// Makes the bell unreadable.
    pub(crate) fn clear(&self) {
        while self.bell().is_some_and(|mut bell| bell.read(&mut [0; 64]).is_ok()) {}
    }

    fn send(&self, message: Message) -> Result<(), Closed> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        match inbox.as_mut() {
            Some(inbox) => inbox.push(message),
            None => {
                drop(inbox);
                // Its destructor may post, too.
                drop(message);
                return Err(Closed);
            }
        }
        drop(inbox);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some((_, rung)) = &self.bell {
            // Where it is full, it is readable.
            let _ = (&mut &*rung).write(&[1]);
        }
    }
}

impl Post for Shared {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        self.send(Message::Callback(callback))
    }
}

/// Wakes a task.
pub(crate) struct TaskWaker {
    pub(crate) task: u64,
    /// A poll is on its way.
    pub(crate) queued: AtomicBool,
    pub(crate) shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // On a closed reactor there is nothing left to poll.
            let _ = self.shared.send(Message::Poll(self.task));
        }
    }
}

/// Wakes the future of a `block_on`.
pub(crate) struct MainWaker {
    pub(crate) woken: AtomicBool,
    pub(crate) shared: Arc<Shared>,
}

impl MainWaker {
    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.shared.wake();
        }
    }
}
