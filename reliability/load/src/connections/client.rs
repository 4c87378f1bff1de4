//! The clients, in a process of their own: a task of tokio each, so one event loop checks
//! another.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::protocol::{Kind, Request};
use crate::resources::raise_descriptor_limit;

/// What the clients are to do.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Orders {
    /// Where the server listens.
    #[arg(long)]
    pub address: SocketAddr,
    /// How many connections.
    #[arg(long)]
    pub connections: usize,
    /// How many requests in all.
    #[arg(long)]
    pub requests: u64,
    /// Milliseconds between two bytes of a client that trickles; those that stall do so for ten
    /// times as long.
    #[arg(long)]
    pub pace: u64,
}

/// What the clients counted; printed as numbers, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Connections that were made, those that came again among them.
    pub connected: u64,
    /// Requests of connections that do not reset, each with an answer that was checked.
    pub answered: u64,
    /// Requests that were sent by connections that reset.
    pub sent_before_reset: u64,
    /// Connections that were reset.
    pub reset: u64,
}

impl Counted {
    /// Of the line that the other process prints.
    pub fn parse(line: &str) -> Result<Counted> {
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        let [connected, answered, sent_before_reset, reset] =
            numbers?.try_into().ok().context("four numbers")?;
        Ok(Counted { connected, answered, sent_before_reset, reset })
    }

    fn add(&mut self, other: Counted) {
        self.connected += other.connected;
        self.answered += other.answered;
        self.sent_before_reset += other.sent_before_reset;
        self.reset += other.reset;
    }
}

/// Clients from one source address: the kernel has some 28,000 ports for each.
const PER_ADDRESS: usize = 10_000;
/// Times that a client comes again.
const RETURNS: u32 = 10;
const PIPELINED: u32 = 8;

/// Runs them all, and prints what they counted.
pub fn main(orders: Orders) -> Result<()> {
    raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Counted { connected, answered, sent_before_reset, reset } =
        runtime.block_on(run(orders))?;
    println!("{connected} {answered} {sent_before_reset} {reset}");
    Ok(())
}

async fn run(orders: Orders) -> Result<Counted> {
    // Everybody is there before anybody goes on.
    let everybody = Arc::new(Barrier::new(orders.connections));
    let connecting = Arc::new(Semaphore::new(256));
    let mut left = orders.requests;
    for number in 0..orders.connections {
        left = left
            .checked_sub(requests_of(Kind::of(number)))
            .context("more requests than that are made anyway")?;
    }
    let steady = (0..orders.connections).filter(|number| Kind::of(*number) == Kind::Steady);
    let steady = steady.count() as u64;
    let mut clients = JoinSet::new();
    for number in 0..orders.connections {
        let more = match Kind::of(number) {
            Kind::Steady => {
                let index = number as u64 - (number as u64 / 50 * 5 + (number as u64 % 50).min(5));
                left / steady + u64::from(index < left % steady)
            }
            _ => 0,
        };
        let client = Client {
            number,
            orders,
            connecting: Arc::clone(&connecting),
            stream: None,
            next: 0,
            expected: VecDeque::new(),
            counted: Counted::default(),
        };
        let everybody = Arc::clone(&everybody);
        clients.spawn(async move {
            let kind = Kind::of(number);
            client.run(&everybody, more).await.with_context(|| format!("{number}, {kind:?}"))
        });
    }
    let mut sum = Counted::default();
    while let Some(client) = clients.join_next().await {
        sum.add(client??);
    }
    Ok(sum)
}

/// The requests that a client of this kind makes in any case and has answered; each makes one at
/// the start.
fn requests_of(kind: Kind) -> u64 {
    match kind {
        Kind::Resets => 0,
        Kind::Steady => 1,
        Kind::Trickles | Kind::Idles => 2,
        Kind::Stalls => 1 + 8,
        Kind::HalfCloses => 1 + u64::from(RETURNS) * 5,
    }
}

struct Client {
    number: usize,
    orders: Orders,
    connecting: Arc<Semaphore>,
    stream: Option<TcpStream>,
    next: u32,
    /// Requests that were sent and not answered.
    expected: VecDeque<Request>,
    counted: Counted,
}

impl Client {
    async fn run(mut self, everybody: &Barrier, more: u64) -> Result<Counted> {
        self.connect().await?;
        self.send(&[20]).await?;
        self.receive().await?;
        everybody.wait().await;
        let pace = Duration::from_millis(self.orders.pace);
        match Kind::of(self.number) {
            Kind::Steady => self.steady(more).await?,
            Kind::Resets => self.resets(pace).await?,
            Kind::Stalls => {
                self.send(&[64 * 1024; 8]).await?;
                sleep(pace * 10).await;
                self.receive().await?;
            }
            Kind::HalfCloses => {
                for _ in 0..RETURNS {
                    self.send(&[0, 3000, 1, 70_000, 2]).await?;
                    self.stream().shutdown().await?;
                    self.receive().await?;
                    self.end().await?;
                    sleep(pace / 5).await;
                    self.connect().await?;
                }
            }
            Kind::Trickles => {
                let request = self.request(100);
                for byte in request.encode() {
                    self.stream().write_all(&[byte]).await?;
                    sleep(pace).await;
                }
                self.receive().await?;
            }
            Kind::Idles => {
                sleep(pace * 12).await;
                self.send(&[500]).await?;
                self.receive().await?;
            }
        }
        if Kind::of(self.number) != Kind::Resets {
            self.stream().shutdown().await?;
            self.end().await?;
        }
        Ok(self.counted)
    }

    async fn steady(&mut self, mut more: u64) -> Result<()> {
        while more > 0 {
            let count = more.min(1 + u64::from(self.next % PIPELINED));
            more -= count;
            let lens: Vec<u32> = (0..count)
                .map(|n| match (u64::from(self.next) + n + self.number as u64) % 997 {
                    0 => 64 * 1024,
                    n => n as u32 % 200,
                })
                .collect();
            self.send(&lens).await?;
            self.receive().await?;
        }
        Ok(())
    }

    async fn resets(&mut self, pace: Duration) -> Result<()> {
        for turn in 0..RETURNS {
            if turn > 0 {
                sleep(pace / 5).await;
                self.connect().await?;
            }
            self.send(&[100, 64 * 1024, 100]).await?;
            let half = &self.request(7).encode()[..5];
            self.stream().write_all(half).await?;
            // In the middle of an answer.
            self.stream().read_exact(&mut [0; 200]).await?;
            let stream = self.stream.take().context("a connection")?;
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            drop(stream);
            self.expected.clear();
            self.counted.reset += 1;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        let _permit = self.connecting.acquire().await?;
        let source = Ipv4Addr::from(0x7f00_0001 + (self.number / PER_ADDRESS) as u32);
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        if Kind::of(self.number) == Kind::Stalls {
            socket.set_recv_buffer_size(4096)?;
        }
        let stream = socket.connect(self.orders.address).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        self.counted.connected += 1;
        Ok(())
    }

    fn stream(&mut self) -> &mut TcpStream {
        self.stream.as_mut().expect("a client has a connection")
    }

    fn request(&mut self, len: u32) -> Request {
        let request = Request::new(self.number, self.next, len);
        self.next += 1;
        self.expected.push_back(request);
        request
    }

    async fn send(&mut self, lens: &[u32]) -> Result<()> {
        let bytes: Vec<u8> = lens.iter().flat_map(|len| self.request(*len).encode()).collect();
        self.stream().write_all(&bytes).await?;
        if Kind::of(self.number) == Kind::Resets {
            self.counted.sent_before_reset += lens.len() as u64;
        }
        Ok(())
    }

    /// Reads and checks the answer to each request that was sent.
    async fn receive(&mut self) -> Result<()> {
        while let Some(request) = self.expected.pop_front() {
            let mut head = [0; Request::SIZE];
            self.stream().read_exact(&mut head).await?;
            let got = Request::decode(head);
            ensure!(got == request, "instead of the answer to {request:?}, that to {got:?}");
            let mut body = vec![0; request.len as usize];
            self.stream().read_exact(&mut body).await?;
            ensure!(request.is_body(&body), "wrong bytes in the answer to {request:?}");
            if Kind::of(self.number) != Kind::Resets {
                self.counted.answered += 1;
            }
        }
        Ok(())
    }

    /// Nothing comes after the last answer but the end of file.
    async fn end(&mut self) -> Result<()> {
        if self.stream().read(&mut [0; 1]).await? > 0 {
            bail!("an answer to no request");
        }
        Ok(())
    }
}
