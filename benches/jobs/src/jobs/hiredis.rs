//! Commands on one connection to one server, one after the other, by a hundred clients at once, and
//! in pipelines: `ioloop-hiredis` beside the crate `redis`, and hiredis on libuv.

use std::path::PathBuf;

use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_benches::harness::{Contender, Workload};
use ioloop_benches::program::Program;
use ioloop_hiredis::{Connection, Pipeline};
use testkit::server::in_path;
use testkit::server::redis::Server;

use crate::run::{Run, contender, counted_by_a_slow_clock, job, run_beside, runtime};

const LIBUV: Program = Program::in_c(
    "hiredis on libuv",
    env!("PEER_HIREDIS_LIBUV"),
    "a C compiler, Debian's libhiredis-dev and libuv1-dev, and build again",
);

/// Sends them, in this shape.
type Commands = fn(&mut Run, Shape);

pub(crate) fn tables() -> Vec<Workload> {
    [
        ("hiredis-1", "a command after the other", 1, 30_000, Shape::Clients),
        ("hiredis-100", "a command of one of 100 clients at once", 100, 500_000, Shape::Clients),
        ("hiredis-pipelined", "a command of a pipeline of 100", 100, 1_000_000, Shape::Pipelines),
    ]
    .map(|(name, operation, at_once, commands, shape)| {
        let runs: [(&str, Commands); 3] = [
            ("redis, on tokio", theirs),
            ("ioloop-hiredis, own loop", own),
            ("ioloop-hiredis, on tokio", attached),
        ];
        let mut contenders: Vec<Contender> =
            runs.map(|(name, run)| contender(name, at_once, move |one| run(one, shape))).into();
        contenders.push(on_libuv(at_once, shape));
        let contenders =
            contenders.into_iter().map(|contender| contender.needs_installed(missing)).collect();
        counted_by_a_slow_clock(job(name, operation, at_once, commands, contenders))
    })
    .into()
}

/// What those at once are.
#[derive(Clone, Copy)]
enum Shape {
    /// Each asks again when it has been answered.
    Clients,
    /// They are sent together, and the next when all of them have been answered.
    Pipelines,
}

fn missing() -> Option<&'static str> {
    (!in_path("redis-server")).then_some("Debian's redis-server")
}

fn on_libuv(at_once: usize, shape: Shape) -> Contender {
    let work = match shape {
        Shape::Clients => "clients",
        Shape::Pipelines => "pipelines",
    };
    Contender::program(LIBUV, move |program, _, operations| {
        let (_server, socket) = server();
        let socket = socket.to_str().expect("a path in UTF-8");
        run_beside(program, work, socket, operations, at_once)
    })
}

/// A server, which is no part of what is measured, and its socket.
fn server() -> (Server, PathBuf) {
    let server = Server::start_or_skip().expect("a server");
    let socket = server.socket();
    (server, socket)
}

fn own(run: &mut Run, shape: Shape) {
    let (_server, socket) = server();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let connect = Connection::connect(io_loop.clone(), socket);
    let redis = io_loop.run_sync(connect).expect("it runs").expect("a connection");
    run.measure(|at_once, work| {
        io_loop.run_sync(ask(&redis, at_once, work, shape)).expect("it runs");
    });
}

fn attached(run: &mut Run, shape: Shape) {
    let (_server, socket) = server();
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    let connect = Connection::connect(io_loop.clone(), socket);
    let redis = runtime.block_on(io_loop.run_until(connect)).expect("it runs");
    let redis = redis.expect("a connection");
    run.measure(|at_once, work| {
        let asked = io_loop.run_until(ask(&redis, at_once, work, shape));
        runtime.block_on(asked).expect("it runs");
    });
}

async fn ask(redis: &Connection<IOLoop>, at_once: usize, work: usize, shape: Shape) {
    match shape {
        Shape::Clients => {
            let client = async || {
                for _ in 0..work / at_once {
                    redis.command(["INCR", "n"]).to::<i64>().await.expect("a number");
                }
            };
            join_all((0..at_once).map(|_| client())).await;
        }
        Shape::Pipelines => {
            for _ in 0..work / at_once {
                let mut pipeline = Pipeline::new();
                for _ in 0..at_once {
                    pipeline.command(["INCR", "n"]);
                }
                let answer = redis.pipeline(&pipeline).to::<Vec<i64>>();
                assert_eq!(answer.await.expect("numbers").len(), at_once);
            }
        }
    }
}

fn theirs(run: &mut Run, shape: Shape) {
    let (_server, socket) = server();
    let runtime = runtime();
    let client = redis::Client::open(format!("unix://{}", socket.display())).expect("an address");
    let connect = client.get_multiplexed_async_connection();
    let redis = runtime.block_on(connect).expect("a connection");
    run.measure(|at_once, work| match shape {
        Shape::Clients => {
            let client = async || {
                let mut redis = redis.clone();
                for _ in 0..work / at_once {
                    let mut command = redis::cmd("INCR");
                    command.arg("n").query_async::<i64>(&mut redis).await.expect("a number");
                }
            };
            runtime.block_on(join_all((0..at_once).map(|_| client())));
        }
        Shape::Pipelines => runtime.block_on(async {
            let mut redis = redis.clone();
            for _ in 0..work / at_once {
                let mut pipeline = redis::pipe();
                for _ in 0..at_once {
                    pipeline.cmd("INCR").arg("n");
                }
                let answer: Vec<i64> = pipeline.query_async(&mut redis).await.expect("numbers");
                assert_eq!(answer.len(), at_once);
            }
        }),
    });
}
