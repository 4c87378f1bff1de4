//! HTTP/2 over one connection, against nghttp2's server.

use std::env;
use std::process::{Child, Command, Stdio};

use futures_util::future::{FutureExt, join_all};
use ioloop_curl::{Client, HttpVersion, Request, Version};
use testkit::server::{Directory, launch, skip};

use crate::bench::{direct, on_every_bench};

/// A server that serves a directory; killed when it is dropped.
struct Nghttpd {
    process: Child,
    port: u16,
    _files: Directory,
}

impl Nghttpd {
    fn start_or_skip() -> Option<Nghttpd> {
        // Its own command fails in the same way, with `--parallel`.
        if curl::Version::get().version().starts_with("7.88.") {
            eprintln!("SKIPPED: libcurl 7.88");
            return None;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        if !env::split_paths(&path).any(|directory| directory.join("nghttpd").is_file()) {
            skip("nghttpd");
            return None;
        }
        let files = Directory::new("h2").unwrap();
        std::fs::write(files.path().join("small"), "hello").unwrap();
        std::fs::write(files.path().join("large"), vec![7; LARGE]).unwrap();
        // It takes no port of the system's choice, so one is tried after the other.
        for _ in 0..20 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "nghttpd", "-v", "--no-tls"]);
            command.args(["-a", "127.0.0.1", "-d"]).arg(files.path()).arg(port.to_string());
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            if let Ok(process) = launch(&mut command, |process| process.stdout.take(), "listen") {
                return Some(Nghttpd { process, port, _files: files });
            }
        }
        panic!("nghttpd does not start");
    }

    fn get(&self, client: &Client, file: &str) -> Request {
        let request = client.get(&format!("http://127.0.0.1:{}/{file}", self.port));
        direct(request).http_version(HttpVersion::V2PriorKnowledge)
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const LARGE: usize = 3 << 20;

#[test]
fn streams_of_one_connection_disturbed_each_other() {
    let Some(server) = Nghttpd::start_or_skip() else { return };
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_connections(1));
        let client = bench.client();
        bench.block_on(async {
            let mut response = server.get(&client, "small").await.unwrap();
            assert_eq!((response.status(), response.version()), (200, Version::Http2));
            assert_eq!(response.text().await.unwrap(), "hello");
            // One that nobody reads, and one that is given up, hold up none of the others.
            let unread = server.get(&client, "large").buffer(0).await.unwrap();
            let mut given_up = server.get(&client, "large").into_future();
            assert!((&mut given_up).now_or_never().is_none());
            let all = join_all((0..100).map(|n| {
                let file = if n % 10 == 0 { "large" } else { "small" };
                let request = server.get(&client, file);
                async move { request.await?.bytes().await }
            }));
            let mut all = Box::pin(all);
            assert!((&mut all).now_or_never().is_none());
            drop(given_up);
            let lengths: Vec<usize> =
                all.await.into_iter().map(|body| body.unwrap().len()).collect();
            let whole = |n: usize| if n % 10 == 0 { LARGE } else { 5 };
            assert!(lengths.iter().enumerate().all(|(n, length)| *length == whole(n)));
            let (_, body) = unread.into_parts();
            drop(body);
        });
        drop(client);
        bench.assert_clean();
    });
}
