//! Many clients at once, each of which checks every line that it hears.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::{Poll, Waker};

use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use ioloop::{Async, Reactor};

use crate::lines::{Lines, Unreadable};

/// Connections that are being made at once.
const CONNECTING: usize = 64;

/// How much is to be said, and by how many.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rooms.
    pub rooms: usize,
    /// Clients in each room.
    pub members: usize,
    /// Lines that each client says.
    pub lines: usize,
}

/// Connects all clients, has them talk once all have come, and returns how many lines they heard.
///
/// Each hears every line of everybody in its room, its own among them, in the order in which it was
/// said.
///
/// # Errors
///
/// Those of the sockets; and [`InvalidData`](ErrorKind::InvalidData), which names the line that
/// should not have come.
pub async fn run<R: Reactor>(reactor: &R, server: SocketAddr, load: Load) -> io::Result<usize> {
    let number = load.rooms * load.members;
    let streams: Vec<_> = stream::iter(0..number)
        .map(|_| Async::<TcpStream>::connect(reactor, server))
        .buffer_unordered(CONNECTING)
        .try_collect()
        .await?;
    let gate = Gate::new(number);
    let clients = streams.into_iter().enumerate().map(|(index, stream)| {
        let client = Client { stream, room: index / load.members, name: index % load.members };
        client.talk(&gate, load)
    });
    let mut clients: FuturesUnordered<_> = clients.collect();
    let mut heard = 0;
    while let Some(lines) = clients.next().await {
        heard += lines?;
    }
    Ok(heard)
}

struct Client {
    stream: Async<TcpStream>,
    room: usize,
    name: usize,
}

/// What a client has heard.
struct Heard {
    present: usize,
    /// How much of everybody.
    of: HashMap<usize, usize>,
    lines: usize,
}

impl Client {
    async fn talk(self, gate: &Gate, load: Load) -> io::Result<usize> {
        let mut lines = Lines::default();
        let mut heard = Heard { present: 0, of: HashMap::new(), lines: 0 };
        self.say(&format!("room-{} {}\n", self.room, self.name)).await?;
        while heard.present < load.members {
            self.listen(&mut lines, &mut heard).await?;
        }
        gate.pass().await;
        let text: String = (0..load.lines).map(|n| format!("line {n}\n")).collect();
        self.say(&text).await?;
        while heard.lines < load.members * load.lines {
            self.listen(&mut lines, &mut heard).await?;
        }
        Ok(heard.lines)
    }

    async fn say(&self, text: &str) -> io::Result<()> {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let n = self.stream.write_with(|mut stream| stream.write(left)).await?;
            left = &left[n..];
        }
        Ok(())
    }

    async fn listen(&self, lines: &mut Lines, heard: &mut Heard) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let n = self.stream.read_with(|mut stream| stream.read(&mut chunk)).await?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut wrong = String::new();
        let taken = lines.take(&chunk[..n], |line| {
            heard.check(line).ok_or_else(|| {
                wrong = format!("room {}, client {}: {line:?}", self.room, self.name);
                Unreadable
            })
        });
        taken.map_err(|Unreadable| io::Error::new(ErrorKind::InvalidData, wrong))
    }
}

impl Heard {
    /// None if a line should not have come, or not now.
    fn check(&mut self, line: &str) -> Option<()> {
        if let Some(news) = line.strip_prefix("* ") {
            self.present += usize::from(!news.ends_with(" left"));
            return Some(());
        }
        let (name, text) = line.split_once(": line ")?;
        let so_far = self.of.entry(name.parse().ok()?).or_default();
        if text.parse() != Ok(*so_far) {
            return None;
        }
        *so_far += 1;
        self.lines += 1;
        Some(())
    }
}

/// Opens once everybody stands before it.
struct Gate {
    missing: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

impl Gate {
    fn new(number: usize) -> Self {
        Gate { missing: Cell::new(number), wakers: RefCell::default() }
    }

    async fn pass(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.wakers.take().into_iter().for_each(Waker::wake);
        }
        poll_fn(|cx| {
            if self.missing.get() == 0 {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
