//! ioloop-pq beside tokio-postgres: one small prepared query, again and again, on one connection or
//! on four, by as many tasks as are at once.

use std::rc::Rc;

use ioloop::IOLoop;
use ioloop_benches::harness::Workload;
use ioloop_pq::{Client, Statement};
use testkit::server::postgres::{Server, USER, is_installed};

use crate::run::{InRust, Run, contender, job, runtime};

const SQL: &str = "SELECT $1::int8 + 1";

pub(crate) fn tables() -> Vec<Workload> {
    let table = |(name, at_once, requests): (&'static str, usize, usize)| {
        let ours: [InRust; 3] = [
            ("tokio-postgres", tokio_postgres),
            ("ioloop-pq, own loop", own),
            ("ioloop-pq, on tokio", on_tokio),
        ];
        let contenders =
            ours.map(|(name, run)| contender(name, at_once, run).needs_installed(missing));
        job(name, "a small prepared query", at_once, requests, contenders.into())
    };
    [("pq-1", 1, 40000), ("pq-100", 100, 40000), ("pq-5000", 5000, 40000)].map(table).into()
}

fn missing() -> Option<&'static str> {
    (!is_installed()).then_some("Debian's postgresql")
}

fn server() -> (Server, String) {
    let server = Server::start_or_skip().expect("PostgreSQL is installed");
    let conninfo = format!("host={} user={USER} dbname={USER}", server.directory().display());
    (server, conninfo)
}

/// How many connections the tasks share.
fn connections(at_once: usize) -> usize {
    at_once.min(4)
}

fn own(run: &mut Run) {
    let io_loop = IOLoop::new().unwrap();
    ours(run, &io_loop, |work| io_loop.run_sync(work).unwrap());
}

fn on_tokio(run: &mut Run) {
    let runtime = runtime();
    let io_loop = {
        let _entered = runtime.enter();
        IOLoop::attach().unwrap()
    };
    ours(run, &io_loop, |work| runtime.block_on(io_loop.run_until(work)).unwrap());
}

type Work<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

fn ours(run: &mut Run, io_loop: &IOLoop, drive: impl Fn(Work<'_>)) {
    let (_server, conninfo) = server();
    let statement = Statement::new(SQL).unwrap();
    let clients = std::cell::RefCell::new(Vec::new());
    drive(Box::pin(async {
        for _ in 0..connections(run.at_once) {
            let client = Client::connect(io_loop.downgrade(), &conninfo).await.unwrap();
            client.query(&statement, &[&0_i64]).await.unwrap();
            clients.borrow_mut().push(client);
        }
    }));
    let clients = clients.into_inner();
    run.measure(|at_once, work| {
        drive(Box::pin(async {
            let tasks: Vec<_> = (0..at_once)
                .map(|task| {
                    let client = clients[task % clients.len()].clone();
                    let statement = statement.clone();
                    io_loop.spawn(async move {
                        for n in 0..(work / at_once) as i64 {
                            let table = client.query(&statement, &[&n]).await.unwrap();
                            assert_eq!(table.row(0).unwrap().get(0), Ok(n + 1));
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }));
    });
}

fn tokio_postgres(run: &mut Run) {
    let (_server, conninfo) = server();
    let (runtime, local) = (runtime(), tokio::task::LocalSet::new());
    let clients = local.block_on(&runtime, async {
        let mut clients = Vec::new();
        for _ in 0..connections(run.at_once) {
            let connected = tokio_postgres::connect(&conninfo, tokio_postgres::NoTls).await;
            let (client, connection) = connected.unwrap();
            tokio::task::spawn(connection);
            let statement = client.prepare(SQL).await.unwrap();
            clients.push(Rc::new((client, statement)));
        }
        clients
    });
    run.measure(|at_once, work| {
        local.block_on(&runtime, async {
            let tasks: Vec<_> = (0..at_once)
                .map(|task| {
                    let client = Rc::clone(&clients[task % clients.len()]);
                    tokio::task::spawn_local(async move {
                        let (client, statement) = &*client;
                        for n in 0..(work / at_once) as i64 {
                            let row = client.query_one(statement, &[&n]).await.unwrap();
                            assert_eq!(row.get::<_, i64>(0), n + 1);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}
