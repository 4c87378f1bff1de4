//! The handshake between a loop that goes to sleep and those who post to it, in one atomic.
//!
//! There are two bits. *Asleep*: the loop does not read the inbox until it is woken. *Filled*: the
//! inbox holds a message. The thread that fills the inbox of a sleeping loop first has to wake it.
//! Those after it find the bit set, so a flood of posts makes one system call. The loop may fall
//! asleep only while the inbox is not filled. Both bits are in one word, so no order of two writes
//! can be wrong.

use super::sync::atomic::{AtomicU8, Ordering};

const ASLEEP: u8 = 1;
const FILLED: u8 = 2;

pub(crate) struct Handshake(AtomicU8);

impl Handshake {
    /// A new loop is asleep: it is not driven yet.
    pub(crate) fn new() -> Self {
        Handshake(AtomicU8::new(ASLEEP))
    }

    /// Notes that the inbox was filled. Returns true if the caller has to wake the loop.
    pub(crate) fn fill(&self) -> bool {
        self.0.fetch_or(FILLED, Ordering::AcqRel) == ASLEEP
    }

    /// Notes that the inbox is about to be emptied. Called under the lock of the inbox.
    pub(crate) fn empty(&self) {
        self.0.fetch_and(!FILLED, Ordering::AcqRel);
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.0.load(Ordering::Acquire) & FILLED != 0
    }

    /// Whether the loop is driven, and reads the inbox before it sleeps.
    #[cfg(feature = "inspect")]
    pub(crate) fn is_awake(&self) -> bool {
        self.0.load(Ordering::Acquire) & ASLEEP == 0
    }

    /// Falls asleep. Returns false, and the loop stays awake, if the inbox is filled.
    pub(crate) fn sleep(&self) -> bool {
        self.0.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Falls asleep with work left: the caller wakes the loop itself where that is needed.
    pub(crate) fn leave(&self) {
        self.0.fetch_or(ASLEEP, Ordering::AcqRel);
    }

    /// Wakes up: the loop reads the inbox before it sleeps again, so a post need not wake it.
    pub(crate) fn rouse(&self) {
        self.0.fetch_and(!ASLEEP, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_to_fill_a_sleeping_loop_rings() {
        let wake = Handshake::new();
        assert!(wake.fill());
        assert!(!wake.fill(), "a flood makes one ring");
        wake.rouse();
        wake.empty();
        assert!(!wake.fill(), "an awake loop polls by itself");
        assert!(!wake.sleep(), "it must not sleep on a filled inbox");
        wake.empty();
        assert!(wake.sleep());
        assert!(wake.fill());
    }
}
