//! `ioloop-hiredis` beside the crate `redis`: commands by one connection to one server.

use std::path::PathBuf;

use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_benches::harness::Workload;
use ioloop_hiredis::Connection;
use testkit::server::in_path;
use testkit::server::redis::Server;

use crate::run::{InRust, Run, contender, job, runtime};

pub(crate) fn tables() -> Vec<Workload> {
    let table = |(name, at_once, requests): (&'static str, usize, usize)| {
        let ours: [InRust; 3] = [
            ("redis, on tokio", theirs),
            ("ioloop-hiredis, own loop", own),
            ("ioloop-hiredis, on tokio", attached),
        ];
        let contenders =
            ours.map(|(name, run)| contender(name, at_once, run).needs_installed(missing));
        job(name, "a command", at_once, requests, contenders.into())
    };
    [("hiredis-1", 1, 20000), ("hiredis-100", 100, 200000), ("hiredis-5000", 5000, 200000)]
        .map(table)
        .into()
}

fn missing() -> Option<&'static str> {
    (!in_path("redis-server")).then_some("Debian's redis-server")
}

/// A server, which is no part of what is measured, and its socket.
fn server() -> (Server, PathBuf) {
    let server = Server::start_or_skip().expect("a server");
    let socket = server.socket();
    (server, socket)
}

fn own(run: &mut Run) {
    let (_server, socket) = server();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let connect = Connection::connect(io_loop.clone(), socket);
    let redis = io_loop.run_sync(connect).expect("it runs").expect("a connection");
    run.measure(|at_once, work| {
        io_loop.run_sync(ask(&redis, at_once, work)).expect("it runs");
    });
}

fn attached(run: &mut Run) {
    let (_server, socket) = server();
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    let connect = Connection::connect(io_loop.clone(), socket);
    let redis = runtime.block_on(io_loop.run_until(connect)).expect("it runs");
    let redis = redis.expect("a connection");
    run.measure(|at_once, work| {
        runtime.block_on(io_loop.run_until(ask(&redis, at_once, work))).expect("it runs");
    });
}

/// So many clients, each of which asks one thing after the other.
async fn ask(redis: &Connection<IOLoop>, at_once: usize, work: usize) {
    let client = async || {
        for _ in 0..work / at_once {
            redis.command(["INCR", "n"]).to::<i64>().await.expect("a number");
        }
    };
    join_all((0..at_once).map(|_| client())).await;
}

fn theirs(run: &mut Run) {
    let (_server, socket) = server();
    let runtime = runtime();
    let client = redis::Client::open(format!("unix://{}", socket.display())).expect("an address");
    let connect = client.get_multiplexed_async_connection();
    let redis = runtime.block_on(connect).expect("a connection");
    run.measure(|at_once, work| {
        let client = async || {
            let mut redis = redis.clone();
            for _ in 0..work / at_once {
                let mut command = redis::cmd("INCR");
                command.arg("n").query_async::<i64>(&mut redis).await.expect("a number");
            }
        };
        runtime.block_on(join_all((0..at_once).map(|_| client())));
    });
}
