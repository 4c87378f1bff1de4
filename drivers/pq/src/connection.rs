//! A connection that one task uses at a time, and what its operations are made of.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ioloop::Reactor;
use ioloop::reactor::Direction;

use crate::cancel::Canceller;
use crate::copy::{CopyIn, CopyOut};
use crate::error::Error;
use crate::ffi::{Command, Conn, Copied, Notification, Polling, RawResult, Sent, Status};
use crate::link::{self, Link};
use crate::params::ToParam;
use crate::pipeline::{Groups, Pipeline};
use crate::rows::Rows;
use crate::statement::{Query, Request, Statement, What, string};
use crate::table::Table;
use crate::transaction::{Transaction, Undo};

/// A connection to a PostgreSQL server, for one operation at a time; dropped, it is closed.
///
/// For many tasks at once, and for one that is made again when it was lost, there is
/// [`Client`](crate::Client).
///
/// ```no_run
/// use ioloop::IOLoop;
/// use ioloop_pq::Connection;
///
/// let io_loop = IOLoop::new()?;
/// io_loop.run_sync(async {
///     let conninfo = "host=/run/postgresql dbname=postgres";
///     let mut connection = Connection::connect(io_loop.clone(), conninfo).await?;
///     let table = connection.query("SELECT $1::int8 + 1", &[&41]).await?;
///     assert_eq!(table.row(0).unwrap().get::<i64>(0)?, 42);
///     Ok::<_, ioloop_pq::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Every future of a connection may be dropped, as [`ioloop::timeout`] does. What was sent goes on
/// at the server, and the next operation reads off what is left of it first. Where that may be much,
/// or take long, have it cancelled: [`canceller`](Self::canceller).
pub struct Connection<R> {
    pub(crate) link: Rc<Link>,
    pub(crate) reactor: Rc<R>,
    /// The numbers of the statements that are prepared here, or on their way to be.
    pub(crate) prepared: BTreeSet<u64>,
    /// The one whose preparation was sent; settled by whoever reads the answer.
    preparing: Option<u64>,
    /// What is under way in pipeline mode; none outside of it.
    pub(crate) pipeline: Option<Groups>,
    /// Why it can be used no more, although libpq does not know that.
    pub(crate) spoilt: Option<Error>,
    pub(crate) undo: Undo,
}

impl<R> std::fmt::Debug for Connection<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let broken = self.spoilt.is_some() || self.link.is_broken();
        f.debug_struct("Connection").field("broken", &broken).finish_non_exhaustive()
    }
}

impl<R: Reactor> Connection<R> {
    /// Connects; `conninfo` is [libpq's], a list of `key=value`, or a URI.
    ///
    /// What is not in it is taken from the environment (`PGHOST` and so on) and from `~/.pgpass`, as
    /// by every program that uses libpq. No time-out of libpq's applies: use [`ioloop::timeout`].
    ///
    /// libpq looks up a *host name* while the whole thread waits. Name the server by the directory
    /// of its socket, or by `hostaddr` (with `host` beside it, which TLS checks the certificate
    /// against): resolve the name before, by c-ares or in
    /// [`run_in_executor`](ioloop::IOLoop::run_in_executor).
    ///
    /// [libpq's]: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
    ///
    /// # Errors
    ///
    /// [`Error::Failed`]: there is no server, or it refuses. [`Error::Loop`]: the loop is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes what it has opened.
    pub async fn connect(reactor: R, conninfo: &str) -> Result<Self, Error> {
        Self::open(Rc::new(reactor), &string(conninfo)?).await
    }

    pub(crate) async fn open(reactor: Rc<R>, conninfo: &CStr) -> Result<Self, Error> {
        let mut conn = Conn::start(conninfo).ok_or(Error::Failed("out of memory".into()))?;
        let mut wanted = Direction::Write;
        loop {
            let Some(fd) = conn.socket() else { return Err(Error::Failed(conn.error())) };
            // Over before libpq is called: it may close this socket, and open another of the same
            // number.
            link::ready(&reactor, wanted, fd).await?;
            match conn.poll() {
                Polling::Wait(direction) => wanted = direction,
                Polling::Done if conn.set_nonblocking() => break,
                Polling::Done | Polling::Failed => return Err(Error::Failed(conn.error())),
            }
        }
        Ok(Connection {
            link: Link::new(conn),
            reactor,
            prepared: BTreeSet::new(),
            preparing: None,
            pipeline: None,
            spoilt: None,
            undo: Undo::default(),
        })
    }

    /// Runs one statement with its parameters `$1`, `$2` and so on, and returns all that it gives.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], after which the connection goes on; [`Error::Failed`], if it is broken;
    /// [`Error::Unexpected`] for a `COPY`, which has functions of its own.
    pub async fn query<'q>(
        &mut self,
        query: impl Into<Query<'q>>,
        params: &[&dyn ToParam],
    ) -> Result<Table, Error> {
        let query = query.into();
        self.send(query, params, false).await?;
        let answer = self.answer().await;
        if let (Query::Statement(statement), Err(error)) = (query, &answer) {
            self.forget_if_unknown(statement, error);
        }
        answer
    }

    /// Runs any number of statements, separated by semicolons, as one transaction; returns what the
    /// last one gives.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn script(&mut self, sql: &str) -> Result<Table, Error> {
        let sql = string(sql)?;
        self.settle().await?;
        self.begin(Command::Script(&sql))?;
        self.answer().await
    }

    /// Has the server prepare a statement now, so its errors are known before it is used.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        let statement = Statement::new(sql)?;
        self.settle().await?;
        self.ensure_prepared(&statement).await?;
        Ok(statement)
    }

    /// Runs one statement, and gives its rows as a stream, as they arrive.
    ///
    /// Few of them are in memory at a time: those of one piece, of 64 rows where libpq is of version
    /// 17 or later and of one before, and what the sockets hold.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query), here or later.
    pub async fn stream<'q>(
        &mut self,
        query: impl Into<Query<'q>>,
        params: &[&dyn ToParam],
    ) -> Result<Rows<'_, R>, Error> {
        self.send(query.into(), params, true).await?;
        Ok(Rows::new(self))
    }

    /// Begins a pipeline: queries that are sent together, and answered in one round trip.
    pub fn pipeline(&mut self) -> Pipeline<'_, R> {
        Pipeline::new(self)
    }

    /// Begins a transaction; inside of one, a part of it that can be rolled back by itself.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn transaction(&mut self) -> Result<Transaction<'_, R>, Error> {
        Transaction::begin(self).await
    }

    /// Runs a `COPY … FROM STDIN`, which takes what is written to it.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query); [`Error::Unexpected`] if the statement is another.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_, R>, Error> {
        self.send(sql.into(), &[], false).await?;
        self.expect(Status::CopyIn, "the statement is no COPY FROM STDIN").await?;
        Ok(CopyIn::new(self))
    }

    /// Runs a `COPY … TO STDOUT`, whose rows are a stream.
    ///
    /// # Errors
    ///
    /// As for [`copy_in`](Self::copy_in).
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_, R>, Error> {
        self.send(sql.into(), &[], false).await?;
        self.expect(Status::CopyOut, "the statement is no COPY TO STDOUT").await?;
        Ok(CopyOut::new(self))
    }

    /// Waits for the next notification of what was subscribed to with `LISTEN`.
    ///
    /// What arrives while another operation is under way is kept for the next call.
    /// [`Client::listen`](crate::Client::listen) is a stream that survives a lost connection.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`]: the connection is broken. [`Error::Loop`]: the loop is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses none.
    pub async fn notification(&mut self) -> Result<Notification, Error> {
        self.settle().await?;
        poll_fn(|cx| {
            loop {
                if let Some(notification) = self.link.call(Conn::notification) {
                    return Poll::Ready(Ok(notification));
                }
                ready!(self.poll_news(cx, false))?;
            }
        })
        .await
    }

    /// What it takes to cancel whatever this connection does then, while its future is awaited or
    /// after it was dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`]: the connection is broken.
    pub fn canceller(&mut self) -> Result<Canceller<R>, Error> {
        let cancel = self.link.call(|conn| conn.cancel());
        let cancel = cancel.ok_or_else(|| self.link.failure())?;
        Ok(Canceller::new(cancel, Rc::clone(&self.reactor)))
    }
}

/// What the operations are made of.
impl<R: Reactor> Connection<R> {
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>, writes: bool) -> Poll<Result<(), Error>> {
        self.link.poll_news(cx, &*self.reactor, writes)
    }

    /// Begins a command; the rest of it goes out while its results are waited for.
    pub(crate) fn begin(&mut self, command: Command<'_>) -> Result<(), Error> {
        match self.link.call(|conn| conn.send(command)) {
            true => Ok(()),
            false => Err(self.link.failure()),
        }
    }

    async fn send(
        &mut self,
        query: Query<'_>,
        params: &[&dyn ToParam],
        few_rows: bool,
    ) -> Result<(), Error> {
        let request = Request::new(query, params)?;
        self.settle().await?;
        match &request.what {
            What::Text(sql) => self.begin(Command::Query(sql, &request.params))?,
            What::Statement(statement) => {
                self.ensure_prepared(statement).await?;
                self.begin(Command::Prepared(statement.name(), &request.params))?;
            }
        }
        if few_rows && !self.link.call(|conn| conn.set_few_rows(64)) {
            return Err(self.link.failure());
        }
        Ok(())
    }

    async fn ensure_prepared(&mut self, statement: &Statement) -> Result<(), Error> {
        let number = statement.number();
        if !self.prepared.contains(&number) {
            self.begin(Command::Prepare(statement.name(), statement.sql()))?;
            self.preparing = Some(number);
            let answer = self.answer().await;
            self.preparing = None;
            answer?;
            self.prepared.insert(number);
        }
        Ok(())
    }

    /// The statement is to be prepared anew, if the server says that it does not know it.
    pub(crate) fn forget_if_unknown(&mut self, statement: &Statement, error: &Error) {
        // "invalid SQL statement name"
        if matches!(error, Error::Server { state, .. } if state == "26000") {
            self.prepared.remove(&statement.number());
        }
    }

    /// The next result of the command; none when it is done. What is not sent yet goes out
    /// meanwhile, and reading goes on beside: a server that cannot get rid of its answer reads
    /// nothing either.
    pub(crate) fn poll_result(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Table>, Error>> {
        self.poll_raw_result(cx).map_ok(|result| result.map(Table::new))
    }

    pub(crate) fn poll_raw_result(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<RawResult>, Error>> {
        loop {
            if let Some(result) = self.link.call(Conn::result) {
                if result.as_ref().is_some_and(|result| result.status() == Status::CopyBoth) {
                    // libpq would say so for ever.
                    let error = Error::Unexpected(REPLICATES);
                    self.spoilt = Some(error.clone());
                    return Poll::Ready(Err(error));
                }
                return Poll::Ready(Ok(result));
            }
            let sent = self.link.call(Conn::flush);
            if sent == Sent::Failed && !self.link.is_broken() {
                return Poll::Ready(Err(self.link.failure()));
            }
            ready!(self.poll_news(cx, sent == Sent::Blocked))?;
        }
    }

    async fn result(&mut self) -> Result<Option<Table>, Error> {
        poll_fn(|cx| self.poll_result(cx)).await
    }

    /// The first result of a command.
    pub(crate) async fn first(&mut self) -> Result<Table, Error> {
        match self.result().await? {
            Some(first) => Ok(first),
            None => Err(self.ended()),
        }
    }

    /// Why there is no result at all.
    pub(crate) fn ended(&self) -> Error {
        match self.link.is_broken() {
            true => self.link.failure(),
            false => Error::Unexpected("the server gave no result"),
        }
    }

    /// Reads until the command is done; `end` is what is known of how it ends.
    pub(crate) fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        end: &mut Option<Result<(), Error>>,
    ) -> Poll<Result<(), Error>> {
        while *end != Some(Err(Error::Unexpected(COPIES))) {
            let Some(table) = ready!(self.poll_result(cx))? else { break };
            *end = Some(end.take().unwrap_or(Ok(())).and_then(|()| checked(&table)));
        }
        Poll::Ready(end.take().unwrap_or_else(|| Err(self.ended())))
    }

    /// Reads until the command is done; gives the last result, or the first error.
    pub(crate) async fn answer(&mut self) -> Result<Table, Error> {
        let first = self.first().await?;
        self.finish(first).await
    }

    /// As [`answer`](Self::answer), after the first result.
    pub(crate) async fn finish(&mut self, mut last: Table) -> Result<Table, Error> {
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

    /// Reads off what an operation that was given up has left, and rolls back what was dropped.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        if let Some(reason) = &self.spoilt {
            return Err(reason.clone());
        }
        self.end_pipeline().await?;
        while let Some(result) = self.result().await? {
            match result.status() {
                Status::CopyIn => self.end_copy(Some(c"the copy was given up")).await?,
                Status::CopyOut => while self.copied().await?.is_some() {},
                status => {
                    let prepared = self.preparing.take();
                    self.prepared.extend(prepared.filter(|_| status == Status::Done));
                }
            }
        }
        while let Some(sql) = self.undo.next(|| self.link.call(|conn| conn.is_in_transaction())) {
            self.begin(Command::Script(sql.as_c_str()))?;
            while self.result().await?.is_some() {}
            self.undo.done();
        }
        Ok(())
    }

    /// Hands what `COPY` takes to libpq, once all before it has gone out.
    pub(crate) async fn put(&mut self, put: impl Fn(&mut Conn) -> Sent) -> Result<(), Error> {
        poll_fn(|cx| {
            loop {
                match self.link.call(Conn::flush) {
                    Sent::Blocked => ready!(self.poll_news(cx, true))?,
                    Sent::Failed => return Poll::Ready(Err(self.link.failure())),
                    Sent::All => break,
                }
            }
            // It has room, so what is not taken now never is.
            match self.link.call(&put) {
                Sent::All => self.link.call(Conn::flush),
                Sent::Blocked | Sent::Failed => return Poll::Ready(Err(self.link.failure())),
            };
            Poll::Ready(Ok(()))
        })
        .await
    }

    pub(crate) async fn end_copy(&mut self, reason: Option<&CStr>) -> Result<(), Error> {
        self.put(|conn| conn.put_copy_end(reason)).await
    }

    /// The next row of a `COPY … TO STDOUT`.
    pub(crate) fn poll_copied(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Vec<u8>>, Error>> {
        loop {
            match self.link.call(Conn::get_copy_data) {
                Copied::Row(row) => return Poll::Ready(Ok(Some(row))),
                Copied::Done => return Poll::Ready(Ok(None)),
                Copied::Blocked => ready!(self.poll_news(cx, false))?,
            }
        }
    }

    async fn copied(&mut self) -> Result<Option<Vec<u8>>, Error> {
        poll_fn(|cx| self.poll_copied(cx)).await
    }
}

pub(crate) const COPIES: &str = "the statement copies: there are `copy_in` and `copy_out` for that";

const REPLICATES: &str = "the server replicates from here on, which this crate does not do";

/// Whether a result is what a query may give.
pub(crate) fn checked(result: &Table) -> Result<(), Error> {
    match result.status() {
        Status::Done | Status::Rows | Status::Sync => Ok(()),
        Status::CopyIn | Status::CopyOut | Status::CopyBoth => Err(Error::Unexpected(COPIES)),
        Status::Skipped | Status::Failed => Err(result.error()),
    }
}
