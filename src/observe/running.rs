//! The user code that a loop runs now, for other threads to read.
//!
//! The loop's thread only stores, takes no lock and reads no clock: it costs a few nanoseconds a
//! call, and a child that is forked meanwhile finds no lock that nobody unlocks. How long a call
//! has lasted is for the reader to find out: its number stays the same.
//!
//! Code may call other code: a destructor, the executor of a job. So it is a stack of calls, each
//! with a number of its own, and one that ends uncovers the one around it as it was.
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

/// How many calls inside each other are told apart. Those deeper inside are part of the last one:
/// destructors may nest as deeply as there are values.
pub(crate) const DEPTH: usize = 16;

#[derive(Default)]
struct Frame {
    number: AtomicU64,
    /// The descriptor, and in the lowest byte the origin.
    kind: AtomicU64,
    location: AtomicPtr<Location<'static>>,
}

impl Frame {
    fn read(&self) -> Option<Call> {
        let kind = self.kind.load(Relaxed);
        let origin = *Origin::ALL.get(usize::from(kind as u8))?;
        let fd = RawFd::try_from(kind as i64 >> 8).ok().filter(|fd| *fd >= 0);
        Some(Call { number: self.number.load(Relaxed), origin, location: self.location(), fd })
    }

    fn location(&self) -> Option<Caller> {
        // SAFETY: null, or made of a `Caller` by `write`.
        unsafe { self.location.load(Relaxed).cast_const().as_ref() }
    }

    fn write(&self, Call { number, origin, location, fd }: Call) {
        let fd = i64::from(fd.unwrap_or(-1)) << 8;
        self.number.store(number, Relaxed);
        self.kind.store(fd as u64 | origin as u64, Relaxed);
        self.location.store(location.map_or(ptr::null(), ptr::from_ref).cast_mut(), Relaxed);
    }
}

/// The calls that a loop makes now. They belong together while the version is even and stays the
/// same.
#[derive(Default)]
pub(crate) struct Running {
    version: AtomicUsize,
    /// The calls are those from `hidden` up to `depth`. Those before it wait around a sleep.
    hidden: AtomicUsize,
    depth: AtomicUsize,
    frames: [Frame; DEPTH],
}

impl Running {
    /// The calls that the loop makes now, from the outermost in; none between calls.
    pub(crate) fn calls(&self) -> Vec<Call> {
        loop {
            let version = self.version.load(Acquire);
            let frames = self.hidden.load(Relaxed)..self.depth.load(Relaxed).min(DEPTH);
            let calls = self.frames.get(frames).unwrap_or(&[]).iter().filter_map(Frame::read);
            let calls = calls.collect();
            fence(Acquire);
            if version % 2 == 0 && version == self.version.load(Relaxed) {
                return calls;
            }
            // The loop's thread may wait for a processor.
            thread::yield_now();
        }
    }

    /// On the loop's thread alone, as all that follows: changes what is read, as one.
    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        change();
        self.version.store(version.wrapping_add(2), Release);
    }

    /// A call begins, inside of those that there are. Where it has no location, that of the call
    /// around it is taken. Returns the depth outside of it, for [`end`](Self::end).
    pub(super) fn begin(&self, call: Call) -> usize {
        let depth = self.depth.load(Relaxed);
        self.change(|| {
            if let Some(frame) = self.frames.get(depth) {
                let around = depth.checked_sub(1).and_then(|around| self.frames[around].location());
                frame.write(Call { location: call.location.or(around), ..call });
            }
            self.depth.store(depth + 1, Relaxed);
        });
        depth
    }

    /// The calls deeper than that have ended; unless all have [ended](Self::clear) meanwhile.
    pub(super) fn end(&self, depth: usize) {
        if depth < self.depth.load(Relaxed) {
            self.change(|| self.depth.store(depth, Relaxed));
        }
    }

    /// A sleep begins in the midst of the calls, which are none until [`show`](Self::show).
    /// Returns how many were hidden before.
    pub(super) fn hide(&self) -> usize {
        let hidden = self.hidden.load(Relaxed);
        self.change(|| self.hidden.store(self.depth.load(Relaxed), Relaxed));
        hidden
    }

    /// The sleep has ended. The calls that it hid are numbered anew: they did not last so long.
    pub(super) fn show(&self, hidden: usize, mut next: impl FnMut() -> u64) {
        let depth = self.depth.load(Relaxed);
        // All may have ended meanwhile.
        let hidden = hidden.min(depth);
        let shown = self.frames.get(hidden..depth.min(DEPTH)).unwrap_or(&[]);
        self.change(|| {
            shown.iter().for_each(|frame| frame.number.store(next(), Relaxed));
            self.hidden.store(hidden, Relaxed);
        });
    }

    /// Forgets all calls.
    pub(super) fn clear(&self) {
        self.change(|| {
            self.hidden.store(0, Relaxed);
            self.depth.store(0, Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::thread;

    use super::{Call, DEPTH, Running};
    use crate::observe::origin::Origin;

    #[test]
    fn a_call_reads_as_it_was_written() {
        let running = Running::default();
        assert_eq!(running.calls(), []);
        let location = Some(std::panic::Location::caller());
        for (index, origin) in Origin::ALL.into_iter().enumerate() {
            assert_eq!(origin as usize, index);
            for (fd, location) in [(None, location), (Some(0), None), (Some(i32::MAX), location)] {
                let call = Call { number: 1 << 40, origin, location, fd };
                let around = running.begin(call);
                assert_eq!(running.calls(), [call]);
                running.end(around);
                assert_eq!(running.calls(), []);
            }
        }
    }

    #[test]
    fn calls_that_are_too_deep_are_part_of_the_last_one() {
        let running = Running::default();
        let call = |number| Call { number, origin: Origin::Destructor, location: None, fd: None };
        let depths: Vec<usize> = (0..100).map(|number| running.begin(call(number))).collect();
        let seen = running.calls();
        assert!(seen.iter().map(|call| call.number).eq(0..DEPTH as u64));
        for depth in depths.into_iter().rev() {
            running.end(depth);
            assert_eq!(running.calls(), seen[..depth.min(DEPTH)]);
        }
    }

    /// Each call here has its own number as its descriptor, and twice that is inside of it.
    #[test]
    fn a_reader_never_sees_one_half_of_a_call_and_the_other_of_another() {
        let running = Arc::new(Running::default());
        let (ended, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    let calls = running.calls();
                    for (depth, call) in calls.iter().enumerate() {
                        assert_eq!(call.fd.map(i64::from), Some(call.number as i64));
                        assert_eq!(call.number, calls[0].number << depth);
                        assert_eq!(call.location.is_some(), calls[0].number % 2 == 0);
                        seen.store(call.number, Relaxed);
                    }
                }
            });
            let location = std::panic::Location::caller();
            let mut number = 0;
            while number < 20_000 || seen.load(Relaxed) == 0 {
                number += 1;
                let begin = |number: u64, location| {
                    let fd = i32::try_from(number).ok();
                    running.begin(Call { number, origin: Origin::Reader, location, fd })
                };
                let outer = begin(number, (number % 2 == 0).then_some(location));
                let inner = begin(number << 1, None);
                running.end(inner);
                running.end(outer);
            }
            ended.store(true, Relaxed);
        });
    }
}
