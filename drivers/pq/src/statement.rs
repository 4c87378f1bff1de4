//! Statements: sent with each query, or prepared once for each connection.

use std::ffi::{CStr, CString};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::params::{Params, ToParam};

/// A statement that each connection prepares when it is first used there, and then knows by its
/// name.
///
/// The server plans it once instead of at each query. It belongs to no connection: a
/// [`Client`](crate::Client) that reconnects prepares it anew. A clone is another handle of the
/// same. It stays prepared for as long as the connection lives, so make one per text, not per query.
///
/// ```no_run
/// # async fn example(client: ioloop_pq::Client) -> Result<(), ioloop_pq::Error> {
/// let double = ioloop_pq::Statement::new("SELECT $1::int8 * 2")?;
/// for n in 0..10_i64 {
///     let table = client.query(&double, &[&n]).await?;
///     assert_eq!(table.row(0).unwrap().get::<i64>(0)?, n * 2);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Statement(Rc<Prepared>);

#[derive(Debug)]
struct Prepared {
    number: u64,
    name: CString,
    sql: CString,
}

impl Statement {
    /// A statement of this text; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Unexpected`]: the text has a zero byte in it. What the server has against it is said
    /// at its first use.
    pub fn new(sql: &str) -> Result<Statement, Error> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = string(&format!("ioloop_{number}"))?;
        Ok(Statement(Rc::new(Prepared { number, name, sql: string(sql)? })))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.0.name
    }

    pub(crate) fn sql(&self) -> &CStr {
        &self.0.sql
    }
}

/// What a query runs: a text, or a [`Statement`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Query<'a> {
    /// One statement, which the server reads and plans for this query alone.
    Text(&'a str),
    /// One that is prepared.
    Statement(&'a Statement),
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(sql: &'a str) -> Self {
        Query::Text(sql)
    }
}

impl<'a> From<&'a String> for Query<'a> {
    fn from(sql: &'a String) -> Self {
        Query::Text(sql)
    }
}

impl<'a> From<&'a Statement> for Query<'a> {
    fn from(statement: &'a Statement) -> Self {
        Query::Statement(statement)
    }
}

/// A query with its parameters, as it is kept until it is sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) what: What,
    pub(crate) params: Params,
}

#[derive(Debug)]
pub(crate) enum What {
    Text(CString),
    Statement(Statement),
}

impl Request {
    pub(crate) fn new(query: Query<'_>, params: &[&dyn ToParam]) -> Result<Request, Error> {
        let what = match query {
            Query::Text(sql) => What::Text(string(sql)?),
            Query::Statement(statement) => What::Statement(statement.clone()),
        };
        let statement = match &what {
            What::Text(sql) => sql.as_bytes().len(),
            What::Statement(statement) => statement.sql().to_bytes().len(),
        };
        let params = Params::new(params)?;
        params.check_size(statement)?;
        Ok(Request { what, params })
    }
}

pub(crate) fn string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Unexpected("a text has a zero byte in it"))
}
