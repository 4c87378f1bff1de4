//! Transactions, which are rolled back unless they are committed.

use std::ffi::CString;
use std::ops::{Deref, DerefMut};

use ioloop::Reactor;

use crate::connection::Connection;
use crate::error::Error;
use crate::ffi::Command;
use crate::statement::string;

/// A transaction, or a part of one; it is used as the [`Connection`] that it borrows.
///
/// Dropped, it is rolled back by the next operation of the connection: the server keeps its locks
/// until then. [`rollback`](Self::rollback) does so at once.
///
/// ```no_run
/// # async fn example(
/// #     mut connection: ioloop_pq::Connection<ioloop::IOLoop>,
/// # ) -> Result<(), ioloop_pq::Error> {
/// let mut transaction = connection.transaction().await?;
/// transaction.query("UPDATE accounts SET euros = euros - 7 WHERE owner = 'Ada'", &[]).await?;
/// transaction.query("UPDATE accounts SET euros = euros + 7 WHERE owner = 'Bob'", &[]).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
#[derive(Debug)]
pub struct Transaction<'a, R: Reactor> {
    connection: &'a mut Connection<R>,
    /// 0 for a transaction, and more for parts of it.
    level: usize,
    /// That of its savepoint, if it is a part.
    number: u64,
}

impl<'a, R: Reactor> Transaction<'a, R> {
    pub(crate) async fn begin(connection: &'a mut Connection<R>) -> Result<Self, Error> {
        connection.settle().await?;
        let (level, number) = connection.undo.begin();
        let sql = match level {
            0 => c"BEGIN".to_owned(),
            _ => string(&format!("SAVEPOINT {}", name(number)))?,
        };
        connection.begin(Command::Script(&sql))?;
        // From here on there is something to roll back.
        connection.undo.level += 1;
        let transaction = Transaction { connection, level, number };
        transaction.connection.answer().await?;
        Ok(transaction)
    }

    /// Commits it; a part of a transaction is committed with the whole.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`]; [`Error::Unexpected`] if the server has rolled it back instead,
    /// since a statement of it had failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is committed or not: ask the database.
    pub async fn commit(self) -> Result<(), Error> {
        let Transaction { level, number, .. } = self;
        let sql = match level {
            0 => c"COMMIT".to_owned(),
            _ => string(&format!("RELEASE SAVEPOINT {}", name(number)))?,
        };
        self.connection.settle().await?;
        self.connection.begin(Command::Script(&sql))?;
        // If this is given up now, it is the server that decides. To roll a part back, whose
        // savepoint it has released, would fail the whole.
        self.connection.undo.over(level);
        let error = match self.connection.answer().await {
            Ok(table) if !table.is_rollback() => return Ok(()),
            Ok(_) => Error::Unexpected("the transaction had failed, and was rolled back"),
            Err(error) => error,
        };
        self.connection.undo.not_over(level);
        Err(error)
    }

    /// Rolls it back at once.
    ///
    /// # Errors
    ///
    /// As for [`Connection::query`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is rolled back by the next operation of the connection.
    pub async fn rollback(self) -> Result<(), Error> {
        self.connection.undo.dropped(self.level, self.number);
        self.connection.settle().await
    }
}

impl<R: Reactor> Drop for Transaction<'_, R> {
    fn drop(&mut self) {
        self.connection.undo.dropped(self.level, self.number);
    }
}

impl<R: Reactor> Deref for Transaction<'_, R> {
    type Target = Connection<R>;

    fn deref(&self) -> &Connection<R> {
        self.connection
    }
}

impl<R: Reactor> DerefMut for Transaction<'_, R> {
    fn deref_mut(&mut self) -> &mut Connection<R> {
        self.connection
    }
}

fn name(number: u64) -> String {
    format!("ioloop_{number}")
}

/// What is to be rolled back.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// How many transactions there are, one in the other.
    level: usize,
    /// The outermost of those that were dropped: its level, and its savepoint's number.
    dropped: Option<(usize, u64)>,
    /// No number comes twice. Where a savepoint cannot be made, since the transaction has failed,
    /// an earlier one of its name would be rolled back to, and the failed transaction committed.
    made: u64,
}

impl Undo {
    /// The level of the next one, and the number of its savepoint.
    fn begin(&mut self) -> (usize, u64) {
        self.made += 1;
        (self.level, self.made)
    }

    /// It was committed.
    fn over(&mut self, level: usize) {
        self.level = level;
    }

    /// It could not be.
    fn not_over(&mut self, level: usize) {
        self.level = level + 1;
    }

    fn dropped(&mut self, level: usize, number: u64) {
        // One that was committed is not in the count any more.
        if level < self.level {
            self.level = level;
            self.dropped = Some((level, number));
        }
    }

    /// What to tell the server, if it is in a transaction.
    pub(crate) fn next(&mut self, is_in_transaction: impl FnOnce() -> bool) -> Option<CString> {
        let (level, number) = self.dropped?;
        if !is_in_transaction() {
            self.dropped = None;
            return None;
        }
        match level {
            0 => Some(c"ROLLBACK".to_owned()),
            // Not released, so it can be said twice.
            _ => string(&format!("ROLLBACK TO SAVEPOINT {}", name(number))).ok(),
        }
    }

    /// The server has done so.
    pub(crate) fn done(&mut self) {
        self.dropped = None;
    }
}
