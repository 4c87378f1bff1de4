//! Method calls over a message bus: `ioloop-dbus` beside zbus. The bus and the service are processes
//! of their own.

use std::env;
use std::future::Future;
use std::process::{Child, Command};

use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_compare::runtime;
use ioloop_dbus::Connection;
use testkit::contest::{Contender, Run, contest};
use testkit::server::dbus::Server;

const SERVICE: &str = "IOLOOP_COMPARE_SERVICE";
const NAME: &str = "com.example.Service";
const PATH: &str = "/com/example/Service";

fn main() {
    if let Ok(address) = env::var(SERVICE) {
        return serve(&address);
    }
    contest(
        "calls",
        &[1, 100, 5_000],
        |_| 20_000,
        &[
            Contender { name: "ioloop-dbus", run: own },
            Contender { name: "ioloop-dbus under tokio", run: attached },
            Contender { name: "zbus on tokio", run: zbus },
        ],
    );
}

/// Adds numbers until the bus has gone.
fn serve(address: &str) {
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
        service.env(SERVICE, server.address());
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
