//! What can go wrong.

use std::fmt;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no such name.
    NotFound {
        /// What was looked up.
        name: String,
    },
    /// The name exists, and has nothing of what was asked for.
    NoData {
        /// What was looked up.
        name: String,
    },
    /// No server has answered, as [often](crate::Options::tries) and for as
    /// [long](crate::Options::timeout) as was set.
    TimedOut {
        /// What was looked up.
        name: String,
    },
    /// No server was reached, or what it answers is of no use.
    Server {
        /// What was looked up.
        name: String,
        /// In c-ares' words.
        reason: String,
    },
    /// The name, or an option, makes no sense.
    Invalid {
        /// The name or the option.
        what: String,
        /// In c-ares' words.
        reason: String,
    },
    /// It was [cancelled](crate::Resolver::cancel).
    Cancelled,
    /// The resolver is gone.
    Closed,
    /// The loop does not watch the sockets: mostly because it is closed.
    Loop(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { name } => write!(f, "{name}: no such name"),
            Error::NoData { name } => write!(f, "{name}: the name has no such record"),
            Error::TimedOut { name } => write!(f, "{name}: no DNS server answers"),
            Error::Server { name, reason } => write!(f, "{name}: {reason}"),
            Error::Invalid { what, reason } => write!(f, "{what:?}: {reason}"),
            Error::Cancelled => f.write_str("the lookup was cancelled"),
            Error::Closed => f.write_str("the resolver is gone"),
            Error::Loop(reason) => write!(f, "the loop does not watch the sockets: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
