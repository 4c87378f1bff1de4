//! Callbacks of which each queues the next.

use crate::harness::Workload;
use crate::queues::{self, Queue, Work};

pub(crate) fn workload() -> Workload {
    Workload {
        name: "chain",
        operation: "a callback that queues the next",
        operations: 1_000_000,
        contenders: queues::contenders(Chain),
    }
}

#[derive(Clone, Copy)]
struct Chain;

impl Work for Chain {
    fn begin<Q: Queue>(self, queue: &Q, operations: u64) {
        link(queue.clone(), operations);
    }
}

fn link<Q: Queue>(queue: Q, left: u64) {
    if left == 0 {
        return queue.finish();
    }
    let next = queue.clone();
    queue.push(move || link(next, left - 1));
}
