//! What can go wrong.

use std::fmt;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refuses; after most of them the connection goes on.
    #[non_exhaustive]
    Server {
        /// The five letters of `SQLSTATE`.
        state: String,
        /// What it says.
        message: String,
    },
    /// The connection failed, or could not be made: in libpq's words.
    Failed(String),
    /// The loop does not watch the connection.
    Loop(String),
    /// The statement did something else than it was sent for.
    Unexpected(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server { message: text, .. } | Error::Failed(text) | Error::Loop(text) => {
                f.write_str(text.trim_end())
            }
            Error::Unexpected(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
