//! hyper's byte streams over those of futures-io.
//!
//! hyper's buffer is not initialized, and futures-io reads only into what is. To set it to zero first
//! was most of what a small request took: hyper has room for far more than arrives. So all streams of
//! a thread read into one piece of memory, which was set to zero once, and what has arrived is copied.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};

/// The most that is read at a time.
const PIECE: usize = 64 << 10;

thread_local! {
    /// Empty before the first read, and while there is one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// hyper's [`Read`] and [`Write`] for a stream that has those of futures-io, such as
/// [`ioloop::Async`] or a TLS stream over one.
///
/// # Cancel safety
///
/// As that of the stream: giving up a pending read or write loses nothing.
#[derive(Debug)]
pub struct LoopIo<T>(T);

impl<T> LoopIo<T> {
    /// Wraps a stream.
    pub fn new(stream: T) -> Self {
        LoopIo(stream)
    }

    /// The stream.
    pub fn get_ref(&self) -> &T {
        &self.0
    }

    /// The stream, to change.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// Gives the stream back, as after an upgrade.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsyncRead + Unpin> Read for LoopIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining().min(PIECE);
        // A thread that ends has none any more.
        let mut piece = SPARE.try_with(Cell::take).unwrap_or_default();
        piece.resize(PIECE, 0);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut piece[..room]);
        if let Poll::Ready(Ok(read)) = read {
            assert!(read <= room, "the stream says that it has read more than there is room for");
            buf.put_slice(&piece[..read]);
        }
        let _ = SPARE.try_with(|spare| spare.set(piece));
        read.map_ok(drop)
    }
}

impl<T: AsyncWrite + Unpin> Write for LoopIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    /// futures-io does not tell; [`ioloop::Async`] does write them all.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use hyper::rt::ReadBuf;

    use super::*;

    /// Yields 1, 2, 3, a byte at a time, and keeps what was in its buffer before.
    #[derive(Default)]
    struct Bytes {
        last: u8,
        found: Vec<u8>,
    }

    impl AsyncRead for Bytes {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.last += 1;
            let found = std::mem::replace(&mut buf[0], self.last);
            self.found.push(found);
            Poll::Ready(Ok(1))
        }
    }

    /// A stream over another, such as one of TLS, that reads that one by hyper's trait.
    struct Over(LoopIo<Bytes>);

    impl AsyncRead for Over {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            buf.fill(9);
            let mut inner = ReadBuf::new(buf);
            let read = Pin::new(&mut self.0).poll_read(cx, inner.unfilled());
            read.map_ok(|()| inner.filled().len())
        }
    }

    fn read(io: &mut LoopIo<impl AsyncRead + Unpin>, times: usize) -> Vec<u8> {
        let mut room = [0; 64];
        let mut buf = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..times {
            assert!(Pin::new(&mut *io).poll_read(&mut cx, buf.unfilled()).is_ready());
        }
        buf.filled().to_vec()
    }

    #[test]
    fn each_read_set_its_room_to_zero() {
        let mut io = LoopIo::new(Bytes::default());
        assert_eq!(read(&mut io, 3), [1, 2, 3]);
        assert_eq!(io.get_ref().found[1..], [1, 2]);
    }

    #[test]
    fn a_stream_over_another_read_into_the_same_piece() {
        let mut io = LoopIo::new(Over(LoopIo::new(Bytes::default())));
        assert_eq!(read(&mut io, 3), [1, 2, 3]);
    }
}
