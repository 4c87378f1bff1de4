//! The future of a reply.

use std::future::Future;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll, ready};

use ioloop::Task;

use crate::driver::Driver;
use crate::error::Error;

/// The future of the reply to a call that was sent; any executor may await it.
///
/// It holds neither the connection nor the loop. [`Error::Closed`] is the answer once the last
/// handle of the connection was dropped.
///
/// # Cancel safety
///
/// Dropping it ends the waiting and its timer. It takes nothing back: the call was sent, and its
/// reply is thrown away when it arrives.
#[must_use = "futures do nothing unless polled"]
pub struct Reply<T> {
    task: Task<Result<T, Error>>,
    driver: Weak<Driver>,
    serial: Option<u32>,
}

impl<T> Reply<T> {
    pub(crate) fn new(
        task: Task<Result<T, Error>>,
        driver: Weak<Driver>,
        serial: Option<u32>,
    ) -> Self {
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
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
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
