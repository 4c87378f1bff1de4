//! The user code that a loop runs now, for other threads to read.
//!
//! The loop's thread only stores, takes no lock and reads no clock: it costs a few nanoseconds a
//! call, and a child that is forked meanwhile finds no lock that nobody unlocks. How long a call
//! has lasted is for the reader to find out: its number stays the same.
#![allow(unsafe_code)]

use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, fence};
use std::thread;

use super::origin::Origin;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// A call of user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// No other call of the loop has it.
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    /// Where the code was handed to the loop; if that is not known, where the code around it was.
    pub(crate) location: Option<Caller>,
    /// The descriptor of a watch.
    pub(crate) fd: Option<RawFd>,
}

/// The call that a loop makes now. Its fields belong together while the version is even and stays
/// the same.
#[derive(Default)]
pub(crate) struct Running {
    version: AtomicUsize,
    /// Zero between calls.
    number: AtomicU64,
    /// The descriptor, and in the lowest byte the origin.
    kind: AtomicU64,
    location: AtomicPtr<Location<'static>>,
}

impl Running {
    /// The call that the loop makes now; none between calls.
    pub(crate) fn now(&self) -> Option<Call> {
        loop {
            let version = self.version.load(Acquire);
            let number = self.number.load(Relaxed);
            let kind = self.kind.load(Relaxed);
            let location = self.location.load(Relaxed);
            fence(Acquire);
            if version % 2 == 0 && version == self.version.load(Relaxed) {
                return Self::call(number, kind, location);
            }
            // The loop's thread may wait for a processor.
            thread::yield_now();
        }
    }

    fn call(number: u64, kind: u64, location: *mut Location<'static>) -> Option<Call> {
        let origin = *Origin::ALL.get(usize::from(kind as u8))?;
        // SAFETY: null, or made of a `Caller` by `set`.
        let location = unsafe { location.cast_const().as_ref() };
        let fd = RawFd::try_from(kind as i64 >> 8).ok().filter(|fd| *fd >= 0);
        (number > 0).then_some(Call { number, origin, location, fd })
    }

    /// On the loop's thread alone.
    pub(super) fn set(&self, call: Option<Call>) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        self.number.store(call.map_or(0, |call| call.number), Relaxed);
        if let Some(Call { origin, location, fd, .. }) = call {
            let fd = i64::from(fd.unwrap_or(-1)) << 8;
            self.kind.store(fd as u64 | origin as u64, Relaxed);
            self.location.store(location.map_or(ptr::null(), ptr::from_ref).cast_mut(), Relaxed);
        }
        self.version.store(version.wrapping_add(2), Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::thread;

    use super::{Call, Running};
    use crate::observe::origin::Origin;

    #[test]
    fn a_call_reads_as_it_was_written() {
        let running = Running::default();
        assert_eq!(running.now(), None);
        let location = Some(std::panic::Location::caller());
        for (index, origin) in Origin::ALL.into_iter().enumerate() {
            assert_eq!(origin as usize, index);
            for (fd, location) in [(None, location), (Some(0), None), (Some(i32::MAX), location)] {
                let call = Call { number: 1 << 40, origin, location, fd };
                running.set(Some(call));
                assert_eq!(running.now(), Some(call));
            }
        }
        running.set(None);
        assert_eq!(running.now(), None);
    }

    /// Each call here has its own number as its descriptor.
    #[test]
    fn a_reader_never_sees_one_half_of_a_call_and_the_other_of_another() {
        let running = Arc::new(Running::default());
        let (ended, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    if let Some(call) = running.now() {
                        assert_eq!(call.fd.map(i64::from), Some(call.number as i64));
                        assert_eq!(call.location.is_some(), call.number % 2 == 0);
                        seen.store(call.number, Relaxed);
                    }
                }
            });
            let location = std::panic::Location::caller();
            let mut number = 0;
            while number < 20_000 || seen.load(Relaxed) == 0 {
                number += 1;
                let location = (number % 2 == 0).then_some(location);
                let fd = i32::try_from(number).ok();
                running.set(Some(Call { number, origin: Origin::Reader, location, fd }));
            }
            ended.store(true, Relaxed);
        });
    }
}
