//! What the server answers.

use crate::convert::FromReply;
use crate::error::Error;

/// What the server answers.
///
/// [`get`](Self::get) makes a type of yours of it.
#[derive(Clone, Debug, PartialEq)]
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
    /// An error, inside of several replies; that of a single command is an [`Error`].
    Error(String),
    /// A number with a fraction (RESP3).
    Double(f64),
    /// True or false (RESP3).
    Boolean(bool),
    /// Keys and values (RESP3; otherwise an array, in which they alternate).
    Map(Vec<(Reply, Reply)>),
    /// Several replies, each once (RESP3).
    Set(Vec<Reply>),
    /// A number of any size, in digits (RESP3).
    BigNumber(String),
    /// Something that no command asked for (RESP3).
    Push(Vec<Reply>),
    /// One of a type that this crate does not know, by hiredis' number for it.
    Unknown(i32),
}

impl Reply {
    /// The reply as another type.
    ///
    /// ```
    /// use ioloop_hiredis::Reply;
    ///
    /// let reply = Reply::Array(vec![Reply::Bytes(b"42".into()), Reply::Nil]);
    /// assert_eq!(reply.get::<Vec<Option<i64>>>()?, [Some(42), None]);
    /// # Ok::<(), ioloop_hiredis::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conversion`]; [`Error::Server`] where an error is in it.
    pub fn get<T: FromReply>(self) -> Result<T, Error> {
        T::from_reply(self)
    }
}
