//! A task a connection: those that stay, and those that are accepted, ask once, and are closed.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::rc::Rc;

use async_executor::LocalExecutor;
use ioloop::Async;
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{CPU, Contender, Countdown, Picture, Sample, Workload, timed};
use crate::loops::{WAYS, Way, async_io_tasks, current, current_thread};
use crate::workloads::echo::{Clients, REQUEST, current_thread_tasks};

const CONNECTIONS: u64 = 50;

/// Connections that are under way at once.
const AT_ONCE: u64 = 64;

pub(super) fn echo() -> Workload {
    let mut contenders = vec![
        Contender::new("tokio current-thread", with_clients(current_thread_tasks)),
        Contender::new("async-io", with_clients(echo_on_async_io)),
    ];
    contenders.extend(WAYS.map(|way| {
        let run = move |streams, operations| echo_on_a_loop(way, streams, operations);
        Contender::new(way.name, with_clients(run))
    }));
    Workload {
        warm_up: 0,
        counted: 2000,
        picture: Picture::Bars(CPU),
        ..Workload::new(
            "spawned-echo",
            "a request of 64 bytes on one of 50 connections, answered by its task",
            50_000,
            contenders,
        )
    }
}

fn with_clients(run: impl Fn(Vec<TcpStream>, u64) -> Sample) -> impl Fn(u64) -> Sample {
    move |operations| {
        let mut clients = Clients::start(CONNECTIONS, 0, operations);
        let sample = run(clients.connect(CONNECTIONS), operations);
        clients.join();
        sample
    }
}

/// Counts each answer; the task ends with the connection.
async fn answer_each(mut stream: impl AsyncRead + AsyncWrite + Unpin, mut answered: impl FnMut()) {
    let mut buffer = [0; 2 * REQUEST];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        stream.write_all(&buffer[..n]).await.expect("room for an answer");
        answered();
    }
}

fn echo_on_async_io(streams: Vec<TcpStream>, operations: u64) -> Sample {
    async_io_tasks(operations, |executor, left| {
        for stream in streams {
            let (stream, left) = (async_io::Async::new_nonblocking(stream), left.clone());
            let stream = stream.expect("registering a socket");
            executor.spawn(answer_each(stream, move || left.count())).detach();
        }
    })
}

fn echo_on_a_loop(way: Way, streams: Vec<TcpStream>, operations: u64) -> Sample {
    let (hosted, left) = (way.open(), Countdown::new(operations));
    let io_loop = &hosted.io_loop;
    for stream in streams {
        let stream = Async::new_nonblocking(io_loop, stream).expect("watching a socket");
        io_loop.spawn(answer_each(stream, stop_after(&left)));
    }
    timed(|| hosted.run())
}

fn stop_after(left: &Countdown) -> impl Fn() + 'static {
    let left = left.clone();
    move || {
        left.count();
        if left.is_finished() {
            current().stop();
        }
    }
}

fn with_connections(run: impl Fn(TcpListener, u64) -> Sample) -> impl Fn(u64) -> Sample {
    move |operations| {
        let (listener, connecting) = connecting(operations);
        let sample = run(listener, operations);
        join(connecting);
        sample
    }
}

pub(super) fn accepted() -> Workload {
    let mut contenders = vec![
        Contender::new("tokio current-thread", with_connections(accept_on_tokio)),
        Contender::new("async-io", with_connections(accept_on_async_io)),
    ];
    contenders.extend(WAYS.map(|way| {
        let run = move |listener, operations| accept_on_a_loop(way, listener, operations);
        Contender::new(way.name, with_connections(run))
    }));
    Workload {
        warm_up: 0,
        counted: 2000,
        picture: Picture::Bars(CPU),
        ..Workload::new(
            "spawned-accepted",
            "a connection, accepted, asked once, answered by its task, and closed",
            100_000,
            contenders,
        )
    }
}

/// A listener, and the process that will connect to it so often.
fn connecting(connections: u64) -> (TcpListener, Child) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let port = listener.local_addr().expect("a bound socket").port();
    let exe = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(exe);
    command.arg("--connect").args([port.into(), connections].map(|n: u64| n.to_string()));
    (listener, command.spawn().expect("starting the clients"))
}

fn join(mut connecting: Child) {
    assert!(connecting.wait().expect("the clients").success(), "the clients failed");
}

/// What that process does: some at once, each of which asks, and waits for the answer and the end.
pub(crate) fn connect(port: u64, connections: u64) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
    let mut left = connections;
    while left > 0 {
        let number = left.min(AT_ONCE);
        left -= number;
        let connect = |_| {
            let mut stream = TcpStream::connect(address).expect("connecting to the server");
            std::io::Write::write_all(&mut stream, &[1; REQUEST]).expect("the server");
            stream
        };
        let streams: Vec<TcpStream> = (0..number).map(connect).collect();
        for mut stream in streams {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("the server");
            assert_eq!(answer.len(), REQUEST);
            // It is reset, and leaves nothing behind for a minute.
            let at_once = Some(std::time::Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&stream, at_once).expect("a socket");
        }
    }
}

async fn answer_one(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = [0; REQUEST];
    stream.read_exact(&mut request).await.expect("a request");
    stream.write_all(&request).await.expect("room for an answer");
}

fn accept_on_tokio(listener: TcpListener, operations: u64) -> Sample {
    let (runtime, left) = (current_thread(), Countdown::new(operations));
    timed(|| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            for _ in 0..operations {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let left = left.clone();
                tokio::spawn(async move {
                    let mut request = [0; REQUEST];
                    stream.read_exact(&mut request).await.expect("a request");
                    stream.write_all(&request).await.expect("room for an answer");
                    drop(stream);
                    left.count();
                });
            }
            left.finished().await;
        });
    })
}

fn accept_on_async_io(listener: TcpListener, operations: u64) -> Sample {
    let (executor, left) = (Rc::new(LocalExecutor::new()), Countdown::new(operations));
    timed(|| {
        async_io::block_on(executor.run(async {
            let listener = async_io::Async::new_nonblocking(listener).expect("a listener");
            for _ in 0..operations {
                let (stream, _) = listener.accept().await.expect("a connection");
                let left = left.clone();
                let serve = async move {
                    answer_one(stream).await;
                    left.count();
                };
                executor.spawn(serve).detach();
            }
            left.finished().await;
        }));
    })
}

fn accept_on_a_loop(way: Way, listener: TcpListener, operations: u64) -> Sample {
    let (hosted, left) = (way.open(), Countdown::new(operations));
    let io_loop = &hosted.io_loop;
    let listener = Async::new_nonblocking(io_loop, listener).expect("a listener");
    let weak = io_loop.downgrade();
    io_loop.spawn(async move {
        for _ in 0..operations {
            let (stream, _) = listener.accept(&weak).await.expect("a connection");
            let answered = stop_after(&left);
            current().spawn(async move {
                answer_one(stream).await;
                answered();
            });
        }
    });
    timed(|| hosted.run())
}
