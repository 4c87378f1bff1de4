//! The I/O traits of futures-io on [`Async`].

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{Shutdown, shutdown};

use super::async_source::Async;
use crate::system::{AsFd, BorrowedFd, Errno};

/// Reads as soon as there is something; two tasks may share one source as `&Async`.
///
/// A read of a `TcpStream` or `UnixStream` that leaves room in the buffer has found all there was.
/// The next one then waits for the descriptor first, instead of asking the kernel for nothing.
///
/// # Cancel safety
///
/// Giving up a pending read loses no byte. The trait does not tell that it was given up, so the
/// last waker stays until the source is readable or dropped. It is the only one: of several tasks
/// that read by this trait, the last to ask is woken, as by tokio's streams. More may wait by
/// [`readable`](Async::readable) and [`read_with`](Async::read_with).
impl<S> AsyncRead for &Async<S>
where
    for<'a> &'a S: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_into(cx, buf.len(), |mut source| source.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, |mut source| source.read_vectored(bufs))
    }
}

/// Writes as soon as there is room. What is in flight stays so: there is no buffer here to flush.
///
/// Closing flushes, and then, if the descriptor is that of a connected socket, whatever `S` is,
/// ends the writing half of the connection, which the peer reads as the end:
/// `shutdown(Shutdown::Write)`, as the streams of tokio and async-net do it. Reading goes on.
/// Anything else, such as a pipe or a terminal, ends when it is dropped.
///
/// # Cancel safety
///
/// As for reading.
impl<S: AsFd> AsyncWrite for &Async<S>
where
    for<'a> &'a S: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut source| source.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut source| source.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_with(cx, |mut source| source.flush())
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(end_writing(self.get_ref().as_fd()))
    }
}

fn end_writing(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    match shutdown(descriptor, Shutdown::Write) {
        // It is no socket, or the connection has ended already.
        Err(Errno::NOTSOCK | Errno::NOTCONN) => Ok(()),
        done => Ok(done?),
    }
}

/// As `&Async` does it.
impl<S> AsyncRead for Async<S>
where
    for<'a> &'a S: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, bufs)
    }
}

/// As `&Async` does it.
impl<S: AsFd> AsyncWrite for Async<S>
where
    for<'a> &'a S: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
