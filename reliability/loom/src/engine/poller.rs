//! A model of the bell: an eventfd in an epoll instance, edge-triggered and never read.

use loom::sync::{Condvar, Mutex};

pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    /// Rung since the set was last looked at, so that it is readable.
    edge: bool,
    rings: usize,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell { state: Mutex::new(State::default()), rung: Condvar::new() }
    }

    pub(crate) fn ring(&self) {
        let mut state = self.state.lock().unwrap();
        state.edge = true;
        state.rings += 1;
        self.rung.notify_one();
    }

    /// Looks at the set, which uses the edge up; waits for it first if `block`. loom ends the model where that
    /// is for ever.
    pub(crate) fn look(&self, block: bool) {
        let mut state = self.state.lock().unwrap();
        while block && !state.edge {
            state = self.rung.wait(state).unwrap();
        }
        state.edge = false;
    }

    /// Waits until the set is readable, as a host does.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.edge {
            state = self.rung.wait(state).unwrap();
        }
    }

    pub(crate) fn rings(&self) -> usize {
        self.state.lock().unwrap().rings
    }
}
