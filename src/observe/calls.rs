//! Every call of user code by the loop, and the reports about it.
//!
//! No panic unwinds from here: not that of the code itself, of a handler, of a subscriber of
//! `tracing`, nor of a payload's destructor.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::exceptions::Exceptions;
use super::origin::Origin;
use super::spans;
use crate::reactor::callback::Caller;

impl Exceptions {
    /// Whether calls have to be made by [`call`](Self::call), for spans and reports of slow code.
    /// Otherwise [`guard`](Self::guard_at) is enough.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.reports.threshold().is_some() || spans::are_wanted()
    }

    /// Runs user code in its span. Reports its panic, and that it was slow. Returns true if it did
    /// not panic.
    pub(crate) fn call(
        &self,
        origin: Origin,
        location: Option<Caller>,
        code: impl FnOnce(),
    ) -> bool {
        spans::call(|| self.name(), origin, location, || {
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

    /// Runs the sleep around which a hook was called: its time is not the hook's.
    pub(crate) fn away(&self, code: impl FnOnce()) {
        let (begun, away) = (self.reports.begin(), self.away.get());
        code();
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
