//! What is asked, and what is answered.

use std::io::{self, Cursor};
use std::time::Duration;

use futures_util::stream;
use ioloop::Reactor;
use ioloop_curl::{Client, Error, HttpVersion, Version};

use crate::bench::{Bench, SIZES, assert_is, direct, on_every_bench, turn};
use crate::scripted::{Asked, Scripted};

/// Says what it was asked: method, headers that matter, and body.
fn echo(asked: &mut Asked<'_>) -> io::Result<()> {
    assert_ne!(asked.header("expect"), Some(""));
    if asked.header("expect").is_some() {
        asked.send("HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = asked.body()?;
    let header = |name: &str| asked.header(name).unwrap_or("-").to_owned();
    let (length, coding) = (header("content-length"), header("transfer-encoding"));
    let kind = header("content-type");
    let said = format!("{} {} {length} {coding} {kind}\n", asked.method, asked.path);
    asked.answer("200 OK", &[said.as_bytes(), &body].concat())
}

async fn text(request: ioloop_curl::Request) -> String {
    direct(request).await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

/// A body that has to be waited for now and then.
fn in_pieces(
    bench: &Bench<'_>,
    pieces: &'static [&'static str],
) -> impl stream::Stream<Item = io::Result<&'static str>> + use<> {
    let io_loop = bench.io_loop.downgrade();
    stream::unfold(pieces, move |pieces| {
        let io_loop = io_loop.clone();
        async move {
            let (first, rest) = pieces.split_first()?;
            turn(&io_loop.upgrade()?).await;
            Some((Ok(*first), rest))
        }
    })
}

#[test]
fn a_body_was_sent_as_something_else() {
    on_every_bench(|bench| {
        let server = Scripted::start(echo);
        let client = bench.client();
        bench.block_on(async {
            let url = server.url("x");
            assert_eq!(text(client.get(&url)).await, "GET /x - - -\n");
            assert_eq!(text(client.delete(&url)).await, "DELETE /x - - -\n");
            assert_eq!(text(client.post(&url).body("a")).await, "POST /x 1 - -\na");
            assert_eq!(text(client.post(&url)).await, "POST /x 0 - -\n");
            let typed = client.post(&url).body("a").header("Content-Type", "text/plain");
            assert_eq!(text(typed).await, "POST /x 1 - text/plain\na");
            assert_eq!(text(client.put(&url).body("ab")).await, "PUT /x 2 - -\nab");
            let patch = client.request("PATCH", &url).body("abc");
            assert_eq!(text(patch).await, "PATCH /x 3 - -\nabc");
            let read = client.put(&url).body_reader(Cursor::new("abcd"), Some(4));
            assert_eq!(text(read).await, "PUT /x 4 - -\nabcd");
            let read = client.post(&url).body_reader(Cursor::new("abcd"), Some(4));
            assert_eq!(text(read).await, "POST /x 4 - -\nabcd");
            let streamed = client.post(&url).body_stream(in_pieces(bench, &["a", "", "bc"]), None);
            assert_eq!(text(streamed).await, "POST /x - chunked -\nabc");
            let streamed = client.put(&url).body_stream(in_pieces(bench, &["a", "bc"]), None);
            assert_eq!(text(streamed).await, "PUT /x - chunked -\nabc");
            let request = client.post(&url).without_header("Expect");
            let streamed = request.body_stream(in_pieces(bench, &["a", "bc"]), None);
            assert_eq!(text(streamed).await, "POST /x - chunked -\nabc");
            let streamed = client.put(&url).body_stream(in_pieces(bench, &["a", "bc"]), Some(3));
            assert_eq!(text(streamed).await, "PUT /x 3 - -\nabc");
        });
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn a_large_upload_was_not_whole() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            let body = asked.body()?;
            asked.answer("200 OK", &body)
        });
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        for length in [None, Some(bytes.len() as u64)] {
            let request = bench.client().put(&server.url("")).without_header("Expect");
            let request = request.body_reader(Cursor::new(bytes.clone()), length);
            let echoed = bench.block_on(async { direct(request).await?.bytes().await });
            assert!(echoed.unwrap() == bytes);
        }
        bench.assert_clean();
    });
}

#[test]
fn a_response_before_the_response_was_taken_for_it() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            assert_eq!(asked.header("expect"), Some("100-continue"));
            asked.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n")?;
            let body = asked.body()?;
            asked.answer("201 Created", &body)
        });
        let request = bench.client().post(&server.url("")).body("hello");
        bench.block_on(async {
            let mut response = direct(request).header("Expect", "100-continue").await.unwrap();
            assert_eq!((response.status(), response.header("a")), (201, None));
            assert_eq!(response.text().await.unwrap(), "hello");
        });
        bench.assert_clean();
    });
}

#[test]
fn a_head_was_not_told_before_its_body() {
    on_every_bench(|bench| {
        let begun = bench.io_loop.now();
        bench.block_on(async {
            // Its body stops half way.
            let response = bench.get("stall/2.bin").await.unwrap();
            assert_eq!((response.status(), response.version()), (200, Version::Http11));
            assert!(response.is_success());
            let length = SIZES[2].to_string();
            assert_eq!(response.header("content-length"), Some(length.as_str()));
            assert_eq!(response.headers().count(), 1);
            assert_eq!(response.effective_url(), bench.server.url("stall/2.bin"));
            let timings = response.timings();
            assert!(timings.connect <= timings.first_byte && timings.first_byte <= timings.total);
            assert!(timings.total <= bench.io_loop.now() - begun);
        });
        bench.assert_clean();
    });
}

#[test]
fn a_redirect_went_wrong() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            let body = asked.body()?;
            let (status, to) = match asked.path.as_str() {
                "/303" => ("303 See Other", "/end"),
                "/307" => ("307 Temporary Redirect", "/end"),
                "/loop" => ("302 Found", "/loop"),
                "/file" => ("302 Found", "file:///etc/passwd"),
                _ => {
                    let said = [asked.method.as_bytes(), b" ", &body].concat();
                    return asked.answer("200 OK", &said);
                }
            };
            asked.send(format!(
                "HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\nmove"
            ))
        });
        let client = bench.client();
        bench.block_on(async {
            let mut response = direct(client.post(&server.url("303")).body("x")).await.unwrap();
            assert_eq!(response.effective_url(), server.url("end"));
            assert_eq!(response.text().await.unwrap(), "GET ");
            let sent_again = client.post(&server.url("307")).body("x");
            assert_eq!(text(sent_again).await, "POST x");
            let once = client.put(&server.url("307")).body_reader(Cursor::new("x"), Some(1));
            let error = direct(once).await.unwrap_err();
            assert!(matches!(&error, Error::Curl { error, .. } if error.is_send_fail_rewind()));
            let not_followed = client.get(&server.url("loop")).follow_redirects(0);
            let mut response = direct(not_followed).await.unwrap();
            assert_eq!((response.status(), response.header("Location")), (302, Some("/loop")));
            assert_eq!(response.text().await.unwrap(), "move");
            let error = direct(client.get(&server.url("loop"))).await.unwrap_err();
            assert!(error.is_redirect(), "{error}");
            let error = direct(client.get(&server.url("file"))).await.unwrap_err();
            assert!(error.to_string().contains("rotocol"), "{error}");
        });
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn what_cannot_be_sent_was_sent() {
    on_every_bench(|bench| {
        let client = bench.client();
        let url = bench.server.url("1.bin");
        let refused = [
            client.get(&url).header("A", "b\r\nC: d"),
            client.get(&url).header("A: b", "c"),
            client.get(&url).header("", "c"),
            client.request("GE T", &url),
            client.get("http://x\0y"),
        ];
        bench.block_on(async {
            for request in refused {
                let error = request.await.unwrap_err();
                assert!(matches!(error, Error::Request { .. }), "{error}");
            }
            for url in ["file:///etc/passwd", "not a url", ""] {
                let error = client.get(url).await.unwrap_err();
                assert!(matches!(error, Error::Curl { .. }), "{error}");
            }
            // A status is no error unless one asks.
            let error = bench.get("9.bin").await.unwrap().error_for_status().unwrap_err();
            assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
        });
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn a_request_that_was_not_awaited_was_sent() {
    on_every_bench(|bench| {
        let server = Scripted::start(echo);
        drop(bench.client().get(&server.url("")));
        drop(bench.client().get(&server.url("")).into_future());
        assert_eq!(bench.client().unfinished(), 0);
        bench.block_on(turn(&bench.io_loop));
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn a_connection_was_not_used_again() {
    on_every_bench(|bench| {
        let server = Scripted::start(echo);
        let client = bench.client();
        bench.block_on(async {
            for _ in 0..5 {
                text(client.get(&server.url(""))).await;
            }
            let old = client.get(&server.url("")).http_version(HttpVersion::V10);
            text(old).await;
        });
        assert!(server.connections() <= 2, "{}", server.connections());
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn a_compressed_body_came_compressed() {
    // `printf hello | gzip -n`
    const GZIP: [u8; 25] = [
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0,
    ];
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            let accepts = asked.header("accept-encoding").is_some_and(|it| it.contains("gzip"));
            let (coding, body) = if accepts { ("gzip", &GZIP[..]) } else { ("identity", &[][..]) };
            let length = body.len();
            asked.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
            ))?;
            asked.send(body)
        });
        let client = bench.client();
        bench.block_on(async {
            assert_eq!(text(client.get(&server.url("")).compressed()).await, "hello");
            assert_eq!(text(client.get(&server.url(""))).await, "");
        });
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn futures_of_an_executor_of_its_own_were_not_woken() {
    // Polled by nobody but a small executor on the loop's thread, beside the loop.
    on_every_bench(|bench| {
        let requests = (0..3).map(|n| async move {
            let file = n % 3;
            let body = bench.get(&format!("{file}.bin")).await?.bytes().await?;
            assert_is(&body, file);
            Ok::<_, Error>(())
        });
        let all = futures_util::future::join_all(requests);
        assert!(bench.block_on(all).into_iter().all(|result| result.is_ok()));
        bench.assert_clean();
    });
}

#[test]
fn a_slow_server_was_waited_for() {
    // libcurl counts in seconds, so this is tried once.
    let io_loop = ioloop::IOLoop::new().unwrap();
    let server = Scripted::start(|asked| {
        asked.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow")?;
        // Until the client is gone.
        asked.body_until_closed()
    });
    let client = Client::new(io_loop.clone());
    let request = client.get(&server.url("")).low_speed_limit(1000, Duration::from_secs(1));
    let error = io_loop.run_sync(async { direct(request).await?.bytes().await }).unwrap();
    assert!(error.unwrap_err().is_timeout());
}
