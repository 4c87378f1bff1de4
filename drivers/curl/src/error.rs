//! Why there is no response, or no more of one.

use std::fmt;
use std::io;

/// Why a request failed.
///
/// An HTTP status is none of these, unless [`Response::error_for_status`] is asked.
///
/// [`Response::error_for_status`]: crate::Response::error_for_status
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// libcurl says why: no connection, a time-out, a certificate, and so on.
    Curl {
        /// What was asked for.
        url: String,
        /// libcurl's code and account.
        error: curl::Error,
    },
    /// The request cannot be sent as it is: a header with a line break, a URL with a NUL.
    Request {
        /// What was asked for.
        url: String,
        /// What is wrong about it.
        reason: String,
    },
    /// The server answered with a status of 400 or more.
    Status {
        /// Who answered, after redirects.
        url: String,
        /// The status.
        status: u16,
    },
    /// The body is larger than [`max_body_size`](crate::Request::max_body_size).
    BodyTooLarge {
        /// What was asked for.
        url: String,
        /// How many bytes it may have.
        limit: u64,
    },
    /// The source of the request's body failed.
    Upload(io::Error),
    /// The callback for the chunks of the body failed.
    Body(io::Error),
    /// A callback of the request panicked, or the source of its body; the loop has reported it.
    Panicked,
    /// The loop does not watch what libcurl wants to be watched.
    Loop(io::Error),
    /// The loop is closed.
    Closed,
}

impl Error {
    /// Whether it took too long: to connect, as a whole, or for want of speed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Curl { error, .. } if error.is_operation_timedout())
    }

    /// Whether there was no connection, because it was refused or its name is not known.
    pub fn is_connect(&self) -> bool {
        let Error::Curl { error, .. } = self else {
            return false;
        };
        error.is_couldnt_connect()
            || error.is_couldnt_resolve_host()
            || error.is_couldnt_resolve_proxy()
    }

    /// Whether there were more redirects than may be followed.
    pub fn is_redirect(&self) -> bool {
        matches!(self, Error::Curl { error, .. } if error.is_too_many_redirects())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Curl { url, error } => {
                let account = error.extra_description().unwrap_or(error.description());
                write!(f, "{url}: {account}")
            }
            Error::Request { url, reason } => write!(f, "{url}: {reason}"),
            Error::Status { url, status } => write!(f, "{url}: the server answered {status}"),
            Error::BodyTooLarge { url, limit } => {
                write!(f, "{url}: the body is larger than the {limit} bytes that it may have")
            }
            Error::Upload(error) => write!(f, "reading the body to send: {error}"),
            Error::Body(error) => error.fmt(f),
            Error::Panicked => f.write_str("a callback of the request panicked"),
            Error::Loop(error) => write!(f, "the loop does not watch libcurl's socket: {error}"),
            Error::Closed => f.write_str("the loop is closed"),
        }
    }
}

impl std::error::Error for Error {
    /// None of libcurl's own or of the loop's, whose words are in those of this error.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Body(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Closed => io::ErrorKind::BrokenPipe,
            Error::Request { .. } => io::ErrorKind::InvalidInput,
            error if error.is_timeout() => io::ErrorKind::TimedOut,
            Error::Upload(error) | Error::Body(error) | Error::Loop(error) => error.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
