//! A TCP server on all processors: a pool of loops, with tasks that stay on their loop or are
//! shared by all.
//!
//! ```text
//! cargo run --release --all-features --example pool -- --tasks shared 127.0.0.1:7000
//! ```
//!
//! It answers each line with the same line in capitals, until Ctrl-C. With `--check` it talks to
//! itself instead, and fails where an answer is wrong or missing.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures_lite::io::{BufReader, split};
use futures_lite::prelude::*;
use ioloop::{Async, Builder, Guard, IOLoop, LoopPool, Task, WeakIOLoop, bridge, signal};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Answers lines in capitals, on a pool of loops.
#[derive(Parser)]
struct Options {
    /// Where connections are served
    #[arg(long, value_enum, default_value_t = Tasks::Loops)]
    tasks: Tasks,
    /// How many loops there are; one a processor by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Serve a fixed number of requests of its own, and compare the answers
    #[arg(long)]
    check: bool,
    /// Where to listen; by default any free port of the loopback
    #[arg(default_value = "127.0.0.1:0")]
    address: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tasks {
    /// On the loop that has accepted it: a `!Send` task, and a listener for each loop
    Loops,
    /// On whichever loop is free, at each step: a `Send` task of the shared executor
    Shared,
}

const CLIENTS: usize = 64;
const LINES: usize = 100;
const GRACE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let options = Options::parse();
    let number = options.threads.map_or_else(|| available_parallelism().map(Into::into), Ok)?;
    let pool = IOLoop::spawn_threads(number, "pool", Builder::build)?;
    let (address, accepting, answered) = serve(&pool, &options)?;
    println!("{number} loops, tasks {:?}, at {address}", options.tasks);

    let io_loop = IOLoop::new()?;
    let checked = match options.check {
        true => io_loop.run_sync(check(&io_loop, address))?,
        false => io_loop.run_sync(signal::ctrl_c(&io_loop)?)?.map_err(io::Error::from),
    };
    // No connection is taken any more; those that are there may go on for a while.
    drop(accepting);
    let unfinished = pool.shutdown(GRACE)?;
    println!("{} lines answered; {} tasks left", answered.lines(), unfinished.tasks);
    checked?;
    if options.check && answered.lines() != (CLIENTS * LINES) as u64 {
        return Err(io::Error::other("some lines were counted twice, or not at all"));
    }
    Ok(())
}

/// How many lines were answered, on all threads.
#[derive(Clone, Default)]
struct Answered(Arc<AtomicU64>);

impl Answered {
    fn lines(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What accepts connections until it is dropped.
type Accepting = Guard<Task<io::Result<Infallible>>>;

fn serve(pool: &LoopPool, options: &Options) -> io::Result<(SocketAddr, Vec<Accepting>, Answered)> {
    let answered = Answered::default();
    // The others listen on the port that this one got.
    let first = listening(options.address)?;
    let address = first.local_addr()?;
    let accepting = match options.tasks {
        Tasks::Loops => {
            let others = (1..pool.handles().len()).map(|_| listening(address));
            let listeners: Vec<_> =
                [Ok(first)].into_iter().chain(others).collect::<Result<_, _>>()?;
            let accepts = pool.handles().zip(listeners).map(|(handle, listener)| {
                let answered = answered.clone();
                bridge::to_loop(&handle, move || accept_on_loop(listener, answered))
            });
            accepts.collect()
        }
        Tasks::Shared => {
            let spawner = pool.executor().clone();
            let accepts = accept_shared(spawner, first, answered.clone());
            vec![bridge::to_executor(pool.executor(), accepts)]
        }
    };
    Ok((address, accepting, answered))
}

/// A listener on a port that several may listen on; the kernel spreads the connections over them.
fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1024)?;
    Ok(socket.into())
}

/// Accepts on the loop that runs this, and serves there. Its streams need no lock, and no thread
/// but this.
async fn accept_on_loop(listener: TcpListener, answered: Answered) -> io::Result<Infallible> {
    let io_loop = WeakIOLoop::current().expect("a task of the loop");
    let listener = Async::new(&io_loop, listener)?;
    loop {
        let (stream, _) = listener.accept(&io_loop).await?;
        if let Some(io_loop) = io_loop.upgrade() {
            io_loop.spawn(talk(stream, answered.clone()));
        }
    }
}

/// Accepts, and serves, on whichever loop is free. Its streams are async-io's, whose reactor has a
/// thread of its own.
async fn accept_shared(
    executor: Arc<async_executor::Executor<'static>>,
    listener: TcpListener,
    answered: Answered,
) -> io::Result<Infallible> {
    let listener = async_io::Async::new(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        executor.spawn(talk(stream, answered.clone())).detach();
    }
}

/// One connection, wherever its task runs.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, answered: Answered) {
    let talked = async {
        let (reader, mut writer) = split(stream);
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.try_next().await? {
            answered.0.fetch_add(1, Ordering::Relaxed);
            writer.write_all(format!("{}\n", line.to_uppercase()).as_bytes()).await?;
        }
        Ok::<_, io::Error>(())
    };
    if let Err(error) = talked.await {
        eprintln!("a connection: {error}");
    }
}

/// Clients at once, each of which sends its lines one by one.
async fn check(io_loop: &IOLoop, address: SocketAddr) -> io::Result<()> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| io_loop.spawn(ask(io_loop.downgrade(), address, client)))
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(())
}

async fn ask(io_loop: WeakIOLoop, address: SocketAddr, client: usize) -> io::Result<()> {
    let stream = Async::<TcpStream>::connect(&io_loop, address).await?;
    let (reader, mut writer) = split(stream);
    let mut answers = BufReader::new(reader).lines();
    for line in 0..LINES {
        let asked = format!("line {line} of client {client}");
        writer.write_all(format!("{asked}\n").as_bytes()).await?;
        let answer = answers.try_next().await?;
        if answer.as_ref() != Some(&asked.to_uppercase()) {
            return Err(io::Error::other(format!("{asked:?} was answered by {answer:?}")));
        }
    }
    Ok(())
}
