//! reqwest, which starts its connections on tokio by itself, with its requests awaited by a loop.

use std::time::Duration;

use ioloop_with_http::{Check, Pattern, Polled, Server, Shutdown, Site, on_every_host};
use reqwest::{Body, Client, RequestBuilder};

/// Runs a case on every host, with the server at both places; says where, in words.
fn everywhere(together: usize, case: impl AsyncFn(&Site, &Server, &Client, &str)) {
    on_every_host(async |site| {
        for at_server in Polled::ALL {
            let place = format!("on {:?}, server {at_server:?}", site.host);
            let server = Server::start(site, at_server, together).await;
            let client = site.enter(|| Client::builder().no_proxy().build().unwrap());
            site.here(case(site, &server, &client, &place)).await;
            drop(client);
            // Its connections end with it.
            server.until(|counts| counts.live == 0).await;
            server.shut_down(Shutdown::Graceful);
            server.until(|counts| !counts.listening).await;
        }
    });
}

/// The number that comes as an answer.
async fn number(request: RequestBuilder) -> u64 {
    let response = request.send().await.unwrap().error_for_status().unwrap();
    response.text().await.unwrap().parse().unwrap()
}

#[test]
fn a_hundred_requests_at_once_get_their_own_answers() {
    const TOGETHER: u64 = 100;
    everywhere(TOGETHER as usize, async |site, server, client, place| {
        // The server answers none before all are there.
        let requests: Vec<_> = (0..TOGETHER)
            .map(|n| {
                let request = client.get(server.url(&format!("/together/{n}")));
                site.io_loop.spawn(site.here(number(request)))
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
    everywhere(1, async |_, server, client, place| {
        let request = client.put(server.url("/pattern")).body(Body::wrap(Pattern::new(LENGTH)));
        assert_eq!(number(request).await, LENGTH, "up, {place}");

        let request = client.get(server.url(&format!("/pattern/{LENGTH}")));
        let (mut response, mut check) = (request.send().await.unwrap(), Check::default());
        while let Some(chunk) = response.chunk().await.unwrap() {
            assert!(check.next(&chunk), "down, after {}, {place}", check.position());
        }
        assert_eq!(check.position(), LENGTH, "down, {place}");
    });
}

#[test]
fn what_is_given_up_ends_its_connection() {
    // The server answers none, since there will never be two.
    everywhere(2, async |_, server, client, place| {
        // A download in the middle.
        let request = client.get(server.url(&format!("/pattern/{}", 1_u64 << 40)));
        let (mut response, mut check) = (request.send().await.unwrap(), Check::default());
        while check.position() < 1 << 20 {
            assert!(check.next(&response.chunk().await.unwrap().unwrap()), "{place}");
        }
        drop(response);
        let counts = server.until(|counts| counts.live == 0).await;
        assert_eq!(counts.broken, 1, "{place}");

        // A request that nobody answers, by a timer of tokio's.
        let request = client.get(server.url("/together/1")).timeout(Duration::from_millis(20));
        assert!(request.send().await.unwrap_err().is_timeout(), "{place}");
        server.until(|counts| counts.live == 0).await;
        assert_eq!(number(client.get(server.url("/double/21"))).await, 42, "{place}");
    });
}
