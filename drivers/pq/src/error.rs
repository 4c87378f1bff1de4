//! What can go wrong.

use std::fmt;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refuses; after most of these the connection goes on.
    #[non_exhaustive]
    Server {
        /// The five letters of `SQLSTATE`, by which programs tell one error from another.
        state: String,
        /// What it says, with detail, hint and position where it has them.
        message: String,
    },
    /// The connection failed, or could not be made: in libpq's words. Connect anew, or use a
    /// [`Client`](crate::Client), which does so.
    Failed(String),
    /// A [`Client`](crate::Client) lost its connection while this query was out. Whether it ran is
    /// unknown: ask the database before it is sent again. Libpq's words say why.
    Lost(String),
    /// The loop does not watch the connection: it is closed, or at a limit of the system's.
    Loop(String),
    /// The client was dropped, or the loop that drives it was closed.
    Closed,
    /// The statement did something else than it was sent for.
    Unexpected(&'static str),
    /// A value is not what the program asked for: the column, and what is in it.
    Value(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server { state, message } => write!(f, "{} ({state})", message.trim_end()),
            Error::Failed(text) | Error::Loop(text) | Error::Value(text) => {
                f.write_str(text.trim_end())
            }
            Error::Lost(reason) => {
                let reason = reason.trim_end();
                write!(f, "the connection was lost, and the query may have run or not: {reason}")
            }
            Error::Closed => f.write_str("the client was dropped, or its loop closed"),
            Error::Unexpected(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
