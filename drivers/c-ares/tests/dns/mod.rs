//! A DNS server on a loop, over UDP and TCP on one port: as much of it as a resolver's test needs.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::rc::{Rc, Weak};

use ioloop::{Async, Guard, IOLoop, Task};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: String,
    /// The number of its type.
    pub(crate) kind: u8,
    pub(crate) tcp: bool,
}

/// What is answered.
pub(crate) enum Reply {
    /// Those of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// Records, each with its type, its time to live and its data.
    Records(Vec<(u8, u32, Vec<u8>)>),
    /// There is no such name; if told, with for how long that may be kept.
    NoSuchName(Option<u32>),
    /// An error by its number.
    Code(u8),
    /// There is more than UDP can hold.
    Truncated,
    /// None at all.
    Silence,
}

type Answering = dyn Fn(&Question) -> Reply;

/// A server that answers for as long as it lives.
pub(crate) struct Server {
    shared: Rc<Shared>,
    address: SocketAddr,
    _udp: Guard<Task<()>>,
    _tcp: Guard<Task<()>>,
}

struct Shared {
    answering: Box<Answering>,
    asked: RefCell<Vec<Question>>,
    connections: RefCell<Vec<Guard<Task<()>>>>,
    accepted: Cell<usize>,
    /// Another one is in each connection's task.
    connected: Rc<()>,
}

impl Server {
    pub(crate) fn start(
        io_loop: &IOLoop,
        answering: impl Fn(&Question) -> Reply + 'static,
    ) -> Self {
        Self::start_at(io_loop, "127.0.0.1:0".parse().unwrap(), answering)
    }

    pub(crate) fn start_at(
        io_loop: &IOLoop,
        address: SocketAddr,
        answering: impl Fn(&Question) -> Reply + 'static,
    ) -> Self {
        let (udp, tcp) = bind(address);
        let address = udp.local_addr().unwrap();
        let shared = Rc::new(Shared {
            answering: Box::new(answering),
            asked: RefCell::default(),
            connections: RefCell::default(),
            accepted: Cell::default(),
            connected: Rc::default(),
        });
        let udp = serve_udp(Rc::clone(&shared), Async::new(io_loop, udp).unwrap());
        let tcp = accept(Rc::clone(&shared), io_loop.clone(), Async::new(io_loop, tcp).unwrap());
        let (udp, tcp) = (io_loop.spawn(udp), io_loop.spawn(tcp));
        Server { shared, address, _udp: udp.cancel_on_drop(), _tcp: tcp.cancel_on_drop() }
    }

    /// Where to ask.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked since this was last asked.
    pub(crate) fn asked(&self) -> Vec<Question> {
        self.shared.asked.take()
    }

    /// How much was asked since then.
    pub(crate) fn count(&self) -> usize {
        self.shared.asked.borrow().len()
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.get()
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        Rc::strong_count(&self.shared.connected) - 1
    }

    /// Ends the connections that it has accepted.
    pub(crate) fn hang_up(&self) {
        self.shared.connections.take();
    }
}

/// Two sockets of one number.
fn bind(address: SocketAddr) -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind(address).unwrap();
        // Somebody may have it already.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(shared: Rc<Shared>, socket: Async<UdpSocket>) {
    let mut buffer = [0; 512];
    loop {
        let received = socket.read_with(|socket| socket.recv_from(&mut buffer)).await;
        let Ok((length, from)) = received else { return };
        if let Some(reply) = shared.reply(&buffer[..length], false) {
            // Whoever asked may be gone.
            let _ = socket.write_with(|socket| socket.send_to(&reply, from)).await;
        }
    }
}

async fn accept(shared: Rc<Shared>, io_loop: IOLoop, listener: Async<TcpListener>) {
    while let Ok((stream, _)) = listener.read_with(TcpListener::accept).await {
        shared.accepted.set(shared.accepted.get() + 1);
        let stream = Async::new(&io_loop, stream).unwrap();
        let connected = Rc::clone(&shared.connected);
        let serving = serve_tcp(Rc::downgrade(&shared), stream);
        let serving = io_loop.spawn(async move {
            serving.await;
            drop(connected);
        });
        shared.connections.borrow_mut().push(serving.cancel_on_drop());
    }
}

async fn serve_tcp(shared: Weak<Shared>, stream: Async<TcpStream>) {
    let mut length = [0; 2];
    while read_exact(&stream, &mut length).await.is_ok() {
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        if read_exact(&stream, &mut query).await.is_err() {
            return;
        }
        let Some(reply) = shared.upgrade().and_then(|shared| shared.reply(&query, true)) else {
            continue;
        };
        let mut framed = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(reply);
        let mut rest = &framed[..];
        while !rest.is_empty() {
            match stream.write_with(|mut stream| stream.write(rest)).await {
                Ok(n) => rest = &rest[n..],
                Err(_) => return,
            }
        }
    }
}

async fn read_exact(stream: &Async<TcpStream>, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match stream.read_with(|mut stream| stream.read(buffer)).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buffer = &mut buffer[n..],
        }
    }
    Ok(())
}

const HEADER: usize = 12;
pub(crate) const A: u8 = 1;
const SOA: u8 = 6;
pub(crate) const PTR: u8 = 12;
pub(crate) const MX: u8 = 15;
pub(crate) const TXT: u8 = 16;
pub(crate) const AAAA: u8 = 28;
pub(crate) const SRV: u8 = 33;
const NO_SUCH_NAME: u8 = 3;

impl Shared {
    fn reply(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (question, end) = parse(query, tcp)?;
        let reply = (self.answering)(&question);
        self.asked.borrow_mut().push(question.clone());
        let (mut truncated, mut code, mut records, mut soa) = (false, 0, Vec::new(), None);
        match reply {
            Reply::Addresses(addresses) => records.extend(addresses.iter().filter_map(|ip| {
                let (kind, bytes) = match ip {
                    IpAddr::V4(address) => (A, address.octets().to_vec()),
                    IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
                };
                (kind == question.kind).then_some((kind, 60, bytes))
            })),
            Reply::Records(some) => records = some,
            Reply::NoSuchName(ttl) => (code, soa) = (NO_SUCH_NAME, ttl),
            Reply::Code(number) => code = number,
            Reply::Truncated => truncated = true,
            Reply::Silence => return None,
        }
        // Its number; a response, maybe truncated, to what was asked with recursion desired, which
        // is available.
        let mut message = query[..2].to_vec();
        message.extend([0b1000_0001 | (u8::from(truncated) << 1), 0b1000_0000 | code]);
        let (answers, authorities) = (records.len().try_into().unwrap(), soa.is_some().into());
        message.extend([0, 1, 0, answers, 0, authorities, 0, 0]);
        message.extend(&query[HEADER..end]);
        if let Some(ttl) = soa {
            // Two names and five numbers, of which the last counts.
            let mut data = vec![0; 2 + 4 * 5];
            data[18..].copy_from_slice(&u32::to_be_bytes(ttl));
            records.push((SOA, 3600, data));
        }
        for (kind, ttl, data) in records {
            // The name is that of the question; the class is the Internet's.
            message.extend([0xc0, HEADER as u8, 0, kind, 0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend([0, u8::try_from(data.len()).unwrap()]);
            message.extend(data);
        }
        Some(message)
    }
}

/// The question of a message, and where it ends.
fn parse(message: &[u8], tcp: bool) -> Option<(Question, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(std::str::from_utf8(message.get(at..at + length)?).ok()?);
        at += length;
    }
    let kind = *message.get(at + 1)?;
    Some((Question { name: labels.join("."), kind, tcp }, at + 4))
}
