//! What is asked for, and how.

use std::fmt;
use std::future::IntoFuture;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use curl::easy::{Easy2, HttpVersion};
use futures_core::Stream;

use crate::callbacks::Callbacks;
use crate::driver::Driver;
use crate::error::Error;
use crate::exchange::Calls;
use crate::head::Head;
use crate::response::{Flight, Responding};
use crate::upload::{Bytes, Payload, Reading};

/// A handle of libcurl's, as [`Request::configure`] sees it.
pub type Easy = Easy2<Callbacks>;

pub(crate) type OnProgress = Box<dyn FnMut(Progress)>;
pub(crate) type OnChunk = Box<dyn FnMut(&[u8]) -> io::Result<()>>;
pub(crate) type OnDone = Box<dyn FnOnce(Result<(Head, Vec<u8>), Error>)>;
type Configure = Box<dyn FnOnce(&mut Easy) -> Result<(), curl::Error>>;

/// How many redirects are followed, unless something else is said.
const REDIRECTS: u32 = 10;
/// How many bytes of a body wait for a slow reader, unless something else is said.
const BUFFER: usize = 256 * 1024;

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the response's body that arrived.
    pub downloaded: u64,
    /// How many there are, where the server has said it.
    pub download_total: Option<u64>,
    /// Bytes of the request's body that were sent.
    pub uploaded: u64,
    /// How many there are, where that is known.
    pub upload_total: Option<u64>,
}

/// What is sent.
pub(crate) struct Prepared {
    pub(crate) method: String,
    pub(crate) url: String,
    /// Without a value it is left out.
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) payload: Payload,
    pub(crate) redirects: u32,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) low_speed: Option<(u32, Duration)>,
    pub(crate) max_body: u64,
    pub(crate) buffer: usize,
    pub(crate) version: Option<HttpVersion>,
    pub(crate) compressed: bool,
    pub(crate) configure: Vec<Configure>,
}

/// A request that is being put together: await it for its [`Response`](crate::Response), or
/// [`send`](Self::send) it and be called.
///
/// Nothing is sent before it is awaited or sent.
///
/// ```no_run
/// # async fn example(client: &ioloop_curl::Client) -> Result<(), ioloop_curl::Error> {
/// use std::time::Duration;
///
/// let mut response = client
///     .post("http://example.com/upload")
///     .header("Content-Type", "application/json")
///     .body(r#"{"answer": 42}"#)
///     .timeout(Duration::from_secs(10))
///     .max_body_size(1 << 20)
///     .await?
///     .error_for_status()?;
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request is sent when it is awaited, or by `send`"]
pub struct Request {
    driver: Rc<Driver>,
    prepared: Box<Prepared>,
    calls: Calls,
}

impl Request {
    pub(crate) fn new(driver: Rc<Driver>, method: &str, url: &str) -> Self {
        let prepared = Box::new(Prepared {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            payload: Payload::None,
            redirects: REDIRECTS,
            connect_timeout: None,
            timeout: None,
            low_speed: None,
            max_body: u64::MAX,
            buffer: BUFFER,
            version: None,
            compressed: false,
            configure: Vec::new(),
        });
        Request { driver, prepared, calls: Calls::default() }
    }

    /// Adds a header.
    ///
    /// One that libcurl would send by itself, such as `Accept`, is replaced by yours. A line break
    /// in it is an [`Error::Request`] when the request is sent.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.prepared.headers.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Leaves out a header that libcurl would send by itself.
    ///
    /// Without `Expect`, a body is sent at once: otherwise libcurl waits for the server's `100
    /// Continue`, a second at the most, where a body is longer than 1 MiB or of unknown length.
    pub fn without_header(mut self, name: &str) -> Self {
        self.prepared.headers.push((name.to_owned(), None));
        self
    }

    /// Sends these bytes as the body.
    ///
    /// A header `Content-Type` is sent only where you add it.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.prepared.payload = Payload::Bytes(body.into());
        self
    }

    /// Sends what a reader reads as the body, to its end.
    ///
    /// With a `length`, exactly so many bytes have to come, or the request ends with
    /// [`Error::Upload`]; otherwise they are sent in chunks, as
    /// HTTP/1.1 calls it. The reader is called by the loop, so it must not block: a file or a
    /// buffer does not. It cannot be read again, so a redirect that repeats the body is an error.
    pub fn body_reader(mut self, reader: impl Read + Unpin + 'static, length: Option<u64>) -> Self {
        self.prepared.payload = Payload::Stream(Box::pin(Reading(reader)), length);
        self
    }

    /// Sends what a stream yields as the body, to its end.
    ///
    /// As [`body_reader`](Self::body_reader). A task of the loop polls the stream, some 128 KiB
    /// ahead of libcurl; an error in it ends the request with [`Error::Upload`].
    pub fn body_stream<B: Into<Vec<u8>> + 'static>(
        mut self,
        stream: impl Stream<Item = io::Result<B>> + 'static,
        length: Option<u64>,
    ) -> Self {
        self.prepared.payload = Payload::Stream(Box::pin(Bytes(Box::pin(stream))), length);
        self
    }

    /// Follows so many redirects at the most; 10 by default, and 0 follows none, so the
    /// redirect is the response.
    ///
    /// One too many is an [`Error`] for which [`is_redirect`](Error::is_redirect) is true.
    pub fn follow_redirects(mut self, limit: u32) -> Self {
        self.prepared.redirects = limit;
        self
    }

    /// Ends the request if there is no connection after so long, names and TLS included; libcurl's
    /// default is 300 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.prepared.connect_timeout = Some(timeout);
        self
    }

    /// Ends the request if the body is not complete after so long; there is no limit by default.
    ///
    /// libcurl counts in milliseconds, from when it has the request: not the time that a request
    /// spends in the client's queue, for which there is [`ioloop::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.prepared.timeout = Some(timeout);
        self
    }

    /// Ends the request if less than so many bytes a second come or go for so long; there is no
    /// limit by default.
    ///
    /// libcurl counts in whole seconds. The time that it waits for a slow reader does not count.
    pub fn low_speed_limit(mut self, bytes_per_second: u32, duration: Duration) -> Self {
        self.prepared.low_speed = Some((bytes_per_second, duration));
        self
    }

    /// Ends the request with [`Error::BodyTooLarge`] if the body has more bytes; there is no limit
    /// by default.
    ///
    /// Counted are the bytes that you get, so a compressed body cannot grow beyond it.
    pub fn max_body_size(mut self, bytes: u64) -> Self {
        self.prepared.max_body = bytes;
        self
    }

    /// How many bytes of the body wait for a slow reader; 256 KiB by default.
    ///
    /// Where there are as many, libcurl reads no further, and so the server is held up. What libcurl
    /// has read by then, 64 KiB at the most, comes on top.
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.prepared.buffer = bytes;
        self
    }

    /// Speaks this version of HTTP; by default libcurl chooses.
    ///
    /// Where libcurl was built without it, the request ends in an [`Error::Curl`].
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.prepared.version = Some(version);
        self
    }

    /// Accepts a compressed body in whatever format libcurl knows, and decompresses it.
    pub fn compressed(mut self) -> Self {
        self.prepared.compressed = true;
        self
    }

    /// Sets options of libcurl's that have no method here, such as certificates and proxies, once
    /// the others are set.
    ///
    /// `configure` is called when the request is started, on the loop's thread.
    ///
    /// ```no_run
    /// # async fn example(client: &ioloop_curl::Client) -> Result<(), ioloop_curl::Error> {
    /// let response = client
    ///     .get("http://localhost/containers/json")
    ///     .configure(|easy| easy.unix_socket("/run/docker.sock"))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn configure(
        mut self,
        configure: impl FnOnce(&mut Easy) -> Result<(), curl::Error> + 'static,
    ) -> Self {
        self.prepared.configure.push(Box::new(configure));
        self
    }

    /// Calls `callback` when more has come or gone, at most once a turn of the loop.
    ///
    /// It is called by the loop, outside of libcurl, and may do anything, such as drop the client
    /// or the response. If it panics, the request ends with [`Error::Panicked`], and the loop
    /// reports the panic.
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'static) -> Self {
        self.calls.on_progress = Some(Box::new(callback));
        self
    }

    /// Hands the body to `callback` as it comes, instead of collecting it.
    ///
    /// This is libcurl's write function, and the cheapest way to take a body: the bytes are those
    /// of libcurl's own buffer, and nothing is allocated, copied or woken for them. Nothing waits
    /// either, so [`buffer`](Self::buffer) does not count.
    ///
    /// The callback is called inside libcurl, on the loop's thread. It may start and cancel
    /// requests, this one too, read other bodies, and drop the client; libcurl hears of it once the
    /// callback has returned. It must not run the loop. An error ends the request with
    /// [`Error::Body`]. If it panics, the request ends with [`Error::Panicked`], and the loop
    /// reports the panic.
    ///
    /// The response that is awaited, or given to [`send`](Self::send)'s callback, has an empty body
    /// then: that body's end is the end of the download.
    ///
    /// ```no_run
    /// # async fn example(client: &ioloop_curl::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    ///
    /// let mut file = std::fs::File::create("archive")?;
    /// let request = client.get("http://example.com/archive");
    /// let mut response = request.on_chunk(move |chunk| file.write_all(chunk)).await?;
    /// response.chunk().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_chunk(mut self, callback: impl FnMut(&[u8]) -> io::Result<()> + 'static) -> Self {
        self.calls.on_chunk = Some(Box::new(callback));
        self
    }

    /// Sends the request, and calls `on_done` once, with the head and the whole body.
    ///
    /// For those who have callbacks rather than futures. `on_done` is called by the loop, outside
    /// of libcurl; if the loop is closed or the client dropped before, it is dropped instead. The
    /// body is collected without a limit but [`max_body_size`](Self::max_body_size); with
    /// [`on_chunk`](Self::on_chunk) it is empty.
    ///
    /// Dropping the returned handle changes nothing.
    pub fn send(
        mut self,
        on_done: impl FnOnce(Result<(Head, Vec<u8>), Error>) + 'static,
    ) -> Transfer {
        self.calls.on_done = Some(Box::new(on_done));
        let driver = Rc::downgrade(&self.driver);
        let exchange = self.driver.start(self.prepared, self.calls);
        Transfer { driver, exchange: Rc::downgrade(&exchange) }
    }
}

impl IntoFuture for Request {
    type Output = <Responding as Future>::Output;
    type IntoFuture = Responding;

    fn into_future(self) -> Responding {
        let Request { driver, prepared, calls } = self;
        Responding::new(move || {
            let exchange = driver.start(prepared, calls);
            Flight::new(driver, exchange)
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prepared { method, url, headers, .. } = &*self.prepared;
        let mut debug = f.debug_struct("Request");
        debug.field("method", method).field("url", url);
        // Their values may be secrets.
        let names: Vec<&String> = headers.iter().map(|(name, _)| name).collect();
        debug.field("headers", &names).finish_non_exhaustive()
    }
}

/// A request that was [sent](Request::send), and that can be cancelled.
#[derive(Clone)]
pub struct Transfer {
    driver: std::rc::Weak<Driver>,
    exchange: std::rc::Weak<crate::exchange::Exchange>,
}

impl Transfer {
    /// Ends the request here and now: its connection is closed, its callbacks are dropped, and none
    /// is called any more. Says whether it had not ended before.
    pub fn cancel(&self) -> bool {
        match (self.driver.upgrade(), self.exchange.upgrade()) {
            (Some(driver), Some(exchange)) => driver.abort(&exchange),
            _ => false,
        }
    }

    /// Whether the request has ended.
    pub fn has_ended(&self) -> bool {
        self.exchange.upgrade().is_none_or(|exchange| exchange.has_ended())
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ioloop::IOLoop;

    use crate::Client;

    #[test]
    fn a_dropped_client_leaked_its_requests() {
        let io_loop = IOLoop::new().unwrap();
        let client = Client::builder().max_requests(1).build(io_loop);
        // One that runs, and one that waits.
        let transfers = [(); 2].map(|()| client.get("http://127.0.0.1:1/").send(|_| ()));
        assert!(transfers.iter().all(|transfer| transfer.exchange.upgrade().is_some()));
        drop(client);
        assert!(transfers.iter().all(|transfer| transfer.exchange.upgrade().is_none()));
    }
}
