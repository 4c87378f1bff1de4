//! Whether somebody drives the loop, sleeps for it, or has left it; and whether it was woken meanwhile.

use std::cell::Cell;

/// What the loop is doing, as far as its turns are concerned.
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
/// `woken` says that the descriptor was made readable for what somebody queued. Then nobody has to do it again
/// before the loop is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody drives the loop, and whoever wants to has to see its descriptor.
    Left { woken: bool },
    /// Somebody is in a turn, or will make another before waiting. `hosted`: a host's waker is kept.
    Driven { hosted: bool },
    /// A host waits for the descriptor, and its waker is kept.
    Asleep { woken: bool },
}

/// The only place of that state.
pub(super) struct Stage(Cell<State>);

impl Stage {
    pub(super) fn new() -> Self {
        Stage(Cell::new(State::Left { woken: false }))
    }

    #[inline]
    pub(super) fn is_driven(&self) -> bool {
        matches!(self.0.get(), State::Driven { .. })
    }

    /// Whether somebody still has to [`leave`](Self::leave).
    pub(super) fn is_entered(&self) -> bool {
        !matches!(self.0.get(), State::Left { .. })
    }

    pub(super) fn begin(&self) {
        let hosted = match self.0.get() {
            State::Left { .. } => false,
            State::Driven { hosted } => hosted,
            State::Asleep { .. } => true,
        };
        self.0.set(State::Driven { hosted });
    }

    /// A host's waker is kept from here on.
    pub(super) fn host(&self) {
        self.0.set(State::Driven { hosted: true });
    }

    pub(super) fn sleep(&self) {
        self.0.set(State::Asleep { woken: false });
    }

    /// Says whether a host's waker is kept, which has no use any more.
    pub(super) fn leave(&self) -> bool {
        let (hosted, woken) = match self.0.get() {
            State::Left { woken } => (false, woken),
            State::Driven { hosted } => (hosted, false),
            State::Asleep { woken } => (true, woken),
        };
        self.0.set(State::Left { woken });
        hosted
    }

    /// Says whether the descriptor has to be made readable: the loop is not driven, and was not woken yet.
    pub(super) fn wake(&self) -> bool {
        match self.0.get() {
            State::Left { woken: false } => self.0.set(State::Left { woken: true }),
            State::Asleep { woken: false } => self.0.set(State::Asleep { woken: true }),
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
