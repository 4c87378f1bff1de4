//! What a connection of `mix` takes of memory, idle and active: the difference between a process
//! with all of them and one with a single one.

use std::process::{self, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Pace, Server, servers};
use crate::allocations::{live_bytes, start_counting};
use crate::harness::{Contender, Picture, Workload, columns};
use crate::peers::{self, Program};
use crate::workloads::echo::{Clients, Told};
use crate::workloads::kept::resident_of;

/// On each connection. They are active when half of all have been answered.
const REQUESTS: u64 = 4;

/// A process whose memory has not changed for so long is idle.
const CALM: Duration = Duration::from_millis(500);

const COLUMNS: [&str; 4] = ["idle: bytes", "active: bytes", "idle: allocated", "active: allocated"];

pub(crate) fn workload() -> Workload {
    let ours = servers().into_iter().map(|(name, server)| {
        Contender::with_values(name, move |connections| {
            start_counting();
            of_a_connection(connections, |connections| of_server(&server, connections))
        })
    });
    let program = |program: &Program| {
        Contender::program(*program, |program, _, connections| {
            of_a_connection(connections, |connections| of_program(program, connections))
        })
    };
    let peers = peers::C.iter().chain(&peers::PROTOCOLS).map(program);
    Workload {
        columns: columns(&COLUMNS, false),
        warm_up: 0,
        // Memory differs little from one to the next.
        most_rounds: 3,
        picture: Picture::None,
        // So many that tables that double are nearly full.
        ..Workload::new("mix-memory", "a connection, in bytes", 8000, ours.chain(peers).collect())
    }
}

/// What a process takes, in bytes: resident, and allocated where that is known.
type Memory = Vec<f64>;

/// `measure` is told a number of connections, and returns what they take idle and active.
fn of_a_connection(connections: u64, measure: impl Fn(u64) -> [Memory; 2]) -> Vec<f64> {
    let (one, all) = (measure(1), measure(connections));
    let known = all[0].len();
    let value = |index: usize| {
        let (state, what) = (index % 2, index / 2);
        (all[state][what] - one[state][what]) / (connections - 1) as f64
    };
    (0..2 * known).map(value).collect()
}

fn of_server(server: &Server, connections: u64) -> [Memory; 2] {
    let requests = REQUESTS * connections;
    let (mut clients, told) = Clients::start_told(connections, requests);
    let observing = thread::spawn(move || {
        observe(told, || vec![1024.0 * resident_of(process::id()), live_bytes() as f64])
    });
    server(&mut clients, connections, requests, Pace::Requests);
    clients.join();
    observing.join().expect("the thread that observes")
}

fn of_program(program: &Program, connections: u64) -> [Memory; 2] {
    let requests = REQUESTS * connections;
    let (clients, told) = Clients::start_told(connections, requests);
    let mut command = program.command("mix", 0, requests, &[clients.port.into(), connections, 1]);
    let mut program = command.stdout(Stdio::null()).spawn().expect("starting a peer");
    let memory = observe(told, || vec![1024.0 * resident_of(program.id())]);
    clients.join();
    assert!(program.wait().expect("a peer").success(), "a peer failed");
    memory
}

/// What a server takes when all clients are connected and it is calm, and when half of their
/// requests have been answered.
fn observe(mut clients: Told, measure: impl Fn() -> Memory) -> [Memory; 2] {
    clients.wait();
    let (mut idle, mut since) = (measure(), Instant::now());
    while since.elapsed() < CALM {
        thread::sleep(CALM / 10);
        let now = measure();
        if now != idle {
            (idle, since) = (now, Instant::now());
        }
    }
    clients.tell();
    clients.wait();
    let active = measure();
    clients.tell();
    [idle, active]
}
