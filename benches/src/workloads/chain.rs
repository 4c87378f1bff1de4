//! Callbacks of which each queues the next.

use super::queues::{self, Queue, Work};
use crate::harness::Workload;

pub(crate) fn workload() -> Workload {
    Workload {
        counted: 10_000,
        ..Workload::new(
            "chain",
            "a callback that queues the next",
            1_000_000,
            queues::contenders("chain", Chain),
        )
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
