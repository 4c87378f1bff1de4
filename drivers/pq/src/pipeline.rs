//! Pipelines: queries that are sent before the answers of others have come.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use ioloop::Reactor;

use crate::connection::{Connection, checked};
use crate::error::Error;
use crate::ffi::{Command, Conn, Status};
use crate::params::ToParam;
use crate::statement::{Query, Request, What};
use crate::table::Table;

/// Queries that are sent together, and answered in one round trip; made by
/// [`Connection::pipeline`].
///
/// Each is a transaction by itself, outside of a [`Transaction`](crate::Transaction), so one
/// that fails leaves the others alone.
///
/// ```no_run
/// # async fn example(
/// #     mut connection: ioloop_pq::Connection<ioloop::IOLoop>,
/// # ) -> Result<(), ioloop_pq::Error> {
/// let mut pipeline = connection.pipeline();
/// for n in 0..1000_i64 {
///     pipeline.query("SELECT $1::int8 * 2", &[&n]);
/// }
/// for answer in pipeline.run().await? {
///     println!("{:?}", answer?.value(0, 0));
/// }
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent before `run`"]
#[derive(Debug)]
pub struct Pipeline<'a, R> {
    connection: &'a mut Connection<R>,
    requests: Vec<Result<Request, Error>>,
}

impl<'a, R: Reactor> Pipeline<'a, R> {
    pub(crate) fn new(connection: &'a mut Connection<R>) -> Self {
        Pipeline { connection, requests: Vec::new() }
    }

    /// Adds a query, as [`Connection::query`] takes it.
    pub fn query<'q>(&mut self, query: impl Into<Query<'q>>, params: &[&dyn ToParam]) -> &mut Self {
        self.requests.push(Request::new(query.into(), params));
        self
    }

    /// Sends all, and returns what each gives, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// For each query as for [`Connection::query`]. For all of them: the connection is broken, and
    /// which of them ran is unknown; or one of them was a `COPY`, which has no place in a pipeline,
    /// and after which the connection can be used no more.
    ///
    /// # Cancel safety
    ///
    /// Dropped, all that were sent are run.
    pub async fn run(self) -> Result<Vec<Result<Table, Error>>, Error> {
        let Pipeline { connection, requests } = self;
        connection.settle().await?;
        connection.begin_pipeline()?;
        let mut prepares = Vec::with_capacity(requests.len());
        connection.together(requests.len(), |connection| {
            for request in &requests {
                prepares.push(match request {
                    Ok(request) => connection.push(request)?,
                    Err(_) => false,
                });
            }
            Ok(())
        })?;
        let mut answers = Vec::with_capacity(requests.len());
        for (request, prepares) in requests.into_iter().zip(prepares) {
            answers.push(match request {
                Ok(request) => {
                    let answer = poll_fn(|cx| connection.poll_group(cx)).await?;
                    connection.learn(&request.what, prepares, &answer);
                    answer.table
                }
                Err(error) => Err(error),
            });
        }
        connection.end_pipeline().await?;
        Ok(answers)
    }
}

/// The groups of commands that are not answered, each ended by a sync.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    due: usize,
    /// What has come of the first.
    first: Option<Answer>,
    /// The last thing that came was the end of a command.
    ended: bool,
}

/// What a group has given.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The last result, or the first error.
    pub(crate) table: Result<Table, Error>,
    /// How many commands were done before that.
    done: usize,
}

impl<R: Reactor> Connection<R> {
    pub(crate) fn begin_pipeline(&mut self) -> Result<(), Error> {
        if !self.link.call(|conn| conn.set_pipelined(true)) {
            return Err(self.link.failure());
        }
        self.pipeline = Some(Groups::default());
        Ok(())
    }

    /// Reads off what is due, and leaves the pipeline mode.
    pub(crate) async fn end_pipeline(&mut self) -> Result<(), Error> {
        while self.pipeline.as_ref().is_some_and(|groups| groups.due > 0) {
            poll_fn(|cx| self.poll_group(cx)).await?;
        }
        if self.pipeline.is_some() && !self.link.call(|conn| conn.set_pipelined(false)) {
            return Err(self.link.failure());
        }
        self.pipeline = None;
        Ok(())
    }

    /// Sends so many groups of commands, in few packets.
    pub(crate) fn together(
        &mut self,
        groups: usize,
        send: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if groups < 2 {
            return send(self);
        }
        self.link.call(|conn| conn.set_corked(true));
        let sent = send(self);
        self.link.call(|conn| conn.set_corked(false));
        sent
    }

    /// Sends a group of commands; says whether it prepares its statement first.
    pub(crate) fn push(&mut self, request: &Request) -> Result<bool, Error> {
        let mut prepares = false;
        match &request.what {
            What::Text(sql) => self.begin(Command::Query(sql, &request.params))?,
            What::Statement(statement) => {
                prepares = self.prepared.insert(statement.number());
                if prepares {
                    self.begin(Command::Prepare(statement.name(), statement.sql()))?;
                }
                self.begin(Command::Prepared(statement.name(), &request.params))?;
            }
        }
        if !self.link.call(Conn::sync) {
            return Err(self.link.failure());
        }
        if let Some(groups) = &mut self.pipeline {
            groups.due += 1;
        }
        Ok(prepares)
    }

    /// Learns from an answer whether the request's statement is prepared.
    pub(crate) fn learn(&mut self, what: &What, prepares: bool, answer: &Answer) {
        let What::Statement(statement) = what else { return };
        let Err(error) = &answer.table else { return };
        self.forget_if_unknown(statement, error);
        if prepares && answer.done == 0 {
            self.prepared.remove(&statement.number());
        }
    }

    /// What the first group that is due has given.
    pub(crate) fn poll_group(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        loop {
            let result = ready!(self.poll_raw_result(cx))?;
            let Some(groups) = &mut self.pipeline else {
                return Poll::Ready(Err(Error::Unexpected("there is no pipeline")));
            };
            let Some(result) = result else {
                // Each command ends once; what ends without having begun is the connection.
                if groups.ended || self.link.is_broken() {
                    let known = groups.first.take().and_then(|answer| answer.table.err());
                    return Poll::Ready(Err(known.unwrap_or_else(|| self.link.failure())));
                }
                groups.ended = true;
                continue;
            };
            groups.ended = false;
            match result.status() {
                Status::Sync => {
                    groups.due -= 1;
                    let nothing = || Answer { table: Ok(Table::new(result)), done: 0 };
                    return Poll::Ready(Ok(groups.first.take().unwrap_or_else(nothing)));
                }
                Status::CopyIn | Status::CopyOut => {
                    // libpq has no way back from here.
                    let error = Error::Unexpected(COPY_IN_A_PIPELINE);
                    self.spoilt = Some(error.clone());
                    return Poll::Ready(Err(error));
                }
                _ => {
                    let table = Table::new(result);
                    let now = checked(&table).map(|()| table);
                    match &mut groups.first {
                        None => groups.first = Some(Answer { table: now, done: 0 }),
                        Some(Answer { table: table @ Ok(_), done }) => {
                            *table = now;
                            *done += 1;
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

const COPY_IN_A_PIPELINE: &str = "a COPY has no place in a pipeline, and ends the connection: there are `copy_in` and `copy_out`";
