//! Where to ask, and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where to ask, for how long, and what to keep.
///
/// What is not set is as the system is configured: `/etc/resolv.conf`, `/etc/hosts`,
/// `/etc/nsswitch.conf`, as they are when the resolver is made.
///
/// ```
/// use std::time::Duration;
/// use ioloop_c_ares::Options;
///
/// let options = Options::new()
///     .servers(["192.0.2.1:53".parse()?, "[2001:db8::1]:53".parse()?])
///     .timeout(Duration::from_secs(1))
///     .tries(3);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing by themselves"]
pub struct Options {
    pub(crate) servers: Option<Vec<SocketAddr>>,
    pub(crate) domains: Option<Vec<String>>,
    pub(crate) resolv_conf: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) tries: Option<u16>,
    pub(crate) tcp: bool,
    pub(crate) hosts: bool,
    pub(crate) room: usize,
    pub(crate) at_once: usize,
}

impl Options {
    /// As the system is configured.
    pub fn new() -> Self {
        Options {
            servers: None,
            domains: None,
            resolv_conf: None,
            timeout: None,
            tries: None,
            tcp: false,
            hosts: true,
            room: 1000,
            at_once: 100,
        }
    }

    /// Asks these servers, the first one first.
    pub fn servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.servers = Some(servers.into_iter().collect());
        self
    }

    /// Looks for a name that has few dots in these domains too; in none where there are none.
    pub fn search<D: Into<String>>(mut self, domains: impl IntoIterator<Item = D>) -> Self {
        self.domains = Some(domains.into_iter().map(Into::into).collect());
        self
    }

    /// Reads this file in place of `/etc/resolv.conf`.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.resolv_conf = Some(path.into());
        self
    }

    /// How long to wait for a server at first; it doubles when all of them were asked. c-ares has
    /// its own value otherwise, of 5 s or 2 s by its version.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often to ask each server; c-ares has its own value otherwise, of 4 or 3.
    pub fn tries(mut self, tries: u16) -> Self {
        self.tries = Some(tries.max(1));
        self
    }

    /// Asks over TCP at once, instead of only where an answer is too long for UDP.
    pub fn tcp(mut self, tcp: bool) -> Self {
        self.tcp = tcp;
        self
    }

    /// Whether to look into `/etc/hosts` first; it does otherwise.
    pub fn hosts(mut self, hosts: bool) -> Self {
        self.hosts = hosts;
        self
    }

    /// How many answers to keep, each until its records' time to live is over; 1,000 otherwise. 0
    /// keeps none.
    ///
    /// That there is no such name or record is kept as well: for records as the server says, for
    /// addresses for 5 s, as c-ares does not tell what the server says.
    pub fn cache(mut self, answers: usize) -> Self {
        self.room = answers;
        self
    }

    /// How many lookups are sent at a time, 100 otherwise; the others wait for those.
    ///
    /// c-ares sends whatever it is given at once, and what the buffer of a socket does not hold is
    /// lost, until it is asked again after the time-out. Over TCP any number can be sent.
    pub fn at_once(mut self, lookups: usize) -> Self {
        self.at_once = lookups.max(1);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}
