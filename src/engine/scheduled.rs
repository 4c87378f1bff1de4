//! Whether the poll of a future is queued already, so further wakes change nothing.
//!
//! There are two flags. A wake on the thread that drives the loop sets one that nobody else
//! touches, so it takes no locked operation, nor does the poll that follows. Wakes from elsewhere
//! set the other one, by a swap: the first of them has to leave a message. Where both kinds arrive
//! at once the queue may hold two entries for one poll; the second finds no flag set and is
//! skipped.

use super::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Scheduled {
    /// Read and written on the thread of the loop alone.
    here: AtomicBool,
    /// Set by wakes from elsewhere, cleared by the poll.
    elsewhere: AtomicBool,
}

impl Scheduled {
    /// Of a future whose first poll is queued.
    pub(crate) fn new() -> Self {
        Scheduled { here: AtomicBool::new(true), elsewhere: AtomicBool::new(false) }
    }

    /// Notes that the first poll of another future is queued. Only where nobody has the waker of
    /// the one before.
    pub(crate) fn renew(&self) {
        self.here.store(true, Ordering::Relaxed);
        self.elsewhere.store(false, Ordering::Relaxed);
    }

    /// Notes a wake on the thread that drives the loop. Returns whether the caller has to queue a
    /// poll.
    #[inline]
    pub(crate) fn wake_here(&self) -> bool {
        // Where the other flag is set, its message is on the way.
        if self.here.load(Ordering::Relaxed) || self.elsewhere.load(Ordering::Relaxed) {
            return false;
        }
        self.here.store(true, Ordering::Relaxed);
        true
    }

    /// Notes any other wake. Returns whether the caller has to leave a message.
    pub(crate) fn wake_elsewhere(&self) -> bool {
        !self.elsewhere.swap(true, Ordering::AcqRel)
    }

    /// Begins the poll: a wake from here on queues another one. Returns false if there was none
    /// since the last poll.
    #[inline]
    pub(crate) fn begin_poll(&self) -> bool {
        let here = self.here.load(Ordering::Relaxed);
        self.here.store(false, Ordering::Relaxed);
        // A wake whose flag is not seen yet has its message still to come. One whose flag is seen
        // may have left none: the swap has this poll see what was written before it.
        let elsewhere =
            self.elsewhere.load(Ordering::Relaxed) && self.elsewhere.swap(false, Ordering::AcqRel);
        here || elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::Scheduled;

    #[test]
    fn the_first_wake_of_either_kind_queues_the_poll_of_all() {
        let future = Scheduled::new();
        assert!(!future.wake_here(), "its first poll is queued");
        assert!(future.begin_poll());
        assert!(!future.begin_poll(), "nobody has woken it");
        assert!(future.wake_here() && !future.wake_here());
        assert!(future.begin_poll());
        assert!(future.wake_elsewhere() && !future.wake_elsewhere());
        assert!(!future.wake_here(), "a message is on the way");
        assert!(future.begin_poll() && !future.begin_poll());
    }

    #[test]
    fn a_message_that_comes_behind_a_wake_of_here_is_no_second_poll() {
        let future = Scheduled::new();
        assert!(future.begin_poll() && future.wake_here());
        assert!(future.wake_elsewhere(), "nothing says that the flag of here was set");
        assert!(future.begin_poll() && !future.begin_poll());
        assert!(future.wake_here() && future.begin_poll());
    }
}
