//! `COPY`: many rows in, or out.

use std::ffi::CStr;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use ioloop::Reactor;

use crate::connection::Connection;
use crate::error::Error;

/// A `COPY … FROM STDIN` under way; dropped before it is finished, it comes to nothing.
#[must_use = "it comes to nothing unless it is finished"]
#[derive(Debug)]
pub struct CopyIn<'a, R> {
    connection: &'a mut Connection<R>,
}

impl<'a, R: Reactor> CopyIn<'a, R> {
    pub(crate) fn new(connection: &'a mut Connection<R>) -> Self {
        CopyIn { connection }
    }

    /// Takes some bytes, which may be cut anywhere, once those before are sent.
    ///
    /// # Errors
    ///
    /// The connection failed. What the server has against a row is said at the end.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it has taken nothing.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.connection.put(|conn| conn.put_copy_data(bytes)).await
    }

    /// Ends it, and returns how many rows were copied.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the rows are copied or not: ask the database.
    pub async fn finish(self) -> Result<u64, Error> {
        self.end(None).await
    }

    /// Ends it with nothing copied, and the connection is free again.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub async fn abort(self) -> Result<(), Error> {
        match self.end(Some(c"the copy was given up")).await {
            Ok(_) | Err(Error::Server { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn end(self, reason: Option<&CStr>) -> Result<u64, Error> {
        self.connection.end_copy(reason).await?;
        Ok(self.connection.answer().await?.affected())
    }
}

/// A `COPY … TO STDOUT` under way: a stream of rows, each as the bytes that the format has for it.
///
/// # Errors
///
/// As for [`Connection::query`]; nothing follows.
///
/// # Cancel safety
///
/// As for [`Rows`](crate::Rows).
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct CopyOut<'a, R> {
    connection: &'a mut Connection<R>,
    copied: bool,
    end: Option<Result<(), Error>>,
    over: bool,
}

impl<'a, R: Reactor> CopyOut<'a, R> {
    pub(crate) fn new(connection: &'a mut Connection<R>) -> Self {
        CopyOut { connection, copied: false, end: None, over: false }
    }

    /// The next row; none after the last, or an error.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`].
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Error>> {
        if !self.copied {
            if let Some(row) = ready!(self.connection.poll_copied(cx))? {
                return Poll::Ready(Ok(Some(row)));
            }
            self.copied = true;
        }
        ready!(self.connection.poll_end(cx, &mut self.end))?;
        Poll::Ready(Ok(None))
    }
}

impl<R: Reactor> Stream for CopyOut<'_, R> {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let row = ready!(self.poll_row(cx)).transpose();
        self.over = !matches!(row, Some(Ok(_)));
        Poll::Ready(row)
    }
}
