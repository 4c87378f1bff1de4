//! Where a server is, and how to speak with it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::encode::encode;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// TCP. A name is resolved before, since hiredis would block for it.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Where a server is, and how to speak with it.
///
/// An address alone converts into it: `Connection::connect(reactor, address)`.
///
/// ```
/// use std::{path::Path, time::Duration};
/// use ioloop_hiredis::Options;
///
/// let options = Options::from(Path::new("/run/redis/socket"))
///     .user("worker", "secret")
///     .database(3)
///     .patience(Duration::from_secs(5));
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone)]
#[must_use = "options do nothing by themselves"]
pub struct Options {
    pub(crate) address: Address,
    user: Option<String>,
    password: Option<String>,
    database: u32,
    resp3: bool,
    pub(crate) patience: Option<Duration>,
    pub(crate) room: usize,
    pub(crate) backoff: (Duration, Duration),
}

impl Options {
    fn new(address: Address) -> Self {
        Options {
            address,
            user: None,
            password: None,
            database: 0,
            resp3: false,
            patience: None,
            room: 10_000,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
        }
    }

    /// Signs in with a password (`AUTH`), which is all that a server without users wants.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Signs in as a user (`AUTH`).
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self.password(password)
    }

    /// Uses a database (`SELECT`); otherwise 0.
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Speaks RESP3, the newer protocol: replies have more types, and a connection with
    /// subscriptions takes commands. Off otherwise.
    ///
    /// hiredis knows it from 1.0 on, and Redis from 6 on. With an older hiredis, connecting is an
    /// error.
    pub fn resp3(mut self) -> Self {
        self.resp3 = true;
        self
    }

    /// How long a server may be silent while it owes a reply, or a connection; for ever otherwise.
    ///
    /// A server that is silent for longer has lost the connection, and what is out returns
    /// [`Error::Silent`](crate::Error::Silent): so choose more than the longest that a command
    /// takes, or blocks. For the time that a single command may take, there is
    /// [`ioloop::timeout`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How many messages a subscription keeps that nobody has taken yet; 10,000 otherwise, and one
    /// at least.
    ///
    /// The next one takes the place of the oldest: [`Messages::missed`](crate::Messages::missed)
    /// counts those.
    pub fn room(mut self, messages: usize) -> Self {
        self.room = messages.max(1);
        self
    }

    /// How long a [`Client`](crate::Client) waits before it connects again: `first` once, twice as
    /// long after each attempt that fails, and never longer than `longest`; 100 ms and 10 s
    /// otherwise.
    ///
    /// Each wait is shortened by up to a half at random, so many clients of a server that
    /// comes back do not come all at once.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest.max(first));
        self
    }

    /// Whether RESP3 is spoken.
    pub(crate) fn speaks_resp3(&self) -> bool {
        self.resp3
    }

    /// What is sent first, and how many replies that has.
    pub(crate) fn greeting(&self) -> (Vec<u8>, usize) {
        let mut commands: Vec<Vec<&str>> = Vec::new();
        let user = self.user.as_deref();
        match (&self.password, self.resp3) {
            (Some(password), true) => {
                commands.push(vec!["HELLO", "3", "AUTH", user.unwrap_or("default"), password]);
            }
            (None, true) => commands.push(vec!["HELLO", "3"]),
            (Some(password), false) => {
                commands.push([Some("AUTH"), user, Some(password)].into_iter().flatten().collect());
            }
            (None, false) => {}
        }
        let database = self.database.to_string();
        if self.database != 0 {
            commands.push(vec!["SELECT", &database]);
        }
        let mut bytes = Vec::new();
        for words in &commands {
            encode(&mut bytes, words);
        }
        (bytes, commands.len())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("resp3", &self.resp3)
            .field("patience", &self.patience)
            .field("room", &self.room)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl From<SocketAddr> for Options {
    fn from(address: SocketAddr) -> Self {
        Options::new(Address::Tcp(address))
    }
}

impl From<&Path> for Options {
    fn from(path: &Path) -> Self {
        Options::new(Address::Unix(path.into()))
    }
}

impl From<PathBuf> for Options {
    fn from(path: PathBuf) -> Self {
        Options::new(Address::Unix(path))
    }
}

impl From<&Options> for Options {
    fn from(options: &Options) -> Self {
        options.clone()
    }
}
