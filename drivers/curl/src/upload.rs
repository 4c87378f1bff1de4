//! Where the body of a request comes from: bytes, or a stream that a task of the loop reads ahead.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read};
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;

use crate::driver::Driver;
use crate::error::Error;
use crate::exchange::Exchange;

/// What a task reads ahead of libcurl.
const AHEAD: usize = 128 * 1024;
/// What is read of a reader at once.
const CHUNK: usize = 64 * 1024;

/// The body of a request.
pub(crate) enum Payload {
    /// No body at all.
    None,
    /// It is there.
    Bytes(Vec<u8>),
    /// It comes, and has so many bytes in all where that is known.
    Stream(Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>>>>, Option<u64>),
}

/// What libcurl reads.
#[derive(Default)]
pub(crate) struct Source {
    /// Bytes that may be asked for again.
    bytes: Vec<u8>,
    read: usize,
    /// What came from a stream.
    chunks: VecDeque<Vec<u8>>,
    ahead: usize,
    is_streamed: bool,
    /// The stream is at its end.
    has_ended: bool,
    /// libcurl waits for more.
    is_awaited: bool,
    feeder: Option<Waker>,
}

impl Source {
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Source { bytes, ..Source::default() }
    }

    pub(crate) fn stream() -> Self {
        Source { is_streamed: true, ..Source::default() }
    }

    /// Reads what there is; none if it has to be waited for.
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if !self.is_streamed {
            let n = copy(&self.bytes[self.read..], buffer);
            self.read += n;
            return Some(n);
        }
        let Some(chunk) = self.chunks.front() else {
            self.is_awaited = !self.has_ended;
            return self.has_ended.then_some(0);
        };
        let n = copy(&chunk[self.read..], buffer);
        self.read += n;
        self.ahead -= n;
        if self.read == chunk.len() {
            self.chunks.pop_front();
            self.read = 0;
        }
        Some(n)
    }

    /// Notes a chunk, or the end; says whether libcurl waited for it.
    fn push(&mut self, chunk: Option<Vec<u8>>) -> bool {
        match chunk {
            Some(chunk) if chunk.is_empty() => return false,
            Some(chunk) => {
                self.ahead += chunk.len();
                self.chunks.push_back(chunk);
            }
            None => self.has_ended = true,
        }
        mem::take(&mut self.is_awaited)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
    n
}

impl Exchange {
    /// libcurl reads the body of the request; none where it has to wait.
    pub(crate) fn read(self: &Rc<Self>, buffer: &mut [u8]) -> Option<usize> {
        let source = &mut self.state.borrow_mut().source;
        let n = source.read(buffer);
        if source.feeder.is_some() && source.ahead < AHEAD {
            self.touch();
        }
        n
    }

    /// libcurl sends the body of the request again.
    pub(crate) fn rewind(&self, to: u64) -> bool {
        let source = &mut self.state.borrow_mut().source;
        match usize::try_from(to) {
            Ok(to) if !source.is_streamed && to <= source.bytes.len() => source.read = to,
            _ => return false,
        }
        true
    }

    /// Who is to be woken, since there is room.
    pub(crate) fn take_feeder(&self) -> Option<Waker> {
        let source = &mut self.state.borrow_mut().source;
        if source.ahead < AHEAD { source.feeder.take() } else { None }
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if state.source.ahead < AHEAD {
            return Poll::Ready(());
        }
        let old = state.source.feeder.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

/// Reads a stream ahead of libcurl, which cannot wait for one.
pub(crate) async fn feed(
    driver: Weak<Driver>,
    exchange: Rc<Exchange>,
    mut stream: Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>>>>,
    length: Option<u64>,
) {
    /// Ends the exchange where the stream panics, or the loop is closed.
    struct Unfinished(Weak<Driver>, Rc<Exchange>, bool);
    impl Drop for Unfinished {
        fn drop(&mut self) {
            if let (false, Some(driver)) = (self.2, self.0.upgrade()) {
                let panicked = std::thread::panicking();
                driver.fail(&self.1, if panicked { Error::Panicked } else { Error::Closed });
            }
        }
    }
    let mut left = length;
    let mut unfinished = Unfinished(Weak::clone(&driver), Rc::clone(&exchange), false);
    loop {
        poll_fn(|cx| exchange.poll_room(cx)).await;
        let chunk = poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
        let Some(driver) = driver.upgrade() else {
            break;
        };
        let is_over = chunk.is_none();
        let chunk = chunk.transpose().and_then(|chunk| {
            // libcurl cuts off what is more, and may wait for ever for what is less.
            let came = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            left = match left.map(|left| left.checked_sub(came)) {
                None => None,
                Some(Some(left)) if left == 0 || !is_over => Some(left),
                Some(_) => return Err(wrong_length()),
            };
            Ok(chunk)
        });
        match chunk {
            Ok(chunk) => {
                let is_awaited = exchange.state.borrow_mut().source.push(chunk);
                if is_awaited {
                    driver.go_on(&exchange);
                }
            }
            Err(error) => {
                driver.fail(&exchange, Error::Upload(error));
                break;
            }
        }
        if is_over {
            break;
        }
    }
    unfinished.2 = true;
}

fn wrong_length() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body is not as long as was said")
}

/// A reader as a stream, which never waits.
pub(crate) struct Reading<T>(pub(crate) T);

impl<T: Read + Unpin> Stream for Reading<T> {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut chunk = vec![0; CHUNK];
        let read = loop {
            match self.0.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        Poll::Ready(match read {
            Ok(0) => None,
            Ok(n) => {
                chunk.truncate(n);
                Some(Ok(chunk))
            }
            Err(error) => Some(Err(error)),
        })
    }
}

/// A stream of whatever becomes bytes.
pub(crate) struct Bytes<S>(pub(crate) Pin<Box<S>>);

impl<S, B> Stream for Bytes<S>
where
    S: Stream<Item = io::Result<B>>,
    B: Into<Vec<u8>>,
{
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = ready!(self.0.as_mut().poll_next(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(Into::into)))
    }
}
