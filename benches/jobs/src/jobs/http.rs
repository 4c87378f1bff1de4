//! A server of HTTP/1.1 on connections that are kept: hyper on a loop and on a pool of loops, beside
//! hyper on tokio, Tornado, and uvloop. wrk, in a process of its own, is the clients, so the
//! server alone is measured.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ioloop::backends::BackendKind;
use ioloop::{Async, Builder, IOLoop, bridge};
use ioloop_benches::harness::{Contender, Mark, Workload};
use ioloop_benches::program::{Program, values};
use ioloop_hyper::{LoopIo, LoopTimer};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use testkit::server::in_path;
use tokio::sync::Notify;

use crate::run::{Run, contender, job, runtime};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/http_server.py");
const TORNADO: Program =
    Program::in_python("Tornado", SCRIPT, "tornado", "python3, and `pip install tornado`");
const UVLOOP: Program = Program::in_python(
    "uvloop and httptools",
    SCRIPT,
    "uvloop,httptools",
    "python3, and `pip install uvloop httptools`",
);

/// wrk tries once whether it can connect, before it does.
const PROBES: u64 = 1;

const HELLO: &[u8] = b"Hello\n";
const LARGE: &[u8] = &[b'.'; 64 * 1024];

pub(crate) fn tables() -> Vec<Workload> {
    [
        ("http-1", HELLO, 1, 20_000),
        ("http-50", HELLO, 50, 40_000),
        ("http-500", HELLO, 500, 40_000),
        ("http-5000", HELLO, 5000, 40_000),
        ("http-64k-1", LARGE, 1, 5000),
        ("http-64k-50", LARGE, 50, 5000),
        ("http-64k-500", LARGE, 500, 5000),
        ("http-64k-5000", LARGE, 5000, 10_000),
    ]
    .map(|(name, body, at_once, requests)| table(name, body, at_once, requests))
    .into()
}

fn table(name: &'static str, body: &'static [u8], at_once: usize, requests: usize) -> Workload {
    let one = |name, serve: fn(&mut Run, &'static [u8])| {
        contender(name, at_once, move |run| serve(run, body)).needs_installed(missing)
    };
    let mut contenders = vec![
        one("hyper on tokio current-thread", on_tokio),
        one("hyper on tokio multi-thread", on_tokio_threads),
        one("ioloop-hyper, own loop", own),
        one("ioloop-hyper, on tokio", attached),
    ];
    if at_once > 1 {
        contenders.push(one("ioloop-hyper, two loops", pool));
    }
    // Tornado accepts so slowly that 5,000 connections take a quarter of a minute: the kernel drops those
    // that wait, and they try again after a second, two, four, and eight.
    if at_once < 5000 {
        contenders.push(peer(TORNADO, body, at_once));
    }
    contenders.push(peer(UVLOOP, body, at_once));
    let request = if body.len() == HELLO.len() { "hello" } else { "64 KiB" };
    // How many are answered before all connections are there differs from run to run: many more are
    // counted. With 5,000 it would take minutes to find the calls that 500 make.
    let counted = if at_once < 5000 { 5000.max(4 * at_once as u64) } else { 0 };
    Workload { counted, ..job(name, request, at_once, requests, contenders) }
}

fn missing() -> Option<&'static str> {
    (!in_path("wrk")).then_some("Debian's wrk")
}

/// A server in Python: it says its port, and in the end what it took.
fn peer(program: Program, body: &'static [u8], at_once: usize) -> Contender {
    let run = move |program: &Program, _, operations| {
        let parameters = [at_once as u64 + PROBES, body.len() as u64];
        let mut command =
            program.command("serve", warm_up(at_once), program.share(operations), &parameters);
        let mut server = command.stdout(Stdio::piped()).spawn().expect("a server");
        let mut said = BufReader::new(server.stdout.take().expect("it is piped"));
        let mut port = String::new();
        said.read_line(&mut port).expect("a port");
        let clients = Clients::start(port.trim().parse().expect("a port"), at_once);
        let mut rest = Vec::new();
        said.read_to_end(&mut rest).expect("what it took");
        drop(clients);
        assert!(server.wait().expect("it ends").success(), "{} failed", program.name);
        values(&rest)
    };
    Contender::program(program, run).needs_installed(missing)
}

/// How many requests are answered before the time runs, once all connections are there.
fn warm_up(at_once: usize) -> u64 {
    200 + at_once as u64
}

/// wrk, until it is dropped.
struct Clients(Child);

impl Clients {
    fn start(port: u16, at_once: usize) -> Self {
        let mut wrk = Command::new("setpriv");
        wrk.args(["--pdeathsig", "KILL", "--", "wrk", "--threads", "1", "--duration", "100"]);
        wrk.args(["--timeout", "30", "--connections", &at_once.to_string()]);
        wrk.arg(format!("http://127.0.0.1:{port}/")).stdout(Stdio::null());
        Clients(wrk.spawn().expect("wrk"))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Counts connections and requests, on whatever threads, and marks where the time begins and ends.
struct Count {
    body: &'static [u8],
    connections: u64,
    work: u64,
    accepted: AtomicU64,
    closed: AtomicU64,
    answered: AtomicU64,
    /// The request with which the time begins.
    first: AtomicU64,
    began: OnceLock<Mark>,
    ended: OnceLock<Mark>,
    done: Notify,
}

impl Count {
    fn new(run: &Run, body: &'static [u8]) -> Arc<Count> {
        Arc::new(Count {
            body,
            connections: run.at_once as u64 + PROBES,
            work: run.work as u64,
            accepted: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            first: AtomicU64::new(u64::MAX / 2),
            began: OnceLock::new(),
            ended: OnceLock::new(),
            done: Notify::new(),
        })
    }

    fn accepted(&self) {
        if self.accepted.fetch_add(1, Relaxed) + 1 == self.connections {
            let first = self.answered.load(Relaxed) + warm_up(self.connections as usize);
            self.first.store(first, Relaxed);
        }
    }

    fn closed(&self) {
        let closed = self.closed.fetch_add(1, Relaxed) + 1;
        if closed == self.connections && self.ended.get().is_none() {
            eprintln!("the clients have gone before they had asked enough");
            process::exit(1);
        }
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let number = self.answered.fetch_add(1, Relaxed);
        let first = self.first.load(Relaxed);
        // Another thread may have counted past the first before it was known which that is, and
        // may end before the thread with the first has read the clock.
        if number >= first {
            let _ = self.began.get_or_init(Mark::now);
        }
        if number >= first + self.work {
            let _ = self.ended.get_or_init(Mark::now);
            self.done.notify_one();
        }
        Response::new(Full::new(Bytes::from_static(self.body)))
    }

    /// What it took, when it is done.
    fn measured(&self, run: &mut Run) {
        let marks = self.began.get().zip(self.ended.get());
        let (began, ended) = marks.expect("it has begun and ended");
        run.measured(began.until(*ended));
    }
}

/// Serves one connection, on whatever has its stream.
macro_rules! connection {
    ($builder:expr, $count:expr, $io:expr) => {{
        let (builder, count) = ($builder.clone(), Arc::clone($count));
        count.accepted();
        async move {
            let answer = |_: Request<Incoming>| {
                let answer = count.answer();
                async move { Ok::<_, Infallible>(answer) }
            };
            let _ = builder.serve_connection($io, service_fn(answer)).await;
            count.closed();
        }
    }};
}

/// A listener that others may share the port of, with a queue that all clients fit into.
fn listener(port: u16) -> TcpListener {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("a socket");
    set_socket_reuseport(&socket, true).expect("a port for several");
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).expect("a port");
    rustix::net::listen(&socket, 5000).expect("a listener");
    socket.into()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

fn own(run: &mut Run, body: &'static [u8]) {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let count = Count::new(run, body);
    let listener = listener(0);
    let _clients = Clients::start(port(&listener), run.at_once);
    let accepting = accept(io_loop.clone(), listener, Arc::clone(&count));
    io_loop.spawn(accepting).detach();
    io_loop.run_sync(count.done.notified()).expect("it runs");
    count.measured(run);
}

fn attached(run: &mut Run, body: &'static [u8]) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    let count = Count::new(run, body);
    let listener = listener(0);
    let _clients = Clients::start(port(&listener), run.at_once);
    let accepting = accept(io_loop.clone(), listener, Arc::clone(&count));
    io_loop.spawn(accepting).detach();
    runtime.block_on(io_loop.run_until(count.done.notified())).expect("it runs");
    count.measured(run);
}

/// A loop for each of two processors, each with a listener of its own.
fn pool(run: &mut Run, body: &'static [u8]) {
    let pool = IOLoop::spawn_threads(2, "pool", Builder::build).expect("a pool");
    let count = Count::new(run, body);
    let first = listener(0);
    let port = port(&first);
    let listeners = [first, listener(port)];
    let accepting: Vec<_> = pool
        .handles()
        .zip(listeners)
        .map(|(handle, listener)| {
            let count = Arc::clone(&count);
            bridge::to_loop(&handle, move || {
                let io_loop = IOLoop::current().expect("it is called by its loop");
                accept(io_loop, listener, count)
            })
        })
        .collect();
    let _clients = Clients::start(port, run.at_once);
    futures_lite::future::block_on(count.done.notified());
    count.measured(run);
    drop(accepting);
}

async fn accept(io_loop: IOLoop, listener: TcpListener, count: Arc<Count>) {
    let mut builder = http1::Builder::new();
    builder.timer(LoopTimer::new(io_loop.downgrade()).expect("a timer"));
    let listener = Async::new(&io_loop, listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept(&io_loop).await.expect("a connection");
        stream.get_ref().set_nodelay(true).expect("a socket");
        io_loop.spawn(connection!(builder, &count, LoopIo::new(stream))).detach();
    }
}

fn on_tokio(run: &mut Run, body: &'static [u8]) {
    serve_on_tokio(&runtime(), run, body);
}

fn on_tokio_threads(run: &mut Run, body: &'static [u8]) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    serve_on_tokio(&builder.worker_threads(2).enable_all().build().expect("a runtime"), run, body);
}

fn serve_on_tokio(runtime: &tokio::runtime::Runtime, run: &mut Run, body: &'static [u8]) {
    let count = Count::new(run, body);
    let listener = listener(0);
    let _clients = Clients::start(port(&listener), run.at_once);
    let _entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let counting = Arc::clone(&count);
    runtime.spawn(async move {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            tokio::spawn(connection!(builder, &counting, TokioIo::new(stream)));
        }
    });
    runtime.block_on(count.done.notified());
    count.measured(run);
}
