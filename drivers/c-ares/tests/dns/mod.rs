//! A DNS server on a loop, over UDP and TCP on one port: as much of it as a resolver's test needs.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::rc::{Rc, Weak};

use ioloop::{Async, Guard, IOLoop, Task};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: String,
    /// `AAAA` instead of `A`.
    pub(crate) v6: bool,
    pub(crate) tcp: bool,
}

/// What is answered.
pub(crate) enum Reply {
    /// Those of the family that was asked for.
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// There is more than UDP can hold.
    Truncated,
    /// None at all.
    Silence,
}

type Answering = dyn Fn(&Question) -> Reply;

/// A server that answers for as long as it lives.
pub(crate) struct Server {
    shared: Rc<Shared>,
    port: u16,
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
        let (udp, tcp) = bind();
        let port = udp.local_addr().unwrap().port();
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
        Server { shared, port, _udp: udp.cancel_on_drop(), _tcp: tcp.cancel_on_drop() }
    }

    /// Where to ask, as c-ares wants it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
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
const TYPE_A: [u8; 2] = [0, 1];
const TYPE_AAAA: [u8; 2] = [0, 28];
const CLASS_IN: [u8; 2] = [0, 1];

impl Shared {
    fn reply(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (question, end) = parse(query, tcp)?;
        let reply = (self.answering)(&question);
        self.asked.borrow_mut().push(question.clone());
        let (truncated, code, addresses) = match reply {
            Reply::Addresses(addresses) => (false, 0, addresses),
            Reply::NoSuchName => (false, 3, Vec::new()),
            Reply::Truncated => (true, 0, Vec::new()),
            Reply::Silence => return None,
        };
        let records: Vec<_> = addresses.iter().filter(|ip| ip.is_ipv6() == question.v6).collect();
        // Its number; a response, maybe truncated, to what was asked with recursion desired, which
        // is available.
        let mut message = query[..2].to_vec();
        message.extend([0b1000_0001 | (u8::from(truncated) << 1), 0b1000_0000 | code]);
        message.extend([0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        message.extend(&query[HEADER..end]);
        for address in records {
            // The name is that of the question.
            message.extend([0xc0, HEADER as u8]);
            message.extend(if question.v6 { TYPE_AAAA } else { TYPE_A });
            message.extend(CLASS_IN);
            message.extend(60_u32.to_be_bytes());
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            message.extend([0, u8::try_from(bytes.len()).unwrap()]);
            message.extend(bytes);
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
    let kind = message.get(at..at + 2)?;
    let v6 = kind == TYPE_AAAA;
    assert!(v6 || kind == TYPE_A, "{kind:?}");
    Some((Question { name: labels.join("."), v6, tcp }, at + 4))
}
