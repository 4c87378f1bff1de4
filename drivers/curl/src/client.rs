//! The client, and its limits.

use std::fmt;
use std::rc::Rc;

use ioloop::Reactor;

use crate::driver::{Driver, Limits};
use crate::request::Request;

/// An HTTP client on a loop: libcurl's connections, and the requests that run over them.
///
/// A clone is the same client. It belongs to its loop's thread, and its futures may be awaited by
/// any executor of that thread, while the loop runs.
///
/// Connections are kept for reuse until the client is dropped. Requests whose future or response
/// somebody holds go on when the client is dropped; those that were [sent](Request::send) end, and
/// their callbacks are dropped.
///
/// ```no_run
/// use ioloop::IOLoop;
/// use ioloop_curl::Client;
///
/// let io_loop = IOLoop::new()?;
/// let client = Client::new(io_loop.downgrade());
/// let text = io_loop.run_sync(async {
///     client.get("http://example.com/").await?.error_for_status()?.text().await
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    driver: Rc<Driver>,
}

/// A client that is being configured: made by [`Client::builder`].
#[derive(Debug, Default)]
#[must_use = "`build` makes a client of it"]
pub struct Builder {
    limits: Limits,
}

impl Client {
    /// A client without limits.
    ///
    /// Whoever keeps it in a task or a callback of the loop itself passes a
    /// [`WeakIOLoop`](ioloop::WeakIOLoop), so the loop does not keep itself.
    pub fn new(reactor: impl Reactor + 'static) -> Client {
        Client::builder().build(reactor)
    }

    /// A client with limits.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A `GET` of a URL.
    pub fn get(&self, url: &str) -> Request {
        self.request("GET", url)
    }

    /// A `HEAD` of a URL: the response has no body.
    pub fn head(&self, url: &str) -> Request {
        self.request("HEAD", url)
    }

    /// A `POST` to a URL; see [`Request::body`].
    pub fn post(&self, url: &str) -> Request {
        self.request("POST", url)
    }

    /// A `PUT` to a URL; see [`Request::body`].
    pub fn put(&self, url: &str) -> Request {
        self.request("PUT", url)
    }

    /// A `DELETE` of a URL.
    pub fn delete(&self, url: &str) -> Request {
        self.request("DELETE", url)
    }

    /// A request of any method, which is sent as it is written here.
    pub fn request(&self, method: &str, url: &str) -> Request {
        Request::new(Rc::clone(&self.driver), method, url)
    }

    /// How many requests have not ended, those in the queue included.
    pub fn unfinished(&self) -> usize {
        self.driver.unfinished()
    }
}

impl Builder {
    /// How many connections there are at the most, idle ones included; no limit by default.
    ///
    /// Requests beyond it wait inside libcurl, in their order. A process has so many descriptors, of
    /// which each connection takes one, and a libcurl that `curl-sys` builds from source may poll
    /// none beyond 1,023: there, a request fails to connect. So whoever starts hundreds of requests
    /// sets this or [`max_requests`](Self::max_requests).
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.limits.connections = limit;
        self
    }

    /// How many connections there are to one host and port at the most; no limit by default.
    ///
    /// Requests beyond it wait inside libcurl.
    pub fn max_connections_per_host(mut self, limit: usize) -> Self {
        self.limits.host_connections = limit;
        self
    }

    /// How many requests libcurl has at a time; no limit by default.
    ///
    /// Those beyond it wait in the client's queue, in their order, and need little memory there.
    /// They are sent when others end, so a response that is kept without being read, or dropped,
    /// holds up the others.
    pub fn max_requests(mut self, limit: usize) -> Self {
        self.limits.requests = limit;
        self
    }

    /// How many idle connections are kept for reuse; by default libcurl keeps four for each
    /// request that runs.
    pub fn max_idle_connections(mut self, limit: usize) -> Self {
        self.limits.idle = Some(limit);
        self
    }

    /// Makes the client.
    ///
    /// # Panics
    ///
    /// There is no memory for libcurl's handle.
    pub fn build(self, reactor: impl Reactor + 'static) -> Client {
        Client { driver: Driver::new(Rc::new(reactor), &self.limits) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("unfinished", &self.unfinished()).finish_non_exhaustive()
    }
}
