//! `ioloop-c-ares` beside the crate `hickory-resolver`: addresses of names that nobody has asked for
//! before, of one server on this machine.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::xfer::Protocol;
use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_benches::harness::Workload;
use ioloop_c_ares::{Family, Options, Resolver};

use crate::run::{InRust, Run, contender, counted_by_a_slow_clock, job, runtime};

pub(crate) fn tables() -> Vec<Workload> {
    let table = |(name, at_once, requests): (&'static str, usize, usize)| {
        let ours: [InRust; 3] = [
            ("hickory-resolver, on tokio", theirs),
            ("ioloop-c-ares, own loop", own),
            ("ioloop-c-ares, on tokio", attached),
        ];
        let contenders = ours.map(|(name, run)| contender(name, at_once, run));
        counted_by_a_slow_clock(job(name, "a name looked up", at_once, requests, contenders.into()))
    };
    [("c-ares-1", 1, 20_000), ("c-ares-100", 100, 100_000)].map(table).into()
}

/// A server in a process of its own, so what it does is not measured.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let program = env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args(["--serve", "c-ares"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says where it is");
        let address = line.trim().parse().expect("an address");
        Server { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers each question with one address.
pub(crate) fn serve() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    println!("{}", socket.local_addr().expect("an address"));
    let mut message = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut message[..480]).expect("a message");
        // A question ends with the first zero byte behind the header, and its type and class.
        let Some(name) = message[12..length].iter().position(|byte| *byte == 0) else { continue };
        let end = 12 + name + 5;
        // A response, which has one answer and nothing else.
        message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3];
        message[end..end + answer.len()].copy_from_slice(&answer);
        let _ = socket.send_to(&message[..end + answer.len()], from);
    }
}

fn resolver(io_loop: &IOLoop, server: &Server) -> Resolver<IOLoop> {
    let options = Options::new().servers([server.address]).search([""; 0]).hosts(false).cache(0);
    Resolver::with(io_loop.clone(), &options).expect("a resolver")
}

fn own(run: &mut Run) {
    let server = Server::start();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop");
    let resolver = resolver(&io_loop, &server);
    run.measure(|at_once, work| {
        io_loop.run_sync(ask(&resolver, at_once, work)).expect("it runs");
    });
}

fn attached(run: &mut Run) {
    let server = Server::start();
    let runtime = runtime();
    let _entered = runtime.enter();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().expect("a loop");
    let resolver = resolver(&io_loop, &server);
    run.measure(|at_once, work| {
        runtime.block_on(io_loop.run_until(ask(&resolver, at_once, work))).expect("it runs");
    });
}

/// So many clients, each of which asks one thing after the other.
async fn ask(resolver: &Resolver<IOLoop>, at_once: usize, work: usize) {
    let client = async |client: usize| {
        for number in 0..work / at_once {
            let name = format!("n{number}.c{client}.test.");
            let found = resolver.lookup_family(&name, Family::V4).await.expect("an address");
            assert_eq!(found.len(), 1);
        }
    };
    join_all((0..at_once).map(client)).await;
}

fn theirs(run: &mut Run) {
    let server = Server::start();
    let runtime = runtime();
    let mut config = ResolverConfig::new();
    config.add_name_server(NameServerConfig::new(server.address, Protocol::Udp));
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.use_hosts_file = ResolveHosts::Never;
    let provider = TokioConnectionProvider::default();
    let builder = hickory_resolver::Resolver::builder_with_config(config, provider);
    let resolver = builder.with_options(options).build();
    run.measure(|at_once, work| {
        let client = async |client: usize| {
            for number in 0..work / at_once {
                let name = format!("n{number}.c{client}.test.");
                let found = resolver.lookup_ip(name).await.expect("an address");
                assert_eq!(found.iter().count(), 1);
            }
        };
        runtime.block_on(join_all((0..at_once).map(client)));
    });
}
