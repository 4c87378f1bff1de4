//! An HTTP server of hyper's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{self, select};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::rt::Executor as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ioloop::{Guard, Task};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, watch};

use crate::hosts::{Executor, Polled, Site};
use crate::pattern::{Check, Pattern};

/// A body in one piece, or a long one.
pub type Body = Either<Full<Bytes>, Pattern>;

/// No body.
pub fn empty() -> Body {
    Either::Left(Full::default())
}

/// The server's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether more are accepted.
    pub listening: bool,
    /// All there were.
    pub accepted: usize,
    /// Those that live.
    pub live: usize,
    /// Those that ended in the middle of something.
    pub broken: usize,
}

/// A server on a port of the kernel's choice; dropped, it shuts down in order.
///
/// - `GET /double/N` answers twice `N`, and `GET /together/N` too, when so many requests are there
///   as `together` says.
/// - `GET /pattern/N` answers with `N` bytes of the [`Pattern`].
/// - `PUT /pattern` takes such, and answers how many there were; they were wrong if that is a bad
///   request.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counts: watch::Receiver<Counts>,
    end: watch::Sender<Option<Shutdown>>,
    accepting: Guard<Task<()>>,
}

/// How a server is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// What it has begun to answer is answered.
    Graceful,
    /// Its connections are dropped as they are.
    Abrupt,
}

impl Server {
    /// Starts a server at one of the two places.
    pub async fn start(site: &Site, polled: Polled, together: usize) -> Server {
        let listener = site.here(TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, counts) = watch::channel(Counts { listening: true, ..Counts::default() });
        let (end, ended) = watch::channel(None);
        let service = Service { sender, ended, together: Barrier::new(together) };
        let accepting = accept(listener, Arc::new(service), site.executor(polled));
        Server { address, counts, end, accepting: site.start(polled, accepting) }
    }

    /// What a path of the server's is called from outside.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The connections now.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits for its connections to be as wished.
    pub async fn until(&self, wished: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = self.counts.clone();
        *counts.wait_for(|counts| wished(counts)).await.expect("some connection lives")
    }

    /// Has it accept no more, and its connections end.
    pub fn shut_down(&self, how: Shutdown) {
        self.accepting.cancel();
        self.end.send_replace(Some(how));
    }
}

struct Service {
    sender: watch::Sender<Counts>,
    ended: watch::Receiver<Option<Shutdown>>,
    together: Barrier,
}

/// Says that the listener is gone, when it is.
struct Listening(Arc<Service>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.sender.send_modify(|counts| counts.listening = false);
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, executor: Executor) {
    let _listening = Listening(Arc::clone(&service));
    // Dropped before that.
    let listener = listener;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        service.sender.send_modify(|counts| {
            counts.accepted += 1;
            counts.live += 1;
        });
        executor.execute(serve(stream, Arc::clone(&service)));
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>) {
    let answering = service_fn(|request| answer(request, &service));
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), answering));
    let mut ended = service.ended.clone();
    // None where the server is gone.
    let told = pin!(async { ended.wait_for(Option::is_some).await.ok().and_then(|how| *how) });
    let unbroken = match select(connection.as_mut(), told).await {
        future::Either::Left((ended, _)) => ended.is_ok(),
        future::Either::Right((Some(Shutdown::Abrupt), _)) => false,
        future::Either::Right((Some(Shutdown::Graceful) | None, _)) => {
            connection.as_mut().graceful_shutdown();
            connection.await.is_ok()
        }
    };
    service.sender.send_modify(|counts| {
        counts.live -= 1;
        counts.broken += usize::from(!unbroken);
    });
}

async fn answer(
    request: Request<Incoming>,
    service: &Service,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let (name, number) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number: u64 = number.parse().unwrap_or_default();
    Ok(match (request.method(), name) {
        (&Method::GET, "double") => text(StatusCode::OK, number * 2),
        (&Method::GET, "together") => {
            service.together.wait().await;
            text(StatusCode::OK, number * 2)
        }
        (&Method::GET, "pattern") => Response::new(Either::Right(Pattern::new(number))),
        (&Method::PUT, "pattern") => take(request.into_body()).await,
        _ => text(StatusCode::NOT_FOUND, 0),
    })
}

/// Takes a body that should be the pattern.
async fn take(mut body: Incoming) -> Response<Body> {
    let mut check = Check::default();
    while let Some(frame) = body.frame().await {
        let right = frame.is_ok_and(|frame| frame.data_ref().is_some_and(|data| check.next(data)));
        if !right {
            return text(StatusCode::BAD_REQUEST, check.position());
        }
    }
    text(StatusCode::OK, check.position())
}

fn text(status: StatusCode, number: u64) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(number.to_string())));
    *response.status_mut() = status;
    response
}
