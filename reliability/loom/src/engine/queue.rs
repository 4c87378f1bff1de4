//! A model of the queue: the callbacks alone.

use super::arena::Key;
use crate::reactor::callback::Posted;

pub(crate) enum Other {
    Task(Key),
    Main,
    Runtime,
    Stop,
    Show,
}

pub(crate) struct Posts(Queue);

/// The numbers of the callbacks.
pub(crate) struct Queue(pub(crate) Vec<usize>);

impl Posts {
    pub(crate) fn new() -> Posts {
        Posts(Queue::new())
    }

    pub(crate) fn push(&mut self, callback: Posted) {
        self.0.0.push(callback.0);
    }

    pub(crate) fn push_other(&mut self, _: Other) {}

    pub(crate) fn into_queue(self) -> Queue {
        self.0
    }
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue(Vec::new())
    }

    pub(crate) fn append_posts(&mut self, posts: &mut Posts) {
        self.0.append(&mut posts.0.0);
    }
}
