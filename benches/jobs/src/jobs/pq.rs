//! Small prepared queries: ioloop-pq beside tokio-postgres and libpq with threads. One after the
//! other on each of so many connections; and by many tasks that share a few.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Task};
use ioloop_benches::harness::{Contender, Workload};
use ioloop_benches::program::Program;
use ioloop_pq::{Client, Connection, Statement};
use testkit::server::postgres::{Server, USER, is_installed};
use tokio::task::LocalSet;

use crate::run::{InRust, Run, contender, counted_by_a_slow_clock, job, run_beside, runtime};

const SQL: &str = "SELECT $1::int8 + 1";

const THREADS: Program = Program::in_c(
    "libpq, a thread each",
    env!("PEER_PQ_THREADS"),
    "a C compiler and Debian's libpq-dev, and build again",
);

/// What those share who share connections.
const SHARED: usize = 4;

type Runs = [InRust; 3];

pub(crate) fn tables() -> Vec<Workload> {
    let each: Runs = [
        ("tokio-postgres", tokio_each),
        ("ioloop-pq, own loop", own_each),
        ("ioloop-pq, on tokio", attached_each),
    ];
    let shared: Runs = [
        ("tokio-postgres", tokio_shared),
        ("ioloop-pq, own loop", own_shared),
        ("ioloop-pq, on tokio", attached_shared),
    ];
    let mut tables: Vec<_> = [("pq-1", 1), ("pq-10", 10), ("pq-100", 100)]
        .map(|(name, at_once)| {
            let mut contenders = in_rust(at_once, each);
            contenders.push(threads(at_once));
            counted_by_a_slow_clock(job(
                name,
                "a query, one at a time on each connection",
                at_once,
                20_000,
                contenders,
            ))
        })
        .into();
    let operation = "a query of one of 1,000 tasks that share 4 connections";
    let table = job("pq-shared", operation, 1000, 100_000, in_rust(1000, shared));
    tables.push(counted_by_a_slow_clock(table));
    tables
}

fn in_rust(at_once: usize, runs: Runs) -> Vec<Contender> {
    runs.map(|(name, run)| contender(name, at_once, run).needs_installed(missing)).into()
}

fn threads(at_once: usize) -> Contender {
    let run = move |program: &Program, _, operations| {
        let (_server, conninfo) = server();
        run_beside(program, "queries", &conninfo, operations, at_once)
    };
    Contender::program(THREADS, run).needs_installed(missing)
}

fn missing() -> Option<&'static str> {
    (!is_installed()).then_some("Debian's postgresql")
}

fn server() -> (Server, String) {
    let server = Server::start_or_skip().expect("PostgreSQL is installed");
    let conninfo = format!("host={} user={USER} dbname={USER}", server.directory().display());
    (server, conninfo)
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn on_own_loop(job: impl FnOnce(&IOLoop, &dyn Fn(Work<'_>))) {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    job(&io_loop, &|work| io_loop.run_sync(work).expect("it runs"));
}

fn on_tokio(job: impl FnOnce(&IOLoop, &dyn Fn(Work<'_>))) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    job(&io_loop, &|work| runtime.block_on(io_loop.run_until(work)).expect("it runs"));
}

fn own_each(run: &mut Run) {
    on_own_loop(|io_loop, drive| each(run, io_loop, drive));
}

fn attached_each(run: &mut Run) {
    on_tokio(|io_loop, drive| each(run, io_loop, drive));
}

fn own_shared(run: &mut Run) {
    on_own_loop(|io_loop, drive| shared(run, io_loop, drive));
}

fn attached_shared(run: &mut Run) {
    on_tokio(|io_loop, drive| shared(run, io_loop, drive));
}

/// A connection for each task.
fn each(run: &mut Run, io_loop: &IOLoop, drive: &dyn Fn(Work<'_>)) {
    let (_server, conninfo) = server();
    let statement = Statement::new(SQL).expect("a statement");
    let connections = RefCell::new(Vec::new());
    drive(Box::pin(async {
        for _ in 0..run.at_once {
            let connection = Connection::connect(io_loop.clone(), &conninfo).await;
            let mut connection = connection.expect("a connection");
            connection.query(&statement, &[&0_i64]).await.expect("an answer");
            connections.borrow_mut().push(connection);
        }
    }));
    run.measure(|at_once, work| {
        let ask = |mut connection: Connection<IOLoop>| {
            let statement = statement.clone();
            io_loop.spawn(async move {
                for n in 0..(work / at_once) as i64 {
                    let table = connection.query(&statement, &[&n]).await.expect("an answer");
                    assert_eq!(table.row(0).expect("a row").get(0), Ok(n + 1));
                }
            })
        };
        let tasks = connections.take().into_iter().map(ask).collect();
        drive(Box::pin(finished(tasks)));
    });
}

fn shared(run: &mut Run, io_loop: &IOLoop, drive: &dyn Fn(Work<'_>)) {
    let (_server, conninfo) = server();
    let statement = Statement::new(SQL).expect("a statement");
    let clients = RefCell::new(Vec::new());
    drive(Box::pin(async {
        for _ in 0..SHARED {
            let client = Client::connect(io_loop.downgrade(), &conninfo).await.expect("a client");
            client.query(&statement, &[&0_i64]).await.expect("an answer");
            clients.borrow_mut().push(client);
        }
    }));
    run.measure(|at_once, work| {
        let clients = clients.borrow();
        let ask = |task: usize| {
            let (client, statement) = (clients[task % SHARED].clone(), statement.clone());
            io_loop.spawn(async move {
                for n in 0..(work / at_once) as i64 {
                    let table = client.query(&statement, &[&n]).await.expect("an answer");
                    assert_eq!(table.row(0).expect("a row").get(0), Ok(n + 1));
                }
            })
        };
        let tasks = (0..at_once).map(ask).collect();
        drive(Box::pin(finished(tasks)));
    });
}

async fn finished(tasks: Vec<Task<()>>) {
    for task in tasks {
        task.await.expect("an open loop");
    }
}

fn tokio_each(run: &mut Run) {
    on_tokio_postgres(run, run.at_once);
}

fn tokio_shared(run: &mut Run) {
    on_tokio_postgres(run, SHARED);
}

fn on_tokio_postgres(run: &mut Run, connections: usize) {
    let (_server, conninfo) = server();
    let (runtime, local) = (runtime(), LocalSet::new());
    let clients = local.block_on(&runtime, async {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let connected = tokio_postgres::connect(&conninfo, tokio_postgres::NoTls).await;
            let (client, connection) = connected.expect("a connection");
            tokio::task::spawn(connection);
            let statement = client.prepare(SQL).await.expect("a statement");
            clients.push(Rc::new((client, statement)));
        }
        clients
    });
    run.measure(|at_once, work| {
        local.block_on(&runtime, async {
            let ask = |task: usize| {
                let client = Rc::clone(&clients[task % connections]);
                tokio::task::spawn_local(async move {
                    let (client, statement) = &*client;
                    for n in 0..(work / at_once) as i64 {
                        let row = client.query_one(statement, &[&n]).await.expect("an answer");
                        assert_eq!(row.get::<_, i64>(0), n + 1);
                    }
                })
            };
            let tasks: Vec<_> = (0..at_once).map(ask).collect();
            for task in tasks {
                task.await.expect("an answer for each");
            }
        });
    });
}
