//! Every call of user code by the loop, and the reports about it.
//!
//! No panic unwinds from here: not that of the code itself, of a handler, of a subscriber of
//! `tracing`, nor of a payload's destructor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::exceptions::Exceptions;
use super::origin::Origin;
use super::spans;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

impl Exceptions {
    /// Whether calls have to be made by [`call`](Self::call), for spans, reports of slow code, and
    /// those who [read](super::running) on other threads what runs now. Otherwise
    /// [`guard`](Self::guard_at) is enough.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.observed.get() || spans::are_wanted()
    }

    /// Whether it is measured how long code takes.
    pub(super) fn is_timed(&self) -> bool {
        self.reports.threshold().is_some() || self.tallies.are_kept()
    }

    fn begin(&self) -> Option<Instant> {
        self.is_timed().then(Instant::now)
    }

    /// Runs user code; where it is observed, published and in its span. Reports its panic, and that
    /// it was slow. Returns true if it did not panic.
    #[inline]
    pub(crate) fn call(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        if self.is_observed() {
            return self.call_observed(origin, location, code);
        }
        self.catch(origin, location, code)
    }

    /// As [`call`](Self::call), where it is observed.
    #[cold]
    #[inline(never)]
    pub(crate) fn call_observed(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        self.call_watch(origin, location, None, code)
    }

    /// The same for a watch, with its descriptor.
    pub(crate) fn call_watch(
        &self,
        origin: Origin,
        location: Option<Caller>,
        fd: Option<RawFd>,
        code: impl FnOnce(),
    ) -> bool {
        self.published(origin, location, fd, || {
            spans::call(
                || self.name(),
                origin,
                location,
                || {
                    let (begun, away) = (self.begin(), self.away.get());
                    let ran = catch_unwind(AssertUnwindSafe(code));
                    let took = begun.map(|begun| {
                        begun.elapsed().saturating_sub(self.away.get().saturating_sub(away))
                    });
                    let returned = ran.is_ok();
                    if let Err(payload) = ran {
                        self.report(origin, location, payload);
                    }
                    if let Some(took) = took {
                        self.tallies.note(origin, location, took);
                        self.report_slow(origin, location, took);
                    }
                    returned
                },
            )
        })
    }

    /// Runs `code`, which does not unwind, and publishes meanwhile that it runs.
    fn published<T>(
        &self,
        origin: Origin,
        location: Option<Caller>,
        fd: Option<RawFd>,
        code: impl FnOnce() -> T,
    ) -> T {
        let is_wanted = self.publisher.is_wanted();
        let around = if is_wanted { self.publisher.begin(origin, location, fd) } else { 0 };
        let result = code();
        if is_wanted {
            self.publisher.end(around);
        }
        result
    }

    /// Runs the sleep around which a hook was called: its time is not the hook's.
    pub(crate) fn away(&self, code: impl FnOnce()) {
        let (begun, away) = (self.begin(), self.away.get());
        let around = self.publisher.pause();
        code();
        self.publisher.resume(around);
        if let Some(begun) = begun {
            // This replaces what was added inside, and does not add to it.
            self.away.set(away + begun.elapsed());
        }
    }

    /// Runs user code, and reports its panic. Returns true if it did not panic.
    #[inline]
    pub(crate) fn guard(&self, origin: Origin, code: impl FnOnce()) -> bool {
        self.guard_at(origin, None, code)
    }

    /// As [`guard`](Self::guard), for code whose location is known.
    #[inline]
    pub(crate) fn guard_at(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        if self.observed.get() {
            return self.guard_published(origin, location, code);
        }
        self.catch(origin, location, code)
    }

    #[cold]
    #[inline(never)]
    fn guard_published(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        self.published(origin, location, None, || self.catch(origin, location, code))
    }

    /// As [`guard_at`](Self::guard_at), within code that is published already.
    #[inline]
    pub(crate) fn catch(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        // Unwind safety: state that the code leaves half changed is its own. The loop holds no
        // borrow here.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(()) => true,
            Err(payload) => {
                self.report(origin, location, payload);
                false
            }
        }
    }

    /// Drops a value of the user's.
    #[inline]
    pub(crate) fn discard<T>(&self, value: T) {
        self.guard(Origin::Destructor, || drop(value));
    }

    /// Drops values of the user's, each by itself.
    pub(crate) fn discard_all<T>(&self, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.discard(value));
    }
}
