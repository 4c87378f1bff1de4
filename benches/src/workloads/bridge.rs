//! Futures across runtimes: what the bridges cost beside what is written by hand, and beside
//! async-compat.

mod context;
mod far;
mod readable;

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::harness::{Contender, Sample, Workload};

pub(crate) fn workloads() -> Vec<Workload> {
    [far::workloads(), context::workloads(), readable::workloads()].into_iter().flatten().collect()
}

fn workload(
    name: &'static str,
    operation: &'static str,
    operations: u64,
    contenders: Vec<Contender>,
) -> Workload {
    Workload::new(name, operation, operations, contenders)
}

/// Two threads on one processor: on two, it is the idle states of the processors that are measured.
fn on_one_processor(name: &'static str, run: impl Fn(u64) -> Sample + 'static) -> Contender {
    Contender::new(name, move |operations| {
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        // Where that is refused, the spread of the results tells. Threads that are started later
        // inherit it.
        let _ = sched_setaffinity(None, &one);
        run(operations)
    })
}
