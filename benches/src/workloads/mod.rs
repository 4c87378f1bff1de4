//! The workloads, one file each, and what several of them share.

mod batch;
mod bridge;
mod chain;
mod echo;
mod growth;
mod kept;
mod late;
mod late_echo;
mod lateness;
mod memory;
mod mix;
mod post;
mod post_local;
mod posts;
mod queues;
mod register;
mod ring;
mod size;
mod spawned;
mod timers_cancelled;
mod timers_fired;
mod timers_rearmed;
mod turn;
mod two_loops;
mod worst;

pub(crate) use spawned::ON_A_LOOP;

use crate::harness::Workload;
use mix::Pace;

/// What the other process of a workload does, if that is what `kind` names.
pub(crate) fn other_process(kind: &str, numbers: &[u64]) -> bool {
    match (kind, numbers) {
        ("--clients", [active, idle, requests]) => echo::clients(*active, *idle, *requests, false),
        ("--clients", [active, idle, requests, _]) => {
            echo::clients(*active, *idle, *requests, true);
        }
        ("--connect", [port, connections]) => spawned::connect(*port, *connections),
        _ => return false,
    }
    true
}

/// In the order of PERFORMANCE.md.
pub(crate) fn all() -> Vec<Workload> {
    let mut workloads = vec![
        chain::workload(),
        batch::workload(),
        ring::workload("ring-100", &[100, 1]),
        ring::workload("ring-100-of-100", &[100, 100]),
        ring::workload("ring-1000", &[1000, 1]),
        ring::workload("ring-1000-of-100", &[1000, 100]),
        ring::workload("ring-9900", &[9900, 1]),
        ring::workload("ring-9900-of-100", &[9900, 100]),
        timers_fired::workload(),
        timers_cancelled::workload(),
        timers_rearmed::workload(),
        lateness::workload("lateness", &[0]),
        lateness::workload("lateness-loaded", &[10]),
        late::descriptor("late-1", &[1, 1000]),
        late::descriptor("late-16", &[16, 1000]),
        late::descriptor("late-1000", &[1000, 0]),
        late::host("late-host-1", &[1, 1000]),
        late::host("late-host-16", &[16, 1000]),
        echo::workload("echo-1", 1, 0),
        echo::workload("echo-50", 50, 0),
        echo::workload("echo-500", 500, 0),
        echo::workload("echo-500-of-9500", 500, 9000),
        mix::workload("mix-1", 1, Pace::Time),
        mix::workload("mix-50", 50, Pace::Time),
        mix::workload("mix-500", 500, Pace::Time),
        mix::workload("mix-9000", 9000, Pace::Time),
        mix::workload("mix-counted", 50, Pace::Requests),
        mix::memory::workload(),
        post::workload(),
        posts::workload(),
        post_local::workload(),
        register::workload(),
        turn::workload(),
        memory::workload(),
        two_loops::workload(),
        size::workload(),
        growth::watches(),
        growth::timers(),
    ];
    workloads.push(late_echo::workload());
    workloads.extend(worst::workloads());
    workloads.extend(kept::workloads());
    workloads.extend(spawned::workloads());
    workloads.extend(spawned::on_a_pool());
    workloads.extend(bridge::workloads());
    workloads
}
