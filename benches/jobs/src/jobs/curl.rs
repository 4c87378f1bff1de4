//! Downloads of 0 to 1 MiB from a server in a process of its own: libcurl on the loop, beside
//! libcurl on other loops, and clients in Rust. Nobody keeps what has arrived.

use std::cell::{Cell, RefCell};
use std::env;
use std::future::Future;
use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;

use futures_lite::AsyncReadExt;
use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_benches::harness::{Contender, Random, Workload};
use ioloop_benches::program::Program;
use ioloop_curl::Client;

use crate::run::{InRust, Run, contender, job, runtime};

/// No download is longer; as the peers in C have it.
const MOST: u64 = 1 << 20;

const PEERS: [Program; 3] = [
    Program::in_c("libcurl, curl_multi_poll", env!("PEER_CURL_POLL"), "a C compiler"),
    Program::in_c(
        "libcurl on libuv",
        env!("PEER_CURL_LIBUV"),
        "a C compiler and Debian's libuv1-dev, and build again",
    ),
    Program::in_c(
        "libcurl on libevent",
        env!("PEER_CURL_LIBEVENT"),
        "a C compiler and Debian's libevent-dev, and build again",
    ),
];

pub(crate) fn tables() -> Vec<Workload> {
    [("curl-1", 1), ("curl-20", 20), ("curl-200", 200)]
        .map(|(name, at_once)| table(name, at_once))
        .into()
}

fn table(name: &'static str, at_once: usize) -> Workload {
    let mut contenders: Vec<Contender> = PEERS.map(|program| peer(program, at_once)).into();
    let in_rust: [InRust; 6] = [
        ("ioloop-curl, own loop", |run| own(run, called)),
        ("ioloop-curl, on tokio", |run| attached(run, called)),
        ("ioloop-curl, own loop, read", |run| own(run, read)),
        ("ioloop-curl, on tokio, read", |run| attached(run, read)),
        ("reqwest", reqwest),
        ("isahc", isahc),
    ];
    contenders.extend(in_rust.map(|(name, run)| contender(name, at_once, run)));
    job(name, "a download of 0 to 1 MiB", at_once, 2000, contenders)
}

fn peer(program: Program, at_once: usize) -> Contender {
    Contender::program(program, move |program, _, operations| {
        let server = Server::start();
        let work = operations.next_multiple_of(at_once as u64);
        program.run("downloads", 0, work, &[server.port.into(), at_once as u64])
    })
}

/// Serves `/N`, a file of N bytes, for ever. A thread a connection, and nothing that has to be made:
/// the clients are what is measured.
pub(crate) fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    // Everybody may connect at once; std's queue is for 128.
    rustix::net::listen(&listener, 1024).expect("a longer queue");
    println!("{}", listener.local_addr().expect("an address").port());
    let file: &'static [u8] = vec![b'.'; MOST as usize].leak();
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream, file));
    }
}

/// Until the client has gone.
fn answer(stream: TcpStream, file: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(&stream);
    let (mut line, mut size) = (String::new(), 0);
    while requests.read_line(&mut line)? > 0 {
        if let Some(path) = line.strip_prefix("GET /") {
            size = path.split(' ').next().and_then(|size| size.parse().ok()).unwrap_or(0);
        } else if line == "\r\n" {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            let sent = (&stream)
                .write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(&file[..size])])?;
            // The head goes whole, since it is the first to go.
            (&stream).write_all(&file[sent - head.len()..size])?;
        }
        line.clear();
    }
    Ok(())
}

/// The server's process, which ends with this.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().expect("this program has a path"));
        command.args(["--serve", "curl"]).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a server");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("where it serves");
        Server { process, port: line.trim().parse().expect("a port") }
    }

    /// Makes `work` downloads, `at_once` at a time, by what says how long the body was.
    async fn downloads<F: Future<Output = u64>>(
        &self,
        get: impl Fn(String) -> F,
        at_once: usize,
        work: usize,
    ) {
        let port = self.port;
        let sizes = RefCell::new((Random::default(), work));
        let next = || {
            let (random, left) = &mut *sizes.borrow_mut();
            *left = left.checked_sub(1)?;
            Some(random.below(MOST + 1))
        };
        let lane = async || {
            while let Some(size) = next() {
                assert_eq!(get(format!("http://127.0.0.1:{port}/{size}")).await, size);
            }
        };
        join_all((0..at_once).map(|_| lane())).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A function takes the body, as in C.
async fn called(client: &Client, url: &str) -> u64 {
    let length = Rc::new(Cell::new(0));
    let taken = Rc::clone(&length);
    let request = client.get(url).configure(|easy| easy.noproxy("*")).on_chunk(move |chunk| {
        taken.set(taken.get() + chunk.len() as u64);
        Ok(())
    });
    let mut response = request.await.expect("a response");
    assert!(response.chunk().await.expect("a body").is_none());
    length.get()
}

/// A task reads the body, as with reqwest.
async fn read(client: &Client, url: &str) -> u64 {
    let response = client.get(url).configure(|easy| easy.noproxy("*")).await;
    let (mut response, mut length) = (response.expect("a response"), 0);
    while let Some(chunk) = response.chunk().await.expect("a body") {
        length += chunk.len() as u64;
    }
    length
}

fn own(run: &mut Run, ours: impl AsyncFn(&Client, &str) -> u64) {
    let server = Server::start();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let client = Client::new(io_loop.clone());
    run.measure(|at_once, work| {
        let get = async |url: String| ours(&client, &url).await;
        io_loop.run_sync(server.downloads(get, at_once, work)).expect("it runs");
    });
}

fn attached(run: &mut Run, ours: impl AsyncFn(&Client, &str) -> u64) {
    let server = Server::start();
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    let client = Client::new(io_loop.clone());
    run.measure(|at_once, work| {
        let get = async |url: String| ours(&client, &url).await;
        let downloads = server.downloads(get, at_once, work);
        runtime.block_on(io_loop.run_until(downloads)).expect("it runs");
    });
}

fn reqwest(run: &mut Run) {
    let server = Server::start();
    let runtime = runtime();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    run.measure(|at_once, work| {
        let get = async |url: String| {
            let (mut response, mut length) = (client.get(url).send().await.expect("a response"), 0);
            while let Some(chunk) = response.chunk().await.expect("a body") {
                length += chunk.len() as u64;
            }
            length
        };
        runtime.block_on(server.downloads(get, at_once, work));
    });
}

fn isahc(run: &mut Run) {
    let server = Server::start();
    let client = isahc::HttpClient::new().expect("a client");
    run.measure(|at_once, work| {
        let get = async |url: String| {
            let mut body = client.get_async(url).await.expect("a response").into_body();
            let (mut buffer, mut length) = (vec![0; 64 * 1024], 0);
            loop {
                match body.read(&mut buffer).await.expect("a body") {
                    0 => return length,
                    read => length += read as u64,
                }
            }
        };
        futures_lite::future::block_on(server.downloads(get, at_once, work));
    });
}
