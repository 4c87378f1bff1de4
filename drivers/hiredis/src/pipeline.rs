//! Several commands that are sent as one.

use std::fmt;

use crate::encode::{encode, refusal, refusal_of_state};
use crate::error::Error;

/// Several commands, for [`pipeline`](crate::Connection::pipeline) or
/// [`transaction`](crate::Connection::transaction).
///
/// ```
/// use ioloop_hiredis::Pipeline;
///
/// let mut pipeline = Pipeline::new();
/// pipeline.command(["SET", "key", "value"]).command(["INCR", "n"]);
/// assert_eq!(pipeline.len(), 2);
/// ```
#[derive(Clone, Default)]
pub struct Pipeline {
    pub(crate) bytes: Vec<u8>,
    count: usize,
    refused: Option<&'static str>,
    /// What only a connection that stays takes.
    has_state: Option<&'static str>,
}

impl Pipeline {
    /// One without commands.
    pub fn new() -> Self {
        Pipeline::default()
    }

    /// Appends a command, given as its words.
    ///
    /// A command that [`Connection::command`](crate::Connection::command) refuses has the whole
    /// pipeline refused when it is to be sent.
    pub fn command<W: AsRef<[u8]>>(&mut self, words: impl IntoIterator<Item = W>) -> &mut Self {
        let start = self.bytes.len();
        encode(&mut self.bytes, words);
        let command = &self.bytes[start..];
        self.refused = self.refused.or_else(|| refusal(command));
        self.has_state = self.has_state.or_else(|| refusal_of_state(command));
        self.count += 1;
        self
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Why it is not to be sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.refused.map_or(Ok(()), |why| Err(Error::Refused(why)))
    }

    /// Why it is not to be sent where the connection may be another one next time.
    pub(crate) fn check_state(&self) -> Result<(), Error> {
        self.has_state.map_or(Ok(()), |why| Err(Error::Refused(why)))
    }

    /// The commands between `MULTI` and `EXEC`.
    pub(crate) fn as_transaction(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 32);
        encode(&mut bytes, ["MULTI"]);
        bytes.extend_from_slice(&self.bytes);
        encode(&mut bytes, ["EXEC"]);
        bytes
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("commands", &self.count).finish_non_exhaustive()
    }
}
