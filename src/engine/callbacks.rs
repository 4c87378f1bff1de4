//! The callback queue, with the inbox of other threads, which is emptied into it.

use std::cell::RefCell;
use std::sync::Arc;

use super::batch::Batch;
use super::inbox::Inbox;
use super::queue::Queue;

pub(super) struct Callbacks {
    pub(super) queue: RefCell<Queue>,
    pub(super) batch: Batch,
    inbox: Arc<Inbox>,
}

impl Callbacks {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let (queue, batch) = (RefCell::new(Queue::new()), Batch::default());
        Callbacks { queue, batch, inbox }
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

    /// Whether the queue or the inbox holds anything that was given to the loop.
    pub(super) fn are_given(&self) -> bool {
        self.take_messages();
        self.queue.borrow().given() > 0
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
        self.inbox.take(&mut self.queue.borrow_mut());
    }
}
