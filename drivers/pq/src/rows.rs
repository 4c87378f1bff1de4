//! The rows of a query, as they arrive.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use ioloop::Reactor;

use crate::connection::{Connection, checked};
use crate::error::Error;
use crate::ffi::Status;
use crate::table::{Row, Table};

/// The rows of [`Connection::stream`].
///
/// The socket is not read while nobody asks for rows, beyond a few buffers, so a slow reader
/// slows the server down.
///
/// # Errors
///
/// As for [`Connection::query`], after the rows before it, but for some that libpq has put into one
/// piece with the error: up to 63. Nothing follows.
///
/// # Cancel safety
///
/// Dropped, the rest is read off by the next operation of the connection. Where that may be much,
/// have it cancelled first: [`Connection::canceller`].
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct Rows<'a, R> {
    connection: &'a mut Connection<R>,
    /// What has come, and the number of the next row in it.
    piece: Option<(Table, usize)>,
    /// Once no rows follow: how it ends.
    end: Option<Result<(), Error>>,
    over: bool,
}

impl<'a, R: Reactor> Rows<'a, R> {
    pub(crate) fn new(connection: &'a mut Connection<R>) -> Self {
        Rows { connection, piece: None, end: None, over: false }
    }

    /// The next row; none after the last, or an error.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`].
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Row>, Error>> {
        loop {
            if let Some((table, next)) = &mut self.piece {
                if let Some(row) = table.row(*next) {
                    *next += 1;
                    return Poll::Ready(Ok(Some(row)));
                }
                self.piece = None;
            }
            if self.end.is_some() {
                return self.connection.poll_end(cx, &mut self.end).map_ok(|()| None);
            }
            match ready!(self.connection.poll_result(cx))? {
                Some(table) if table.status() == Status::Rows => self.piece = Some((table, 0)),
                Some(table) => self.end = Some(checked(&table)),
                None => return Poll::Ready(Err(self.connection.ended())),
            }
        }
    }
}

impl<R: Reactor> Stream for Rows<'_, R> {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let row = ready!(self.poll_row(cx)).transpose();
        self.over = !matches!(row, Some(Ok(_)));
        Poll::Ready(row)
    }
}
