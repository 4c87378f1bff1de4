//! What the server answers, and why it does not.

use std::fmt;

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// There is nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// A short text, such as `OK`.
    Status(String),
    /// A value.
    Bytes(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
    /// An error, inside of an array; that of a whole command is an [`Error`].
    Error(String),
    /// One of a type that came into Redis' protocol later, by hiredis' number for it.
    Unknown(i32),
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refuses the command; the connection goes on.
    Server(String),
    /// The driver refuses the command; the connection goes on.
    Refused(&'static str),
    /// The connection failed, or could not be made: in hiredis' words.
    Failed(String),
    /// The server has been silent for longer than it may.
    Silent,
    /// The loop does not watch the connection.
    Loop(String),
    /// The connection was ended on this side.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server(text) | Error::Failed(text) | Error::Loop(text) => f.write_str(text),
            Error::Refused(text) => f.write_str(text),
            Error::Silent => f.write_str("the server does not answer"),
            Error::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for Error {}
