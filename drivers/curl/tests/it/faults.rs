//! Servers that are killed, and connections that are reset.

use std::io;
use std::net::TcpListener;

use ioloop_curl::Error;
use rustix::net::sockopt::set_socket_linger;

use crate::bench::{direct, on_every_bench};
use crate::scripted::{Asked, Scripted};

fn hello(asked: &mut Asked<'_>) -> io::Result<()> {
    asked.answer("200 OK", b"hello")
}

#[test]
fn a_server_that_was_killed_and_restarted_was_not_found_again() {
    on_every_bench(|bench| {
        let server = Scripted::start(hello);
        let url = server.url("");
        let get = || {
            let request = direct(bench.client().get(&url));
            bench.block_on(async { request.await?.text().await })
        };
        assert_eq!(get().unwrap(), "hello");
        // Its idle connection is closed, and nobody listens.
        let address = server.kill();
        let error = get().unwrap_err();
        assert!(error.is_connect(), "{error}");
        let server = Scripted::again(address, hello);
        assert_eq!(get().unwrap(), "hello");
        assert_eq!(get().unwrap(), "hello");
        assert_eq!(server.connections(), 1);
        bench.assert_clean();
    });
}

#[test]
fn a_server_that_dies_within_a_body_hung_its_reader() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            asked.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
            asked.body_until_closed()
        });
        let request = direct(bench.client().get(&server.url("")));
        let mut response = bench.block_on(request.into_future()).unwrap();
        assert_eq!(bench.block_on(response.chunk()).unwrap().unwrap(), b"half");
        server.kill();
        let error = bench.block_on(response.chunk()).unwrap_err();
        assert!(matches!(error, Error::Curl { .. }), "{error}");
        drop(response);
        bench.assert_clean();
    });
}

#[test]
fn a_reset_connection_hung_its_request() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            let early = asked.path == "/early";
            if !early {
                asked.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
            }
            // What is closed so is reset.
            set_socket_linger(asked.stream(), Some(std::time::Duration::ZERO)).unwrap();
            asked.abandon()
        });
        for path in ["early", "late"] {
            let request = direct(bench.client().get(&server.url(path)));
            let result = bench.block_on(async { request.await?.bytes().await });
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Curl { .. }), "{path}: {error}");
        }
        bench.assert_clean();
    });
}

#[test]
fn what_is_no_http_was_taken_for_it() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| match asked.path.as_str() {
            "/empty" => asked.abandon(),
            "/garbage" => {
                asked.send("SSH-2.0-OpenSSH_9.2\r\n")?;
                asked.abandon()
            }
            _ => {
                asked.send("HTTP/1.1 2")?;
                asked.abandon()
            }
        });
        for path in ["empty", "garbage", "half"] {
            let request = direct(bench.client().get(&server.url(path)));
            let result = bench.block_on(async { request.await?.bytes().await });
            assert!(matches!(result, Err(Error::Curl { .. })), "{path}: {result:?}");
        }
        bench.assert_clean();
    });
}

#[test]
fn an_answer_before_the_upload_is_whole_hung() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            asked.send(
                "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
            )?;
            asked.body_until_closed()
        });
        let endless = futures_util::stream::repeat_with(|| Ok(vec![0; 10_000]));
        let request = direct(bench.client().post(&server.url(""))).without_header("Expect");
        let request = request.body_stream(endless, None);
        bench.block_on(async {
            let mut response = request.await.unwrap();
            assert_eq!(response.status(), 413);
            assert_eq!(response.text().await.unwrap(), "no");
        });
        bench.assert_clean();
    });
}

#[test]
fn an_upload_that_fails_was_sent_as_if_whole() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            asked.body()?;
            asked.answer("200 OK", b"")
        });
        let items = vec![Ok("a"), Err(io::Error::other("the source is gone"))];
        let request = direct(bench.client().post(&server.url("")));
        let request = request.body_stream(futures_util::stream::iter(items), None);
        let error = bench.block_on(request.into_future()).unwrap_err();
        assert!(
            matches!(&error, Error::Upload(error) if error.to_string() == "the source is gone")
        );
        // One that is shorter, or longer, than it said.
        for length in [2, 0] {
            let request = direct(bench.client().put(&server.url("")));
            let stream = futures_util::stream::iter([Ok("a")]);
            let request = request.body_stream(stream, Some(length));
            let error = bench.block_on(request.into_future()).unwrap_err();
            assert!(matches!(error, Error::Upload(_)), "{error}");
        }
        bench.assert_clean();
    });
}

#[test]
fn a_port_that_nobody_has_was_waited_for() {
    on_every_bench(|bench| {
        // Closed again at once.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let request = direct(bench.client().get(&format!("http://{address}/")));
        let error = bench.block_on(request.into_future()).unwrap_err();
        assert!(error.is_connect() && !error.is_timeout(), "{error}");
        bench.assert_clean();
    });
}
