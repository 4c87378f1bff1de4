//! hyper on a loop beside hyper on tokio's current-thread runtime: a server that says hello on
//! connections that are kept. Its clients are another process, so that the server alone is measured.

use std::cell::Cell;
use std::convert::Infallible;
use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ioloop::{Async, IOLoop, deferred};
use ioloop_benches::harness::Workload;
use ioloop_hyper::{LoopIo, LoopTimer};

use crate::run::{InRust, Run, contender, job, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) fn tables() -> Vec<Workload> {
    let table = |(name, at_once, requests): (&'static str, usize, usize)| {
        let ours: [InRust; 3] = [
            ("hyper, on tokio", tokio_alone),
            ("ioloop-hyper, own loop", own),
            ("ioloop-hyper, on tokio", on_tokio),
        ];
        let contenders = ours.map(|(name, run)| contender(name, at_once, run));
        job(name, "a request, answered", at_once, requests, contenders.into())
    };
    [("http-1", 1, 40000), ("http-100", 100, 40000)].map(table).into()
}

/// Starts the clients, which connect and then wait to be told.
fn start(address: SocketAddr, run: &Run) -> Child {
    let numbers = [run.at_once, run.work / run.at_once].map(|number| number.to_string());
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--clients", "http", &address.to_string()]).args(numbers);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// Counts the requests, and says when all have come.
struct Count {
    left: Cell<usize>,
    done: Cell<Option<ioloop::Resolver<()>>>,
}

impl Count {
    fn new(work: usize) -> (Rc<Count>, ioloop::Task<()>) {
        let (resolver, task) = deferred();
        (Rc::new(Count { left: Cell::new(work), done: Cell::new(Some(resolver)) }), task)
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.done.take().unwrap().resolve(()).unwrap();
        }
        Response::new(Full::new(Bytes::from_static(b"Hello\n")))
    }
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
    let (count, done) = Count::new(run.work / run.at_once * run.at_once);
    let mut builder = http1::Builder::new();
    builder.timer(LoopTimer::new(io_loop.downgrade()).unwrap());
    let listener = Async::<TcpListener>::bind(io_loop, "127.0.0.1:0").unwrap();
    let mut child = start(listener.get_ref().local_addr().unwrap(), run);
    drive(Box::pin(async {
        for _ in 0..run.at_once {
            let (stream, _) = listener.accept(io_loop).await.unwrap();
            stream.get_ref().set_nodelay(true).unwrap();
            let count = Rc::clone(&count);
            let service = service_fn(move |_: Request<Incoming>| {
                let answer = count.answer();
                async move { Ok::<_, Infallible>(answer) }
            });
            io_loop.spawn(builder.serve_connection(LoopIo::new(stream), service)).detach();
        }
    }));
    run.measure(|_, _| {
        child.stdin.take().unwrap().write_all(b"!").unwrap();
        drive(Box::pin(async { done.await.unwrap() }));
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

fn tokio_alone(run: &mut Run) {
    let (runtime, local) = (runtime(), tokio::task::LocalSet::new());
    let (count, done) = Count::new(run.work / run.at_once * run.at_once);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut child = local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let child = start(listener.local_addr().unwrap(), run);
        for _ in 0..run.at_once {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let count = Rc::clone(&count);
            let service = service_fn(move |_: Request<Incoming>| {
                let answer = count.answer();
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::task::spawn_local(builder.serve_connection(TokioIo::new(stream), service));
        }
        child
    });
    run.measure(|_, _| {
        child.stdin.take().unwrap().write_all(b"!").unwrap();
        local.block_on(&runtime, async { done.await.unwrap() });
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The other process: sends requests, one after the other on each connection.
pub(crate) fn clients(address: &str, at_once: &str, each: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let [at_once, each] = [at_once, each].map(|number| number.parse::<usize>().unwrap());
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime(), async {
        let mut streams = Vec::new();
        for _ in 0..at_once {
            streams.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        std::io::stdin().read_exact(&mut [0]).unwrap();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                tokio::task::spawn_local(async move {
                    stream.set_nodelay(true).unwrap();
                    let mut answer = [0; 1024];
                    for _ in 0..each {
                        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
                        let mut read = 0;
                        while !answer[..read].ends_with(b"Hello\n") {
                            match stream.read(&mut answer[read..]).await {
                                Ok(count @ 1..) => read += count,
                                // The server has counted the last of all.
                                _ => return,
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
