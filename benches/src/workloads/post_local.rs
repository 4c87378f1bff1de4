//! Posts by a loop's `Handle` on its own thread, of which each makes the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ioloop::{Handle, Reactor};

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops::{self, current};
use crate::peers;

pub(crate) fn workload() -> Workload {
    let mut contenders = vec![Contender::new("plain queue with a mutex", plain)];
    contenders.extend(loops::contenders(|io_loop, operations| {
        let handle = io_loop.handle();
        io_loop.call_soon(move || post(handle, operations));
    }));
    contenders.extend(peers::contenders(&peers::PYTHON, "post-local", &[]));
    Workload {
        counted: 10_000,
        ..Workload::new(
            "post-local",
            "a post from the loop's own thread that makes the next",
            500_000,
            contenders,
        )
    }
}

fn post(handle: Handle, left: u64) {
    if left == 0 {
        return current().stop();
    }
    let next = handle.clone();
    handle.add_callback(move || post(next, left - 1)).expect("a running loop");
}

#[derive(Clone, Default)]
struct Plain(Arc<Mutex<VecDeque<Callback>>>);

type Callback = Box<dyn FnOnce() + Send>;

impl Plain {
    fn link(self, left: u64) {
        if left == 0 {
            return;
        }
        let next = self.clone();
        self.0.lock().expect("no panic").push_back(Box::new(move || next.link(left - 1)));
    }
}

fn plain(operations: u64) -> Sample {
    let queue = Plain::default();
    queue.clone().link(operations);
    timed(|| {
        loop {
            let callback = queue.0.lock().expect("no panic").pop_front();
            let Some(callback) = callback else { break };
            callback();
        }
    })
}
