//! Asks a time server how far a clock is off, by SNTP, on any event loop.
//!
//! The loop is the user's: whatever implements [`Reactor`]. Nothing here knows a runtime, and
//! nothing spawns; what is returned is a future, to be awaited on the loop's thread.
//!
//! ```
//! use ioloop::{IOLoop, spawn};
//! use neutral_sntp::{Query, bind, serve};
//!
//! let io_loop = IOLoop::new()?;
//! let server = bind(&io_loop, "127.0.0.1:0".parse()?)?;
//! let address = server.get_ref().local_addr()?;
//! spawn(&io_loop, async move { serve(&server, std::time::SystemTime::now).await });
//! let answer = io_loop.run_sync(Query::new(address).send(&io_loop))??;
//! println!("{:+.6} s", answer.offset);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod packet;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use ioloop::{Async, Reactor, timeout};

use crate::packet::{LENGTH, Reply, Stamp};

/// A question to a time server.
#[derive(Clone, Debug)]
pub struct Query {
    server: SocketAddr,
    tries: u32,
    patience: Duration,
    clock: fn() -> SystemTime,
}

/// What a time server has answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// By how many seconds the server's clock is ahead.
    pub offset: f64,
    /// How many seconds the packets were under way, there and back.
    pub round_trip: f64,
    /// How far the server is from a clock that is right: one is next to it.
    pub stratum: u8,
}

impl Query {
    /// A question to `server`: three tries, the first of which waits for a second.
    pub fn new(server: SocketAddr) -> Self {
        let (tries, patience) = (3, Duration::from_secs(1));
        Query { server, tries, patience, clock: SystemTime::now }
    }

    /// Sends so many packets, at most, until one is answered.
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Waits for so long after the first packet, and twice as long after each other.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks. The reactor is that of the loop on whose thread the future is awaited.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut): no packet was answered.
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused): nobody listens there, or the server
    /// wants to be left alone. Otherwise those of making a socket and watching it.
    pub async fn send<R: Reactor>(&self, reactor: &R) -> io::Result<Answer> {
        let any = match self.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = bind(reactor, any)?;
        socket.get_ref().connect(self.server)?;
        let mut patience = self.patience;
        for _ in 0..self.tries {
            match timeout(reactor, patience, self.exchange(&socket)).await {
                Ok(answer) => return answer,
                Err(error) if error.is_elapsed() => patience *= 2,
                Err(closed) => return Err(closed.into()),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    async fn exchange(&self, socket: &Async<UdpSocket>) -> io::Result<Answer> {
        let sent = Stamp::of((self.clock)());
        socket.send(&packet::request(sent)).await?;
        let mut buffer = [0; LENGTH];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let arrived = Stamp::of((self.clock)());
            match packet::read_reply(&buffer[..length], sent, arrived) {
                Some(Reply::Time { stratum, offset, round_trip }) => {
                    return Ok(Answer { offset, round_trip, stratum });
                }
                Some(Reply::GoAway(reason)) => {
                    let reason = String::from_utf8_lossy(&reason).into_owned();
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
                }
                // Late, to the packet before, or from nowhere.
                None => {}
            }
        }
    }
}

/// A socket for [`serve`].
///
/// # Errors
///
/// Those of making a socket and watching it.
pub fn bind<R: Reactor>(reactor: &R, address: SocketAddr) -> io::Result<Async<UdpSocket>> {
    Async::<UdpSocket>::bind(reactor, address)
}

/// Answers everybody who asks with the time on `clock`, until an error.
///
/// # Errors
///
/// Those of the socket.
pub async fn serve(
    socket: &Async<UdpSocket>,
    clock: impl Fn() -> SystemTime,
) -> io::Result<Infallible> {
    let mut buffer = [0; LENGTH];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        if let Some(reply) = packet::reply(&buffer[..length], Stamp::of(clock())) {
            socket.send_to(&reply, from).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use ioloop::spawn;
    use ioloop_fake::FakeReactor;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + 12 * 3600 * SECOND
    }

    /// A server that the test plays, and a question to it.
    fn server() -> (UdpSocket, Query) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let query = Query { clock: noon, ..Query::new(server.local_addr().unwrap()) };
        (server, query)
    }

    /// The packets that have arrived, and who sent them.
    fn arrived(server: &UdpSocket) -> Vec<([u8; LENGTH], SocketAddr)> {
        let mut buffer = [0; LENGTH];
        std::iter::from_fn(|| server.recv_from(&mut buffer).ok().map(|(_, from)| (buffer, from)))
            .collect()
    }

    #[test]
    fn what_is_not_answered_is_sent_again_each_time_after_twice_as_long() {
        let fake = FakeReactor::new();
        let (server, query) = server();
        let reactor = fake.clone();
        let asking = spawn(&fake, async move { query.send(&reactor).await });
        fake.run_ready();
        assert_eq!(arrived(&server).len(), 1);
        for pause in [1, 2] {
            fake.advance(pause * SECOND - Duration::from_nanos(1));
            assert_eq!(arrived(&server).len(), 0, "it is too early");
            fake.advance(Duration::from_nanos(1));
            assert_eq!(arrived(&server).len(), 1);
        }
        fake.advance(4 * SECOND);
        assert_eq!(arrived(&server).len(), 0);
        let gave_up = fake.block_on(asking).unwrap().unwrap().unwrap_err();
        assert_eq!(gave_up.kind(), io::ErrorKind::TimedOut);
        fake.assert_nothing_left();
    }

    #[test]
    fn the_answer_to_a_later_try_counts_and_strangers_do_not() {
        let fake = FakeReactor::new();
        let (server, query) = server();
        let reactor = fake.clone();
        let asking = spawn(&fake, async move { query.send(&reactor).await });
        fake.run_ready();
        fake.advance(SECOND);
        let (request, client) = arrived(&server).pop().unwrap();
        server.send_to(b"what is this?", client).unwrap();
        fake.run_ready();
        assert!(!asking.is_finished());
        let ahead = Stamp::of(noon() + 90 * SECOND);
        server.send_to(&packet::reply(&request, ahead).unwrap(), client).unwrap();
        fake.run_ready();
        let answer = fake.block_on(asking).unwrap().unwrap().unwrap();
        assert_eq!(answer, Answer { offset: 90.0, round_trip: 0.0, stratum: 1 });
        fake.assert_nothing_left();
    }

    #[test]
    fn a_loop_that_takes_no_more_descriptors_is_an_error_of_the_question() {
        let fake = FakeReactor::new();
        let (server, query) = server();
        fake.fail_next_add(io::ErrorKind::QuotaExceeded.into());
        let refused = fake.block_on(query.send(&fake)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        assert!(arrived(&server).is_empty());
        fake.assert_nothing_left();
    }
}
