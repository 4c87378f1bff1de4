//! Method calls over a message bus: `ioloop-dbus` beside zbus. The bus and the service are processes
//! of their own.

use std::env;
use std::future::Future;
use std::process::{Child, Command};

use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_benches::harness::Workload;
use ioloop_dbus::Connection;
use testkit::server::dbus::Server;
use testkit::server::in_path;

use crate::run::{InRust, Run, contender, job, runtime};

const NAME: &str = "com.example.Service";
const PATH: &str = "/com/example/Service";

pub(crate) fn tables() -> Vec<Workload> {
    let table = |(name, at_once, requests): (&'static str, usize, usize)| {
        let ours: [InRust; 3] = [
            ("zbus, on tokio", zbus),
            ("ioloop-dbus, own loop", own),
            ("ioloop-dbus, on tokio", attached),
        ];
        let contenders =
            ours.map(|(name, run)| contender(name, at_once, run).needs_installed(missing));
        job(name, "a method call over the bus", at_once, requests, contenders.into())
    };
    [("dbus-1", 1, 20000), ("dbus-100", 100, 20000)].map(table).into()
}

fn missing() -> Option<&'static str> {
    (!in_path("dbus-daemon")).then_some("Debian's dbus-daemon")
}

/// Adds numbers until the bus has gone.
pub(crate) fn serve(address: &str) {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let served = async {
        let bus = Connection::open(io_loop.clone(), address).await.unwrap();
        let served = bus.serve(PATH, NAME, |call| {
            let (a, b): (i32, i32) = call.read().unwrap();
            let _ = call.reply((a + b,));
        });
        bus.request_name(NAME).await.unwrap();
        bus.disconnected().await;
        drop(served);
    };
    io_loop.run_sync(served).unwrap();
}

/// The bus, and the service on it.
struct Site {
    server: Server,
    service: Child,
}

impl Site {
    fn new() -> Site {
        let server = Server::start_or_skip().expect("this compares nothing without dbus-daemon");
        let mut service = Command::new(env::current_exe().unwrap());
        service.args(["--serve", "dbus", &server.address()]);
        Site { service: service.spawn().unwrap(), server }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The service ends with the bus.
        self.server.kill().unwrap();
        self.service.wait().unwrap();
    }
}

/// `work` calls, `at_once` of them at a time.
async fn calls<F: Future<Output = i32>>(at_once: usize, work: usize, add: impl Fn(i32) -> F) {
    let add = &add;
    let lanes = (0..at_once).map(|lane| async move {
        for n in (lane..work).step_by(at_once) {
            assert_eq!(add(n as i32).await, n as i32 + 1);
        }
    });
    join_all(lanes).await;
}

fn own(run: &mut Run) {
    let site = Site::new();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let bus = io_loop.run_sync(connect(&io_loop, &site)).unwrap();
    run.measure(|at_once, work| {
        io_loop.run_sync(calls(at_once, work, |n| add(&bus, n))).unwrap();
    });
}

fn attached(run: &mut Run) {
    let site = Site::new();
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().unwrap();
    let bus = runtime.block_on(io_loop.run_until(connect(&io_loop, &site))).unwrap();
    run.measure(|at_once, work| {
        let calls = calls(at_once, work, |n| add(&bus, n));
        runtime.block_on(io_loop.run_until(calls)).unwrap();
    });
}

/// A connection, once the service is there.
async fn connect(io_loop: &IOLoop, site: &Site) -> Connection {
    let bus = Connection::open(io_loop.clone(), &site.server.address()).await.unwrap();
    while bus.call::<_, ()>(NAME, PATH, NAME, "Add", (1, 2)).await.is_err() {}
    bus
}

async fn add(bus: &Connection, n: i32) -> i32 {
    let (sum,) = bus.call(NAME, PATH, NAME, "Add", (n, 1)).await.unwrap();
    sum
}

fn zbus(run: &mut Run) {
    let site = Site::new();
    let runtime = runtime();
    let bus = runtime.block_on(async {
        let address: &str = &site.server.address();
        let bus = zbus::connection::Builder::address(address).unwrap().build().await.unwrap();
        while bus.call_method(Some(NAME), PATH, Some(NAME), "Add", &(1, 2)).await.is_err() {}
        bus
    });
    run.measure(|at_once, work| {
        runtime.block_on(calls(at_once, work, |n| {
            let bus = &bus;
            async move {
                let args = (n, 1);
                let reply = bus.call_method(Some(NAME), PATH, Some(NAME), "Add", &args).await;
                reply.unwrap().body().deserialize().unwrap()
            }
        }));
    });
}
