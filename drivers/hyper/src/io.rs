//! hyper's byte streams over those of futures-io; all that is unsafe about this crate is in this
//! file.
#![expect(unsafe_code, reason = "hyper's buffer cannot be told in another way how much was read")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};

/// The most that is read at a time, and so the most that is set to zero before.
const PIECE: usize = 64 << 10;

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
        let piece = buf.initialize_unfilled_to(room);
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, piece))?;
        assert!(read <= room, "the stream says that it has read more than there is room for");
        // SAFETY: so many bytes of the piece, which is initialized, are filled.
        unsafe { buf.advance(read) };
        Poll::Ready(Ok(()))
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
