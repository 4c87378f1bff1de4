//! libpq's asynchronous functions on any [`Reactor`]: copy this file, with `ffi.rs` and `error.rs`,
//! into your project.
//!
//! libpq has a socket and functions that never wait: each says whether to wait until the socket is
//! readable or writable, and to call again. So each operation is an `async fn` over one way to wait
//! ([`Connection::wait`]), which any executor may await.
//!
//! ```ignore
//! let mut connection = Connection::connect(io_loop.clone(), "host=/run/postgresql dbname=postgres").await?;
//! let table = connection.query("SELECT $1::int4 + 1", &[Some("41")]).await?;
//! assert_eq!(table.value(0, 0), Some(&b"42"[..]));
//! ```
//!
//! An operation that is given up goes on at the server. The next one reads off what is left of it
//! first; where that may be much, have it cancelled ([`Connection::canceller`]).
//!
//! What libpq does that trips drivers, and where it is dealt with:
//!
//! - It closes its socket within whatever call finds that the connection is broken, and while it
//!   connects opens another, of the same number as like as not: so no watch lives while libpq is
//!   called ([`Connection::pq`]).
//! - While it has something to send it also wants to read, since a server that cannot get rid of
//!   its answer reads nothing either ([`Connection::flush`]).
//! - It goes on giving results until it says that there is none, also after an error
//!   ([`Connection::finish`]).
//! - It cannot cancel without waiting, before version 17 ([`Canceller`]).
//! - It looks up host names while everybody waits: name the server by `hostaddr`, or by its
//!   socket's directory.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::rc::Rc;
use std::thread;

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Lent, Reactor, Watch, deferred};

use crate::error::Error;
use crate::ffi::{Cancel, Conn, Copied, Notification, Polling, Sent, Status, Table};

/// A connection to a PostgreSQL server; dropped, it is closed.
///
/// While no operation is awaited it is not watched: what the server says meanwhile is found by the
/// next.
pub struct Connection<R> {
    /// Empty but for [`wait`](Self::wait).
    watches: Vec<Guard<Watch>>,
    conn: Conn,
    reactor: R,
}

impl<R: Reactor> Connection<R> {
    /// Connects; `conninfo` is libpq's, a list of `key=value`.
    ///
    /// # Errors
    ///
    /// There is no server, or it refuses; the loop is closed.
    pub async fn connect(reactor: R, conninfo: &str) -> Result<Self, Error> {
        let conn = Conn::start(&string(conninfo)?).ok_or(Error::Failed("out of memory".into()))?;
        let mut connection = Connection { watches: Vec::new(), conn, reactor };
        let mut wanted = Direction::Write;
        loop {
            connection.wait(&[wanted]).await?;
            match connection.pq().poll() {
                Polling::Wait(direction) => wanted = direction,
                Polling::Connected if connection.pq().set_nonblocking() => return Ok(connection),
                Polling::Connected | Polling::Failed => return Err(connection.failure()),
            }
        }
    }

    /// Runs one statement, with its parameters `$1`, `$2` and so on as text, and gives all that it
    /// gives.
    ///
    /// # Errors
    ///
    /// The server's; the connection failed.
    pub async fn query(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<Table, Error> {
        self.send(sql, parameters, false).await?;
        let table = self.first().await?;
        self.finish(table).await
    }

    /// Runs one statement, and gives its rows one by one, as they come.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query), here or later.
    pub async fn stream(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
    ) -> Result<Rows<'_, R>, Error> {
        self.send(sql, parameters, true).await?;
        Ok(Rows { connection: self, over: false })
    }

    /// Runs a `COPY … FROM STDIN`, which takes what is written to it.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_, R>, Error> {
        self.send(sql, &[], false).await?;
        self.expect(Status::CopyIn, "no COPY FROM STDIN").await?;
        Ok(CopyIn { connection: self })
    }

    /// Runs a `COPY … TO STDOUT`.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_, R>, Error> {
        self.send(sql, &[], false).await?;
        self.expect(Status::CopyOut, "no COPY TO STDOUT").await?;
        Ok(CopyOut { connection: self, over: false })
    }

    /// Waits for the next notification of what was subscribed to with `LISTEN`.
    ///
    /// # Errors
    ///
    /// The connection failed.
    ///
    /// # Cancel safety
    ///
    /// Given up, it loses none.
    pub async fn notification(&mut self) -> Result<Notification, Error> {
        self.settle().await?;
        loop {
            if let Some(notification) = self.pq().notification() {
                return Ok(notification);
            }
            self.more().await?;
        }
    }

    /// What it takes to cancel whatever this connection does then, from anywhere.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn canceller(&mut self) -> Result<Canceller, Error> {
        let cancel = self.pq().cancel();
        cancel.map(Canceller).ok_or_else(|| self.failure())
    }
}

/// What the operations are made of.
impl<R: Reactor> Connection<R> {
    /// libpq, with no watch left that it could close the socket under.
    fn pq(&mut self) -> &mut Conn {
        self.watches.clear();
        &mut self.conn
    }

    fn failure(&mut self) -> Error {
        Error::Failed(self.pq().error())
    }

    /// Waits until the socket is ready in one of these directions.
    async fn wait(&mut self, directions: &[Direction]) -> Result<(), Error> {
        let Some(fd) = self.conn.socket() else { return Err(self.failure()) };
        let (resolver, ready) = deferred();
        let resolver = Rc::new(Cell::new(Some(resolver)));
        // They end when this is given up.
        let watching = Watching(&mut self.watches);
        for direction in directions {
            let resolver = Rc::clone(&resolver);
            #[expect(unsafe_code, reason = "libpq owns its socket")]
            // SAFETY: libpq closes its socket only within a call. Whoever calls it goes through
            // `pq`, or drops the connection, and both end the watches first.
            let lent = unsafe { Lent::new(fd) };
            let watcher = Watcher::new(lent, move |_| {
                if let Some(resolver) = resolver.take() {
                    let _ = resolver.resolve(());
                }
            });
            let watch = self.reactor.watch(*direction, watcher).map_err(refused)?;
            watching.0.push(watch.remove_on_drop());
        }
        drop(resolver);
        // A loop that is closed drops the callbacks, and the resolver with them.
        ready.await.map_err(|_| refused(io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits until more has come, and reads it.
    async fn more(&mut self) -> Result<(), Error> {
        self.wait(&[Direction::Read]).await?;
        if self.pq().consume_input() { Ok(()) } else { Err(self.failure()) }
    }

    /// Sends all that libpq has kept.
    async fn flush(&mut self) -> Result<(), Error> {
        loop {
            match self.pq().flush() {
                Sent::All => return Ok(()),
                Sent::Blocked => self.wait(&[Direction::Read, Direction::Write]).await?,
                Sent::Failed => return Err(self.failure()),
            }
            if !self.pq().consume_input() {
                return Err(self.failure());
            }
        }
    }

    async fn send(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
        single: bool,
    ) -> Result<(), Error> {
        let sql = string(sql)?;
        let owned = |value: &Option<&str>| value.map(string).transpose();
        let parameters = parameters.iter().map(owned).collect::<Result<Vec<_>, _>>()?;
        self.settle().await?;
        if !self.pq().send(&sql, &parameters, single) {
            return Err(self.failure());
        }
        self.flush().await
    }

    /// The next result of the statement; none when it is done.
    async fn result(&mut self) -> Result<Option<Table>, Error> {
        loop {
            if let Some(result) = self.pq().result() {
                return Ok(result);
            }
            self.more().await?;
        }
    }

    async fn first(&mut self) -> Result<Table, Error> {
        self.result().await?.ok_or(Error::Unexpected("no result"))
    }

    /// Reads until the statement is done; gives the last result, or the first error.
    async fn finish(&mut self, mut last: Table) -> Result<Table, Error> {
        let mut answer = checked(&last);
        while answer != Err(Error::Unexpected(COPIES)) {
            let Some(next) = self.result().await? else { break };
            answer = answer.and_then(|()| checked(&next));
            last = next;
        }
        answer.map(|()| last)
    }

    /// The first result, if it is of the kind that the statement was sent for.
    async fn expect(&mut self, status: Status, otherwise: &'static str) -> Result<(), Error> {
        let first = self.first().await?;
        if first.status() == status {
            return Ok(());
        }
        self.finish(first).await.and(Err(Error::Unexpected(otherwise)))
    }

    /// Reads off what an operation that was given up has left.
    async fn settle(&mut self) -> Result<(), Error> {
        self.flush().await?;
        while let Some(result) = self.result().await? {
            match result.status() {
                Status::CopyIn => self.end_copy(Some(c"the copy was given up")).await?,
                Status::CopyOut => while self.copied().await?.is_some() {},
                _ => {}
            }
        }
        Ok(())
    }

    async fn end_copy(&mut self, reason: Option<&CStr>) -> Result<(), Error> {
        loop {
            match self.pq().put_copy_end(reason) {
                Sent::All => return self.flush().await,
                Sent::Blocked => self.flush().await?,
                Sent::Failed => return Err(self.failure()),
            }
        }
    }

    /// The next row of a `COPY … TO STDOUT`.
    async fn copied(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.pq().get_copy_data() {
                Copied::Row(row) => return Ok(Some(row)),
                Copied::Blocked => self.more().await?,
                Copied::Done => return Ok(None),
            }
        }
    }
}

/// The rows of [`Connection::stream`].
pub struct Rows<'a, R> {
    connection: &'a mut Connection<R>,
    over: bool,
}

impl<R: Reactor> Rows<'_, R> {
    /// The next row, as a table of one; none after the last.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`]; no row follows.
    pub async fn next(&mut self) -> Result<Option<Table>, Error> {
        if self.over {
            return Ok(None);
        }
        let result = self.connection.result().await;
        if let Ok(Some(row)) = result {
            if row.status() == Status::Row {
                return Ok(Some(row));
            }
            self.over = true;
            return self.connection.finish(row).await.map(|_| None);
        }
        self.over = true;
        result
    }
}

/// A `COPY … FROM STDIN` under way; dropped before it is finished, it comes to nothing.
pub struct CopyIn<'a, R> {
    connection: &'a mut Connection<R>,
}

impl<R: Reactor> CopyIn<'_, R> {
    /// Sends some bytes, of which rows may be cut anywhere.
    ///
    /// # Errors
    ///
    /// The connection failed. What the server has against a row is said at the end.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match self.connection.pq().put_copy_data(bytes) {
                Sent::All => return self.connection.flush().await,
                Sent::Blocked => self.connection.flush().await?,
                Sent::Failed => return Err(self.connection.failure()),
            }
        }
    }

    /// Ends it, and says how many rows were copied.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`].
    pub async fn finish(self) -> Result<u64, Error> {
        self.connection.end_copy(None).await?;
        let result = self.connection.first().await?;
        Ok(self.connection.finish(result).await?.affected())
    }
}

/// A `COPY … TO STDOUT` under way.
pub struct CopyOut<'a, R> {
    connection: &'a mut Connection<R>,
    over: bool,
}

impl<R: Reactor> CopyOut<'_, R> {
    /// The next row; none after the last.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`]; no row follows.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.over {
            return Ok(None);
        }
        let row = self.connection.copied().await;
        if !matches!(row, Ok(Some(_))) {
            self.over = true;
        }
        if matches!(row, Ok(None)) {
            let result = self.connection.first().await?;
            self.connection.finish(result).await?;
        }
        row
    }
}

/// Cancels what a [`Connection`] does.
pub struct Canceller(Cancel);

impl Canceller {
    /// Asks the server to cancel: what is cancelled fails with the state `57014`.
    ///
    /// libpq waits for the server, so that this takes a thread, which goes on if this is given up.
    ///
    /// # Errors
    ///
    /// The server cannot be reached.
    pub async fn cancel(self) -> Result<(), Error> {
        let (resolver, answer) = deferred();
        let Canceller(mut cancel) = self;
        let thread = thread::Builder::new().name("libpq-cancel".into());
        let waiting = move || resolver.resolve(cancel.wait().map_err(Error::Failed));
        thread.spawn(waiting).map_err(|error| Error::Failed(error.to_string()))?;
        answer.await.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
    }
}

/// Ends the watches when a wait is over, or given up.
struct Watching<'a>(&'a mut Vec<Guard<Watch>>);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

const COPIES: &str = "the statement copies: there are `copy_in` and `copy_out`";

fn checked(result: &Table) -> Result<(), Error> {
    match result.status() {
        Status::Done | Status::Row => Ok(()),
        Status::CopyIn | Status::CopyOut => Err(Error::Unexpected(COPIES)),
        Status::Failed => Err(match result.error() {
            (Some(state), message) => Error::Server { state, message },
            (None, message) => Error::Failed(message),
        }),
    }
}

fn refused(error: io::Error) -> Error {
    Error::Loop(format!("the loop does not watch the connection: {error}"))
}

fn string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Unexpected("a text has a zero byte in it"))
}
