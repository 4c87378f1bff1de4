//! Every kind of loop, and the two transports.
// Each test binary uses its part of it.
#![allow(dead_code)]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use ioloop::{Async, Builder, IOLoop, ManualClock, Task, timeout};
use ioloop_with_line_protocol::{Client, Limits, Listener, Served, Server, Socket, Stop};
use testkit::hosts::HOSTS;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same on a clock that jumps, whose time costs nothing.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs a case on every kind of loop, each of which has to be as empty afterwards as it was before.
pub(crate) fn on_every_loop(case: impl AsyncFn(&IOLoop)) {
    on_each(IOLoop::builder, PATIENCE, case);
}

/// The same, with loops that measure their time-outs by `clock`.
pub(crate) fn on_every_loop_by(clock: &ManualClock, case: impl AsyncFn(&IOLoop)) {
    on_each(|| IOLoop::builder().clock(clock), DAY, case);
}

fn on_each(builder: impl Fn() -> Builder, patience: Duration, case: impl AsyncFn(&IOLoop)) {
    for host in HOSTS {
        // Seen where the test fails.
        eprintln!("{host:?}");
        host.run(builder(), async |io_loop| {
            timeout(io_loop, patience, case(io_loop)).await.expect("it hangs");
            let metrics = io_loop.metrics();
            let left = (metrics.watches, metrics.timers, metrics.tasks);
            assert_eq!(left, (0, 0, 0), "watches, timers and tasks");
        });
    }
}

/// A listener somewhere, and the way to it.
pub(crate) trait Transport: Sized {
    type Listener: Listener<Socket = Self::Socket>;
    type Socket: Socket;

    fn listen(io_loop: &IOLoop) -> (Self, Async<Self::Listener>);
    async fn connect(&self, io_loop: &IOLoop) -> io::Result<Async<Self::Socket>>;
}

pub(crate) struct Tcp(SocketAddr);

impl Transport for Tcp {
    type Listener = TcpListener;
    type Socket = TcpStream;

    fn listen(io_loop: &IOLoop) -> (Self, Async<TcpListener>) {
        let listener = Async::<TcpListener>::bind(io_loop, "127.0.0.1:0").unwrap();
        (Tcp(listener.get_ref().local_addr().unwrap()), listener)
    }

    async fn connect(&self, io_loop: &IOLoop) -> io::Result<Async<TcpStream>> {
        Async::<TcpStream>::connect(io_loop, self.0).await
    }
}

/// A name in the temporary directory, removed with this.
pub(crate) struct Unix(PathBuf);

impl Transport for Unix {
    type Listener = UnixListener;
    type Socket = UnixStream;

    fn listen(io_loop: &IOLoop) -> (Self, Async<UnixListener>) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ioloop-line-protocol-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        let listener = Async::<UnixListener>::bind(io_loop, &path).unwrap();
        (Unix(path), listener)
    }

    async fn connect(&self, io_loop: &IOLoop) -> io::Result<Async<UnixStream>> {
        Async::<UnixStream>::connect(io_loop, &self.0).await
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server that runs as a task of a loop.
pub(crate) struct Site<T> {
    pub(crate) io_loop: IOLoop,
    pub(crate) transport: T,
    pub(crate) stop: Stop,
    pub(crate) serving: Task<io::Result<Served>>,
}

/// The longest line of the clients.
pub(crate) const LINE: usize = 4096;

impl<T: Transport> Site<T> {
    pub(crate) fn new(io_loop: &IOLoop, limits: Limits) -> Self {
        let (transport, listener) = T::listen(io_loop);
        let (server, stop) = Server::new(io_loop.clone(), listener, limits);
        let serving = io_loop.spawn(server.serve());
        Site { io_loop: io_loop.clone(), transport, stop, serving }
    }

    /// A connection without a client on it.
    pub(crate) async fn socket(&self) -> Async<T::Socket> {
        self.transport.connect(&self.io_loop).await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client<T::Socket> {
        Client::new(self.socket().await, LINE)
    }

    pub(crate) async fn stop(self) -> Served {
        self.stop.stop();
        self.serving.await.unwrap().unwrap()
    }
}

/// Writes all of it.
pub(crate) async fn write<S: Socket>(socket: &Async<S>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = socket.write_with(|socket| socket.write(bytes)).await.unwrap();
        bytes = &bytes[written..];
    }
}

/// Reads what comes next.
pub(crate) async fn read<S: Socket>(socket: &Async<S>) -> String {
    let mut buffer = [0; 4096];
    let n = socket.read_with(|socket| socket.read(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

/// Reads to the end.
pub(crate) async fn read_to_end<S: Socket>(socket: &Async<S>) -> String {
    let mut text = String::new();
    loop {
        match read(socket).await {
            end if end.is_empty() => return text,
            more => text.push_str(&more),
        }
    }
}
