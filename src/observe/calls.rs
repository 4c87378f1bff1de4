//! The one way in which the loop calls user code, and tells of it.
//!
//! Nothing unwinds from here, whatever panics: the code itself, the handler that is told of it, a
//! subscriber of `tracing`, or the destructor of what was thrown.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::exceptions::Exceptions;
use super::origin::Origin;
use super::spans;
use crate::reactor::callback::Caller;

impl Exceptions {
    /// Whether calls have to be made by [`call`](Self::call): somebody wants spans, or to know what
    /// is slow. Otherwise it is enough to [`guard`](Self::guard_at) them.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.reports.threshold().is_some() || spans::are_wanted()
    }

    /// Runs user code in its span; its panic is reported, and that it took long. True if it returned.
    pub(crate) fn call(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        spans::call(origin, location, || {
            let (begun, away) = (self.reports.begin(), self.away.get());
            let ran = catch_unwind(AssertUnwindSafe(code));
            let took = begun
                .map(|begun| begun.elapsed().saturating_sub(self.away.get().saturating_sub(away)));
            let returned = ran.is_ok();
            if let Err(payload) = ran {
                self.report(origin, location, payload);
            }
            if let Some(took) = took {
                self.report_slow(origin, location, took);
            }
            returned
        })
    }

    /// Runs what user code is called around: the time that it takes is not that code's.
    pub(crate) fn away(&self, code: impl FnOnce()) {
        let (begun, away) = (self.reports.begin(), self.away.get());
        code();
        if let Some(begun) = begun {
            // Not beside what was away in it, but in its place.
            self.away.set(away + begun.elapsed());
        }
    }

    /// Runs user code; a panic is reported. True if it returned.
    #[inline]
    pub(crate) fn guard(&self, origin: Origin, code: impl FnOnce()) -> bool {
        self.guard_at(origin, None, code)
    }

    /// As [`guard`](Self::guard), for code of which it is known where it comes from.
    #[inline]
    pub(crate) fn guard_at(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        // Unwind safety: what the code leaves half done is its own; the loop holds no borrow here.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(()) => true,
            Err(payload) => {
                self.report(origin, location, payload);
                false
            }
        }
    }

    /// Drops something of the user's.
    #[inline]
    pub(crate) fn discard<T>(&self, value: T) {
        self.guard(Origin::Destructor, || drop(value));
    }

    /// Drops many things of the user's, each by itself.
    pub(crate) fn discard_all<T>(&self, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.discard(value));
    }
}
