//! Many connections on one loop, with clients in another process, some of which misbehave.
//!
//! The promises: every request is answered once, in the order of its connection, with the right
//! bytes, whatever other connections do; a connection that ends, in whatever way, leaves nothing
//! behind.

pub mod client;
pub mod protocol;
pub mod server;

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ioloop::{IOLoop, process};

use self::client::Counted;
use self::server::{Seen, Server};
use crate::lateness::{Lateness, Probe};
use crate::resources::Held;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Connections at a time.
    pub connections: usize,
    /// Requests that are answered.
    pub requests: u64,
    /// Milliseconds between two bytes of a client that trickles.
    pub pace: u64,
}

/// What both sides counted.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The clients.
    pub counted: Counted,
    /// The server.
    pub seen: Seen,
    /// Resident memory that the connections took at most, in KiB.
    pub memory: u64,
}

/// Serves what the clients of another process, of the program `load`, ask for.
pub async fn run(
    io_loop: &IOLoop,
    load: impl AsRef<OsStr>,
    size: Size,
) -> Result<(Outcome, Lateness)> {
    let watches = io_loop.metrics().watches;
    let before = Held::now()?;
    let server = Server::new(io_loop)?;
    let mut child = Command::new(load)
        .args(["client", "--address", &server.address.to_string()])
        .args(["--connections", &size.connections.to_string()])
        .args(["--requests", &size.requests.to_string()])
        .args(["--pace", &size.pace.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the clients")?;
    let mut printed = child.stdout.take().context("what the clients print")?;
    let probe = Probe::start(io_loop);
    let status = process::wait(io_loop, child)?.await?;
    let lateness = probe.finish();
    ensure!(status.success(), "the clients ended with {status}");
    let mut line = String::new();
    printed.read_to_string(&mut line)?;
    let counted = Counted::parse(&line)?;
    // The last ends of file may still be on their way.
    while server.open() > 0 {
        ioloop::sleep(io_loop, Duration::from_millis(1)).await?;
    }
    let memory = Held::now()?.memory.saturating_sub(before.memory);
    drop(printed);
    let outcome = Outcome { counted, seen: server.close(), memory };
    outcome.check(size)?;
    let after = (io_loop.metrics().watches, Held::now()?.descriptors);
    ensure!(after == (watches, before.descriptors), "watches and descriptors left: {after:?}");
    Ok((outcome, lateness))
}

impl Outcome {
    fn check(&self, size: Size) -> Result<()> {
        let Outcome { counted, seen, .. } = self;
        ensure!(counted.answered == size.requests, "answered: {self:?}");
        ensure!(seen.requests == counted.answered, "some requests came twice: {self:?}");
        ensure!(seen.requests_before_reset <= counted.sent_before_reset, "twice: {self:?}");
        ensure!(seen.out_of_order == 0, "out of order: {self:?}");
        ensure!(seen.accepted == counted.connected, "connections: {self:?}");
        ensure!(seen.errors == counted.reset, "errors: {self:?}");
        ensure!(seen.ended == counted.connected - counted.reset, "ends: {self:?}");
        ensure!(seen.most_open >= size.connections, "not all were open at once: {self:?}");
        Ok(())
    }
}
