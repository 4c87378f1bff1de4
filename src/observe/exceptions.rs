//! Panics in user code: caught, and reported once.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::events::{self, Level};
use super::origin::Origin;
use super::publisher::Publisher;
use super::report::{Report, Reports};
use super::running::Running;
use super::tallies::Tallies;
use super::watchdog::{self, Watchdog};
use crate::contain::{contain, dispose};
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// A panic in user code, or the error of a [task](crate::IOLoop::spawn_logged), for the handler of
/// [`IOLoop::set_exception_handler`](crate::IOLoop::set_exception_handler).
#[non_exhaustive]
pub struct Exception {
    /// The kind of code that panicked.
    pub origin: Origin,
    /// The location where the code was handed to the loop, if it is known.
    pub location: Option<Caller>,
    /// The [name](crate::IOLoop::name) of the loop.
    pub loop_name: Rc<str>,
    /// The payload of the panic; of an error its text, a `String`.
    pub payload: Box<dyn Any + Send>,
    is_panic: bool,
}

impl Exception {
    /// Whether it is a panic. Otherwise it is the error of a task.
    pub fn is_panic(&self) -> bool {
        self.is_panic
    }

    /// The message of the panic, if it had one, or the text of the error.
    pub fn message(&self) -> Option<&str> {
        let payload = &self.payload;
        payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref().map(String::as_str))
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_panic { "panicked" } else { "failed" };
        write!(f, "{} {what}: {}", self.origin, self.message().unwrap_or("(no message)"))
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exception")
            .field("origin", &self.origin)
            .field("location", &self.location)
            .field("loop_name", &self.loop_name)
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}

type Handler = Rc<dyn Fn(&Exception)>;

/// Runs its argument with the loop current.
type InLoop = Box<dyn Fn(&mut dyn FnMut())>;

/// The panics of user code, and their handler.
#[derive(Default)]
pub(crate) struct Exceptions {
    handler: RefCell<Option<Handler>>,
    pub(crate) reports: Reports,
    pub(crate) tallies: Tallies,
    name: OnceCell<Rc<str>>,
    context: OnceCell<InLoop>,
    /// How many exceptions there were,
    count: Cell<u64>,
    /// and how many of them had no handler.
    told: Cell<u64>,
    /// How long the running code, and all before it, was [away](Self::away).
    pub(super) away: Cell<Duration>,
    /// Whether slow code is reported, code is counted, or running code published.
    pub(super) observed: Cell<bool>,
    pub(super) publisher: Publisher,
    watchdog: Watchdog,
}

impl Exceptions {
    /// Whether there is a handler, of exceptions or of reports, or a watchdog.
    pub(crate) fn is_handled(&self) -> bool {
        self.handler.borrow().is_some() || self.reports.is_handled() || self.watchdog.is_set()
    }

    /// Sets the handler. Returns the one before, for the caller to drop.
    #[must_use]
    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }

    /// The loop's name: the one it was given, otherwise that of the thread that asks first.
    pub(crate) fn name(&self) -> &Rc<str> {
        self.name.get_or_init(|| thread::current().name().unwrap_or("unnamed").into())
    }

    pub(crate) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.into());
    }

    /// Sets the context in which handlers are called.
    pub(crate) fn set_context(&self, context: InLoop) {
        let _ = self.context.set(context);
    }

    /// Hands a panic to the handler; without one it is written. The hook of std has printed it
    /// already.
    ///
    /// Panics inside (of the handler, its destructor, a payload's) were printed by the hook of std
    /// too.
    #[cold]
    pub(crate) fn report(
        &self,
        origin: Origin,
        location: Option<Caller>,
        payload: Box<dyn Any + Send>,
    ) {
        let loop_name = Rc::clone(self.name());
        self.hand_out(Exception { origin, location, loop_name, payload, is_panic: true });
    }

    /// Reports an error that nobody else is told of, as a panic would be.
    #[cold]
    pub(crate) fn report_error(&self, origin: Origin, location: Option<Caller>, error: String) {
        self.hand_out(Exception {
            origin,
            location,
            loop_name: Rc::clone(self.name()),
            payload: Box::new(error),
            is_panic: false,
        });
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    fn hand_out(&self, exception: Exception) {
        self.count.set(self.count.get() + 1);
        let handler = self.handler.borrow().clone();
        if !self.call_handler(handler, |handler| handler(&exception)) {
            self.tell(&exception);
        }
        dispose(exception.payload);
    }

    /// Calls a handler with the loop current, also outside of a run. Returns false if there is
    /// none.
    pub(super) fn call_handler<H: ?Sized>(
        &self,
        handler: Option<Rc<H>>,
        call: impl Fn(&H),
    ) -> bool {
        let Some(handler) = handler else { return false };
        contain(|| match self.context.get() {
            Some(context) => context(&mut || call(&handler)),
            None => call(&handler),
        });
        contain(|| drop(handler));
        true
    }

    fn tell(&self, exception: &Exception) {
        self.told.set(self.told.get() + 1);
        if !events::is_told(self.told.get()) {
            return;
        }
        let name = &exception.loop_name;
        match exception.location {
            Some(location) => {
                events::tell(
                    Level::Error,
                    format_args!("loop {name}: {exception}, from {location}"),
                );
            }
            None => events::tell(Level::Error, format_args!("loop {name}: {exception}")),
        }
    }

    /// Sets how long code may take before it is reported.
    pub(crate) fn set_slow(&self, threshold: Option<Duration>) {
        self.reports.set_slow(threshold);
        self.note_observed();
    }

    /// Has what runs be published from the next call on, until [`leave`](Self::leave).
    pub(crate) fn publish(&self) -> Arc<Running> {
        let running = self.publisher.publish();
        self.note_observed();
        running
    }

    pub(crate) fn leave(&self) {
        self.publisher.leave();
        self.note_observed();
    }

    pub(super) fn note_observed(&self) {
        self.observed.set(self.is_timed() || self.publisher.is_wanted());
    }

    /// Begins to watch for code that takes longer than the limit, unless that is what is done
    /// already. `blocks` says whether a descriptor has no `O_NONBLOCK`.
    pub(crate) fn begin_watchdog(
        &self,
        limit: Duration,
        blocks: fn(RawFd) -> bool,
    ) -> io::Result<()> {
        if self.watchdog.limit() == Some(limit) {
            return Ok(());
        }
        // Before the one that there is goes, so what runs stays published.
        let running = self.publish();
        self.end_watchdog();
        let begun = self.watchdog.begin(limit, running, blocks, self.name());
        if begun.is_err() {
            self.leave();
        }
        begun
    }

    /// Sets the handler of the watchdog. The one before is dropped here, or by its thread.
    pub(crate) fn set_watchdog_handler(&self, handler: watchdog::Handler) {
        self.discard(self.watchdog.set_handler(handler));
    }

    pub(crate) fn end_watchdog(&self) {
        if self.watchdog.is_on() {
            self.watchdog.end();
            self.leave();
        }
    }

    /// Drops the handler of the watchdog.
    pub(crate) fn drop_watchdog_handler(&self) {
        self.discard(self.watchdog.take_handler());
    }

    /// Reports code that took at least as long as the threshold.
    pub(super) fn report_slow(&self, origin: Origin, location: Option<Caller>, duration: Duration) {
        if self.reports.threshold().is_some_and(|threshold| duration >= threshold) {
            self.tell_report(&Report::Slow { origin, location, duration });
        }
    }

    /// Hands a report to its handler; without one it is written.
    pub(crate) fn tell_report(&self, report: &Report) {
        let handled = self.call_handler(self.reports.handler(), |handler| handler(report));
        if !handled && events::is_told(self.reports.count_told()) {
            events::tell(Level::Warn, format_args!("loop {}: {report}", self.name()));
        }
    }
}
