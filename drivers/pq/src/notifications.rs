//! What a client hears through `LISTEN`, as a stream.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::client::Client;
use crate::ffi::Notification;

/// What comes to who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// A notification.
    Notification(Notification),
    /// The connection was lost, and there is another, which listens: what was sent in between is
    /// lost. Read again what the notifications are about.
    Reconnected,
}

/// The notifications of a channel; made by [`Client::listen`].
///
/// It keeps the client alive, and holds as many notifications as were sent and not taken: take them
/// promptly. It ends with the loop.
///
/// # Cancel safety
///
/// Dropping [`next`](Self::next) loses none. Dropping this ends the subscription, once nobody else
/// of the client listens to the channel.
#[must_use = "what is sent is kept until it is taken"]
pub struct Notifications {
    inbox: Rc<Inbox>,
    channel: String,
    client: Client,
}

impl Notifications {
    pub(crate) fn new(client: Client, channel: &str) -> Self {
        let inbox = Rc::default();
        let channel = channel.to_owned();
        client
            .channels()
            .0
            .borrow_mut()
            .entry(channel.clone())
            .or_default()
            .push(Rc::downgrade(&inbox));
        Notifications { inbox, channel, client }
    }

    /// The server has said that it listens.
    pub(crate) fn confirm(&self) {
        self.inbox.confirmed.set(true);
    }

    /// What comes next; none once the loop is closed.
    pub async fn next(&mut self) -> Option<Heard> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Stream for Notifications {
    type Item = Heard;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        if let Some(heard) = self.inbox.heard.borrow_mut().pop_front() {
            return Poll::Ready(Some(heard));
        }
        if self.client.is_closed() {
            return Poll::Ready(None);
        }
        self.inbox.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        let mut channels = self.client.channels().0.borrow_mut();
        let Some(inboxes) = channels.get_mut(&self.channel) else { return };
        inboxes.retain(|inbox| !inbox.ptr_eq(&Rc::downgrade(&self.inbox)));
        if inboxes.is_empty() {
            channels.remove(&self.channel);
            drop(channels);
            self.client.forget(&format!("UNLISTEN {}", quoted(&self.channel)));
        }
    }
}

/// What was heard and not taken.
#[derive(Default)]
struct Inbox {
    heard: RefCell<VecDeque<Heard>>,
    waker: Cell<Option<Waker>>,
    confirmed: Cell<bool>,
}

impl Inbox {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Who listens to what.
#[derive(Default)]
pub(crate) struct Channels(RefCell<BTreeMap<String, Vec<Weak<Inbox>>>>);

impl Channels {
    /// What a new connection is to run first; empty if nobody listens.
    pub(crate) fn script(&self) -> String {
        let channels = self.0.borrow();
        channels.keys().map(|channel| format!("LISTEN {};", quoted(channel))).collect()
    }

    pub(crate) fn reconnected(&self) {
        for inbox in self.inboxes(None) {
            if inbox.confirmed.get() {
                inbox.heard.borrow_mut().push_back(Heard::Reconnected);
                inbox.wake();
            }
        }
    }

    pub(crate) fn tell(&self, notification: Notification) {
        for inbox in self.inboxes(Some(&notification.channel)) {
            inbox.heard.borrow_mut().push_back(Heard::Notification(notification.clone()));
            inbox.wake();
        }
    }

    /// There is no more to come.
    pub(crate) fn end(&self) {
        self.inboxes(None).iter().for_each(|inbox| inbox.wake());
    }

    /// Of one channel, or of all; without the borrow, since who is woken may listen.
    fn inboxes(&self, channel: Option<&str>) -> Vec<Rc<Inbox>> {
        let channels = self.0.borrow();
        let asked = channels.iter().filter(|(name, _)| channel.is_none_or(|it| it == *name));
        asked.flat_map(|(_, inboxes)| inboxes).filter_map(Weak::upgrade).collect()
    }
}

/// A name as it stands in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
