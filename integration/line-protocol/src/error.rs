//! What goes wrong with a connection.

use std::error;
use std::fmt;
use std::io;

use crate::protocol::BadRequest;

/// Why there is no line, or no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    Io(io::Error),
    /// A line is longer than this many bytes; the next one can be read.
    TooLong(usize),
    /// A line is not UTF-8; the next one can be read.
    NotText,
    /// The connection ended in the middle of a line.
    CutOff,
    /// The connection ended before the reply.
    NoReply,
    /// A line is no reply.
    NotAReply(String),
    /// A request would not be understood as what it is.
    BadRequest(BadRequest),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "the connection failed: {error}"),
            Error::TooLong(limit) => write!(f, "the line is longer than {limit} bytes"),
            Error::NotText => f.write_str("the line is not UTF-8"),
            Error::CutOff => f.write_str("the connection ended in the middle of a line"),
            Error::NoReply => f.write_str("the connection ended before the reply"),
            Error::NotAReply(line) => write!(f, "this is no reply: {line:?}"),
            Error::BadRequest(error) => error.fmt(f),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

impl From<BadRequest> for Error {
    fn from(error: BadRequest) -> Self {
        Error::BadRequest(error)
    }
}
