//! Signals as a stream.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use dbus::message::MatchRule;
use futures_core::Stream;

use crate::connection::{self, Connection};
use crate::error::Error;
use crate::message::Message;

/// The signals that match a rule, in the order in which the bus sent them.
///
/// The stream ends when the connection has ended; [`Connection::disconnected`] tells why. What has
/// arrived waits in the stream without a bound of its own: some 60 MB in all messages of the
/// connection, after which libdbus stops reading from the bus, replies too, until some were taken.
///
/// It holds the connection. Dropping it removes the rule.
#[must_use = "a stream that is dropped removes its rule"]
pub struct Signals {
    queue: Rc<Queue>,
    connection: Connection,
}

/// What has arrived for a stream.
pub(crate) struct Queue {
    rule: MatchRule<'static>,
    messages: RefCell<VecDeque<Message>>,
    waker: Cell<Option<Waker>>,
    has_ended: Cell<bool>,
    /// The bus knows the rule, or was told of it.
    is_added: Cell<bool>,
}

impl Signals {
    pub(crate) async fn add(
        connection: Connection,
        rule: MatchRule<'static>,
    ) -> Result<Self, Error> {
        let text = rule.match_str();
        let queue = Rc::new(Queue {
            rule,
            messages: RefCell::default(),
            waker: Cell::default(),
            has_ended: Cell::default(),
            is_added: Cell::new(true),
        });
        // Before the bus knows, so the first signal finds it. From here on dropping it removes
        // the rule.
        connection.driver.add_queue(&queue);
        let signals = Signals { queue, connection };
        let added = signals.connection.call_bus::<(&str,), ()>("AddMatch", (&text,)).await;
        if added.is_err() {
            signals.queue.is_added.set(false);
        }
        added.map(|()| signals)
    }
}

impl Stream for Signals {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let message = self.queue.messages.borrow_mut().pop_front();
        if message.is_some() || self.queue.has_ended.get() {
            return Poll::Ready(message);
        }
        // Replaced outside of any borrow: a waker's drop is its executor's code.
        drop(self.queue.waker.replace(Some(cx.waker().clone())));
        Poll::Pending
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let waiting = self.queue.messages.borrow().len();
        (waiting, self.queue.has_ended.get().then_some(waiting))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if self.queue.is_added.get() {
            let rule = self.queue.rule.match_str();
            if let Ok(mut remove) = connection::bus_call("RemoveMatch", (rule,)) {
                remove.set_no_reply(true);
                // A bus that has gone has no rules.
                let _ = self.connection.driver.send(remove);
            }
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("rule", &self.queue.rule.match_str())
            .field("waiting", &self.queue.messages.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn wants(&self, message: &dbus::Message) -> bool {
        self.rule.matches(message)
    }

    pub(crate) fn push(&self, message: Message) {
        self.messages.borrow_mut().push_back(message);
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        self.has_ended.set(true);
        self.wake();
    }
}
