//! A model of the waker: an eventfd in an epoll instance, edge-triggered and never read.

use loom::sync::{Condvar, Mutex};

pub(crate) struct PollWaker {
    state: Mutex<State>,
    wakes: Condvar,
}

#[derive(Default)]
struct State {
    /// Woken since the last poll, so it is readable.
    edge: bool,
    wakes: usize,
}

impl PollWaker {
    pub(crate) fn new() -> Self {
        PollWaker { state: Mutex::new(State::default()), wakes: Condvar::new() }
    }

    pub(crate) fn wake(&self) {
        let mut state = self.state.lock().unwrap();
        state.edge = true;
        state.wakes += 1;
        self.wakes.notify_one();
    }

    /// Looks at the set, which uses the edge up; waits for it first if `block`. loom ends the model
    /// where that is for ever.
    pub(crate) fn poll(&self, block: bool) {
        let mut state = self.state.lock().unwrap();
        while block && !state.edge {
            state = self.wakes.wait(state).unwrap();
        }
        state.edge = false;
    }

    /// Waits until the set is readable, as a host does.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.edge {
            state = self.wakes.wait(state).unwrap();
        }
    }

    pub(crate) fn wakes(&self) -> usize {
        self.state.lock().unwrap().wakes
    }
}
