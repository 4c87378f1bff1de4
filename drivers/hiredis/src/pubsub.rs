//! Messages of channels, as streams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use ioloop::{Resolver, deferred};

use crate::answer::give;
use crate::error::Error;

/// A message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The channel it was published to.
    pub channel: Vec<u8>,
    /// The pattern that the channel matches, where a pattern was subscribed.
    pub pattern: Option<Vec<u8>>,
    /// What was published.
    pub payload: Vec<u8>,
}

/// A channel, or a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) is_pattern: bool,
    pub(crate) name: Rc<[u8]>,
}

impl Key {
    /// What subscribes to it.
    pub(crate) fn subscribe(&self) -> [&[u8]; 2] {
        let verb: &[u8] = if self.is_pattern { b"PSUBSCRIBE" } else { b"SUBSCRIBE" };
        [verb, &self.name]
    }

    /// What ends that.
    pub(crate) fn unsubscribe(&self) -> [&[u8]; 2] {
        let verb: &[u8] = if self.is_pattern { b"PUNSUBSCRIBE" } else { b"UNSUBSCRIBE" };
        [verb, &self.name]
    }
}

/// Who is told that something of a subscription is done.
pub(crate) type Done = Resolver<Result<(), Error>>;

/// Where a subscription comes from.
pub(crate) trait Source {
    /// Ends a subscription, unless it has ended.
    fn unsubscribe(&self, key: &Key, sink: &Rc<Sink>, done: Option<Done>);
}

/// The messages of a subscription that nobody has taken yet.
pub(crate) struct Sink {
    room: usize,
    messages: RefCell<VecDeque<Message>>,
    waker: Cell<Option<Waker>>,
    confirming: Cell<Option<Done>>,
    /// The server has confirmed it, on the connection that there is.
    is_confirmed: Cell<bool>,
    /// Why nothing follows.
    end: RefCell<Option<Error>>,
    missed: Cell<u64>,
    interruptions: Cell<u64>,
}

impl Sink {
    pub(crate) fn new(room: usize, confirming: Done) -> Rc<Self> {
        Rc::new(Sink {
            room,
            messages: RefCell::default(),
            waker: Cell::default(),
            confirming: Cell::new(Some(confirming)),
            is_confirmed: Cell::new(false),
            end: RefCell::default(),
            missed: Cell::new(0),
            interruptions: Cell::new(0),
        })
    }

    /// A message has arrived.
    pub(crate) fn push(&self, message: Message) {
        // One from before is that of another subscription, which has been ended.
        if !self.is_confirmed.get() {
            return;
        }
        let mut messages = self.messages.borrow_mut();
        let oldest = if messages.len() < self.room { None } else { messages.pop_front() };
        messages.push_back(message);
        drop(messages);
        if oldest.is_some() {
            self.missed.set(self.missed.get() + 1);
        }
        self.wake();
    }

    pub(crate) fn confirm(&self) {
        self.is_confirmed.set(true);
        give(self.confirming.take(), Ok(()));
    }

    /// The connection is gone; another one follows.
    pub(crate) fn interrupt(&self) {
        if self.is_confirmed.replace(false) {
            self.interruptions.set(self.interruptions.get() + 1);
        }
    }

    /// Whether the first confirmation has not come yet.
    pub(crate) fn is_new(&self) -> bool {
        let confirming = self.confirming.take();
        let is_new = confirming.is_some();
        self.confirming.set(confirming);
        is_new
    }

    /// Nothing follows what is here.
    pub(crate) fn end(&self, why: &Error) {
        self.is_confirmed.set(false);
        self.end.borrow_mut().get_or_insert_with(|| why.clone());
        give(self.confirming.take(), Err(why.clone()));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The messages of a channel, or of a pattern, as a stream.
///
/// Those of a [`Connection`](crate::Connection) end with it, those of a [`Client`](crate::Client)
/// with its last share: the client subscribes again where it connects again, and what was published
/// meanwhile is lost, as Redis keeps nothing. [`interruptions`](Self::interruptions) tells of that.
///
/// There is [room](crate::Options::room) for so many messages that were not taken; the next one
/// takes the place of the oldest.
///
/// # Cancel safety
///
/// Dropping it ends the subscription. Giving up the future of a next message loses none.
#[must_use = "a subscription ends with its messages"]
pub struct Messages {
    key: Key,
    sink: Rc<Sink>,
    source: Weak<dyn Source>,
}

impl Messages {
    pub(crate) fn new(key: Key, sink: Rc<Sink>, source: Weak<dyn Source>) -> Self {
        Messages { key, sink, source }
    }

    /// The channel, or the pattern.
    pub fn name(&self) -> &[u8] {
        &self.key.name
    }

    /// The next message, if one is here.
    pub fn try_next(&mut self) -> Option<Message> {
        self.sink.messages.borrow_mut().pop_front()
    }

    /// How many messages were thrown away, since there was no room for them.
    pub fn missed(&self) -> u64 {
        self.sink.missed.get()
    }

    /// How often the connection was lost, and with it what was published until there was another
    /// one.
    pub fn interruptions(&self) -> u64 {
        self.sink.interruptions.get()
    }

    /// Why the stream has ended, if it has.
    pub fn end(&self) -> Option<Error> {
        self.sink.end.borrow().clone()
    }

    /// Ends the subscription, and waits until the server has confirmed that.
    ///
    /// # Errors
    ///
    /// The connection has ended, and the subscription with it.
    ///
    /// # Cancel safety
    ///
    /// The subscription ends all the same.
    pub async fn unsubscribe(self) -> Result<(), Error> {
        if let Some(end) = self.end() {
            return Err(end);
        }
        let source = self.source.upgrade().ok_or(Error::Closed)?;
        let (done, answer) = deferred();
        source.unsubscribe(&self.key, &self.sink, Some(done));
        drop(source);
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.try_next() {
            return Poll::Ready(Some(message));
        }
        if self.sink.end.borrow().is_some() {
            return Poll::Ready(None);
        }
        self.sink.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if let Some(source) = self.source.upgrade() {
            source.unsubscribe(&self.key, &self.sink, None);
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("name", &String::from_utf8_lossy(self.name()))
            .field("missed", &self.missed())
            .field("interruptions", &self.interruptions())
            .finish_non_exhaustive()
    }
}
