//! Tells those who wait for a request what has become of it, in a callback of the loop.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::driver::Driver;
use crate::error::Error;
use crate::exchange::Exchange;

/// Ends a request whose callback panics.
struct Calling<'a> {
    driver: &'a Driver,
    exchange: &'a Rc<Exchange>,
    returned: bool,
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.returned {
            self.driver.spoil(self.exchange, Error::Panicked);
        }
    }
}

impl Driver {
    /// Calls one of a request's callbacks, which is its own while it runs.
    pub(crate) fn calling<T>(&self, exchange: &Rc<Exchange>, call: impl FnOnce() -> T) -> T {
        let mut calling = Calling { driver: self, exchange, returned: false };
        let answer = call();
        calling.returned = true;
        answer
    }

    /// Ends a request, though its end may be noted already.
    fn spoil(&self, exchange: &Rc<Exchange>, error: Error) {
        match exchange.has_ended() {
            true => exchange.spoil(error),
            false => self.fail(exchange, error),
        }
    }

    /// Tells what has become of a request.
    pub(crate) fn tell(&self, exchange: &Rc<Exchange>) {
        let told = catch_unwind(AssertUnwindSafe(|| {
            if let Some(payload) = exchange.take_panic() {
                self.calling(exchange, || resume_unwind(payload));
            }
            self.tell_progress(exchange);
            self.tell_end(exchange);
        }));
        // Also where a callback has panicked, or the destructor of one.
        exchange.wake();
        if let Err(payload) = told {
            resume_unwind(payload);
        }
    }

    fn tell_progress(&self, exchange: &Rc<Exchange>) {
        let taken = exchange.state.borrow_mut().calls.on_progress.take();
        let Some(mut on_progress) = taken else { return };
        if let Some(progress) = exchange.take_progress() {
            self.calling(exchange, || on_progress(progress));
        }
        let mut state = exchange.state.borrow_mut();
        if !state.has_ended {
            state.calls.on_progress = Some(on_progress);
        }
    }

    fn tell_end(&self, exchange: &Rc<Exchange>) {
        if !exchange.has_ended() {
            return;
        }
        let calls = exchange.take_calls();
        if let Some(on_done) = calls.on_done {
            on_done(exchange.take_whole());
        }
    }
}
