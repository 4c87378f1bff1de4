//! A thousand callbacks queued at once, again and again.

use std::cell::Cell;
use std::rc::Rc;

use super::queues::{self, Queue, Work};
use crate::harness::Workload;

const BATCH: u64 = 1000;

pub(crate) fn workload() -> Workload {
    Workload {
        counted: 10 * BATCH,
        ..Workload::new(
            "batch",
            "a callback of a batch of 1000",
            1_000_000,
            queues::contenders("batch", Batches),
        )
    }
}

#[derive(Clone, Copy)]
struct Batches;

impl Work for Batches {
    fn begin<Q: Queue>(self, queue: &Q, operations: u64) {
        let state = Rc::new(State { queue: queue.clone(), left: Cell::new(operations) });
        batch(&state);
    }
}

struct State<Q> {
    queue: Q,
    left: Cell<u64>,
}

fn batch<Q: Queue>(state: &Rc<State<Q>>) {
    for _ in 0..BATCH {
        let shared = Rc::clone(state);
        state.queue.push(move || {
            let left = shared.left.get() - 1;
            shared.left.set(left);
            if left == 0 {
                shared.queue.finish();
            } else if left % BATCH == 0 {
                batch(&shared);
            }
        });
    }
}
