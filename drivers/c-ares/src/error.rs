//! What can go wrong.

use std::fmt;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no such name.
    NotFound,
    /// The name has no address of that family.
    NoData,
    /// No server has answered in time.
    TimedOut,
    /// It was [cancelled](crate::Dns::cancel).
    Cancelled,
    /// The resolver is gone.
    Closed,
    /// The loop does not watch the sockets.
    Loop(String),
    /// Anything else, in c-ares' words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NotFound => "no such name",
            Error::NoData => "the name has no such address",
            Error::TimedOut => "no server answers",
            Error::Cancelled => "the query was cancelled",
            Error::Closed => "the resolver is gone",
            Error::Loop(text) | Error::Other(text) => text,
        })
    }
}

impl std::error::Error for Error {}
