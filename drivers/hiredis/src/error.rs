//! Why there is no reply.

use std::fmt;

use crate::options::Address;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refuses the command, in these words; the connection goes on.
    Server(String),
    /// This crate refuses the command, which was not sent; the connection goes on.
    Refused(&'static str),
    /// The reply is not of the type that was asked for; the command was executed.
    Conversion {
        /// The type that was asked for.
        wanted: &'static str,
        /// The reply, shortened.
        got: String,
    },
    /// The connection could not be made; nothing was sent.
    Unreachable {
        /// Where the server was looked for.
        address: Address,
        /// In hiredis' words, or the system's.
        reason: String,
    },
    /// The connection was made and has failed, for this reason. A command that was out may have
    /// been executed, or not.
    Lost(String),
    /// The server was silent for longer than [patience](crate::Options::patience) lasts, which has
    /// ended the connection. A command that was out may have been executed, or not.
    Silent,
    /// The loop does not watch the connection, which has ended: mostly because the loop is closed.
    Loop(String),
    /// The connection was ended on this side.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server(text) => f.write_str(text),
            Error::Refused(text) => write!(f, "the command was not sent: {text}"),
            Error::Conversion { wanted, got } => write!(f, "the reply is no {wanted}: {got}"),
            Error::Unreachable { address, reason } => {
                write!(f, "cannot connect to Redis at {address}: {reason}")
            }
            Error::Lost(reason) => write!(
                f,
                "the connection to Redis was lost ({reason}); what was out may have been executed"
            ),
            Error::Silent => f.write_str(
                "the connection to Redis was given up, since the server was silent for too long; \
                 what was out may have been executed",
            ),
            Error::Loop(reason) => write!(f, "the loop does not watch the connection: {reason}"),
            Error::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for Error {}
