//! Posting a callback to a loop, from its own thread and from others.

use super::inbox::{Inbox, Message};
use super::local;
use crate::contain::contain;
use crate::error::Closed;
use crate::reactor::callback::Posted;
use crate::reactor::post::Post;

impl Inbox {
    /// Posts a callback. It is dropped if the loop is closed.
    pub(crate) fn post_callback(&self, callback: Posted) -> Result<(), Closed> {
        self.post(Message::Callback(callback)).map_err(|(closed, refused)| {
            // The post does not unwind, whatever its destructor does.
            contain(|| drop(refused));
            closed
        })
    }
}

impl Post for Inbox {
    fn post(&self, callback: Posted) -> Result<(), Closed> {
        match local::driven_here(self) {
            Some(engine) => {
                engine.push(|queue| queue.push_callback(callback.into()));
                Ok(())
            }
            None => self.post_callback(callback),
        }
    }
}
