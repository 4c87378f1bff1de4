//! A loop with a server of its own, and servers that misbehave.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use ioloop::{IOLoop, timeout};
use ioloop_hiredis::{Client, Connection, Error, Messages, Options, Reply};

use testkit::server::redis::Server;
use testkit::ways::{Way, every_way};

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

/// A loop, and a server for it alone.
pub(crate) struct Site {
    pub(crate) io_loop: IOLoop,
    pub(crate) server: RefCell<Server>,
}

impl Site {
    pub(crate) fn path(&self) -> PathBuf {
        self.server.borrow().socket()
    }

    pub(crate) fn options(&self) -> Options {
        Options::from(self.path())
    }

    pub(crate) async fn try_connect(&self) -> Result<Connection<IOLoop>, Error> {
        Connection::connect(self.io_loop.clone(), self.path()).await
    }

    pub(crate) async fn connect(&self) -> Connection<IOLoop> {
        self.try_connect().await.unwrap()
    }

    /// A client that is quick to connect again.
    pub(crate) fn client(&self) -> Client<IOLoop> {
        let (first, longest) = (Duration::from_millis(1), Duration::from_millis(20));
        Client::new(self.io_loop.clone(), self.options().backoff(first, longest))
    }

    pub(crate) fn assert_empty(&self) {
        assert_empty(&self.io_loop);
    }
}

pub(crate) fn assert_empty(io_loop: &IOLoop) {
    let metrics = io_loop.metrics();
    let left = (metrics.watches, metrics.timers, metrics.tasks);
    assert_eq!(left, (0, 0, 0), "watches, timers and tasks");
}

/// Runs a case in each way, each with a server of its own; nothing may be left in the loop.
pub(crate) fn in_every_way(case: impl AsyncFn(&Site)) {
    every_way(|way| {
        with_site(way.io_loop(), |site| {
            run(way, &site.io_loop, case(site));
            site.assert_empty();
        });
    });
}

/// Runs a case in each way without a server; nothing may be left in the loop.
pub(crate) fn in_every_way_alone(case: impl AsyncFn(&IOLoop)) {
    every_way(|way| {
        let io_loop = way.io_loop();
        run(way, &io_loop, case(&io_loop));
        assert_empty(&io_loop);
    });
}

fn run(way: &Way, io_loop: &IOLoop, case: impl Future<Output = ()>) {
    way.run(io_loop, async {
        let case = timeout(io_loop, HANGS, case).await;
        case.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
    });
}

pub(crate) fn with_site(io_loop: IOLoop, test: impl FnOnce(&Site)) {
    let Some(server) = Server::start_or_skip() else { return };
    test(&Site { io_loop, server: RefCell::new(server) });
}

pub(crate) fn bytes(value: impl AsRef<[u8]>) -> Reply {
    Reply::Bytes(value.as_ref().to_vec())
}

pub(crate) fn is_refused<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Refused(_)))
}

pub(crate) fn is_lost<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Lost(_)))
}

pub(crate) fn is_unreachable<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Unreachable { .. }))
}

/// The next message's payload as text.
pub(crate) async fn next(messages: &mut Messages) -> Option<String> {
    let message = messages.next().await?;
    Some(String::from_utf8(message.payload).unwrap())
}

/// Polls a future once, which has to find nothing yet.
pub(crate) async fn begin(future: &mut (impl Future + Unpin)) {
    poll_fn(|cx| {
        assert!(pin!(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A server that reads until it has got a line that ends in `asked`, writes `answer`, and then
/// either reads on, or ends the connection; once.
pub(crate) fn answering(asked: &'static str, answer: &'static [u8], ends: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(asked.as_bytes()) && matches!(stream.read(&mut byte), Ok(1)) {
            read.push(byte[0]);
        }
        let _ = stream.write_all(answer);
        if !ends {
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    address
}

/// A TCP port for a server that has a Unix socket alone; for one connection.
pub(crate) fn relay(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = UnixStream::connect(socket).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let _ = io::copy(&mut &server, &mut &client);
        let _ = client.shutdown(Shutdown::Both);
    });
    address
}
