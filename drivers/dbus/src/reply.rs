//! The future of a reply.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll, ready};

use ioloop::{JoinError, Task};

use crate::driver::{Driver, Outcome};
use crate::error::Error;

/// The future of the reply to a call that was sent; any executor may await it.
///
/// It holds neither the connection nor the loop. [`Error::Closed`] is the answer once the last
/// handle of the connection was dropped.
///
/// # Panics
///
/// A type of yours that panics as it is read from the reply does so here.
///
/// # Cancel safety
///
/// Dropping it ends the waiting and its timer. It takes nothing back: the call was sent, and its
/// reply is thrown away when it arrives.
#[must_use = "futures do nothing unless polled"]
pub struct Reply<T> {
    task: Task<Outcome<T>>,
    driver: Weak<Driver>,
    serial: Option<u32>,
}

impl<T> Reply<T> {
    pub(crate) fn new(task: Task<Outcome<T>>, driver: Weak<Driver>, serial: Option<u32>) -> Self {
        Reply { task, driver, serial }
    }

    /// Lets the call run on with nobody to await its reply.
    pub fn detach(mut self) {
        self.serial = None;
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.task).poll(cx));
        self.serial = None;
        Poll::Ready(answer_of(answer))
    }
}

/// The answer of a task; panics as reading it did.
pub(crate) fn answer_of<T>(joined: Result<Outcome<T>, JoinError>) -> Result<T, Error> {
    match joined {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Error::Closed),
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let serial = self.serial.take();
        if let (Some(serial), Some(driver)) = (serial, self.driver.upgrade()) {
            driver.abandon(serial);
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("serial", &self.serial).finish_non_exhaustive()
    }
}
