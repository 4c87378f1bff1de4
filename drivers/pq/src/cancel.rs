//! Cancelling what the server does.

use std::rc::Rc;
use std::thread;

use ioloop::reactor::Direction;
use ioloop::{Reactor, deferred};

use crate::error::Error;
use crate::ffi::{BlockingCancel, Cancel, PolledCancel, Polling};
use crate::link;

/// Cancels what a connection does; made by
/// [`Connection::canceller`](crate::Connection::canceller).
#[derive(Debug)]
pub struct Canceller<R> {
    cancel: Cancel,
    reactor: Rc<R>,
}

impl<R: Reactor> Canceller<R> {
    pub(crate) fn new(cancel: Cancel, reactor: Rc<R>) -> Self {
        Canceller { cancel, reactor }
    }

    /// Asks the server to cancel: what is cancelled fails with the state `57014`. If the connection
    /// does nothing by then, nothing happens.
    ///
    /// With libpq 17 and later this is another connection of the loop's. Before, libpq waits for the
    /// server, so this takes a thread for a moment.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`]: the server cannot be reached. [`Error::Loop`]: the loop is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may or may not cancel; a thread goes on.
    pub async fn cancel(self) -> Result<(), Error> {
        match self.cancel {
            Cancel::Polled(cancel) => polled(cancel, &self.reactor).await,
            Cancel::Blocking(cancel) => blocking(cancel).await,
        }
    }
}

async fn polled<R: Reactor>(mut cancel: PolledCancel, reactor: &R) -> Result<(), Error> {
    if !cancel.start() {
        return Err(Error::Failed(cancel.error()));
    }
    let mut wanted = Direction::Write;
    loop {
        let Some(fd) = cancel.socket() else { return Err(Error::Failed(cancel.error())) };
        link::ready(reactor, wanted, fd).await?;
        match cancel.poll() {
            Polling::Wait(direction) => wanted = direction,
            Polling::Done => return Ok(()),
            Polling::Failed => return Err(Error::Failed(cancel.error())),
        }
    }
}

async fn blocking(mut cancel: BlockingCancel) -> Result<(), Error> {
    let (resolver, answer) = deferred();
    let waiting = move || resolver.resolve(cancel.wait().map_err(Error::Failed));
    let thread = thread::Builder::new().name("libpq-cancel".into()).spawn(waiting);
    thread.map_err(|error| Error::Failed(error.to_string()))?;
    answer.await.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
}
