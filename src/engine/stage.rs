//! Whether the loop is driven, asleep, or left alone; and whether it was woken meanwhile.

use std::cell::Cell;

/// The state of a loop between and during its turns.
///
/// ```text
///                begin                      sleep
///     Left  ------------->     Driven  ------------->  Asleep
///      |  <-------------          ^                     |  |
///      |      leave               +-------- begin ------+  |
///      |  <--------------------------------- leave --------+
///      v                                                v
///     Left, woken                                Asleep, woken
/// ```
///
/// `woken` says that the descriptor was made readable because something was queued. Then it need
/// not be made readable again before the loop is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drive {
    /// The loop is not driven. Its descriptor tells its next driver when to do so.
    Left { woken: bool },
    /// A turn is running, or another one follows before the loop sleeps. `hosted`: a host's waker
    /// is kept.
    Driven { hosted: bool },
    /// A host waits for the descriptor. The host's waker is kept.
    Asleep { woken: bool },
}

/// Holds the state; no other file sets it.
pub(super) struct Stage(Cell<Drive>);

impl Stage {
    pub(super) fn new() -> Self {
        Stage(Cell::new(Drive::Left { woken: false }))
    }

    #[inline]
    pub(super) fn is_driven(&self) -> bool {
        matches!(self.0.get(), Drive::Driven { .. })
    }

    /// Whether [`leave`](Self::leave) is still to be called.
    pub(super) fn is_entered(&self) -> bool {
        !matches!(self.0.get(), Drive::Left { .. })
    }

    pub(super) fn begin(&self) {
        let hosted = match self.0.get() {
            Drive::Left { .. } => false,
            Drive::Driven { hosted } => hosted,
            Drive::Asleep { .. } => true,
        };
        self.0.set(Drive::Driven { hosted });
    }

    /// From here on a host's waker is kept.
    pub(super) fn host(&self) {
        self.0.set(Drive::Driven { hosted: true });
    }

    pub(super) fn sleep(&self) {
        self.0.set(Drive::Asleep { woken: false });
    }

    /// Returns whether a host's waker is kept, which is to be dropped now.
    pub(super) fn leave(&self) -> bool {
        let (hosted, woken) = match self.0.get() {
            Drive::Left { woken } => (false, woken),
            Drive::Driven { hosted } => (hosted, false),
            Drive::Asleep { woken } => (true, woken),
        };
        self.0.set(Drive::Left { woken });
        hosted
    }

    /// Returns whether the descriptor has to be made readable: the loop is not driven, and was not
    /// woken yet.
    pub(super) fn wake(&self) -> bool {
        match self.0.get() {
            Drive::Left { woken: false } => self.0.set(Drive::Left { woken: true }),
            Drive::Asleep { woken: false } => self.0.set(Drive::Asleep { woken: true }),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_woken_once_until_it_is_driven() {
        let stage = Stage::new();
        assert!(stage.wake() && !stage.wake());
        stage.begin();
        assert!(stage.is_driven() && !stage.wake(), "a turn follows");
        assert!(!stage.leave(), "it had no host");
        assert!(stage.wake() && !stage.wake());
    }

    #[test]
    fn a_host_is_kept_from_the_first_sleep_until_the_loop_is_left() {
        let stage = Stage::new();
        stage.begin();
        stage.host();
        stage.sleep();
        assert!(!stage.is_driven() && stage.is_entered());
        assert!(stage.wake() && !stage.wake());
        stage.begin();
        assert!(stage.is_driven());
        assert!(stage.leave() && !stage.is_entered());
        assert!(!stage.leave());
    }

    #[test]
    fn one_that_is_left_in_its_sleep_stays_woken() {
        let stage = Stage::new();
        stage.begin();
        stage.host();
        stage.sleep();
        assert!(stage.wake());
        assert!(stage.leave() && !stage.wake());
    }
}
