//! Why there is no answer.

use std::fmt;
use std::time::Duration;

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to this address: what libdbus says of it.
    Connect {
        /// The address that was tried.
        address: String,
        /// Why, in libdbus' words.
        reason: String,
    },
    /// The bus or the other side answered with an error; the connection goes on.
    Reply {
        /// The error's name, such as `org.freedesktop.DBus.Error.ServiceUnknown`.
        name: String,
        /// What it says to people.
        message: String,
    },
    /// There was no reply within this time; the connection goes on, and a reply that arrives later
    /// is thrown away.
    TimedOut(Duration),
    /// The arguments, or those of the reply, are not of the types that were expected.
    Type(String),
    /// A bus name, a path, an interface or a member that D-Bus does not allow.
    Invalid(String),
    /// The path has a handler of this interface already.
    Served {
        /// The path of the object.
        path: String,
        /// The interface.
        interface: String,
    },
    /// The bus name belongs to another connection.
    NameTaken(String),
    /// The bus ended the connection. It is not made again: open another.
    Disconnected,
    /// The connection was closed on this side, or its loop was.
    Closed,
    /// The loop does not watch the connection's socket: why.
    Loop(String),
    /// libdbus has no memory left for the message.
    OutOfMemory,
}

impl Error {
    /// The name of an [error reply](Error::Reply), such as
    /// `org.freedesktop.DBus.Error.ServiceUnknown`.
    pub fn name(&self) -> Option<&str> {
        match self {
            Error::Reply { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connect { address, reason } => {
                write!(f, "cannot connect to the bus at {address}: {reason}")
            }
            Error::Reply { name, message } => write!(f, "{name}: {message}"),
            Error::TimedOut(limit) => {
                write!(f, "no reply in {limit:?}; `set_timeout` allows more")
            }
            Error::Type(text) | Error::Invalid(text) => f.write_str(text),
            Error::Served { path, interface } => {
                write!(f, "{interface} of {path} is served already; drop its `Served` first")
            }
            Error::NameTaken(name) => write!(f, "the bus name {name} has another owner"),
            Error::Disconnected => f.write_str("the bus ended the connection; open another"),
            Error::Closed => f.write_str("the connection is closed"),
            Error::Loop(text) => write!(f, "cannot watch the connection: {text}"),
            Error::OutOfMemory => f.write_str("libdbus has no memory left for the message"),
        }
    }
}

impl std::error::Error for Error {}

/// Why a name is refused, in libdbus' words.
pub(crate) fn invalid(reason: String) -> Error {
    Error::Invalid(reason)
}

/// An error of libdbus' that is a reply's.
pub(crate) fn of_reply(error: &dbus::Error) -> Error {
    Error::Reply {
        name: error.name().unwrap_or_default().to_owned(),
        message: error.message().unwrap_or_default().to_owned(),
    }
}
