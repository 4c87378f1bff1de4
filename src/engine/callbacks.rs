//! The callback queue, with the inbox of other threads, which is emptied into it.

use std::cell::RefCell;
use std::sync::Arc;

use super::inbox::{Inbox, Message};
use super::queue::{Other, Queue};
use super::room::excess;
use super::tuning::MESSAGES_KEPT;

pub(super) struct Callbacks {
    pub(super) queue: RefCell<Queue>,
    inbox: Arc<Inbox>,
    /// Empty between two uses. Its capacity is used again.
    messages: RefCell<Vec<Message>>,
}

impl Callbacks {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Callbacks { queue: RefCell::new(Queue::new()), inbox, messages: RefCell::default() }
    }

    #[inline]
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Whether the queue or the inbox holds anything.
    #[inline]
    pub(super) fn has_queued(&self) -> bool {
        self.queue.borrow().len() > 0 || self.inbox.is_filled()
    }

    /// Queues an entry behind everything that was queued or posted before.
    #[inline]
    pub(super) fn push<T>(&self, push: impl FnOnce(&mut Queue) -> T) -> T {
        // There is one order for all: what this thread posted before runs before.
        self.take_messages();
        push(&mut self.queue.borrow_mut())
    }

    /// Moves the messages of the inbox into the queue.
    #[inline]
    pub(super) fn take_messages(&self) {
        if self.inbox.is_filled() {
            self.queue_messages();
        }
    }

    /// Out of line, so the test that each callback makes stays a load and a branch.
    #[inline(never)]
    fn queue_messages(&self) {
        let mut messages = self.messages.take();
        self.inbox.take(&mut messages);
        let mut queue = self.queue.borrow_mut();
        for message in messages.drain(..) {
            match message {
                Message::Callback(callback) => drop(queue.push_callback(callback.into())),
                Message::Task(key) => queue.push_other(Other::Task(key)),
                Message::Main => queue.push_other(Other::Main),
                Message::Runtime => queue.push_other(Other::Runtime),
                Message::Stop => queue.push_other(Other::Stop),
                Message::Show => queue.push_other(Other::Show),
            }
        }
        drop(queue);
        if let Some(room) = excess(messages.capacity(), 0, MESSAGES_KEPT) {
            messages.shrink_to(room);
        }
        self.messages.replace(messages);
    }
}
