//! What is awaited: the response, and its body.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::driver::Driver;
use crate::error::Error;
use crate::exchange::{Exchange, Next};
use crate::head::{Head, Timings};

/// A request that runs; dropped, it is cancelled.
pub(crate) struct Flight {
    driver: Rc<Driver>,
    exchange: Rc<Exchange>,
}

impl Flight {
    pub(crate) fn new(driver: Rc<Driver>, exchange: Rc<Exchange>) -> Self {
        Flight { driver, exchange }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.driver.abort(&self.exchange);
    }
}

/// The future of a [`Response`]: what awaiting a [`Request`](crate::Request) polls.
///
/// It is ready when the headers of the last response have arrived.
///
/// # Cancel safety
///
/// Dropping it cancels the request: its connection is closed, and nothing is left.
#[must_use = "futures do nothing unless polled"]
pub struct Responding {
    start: Option<Box<dyn FnOnce() -> Flight>>,
    flight: Option<Flight>,
}

impl Responding {
    pub(crate) fn new(start: impl FnOnce() -> Flight + 'static) -> Self {
        Responding { start: Some(Box::new(start)), flight: None }
    }
}

impl Future for Responding {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(start) = self.start.take() {
            self.flight = Some(start());
        }
        let flight = self.flight.take().expect("it is not polled after it was ready");
        let Poll::Ready(head) = flight.exchange.poll_head(cx) else {
            self.flight = Some(flight);
            return Poll::Pending;
        };
        Poll::Ready(head.map(|head| Response { head, body: Body { flight, has_ended: false } }))
    }
}

impl fmt::Debug for Responding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responding").field("is_sent", &self.start.is_none()).finish()
    }
}

/// A response whose headers have arrived, and whose body arrives.
///
/// Status, headers and so on are those of its [`Head`], to which it dereferences. The body is taken
/// by one of [`bytes`](Self::bytes), [`text`](Self::text), [`chunk`](Self::chunk) and
/// [`into_body`](Self::into_body), which is a [`Stream`].
///
/// Dropping it ends the request; where the body was not read to its end, its connection is closed.
#[derive(Debug)]
pub struct Response {
    head: Head,
    body: Body,
}

impl Response {
    /// An error if the status is 400 or more, the response otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Status`].
    pub fn error_for_status(self) -> Result<Response, Error> {
        match self.head.status {
            status @ 400.. => Err(Error::Status { url: self.head.effective_url.clone(), status }),
            _ => Ok(self),
        }
    }

    /// The rest of the body, whole.
    ///
    /// # Errors
    ///
    /// The body does not arrive whole, or is larger than [`max_body_size`].
    ///
    /// # Cancel safety
    ///
    /// What had arrived when this is dropped is gone; the rest is still there.
    ///
    /// [`max_body_size`]: crate::Request::max_body_size
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = self.chunk().await?.unwrap_or_default();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The rest of the body as text; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes).
    ///
    /// # Cancel safety
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes); then the body is at its end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        poll_fn(|cx| self.body.poll_chunk(cx)).await.transpose()
    }

    /// How long it took until now; once the body is at its end, until then.
    pub fn timings(&self) -> Timings {
        self.body.timings()
    }

    /// The body alone.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Both.
    pub fn into_parts(self) -> (Head, Body) {
        (self.head, self.body)
    }
}

impl Deref for Response {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

/// The body of a response: a [`Stream`] of its bytes, in the chunks in which they arrive.
///
/// The last item is an error where the body is not whole. It may be polled on after its end.
///
/// libcurl reads ahead of it as far as [`buffer`](crate::Request::buffer) allows. Dropping it ends
/// the request; where it was not read to its end, the connection is closed.
pub struct Body {
    flight: Flight,
    /// The end was told.
    has_ended: bool,
}

impl Body {
    fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Vec<u8>, Error>>> {
        let Flight { driver, exchange } = &self.flight;
        if self.has_ended {
            return Poll::Ready(None);
        }
        match exchange.next_chunk() {
            Next::Chunk(chunk, has_room) => {
                if has_room {
                    driver.go_on(exchange);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Next::End(end) => {
                self.has_ended = true;
                Poll::Ready(end.err().map(Err))
            }
            Next::Wait => {
                exchange.wait(cx);
                Poll::Pending
            }
        }
    }

    fn timings(&self) -> Timings {
        let Flight { driver, exchange } = &self.flight;
        driver.inform(exchange);
        exchange.state.borrow().timings
    }
}

impl Stream for Body {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("has_ended", &self.has_ended).finish()
    }
}
