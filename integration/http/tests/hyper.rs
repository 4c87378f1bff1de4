//! hyper's client and server on one loop, which polls them; or one of them by tokio itself.

use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use ioloop_with_http::{
    Body, Check, Pattern, Polled, Server, Shutdown, Site, empty, on_every_host,
};

/// More than the sockets hold between them, so the server is in the middle of it.
const ENDLESS: u64 = 1 << 40;

type Pool = Client<HttpConnector, Body>;

/// A client that keeps its connections, and has them polled at one of the two places.
fn client(site: &Site, polled: Polled) -> Pool {
    Client::builder(site.executor(polled)).build_http()
}

async fn send(client: &Pool, method: Method, url: String, body: Body) -> (StatusCode, Incoming) {
    let request = Request::builder().method(method).uri(url).body(body).unwrap();
    let (parts, body) = client.request(request).await.map(Response::into_parts).unwrap();
    (parts.status, body)
}

/// The number that comes as an answer.
async fn number(client: &Pool, method: Method, url: String, body: Body) -> u64 {
    let (status, body) = send(client, method, url, body).await;
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, StatusCode::OK, "{text}");
    text.parse().unwrap()
}

/// Begins to download so many bytes.
async fn download(client: &Pool, server: &Server, length: u64) -> Download {
    let url = server.url(&format!("/pattern/{length}"));
    let (status, body) = send(client, Method::GET, url, empty()).await;
    assert_eq!(status, StatusCode::OK);
    Download { body, check: Check::default() }
}

struct Download {
    body: Incoming,
    check: Check,
}

impl Download {
    /// Reads on, to a position or to the end, and compares; says where it is.
    async fn read(&mut self, until: u64) -> hyper::Result<u64> {
        while self.check.position() < until {
            let Some(frame) = self.body.frame().await else { break };
            let data = frame?.into_data().unwrap();
            assert!(self.check.next(&data), "wrong after {}", self.check.position());
        }
        Ok(self.check.position())
    }
}

/// A server, and a client of it.
struct Pair<'a> {
    site: &'a Site,
    server: Server,
    client: Pool,
    /// Where the client's connections are polled.
    at_client: Polled,
    /// All that, in words.
    place: String,
}

/// Runs a case on every host, with client and server at every place.
fn everywhere(together: usize, case: impl AsyncFn(&Pair<'_>)) {
    on_every_host(async |site| {
        for (at_server, at_client) in [
            (Polled::ByTheLoop, Polled::ByTheLoop),
            (Polled::ByTokio, Polled::ByTheLoop),
            (Polled::ByTheLoop, Polled::ByTokio),
        ] {
            let place = format!("on {:?}, server {at_server:?}, client {at_client:?}", site.host);
            let server = Server::start(site, at_server, together).await;
            let client = client(site, at_client);
            let pair = Pair { site, server, client, at_client, place };
            site.here(case(&pair)).await;
            let Pair { server, client, .. } = pair;
            drop(client);
            // Its connections end with it.
            server.until(|counts| counts.live == 0).await;
            server.shut_down(Shutdown::Graceful);
            server.until(|counts| !counts.listening).await;
        }
    });
}

#[test]
fn one_connection_carries_many_requests() {
    everywhere(1, async |Pair { server, client, at_client, place, .. }| {
        for n in 0..100 {
            let url = server.url(&format!("/double/{n}"));
            assert_eq!(number(client, Method::GET, url, empty()).await, n * 2, "{place}");
        }
        // Polled elsewhere, the connection may come back to the pool after the next request has
        // asked for one.
        let most = if *at_client == Polled::ByTheLoop { 1 } else { 50 };
        assert!((1..=most).contains(&server.counts().accepted), "{:?}, {place}", server.counts());
    });
}

#[test]
fn a_hundred_requests_at_once_get_their_own_answers() {
    const TOGETHER: u64 = 100;
    everywhere(TOGETHER as usize, async |Pair { site, server, client, place, .. }| {
        // The server answers none before all are there.
        let requests: Vec<_> = (0..TOGETHER)
            .map(|n| {
                let (client, url) = (client.clone(), server.url(&format!("/together/{n}")));
                let request = async move { number(&client, Method::GET, url, empty()).await };
                site.io_loop.spawn(site.here(request))
            })
            .collect();
        for (n, request) in (0..).zip(requests) {
            assert_eq!(request.await.unwrap(), n * 2, "{place}");
        }
        assert_eq!(server.counts().accepted, TOGETHER as usize, "{place}");
    });
}

#[test]
fn sixty_four_mebibytes_go_up_and_down_unharmed() {
    const LENGTH: u64 = 64 << 20;
    everywhere(1, async |Pair { server, client, place, .. }| {
        let body = Either::Right(Pattern::new(LENGTH));
        let taken = number(client, Method::PUT, server.url("/pattern"), body).await;
        assert_eq!(taken, LENGTH, "up, {place}");

        let mut download = download(client, server, LENGTH).await;
        assert_eq!(download.read(u64::MAX).await.unwrap(), LENGTH, "down, {place}");
        assert_eq!(server.counts().accepted, 1, "{place}");
    });
}

#[test]
fn a_download_that_is_given_up_ends_its_connection() {
    everywhere(1, async |Pair { server, client, place, .. }| {
        let mut download = download(client, server, ENDLESS).await;
        download.read(1 << 20).await.unwrap();
        assert_eq!(server.counts().live, 1, "{place}");
        drop(download);
        // The server hears of it, and has nothing left of it.
        let counts = server.until(|counts| counts.live == 0).await;
        assert_eq!(counts.broken, 1, "{place}");
        // The client is as good as new, on another connection.
        let url = server.url("/double/21");
        assert_eq!(number(client, Method::GET, url, empty()).await, 42, "{place}");
        assert_eq!(server.counts().accepted, 2, "{place}");
    });
}

#[test]
fn a_request_that_is_given_up_ends_its_connection() {
    // The server answers none, since there will never be two.
    everywhere(2, async |Pair { site, server, client, place, .. }| {
        let (again, url) = (client.clone(), server.url("/together/1"));
        let request = async move { send(&again, Method::GET, url, empty()).await };
        let request = site.io_loop.spawn(site.here(request));
        server.until(|counts| counts.live == 1).await;
        request.cancel();
        assert!(request.await.unwrap_err().is_cancelled(), "{place}");
        server.until(|counts| counts.live == 0).await;
        let url = server.url("/double/21");
        assert_eq!(number(client, Method::GET, url, empty()).await, 42, "{place}");
    });
}

#[test]
fn a_server_that_shuts_down_in_order_ends_what_it_has_begun() {
    const LENGTH: u64 = 16 << 20;
    everywhere(2, async |Pair { site, server, client, at_client, place }| {
        let mut downloads = Vec::new();
        for _ in 0..4 {
            let mut download = download(client, server, LENGTH).await;
            download.read(1 << 16).await.unwrap();
            downloads.push(download);
        }
        server.shut_down(Shutdown::Graceful);
        server.until(|counts| !counts.listening).await;
        // Who comes now finds nobody.
        let late = self::client(site, *at_client);
        let request = Request::get(server.url("/double/1")).body(empty()).unwrap();
        assert!(late.request(request).await.unwrap_err().is_connect(), "{place}");

        for mut download in downloads {
            assert_eq!(download.read(u64::MAX).await.unwrap(), LENGTH, "{place}");
        }
        let counts = server.until(|counts| counts.live == 0).await;
        assert_eq!((counts.accepted, counts.broken), (4, 0), "{place}");
    });
}

#[test]
fn a_server_that_is_cut_off_ends_its_requests_with_an_error() {
    everywhere(2, async |Pair { site, server, client, place, .. }| {
        // In the middle of a body, and in the middle of an answer.
        let mut download = download(client, server, ENDLESS).await;
        download.read(1 << 20).await.unwrap();
        let (again, url) = (client.clone(), server.url("/together/1"));
        let waiting = site.io_loop.spawn(site.here(async move {
            let request = Request::get(url).body(empty()).unwrap();
            again.request(request).await
        }));
        server.until(|counts| counts.live == 2).await;
        server.shut_down(Shutdown::Abrupt);
        assert!(download.read(u64::MAX).await.is_err(), "{place}");
        assert!(waiting.await.unwrap().is_err(), "{place}");
        let counts = server.until(|counts| counts.live == 0).await;
        assert_eq!(counts.broken, 2, "{place}");
    });
}
