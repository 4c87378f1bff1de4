//! TCP connections on which requests of 64 bytes come in and are sent back. The clients are another
//! process, and connected before the time runs. What counts is the CPU time of the server.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use async_io::Async;
use calloop::generic::Generic;
use calloop::{EventLoop, Mode, PostAction};
use ioloop::{IOLoop, Reactor};
use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{CPU, Contender, Countdown, Picture, Sample, Workload, count_down, timed};
use crate::loops::{WAYS, async_io_tasks, current, local_tasks, multi_thread_tasks};
use crate::peers::{self, Program};
use crate::raw::{EVENTS, Raw};

pub(super) const REQUEST: usize = 64;

pub(crate) fn workload(name: &'static str, active: u64, idle: u64) -> Workload {
    let with_clients = move |run: fn(Vec<TcpStream>, u64) -> Sample| {
        move |operations| {
            let mut clients = Clients::start(active, idle, operations);
            let sample = run(clients.connect(active + idle), operations);
            clients.join();
            sample
        }
    };
    let contender = |name, run| Contender::new(name, with_clients(run));
    let mut contenders = vec![
        contender("raw epoll", raw_epoll),
        Contender::beside_an_idle_thread(
            "raw epoll beside an idle thread",
            with_clients(raw_epoll),
        ),
    ];
    contenders.extend(WAYS.map(|way| {
        Contender::new(way.name, move |operations| {
            let mut clients = Clients::start(active, idle, operations);
            let hosted = way.open();
            serve(&hosted.io_loop, clients.connect(active + idle), operations);
            let sample = timed(|| hosted.run());
            clients.join();
            sample
        })
    }));
    contenders.extend([
        contender("mio", on_mio),
        contender("calloop", on_calloop),
        contender("tokio current-thread", current_thread_tasks),
        contender("tokio multi-thread", tasks_on_two_threads),
        contender("async-io", async_tasks),
    ]);
    let program = |program: &Program| {
        Contender::program(*program, move |program, _, operations| {
            let operations = program.share(operations);
            let clients = Clients::start(active, idle, operations);
            let values = program.run("echo", 0, operations, &[clients.port.into(), active + idle]);
            clients.join();
            values
        })
    };
    contenders.extend(peers::C.iter().map(program));
    contenders.extend(peers::PYTHON.iter().map(program));
    Workload {
        warm_up: 0,
        counted: if idle > 0 { 0 } else { 1000 },
        picture: Picture::Bars(CPU),
        ..Workload::new(name, "a request of 64 bytes, answered", 40_000, contenders)
    }
}

/// The other process.
pub(super) struct Clients {
    process: Child,
    pub(super) port: u16,
}

/// Clients that pause, until they are told to go on.
pub(super) struct Told {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Told {
    /// Until all are connected, or half of their requests have been answered.
    pub(super) fn wait(&mut self) {
        self.line();
    }

    pub(super) fn tell(&mut self) {
        self.input.write_all(b"\n").expect("the clients");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the clients");
        line
    }
}

impl Clients {
    pub(super) fn start(active: u64, idle: u64, requests: u64) -> Self {
        Clients::start_as(&[active, idle, requests]).0
    }

    pub(super) fn start_told(connections: u64, requests: u64) -> (Self, Told) {
        Clients::start_as(&[connections, 0, requests, 1])
    }

    fn start_as(numbers: &[u64]) -> (Self, Told) {
        let exe = std::env::current_exe().expect("the path of this program");
        let mut process = Command::new(exe)
            .arg("--clients")
            .args(numbers.iter().map(u64::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the clients");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut told = Told { input, output };
        let port = told.line().trim().parse().expect("the port");
        (Clients { process, port }, told)
    }

    /// It is the server that connects: so it knows when all are there, in whatever language it is
    /// written.
    pub(super) fn connect(&mut self, connections: u64) -> Vec<TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("connecting to the clients");
            stream.set_nonblocking(true).expect("a socket");
            stream.set_nodelay(true).expect("a socket");
            stream
        };
        (0..connections).map(connect).collect()
    }

    pub(super) fn join(mut self) {
        let status = self.process.wait().expect("the clients");
        assert!(status.success(), "the clients failed");
    }
}

/// What the other process does: on each of the connections that are not idle it sends a request
/// when the one before has been answered, until there have been enough. If it is `told`, it waits
/// for a line when all are connected, and when half of the requests have been answered.
pub(crate) fn clients(active: u64, idle: u64, requests: u64, told: bool) {
    let listener = listener();
    println!("{}", listener.local_addr().expect("a bound socket").port());
    stdout().flush().expect("the server's pipe");
    let accept = |_| listener.accept().expect("the server").0;
    let streams: Vec<TcpStream> = (0..active + idle).map(accept).collect();
    let pause = |why| {
        if told {
            println!("{why}");
            stdin().read_line(&mut String::new()).expect("the server's pipe");
        }
    };
    pause("connected");
    let (mut raw, mut unsent, mut unanswered) = (Raw::new(), requests, requests);
    let mut send = |mut stream: &TcpStream| {
        let more = unsent > 0;
        if more {
            unsent -= 1;
            stream.write_all(&[1; REQUEST]).expect("the server");
        }
        more
    };
    for (stream, key) in streams.iter().zip(0..active) {
        stream.set_nodelay(true).expect("a socket");
        raw.add(stream, key);
        send(stream);
    }
    let mut done = Vec::new();
    while unanswered > 0 {
        for key in raw.wait() {
            let mut stream = &streams[key as usize];
            stream.read_exact(&mut [0; REQUEST]).expect("the server");
            unanswered -= 1;
            if unanswered == requests / 2 {
                pause("half");
            }
            if !send(stream) {
                done.push(stream);
            }
        }
        // The server may end now.
        done.drain(..).for_each(|stream| raw.delete(stream));
    }
}

/// With room for every connection, since the server connects faster than they are accepted.
fn listener() -> TcpListener {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    rustix::net::bind(&socket, &address).expect("a free port");
    rustix::net::listen(&socket, 4096).expect("listening");
    socket.into()
}

/// What has arrived on a connection.
pub(super) struct Request {
    bytes: [u8; REQUEST],
    length: usize,
}

impl Request {
    pub(super) fn receive(mut stream: &TcpStream) -> Self {
        let mut bytes = [0; REQUEST];
        let length = stream.read(&mut bytes).expect("a request");
        Request { bytes, length }
    }

    pub(super) fn answer(&self, mut stream: &TcpStream) {
        stream.write_all(&self.bytes[..self.length]).expect("room for an answer");
    }
}

fn answer(stream: &TcpStream) {
    Request::receive(stream).answer(stream);
}

fn raw_epoll(streams: Vec<TcpStream>, operations: u64) -> Sample {
    let mut raw = Raw::new();
    for (stream, key) in streams.iter().zip(0..) {
        raw.add(stream, key);
    }
    let left = Cell::new(operations);
    timed(|| {
        while left.get() > 0 {
            for key in raw.wait() {
                answer(&streams[key as usize]);
                count_down(&left);
            }
        }
    })
}

pub(super) fn serve(io_loop: &IOLoop, streams: Vec<TcpStream>, operations: u64) {
    let left = Rc::new(Cell::new(operations));
    for stream in streams {
        let left = Rc::clone(&left);
        let watch = io_loop.add_reader(stream, move |stream| {
            answer(stream);
            if count_down(&left) {
                current().stop();
            }
        });
        watch.expect("watching a socket");
    }
}

fn on_mio(streams: Vec<TcpStream>, operations: u64) -> Sample {
    let mut poll = mio::Poll::new().expect("a poll");
    let streams: Vec<_> = (0..)
        .zip(streams)
        .map(|(index, stream)| {
            let mut stream = mio::net::TcpStream::from_std(stream);
            let (registry, token) = (poll.registry(), mio::Token(index));
            let registered = registry.register(&mut stream, token, mio::Interest::READABLE);
            registered.expect("registering a socket");
            stream
        })
        .collect();
    let left = Cell::new(operations);
    let mut events = mio::Events::with_capacity(EVENTS);
    timed(|| {
        while left.get() > 0 {
            poll.poll(&mut events, None).expect("a wait");
            for event in &events {
                // A client sends the next request only when this one is answered.
                let (mut stream, mut buffer) = (&streams[event.token().0], [0; REQUEST]);
                let n = stream.read(&mut buffer).expect("a request");
                stream.write_all(&buffer[..n]).expect("room for an answer");
                count_down(&left);
            }
        }
    })
}

fn on_calloop(streams: Vec<TcpStream>, operations: u64) -> Sample {
    let mut event_loop = EventLoop::<()>::try_new().expect("a loop");
    let left = Rc::new(Cell::new(operations));
    for stream in streams {
        let (left, signal) = (Rc::clone(&left), event_loop.get_signal());
        let source = Generic::new(stream, calloop::Interest::READ, Mode::Level);
        let inserted = event_loop.handle().insert_source(source, move |_, stream, ()| {
            answer(stream);
            if count_down(&left) {
                signal.stop();
            }
            Ok(PostAction::Continue)
        });
        inserted.expect("inserting a socket");
    }
    timed(|| event_loop.run(None, &mut (), |()| {}).expect("running the loop"))
}

pub(super) async fn answer_all(mut stream: tokio::net::TcpStream, left: Countdown) {
    let mut buffer = [0; 2 * REQUEST];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        stream.write_all(&buffer[..n]).await.expect("room for an answer");
        left.count();
    }
}

pub(super) fn current_thread_tasks(streams: Vec<TcpStream>, operations: u64) -> Sample {
    local_tasks(operations, |tasks, left| {
        for stream in streams {
            let stream = tokio::net::TcpStream::from_std(stream).expect("registering a socket");
            tasks.spawn_local(answer_all(stream, left.clone()));
        }
    })
}

fn tasks_on_two_threads(streams: Vec<TcpStream>, operations: u64) -> Sample {
    multi_thread_tasks(operations, |runtime, left| {
        for stream in streams {
            let stream = tokio::net::TcpStream::from_std(stream).expect("registering a socket");
            runtime.spawn(answer_all(stream, left.clone()));
        }
    })
}

fn async_tasks(streams: Vec<TcpStream>, operations: u64) -> Sample {
    async_io_tasks(operations, |executor, left| {
        for stream in streams {
            let (stream, left) = (Async::new_nonblocking(stream), left.clone());
            let stream = stream.expect("registering a socket");
            let answer_all = async move {
                loop {
                    stream.readable().await.expect("a driven reactor");
                    answer(stream.get_ref());
                    left.count();
                }
            };
            executor.spawn(answer_all).detach();
        }
    })
}
