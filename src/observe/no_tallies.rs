//! Without the feature `inspect`, in place of the tallies.

use std::time::Duration;

use super::origin::Origin;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

#[derive(Default)]
pub(crate) struct Tallies;

impl Tallies {
    #[inline]
    pub(crate) fn are_kept(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn spin_limit(&self) -> Option<u32> {
        None
    }

    #[inline]
    pub(super) fn note(&self, _: Origin, _: Option<Caller>, _: Duration) {}

    #[inline]
    pub(crate) fn note_spin(&self, _: Origin, _: RawFd, _: Option<Caller>, _: u32) {}
}
