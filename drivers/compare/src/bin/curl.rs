//! HTTP beside reqwest and isahc: small bodies, and bodies of 64 KiB, from a server in a process of
//! its own.

use std::env;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt;
use futures_util::stream;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_compare::runtime;
use ioloop_curl::Client;
use isahc::AsyncReadResponseExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::contest::{Contender, Run, contest};

use server::Server;

#[path = "../../../../examples/curl/server.rs"]
#[allow(dead_code, reason = "nobody checks here what comes")]
mod server;

/// The sizes of the files that it serves.
const SIZES: [u64; 2] = [100, 64 * 1024];

const SERVE: &str = "--serve";

fn main() {
    allow_descriptors();
    if env::args().nth(1).as_deref() == Some(SERVE) {
        return serve().expect("serving");
    }
    let contenders = [
        Contender { name: "ioloop-curl, own loop, 100 B", run: |run| own(run, 0) },
        Contender { name: "ioloop-curl, on tokio, 100 B", run: |run| attached(run, 0) },
        Contender { name: "reqwest, 100 B", run: |run| reqwest(run, 0) },
        Contender { name: "isahc, 100 B", run: |run| isahc(run, 0) },
        Contender { name: "ioloop-curl, own loop, 64 KiB", run: |run| own(run, 1) },
        Contender { name: "ioloop-curl, on tokio, 64 KiB", run: |run| attached(run, 1) },
        Contender { name: "reqwest, 64 KiB", run: |run| reqwest(run, 1) },
        Contender { name: "isahc, 64 KiB", run: |run| isahc(run, 1) },
    ];
    contest("requests", &[1, 100, 5000], |_| 10_000, &contenders);
}

/// A connection for each of five thousand requests.
fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Serves until its standard input ends, having said where.
fn serve() -> io::Result<()> {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    let server = Server::start(io_loop.clone(), SIZES.to_vec())?;
    println!("{}", server.url(""));
    io::stdout().flush()?;
    io_loop.start().map_err(io::Error::other)
}

/// The server's process, which ends with this.
struct Serving(Child, String);

impl Serving {
    fn start(file: usize) -> Serving {
        let program = env::current_exe().expect("this program has a path");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg(SERVE);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a server");
        let mut url = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut url).expect("where it serves");
        Serving(child, format!("{}{file}.bin", url.trim_end()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes `work` requests, `at_once` at a time, each of which says how long its body was.
async fn request<F: Future<Output = usize>>(
    get: impl Fn() -> F,
    size: usize,
    at_once: usize,
    work: usize,
) {
    let lengths = stream::iter(0..work).map(|_| get()).buffer_unordered(at_once);
    lengths.for_each(async |length| assert_eq!(length, SIZES[size] as usize)).await;
}

async fn ours(client: &Client, url: &str) -> usize {
    let response = client.get(url).configure(|easy| easy.noproxy("*")).await;
    response.expect("a response").bytes().await.expect("a body").len()
}

fn own(run: &mut Run, size: usize) {
    let server = Serving::start(size);
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let client = Client::new(io_loop.clone());
    let all = |at_once, work| {
        io_loop
            .run_sync(request(|| ours(&client, &server.1), size, at_once, work))
            .expect("the loop runs");
    };
    all(run.at_once, run.at_once);
    run.measure(all);
}

fn attached(run: &mut Run, size: usize) {
    let server = Serving::start(size);
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::attach().expect("a loop");
    let client = Client::new(io_loop.clone());
    let all = |at_once, work| {
        let requests = request(|| ours(&client, &server.1), size, at_once, work);
        runtime.block_on(io_loop.run_until(requests)).expect("the loop runs");
    };
    all(run.at_once, run.at_once);
    run.measure(all);
}

fn reqwest(run: &mut Run, size: usize) {
    let server = Serving::start(size);
    let runtime = runtime();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let get = || async {
        let response = client.get(&server.1).send().await.expect("a response");
        response.bytes().await.expect("a body").len()
    };
    let all = |at_once, work| runtime.block_on(request(get, size, at_once, work));
    all(run.at_once, run.at_once);
    run.measure(all);
}

fn isahc(run: &mut Run, size: usize) {
    let server = Serving::start(size);
    let client = isahc::HttpClient::new().expect("a client");
    let get = || async {
        let mut response = client.get_async(&server.1).await.expect("a response");
        response.bytes().await.expect("a body").len()
    };
    let all = |at_once, work| {
        futures_lite::future::block_on(request(get, size, at_once, work));
    };
    all(run.at_once, run.at_once);
    run.measure(all);
}
