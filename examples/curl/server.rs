//! An HTTP/1.1 server on any `Reactor`, whose files are made up while they are sent.
//!
//! Beside the files it has routes that behave badly on purpose, for the tests of the driver.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::{Guard, Reactor, TimerHandle, Watch};

/// What is sent of a file at once,
const CHUNK: usize = 64 * 1024;
/// and how many chunks and requests one call deals with, so one connection does not hold up
/// the others.
const STEPS_PER_CALL: usize = 4;
/// How many connections may wait to be accepted.
const QUEUE: i32 = 1024;
/// No request of ours is longer.
const LONGEST_REQUEST: usize = 16 * 1024;
/// How long no connection is accepted when descriptors have run out.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Fills `buffer` with what the file called `file` has at `offset`.
pub(crate) fn fill(file: usize, mut offset: u64, mut buffer: &mut [u8]) {
    while !buffer.is_empty() {
        let word = word(file, offset / 8);
        let word = &word[(offset % 8) as usize..];
        let n = word.len().min(buffer.len());
        let (now, rest) = buffer.split_at_mut(n);
        now.copy_from_slice(&word[..n]);
        buffer = rest;
        offset += n as u64;
    }
}

/// Eight bytes that no other place of no other file has: splitmix64.
fn word(file: usize, index: u64) -> [u8; 8] {
    let mut z = ((file as u64) << 40 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Compares what arrives with what the file called `file` has to be.
pub(crate) struct Check {
    file: usize,
    size: u64,
    checked: u64,
}

impl Check {
    /// A check that has seen nothing yet.
    pub(crate) fn new(file: usize, size: u64) -> Self {
        let checked = 0;
        Check { file, size, checked }
    }

    /// Whether everything has come.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let Check { size, checked, .. } = *self;
        if checked == size {
            return Ok(());
        }
        Err(io::Error::other(format!("{checked} bytes came instead of {size}")))
    }
}

impl Write for Check {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut expected = [0; 4096];
        for data in data.chunks(expected.len()) {
            let expected = &mut expected[..data.len()];
            fill(self.file, self.checked, expected);
            if let Some(at) = (0..data.len()).find(|at| data[*at] != expected[*at]) {
                let at = self.checked + at as u64;
                return Err(io::Error::other(format!("byte {at} is wrong")));
            }
            self.checked += data.len() as u64;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves made-up files of given sizes: `/7.bin` is the one with the number 7.
///
/// `/redirect/7.bin` leads there, `/stall/7.bin` sends half of it and then nothing, `/cut/7.bin`
/// sends half of it and closes the connection. Dropping the server closes all its connections.
pub(crate) struct Server<R> {
    reactor: R,
    address: SocketAddr,
    sizes: Vec<u64>,
    connections: RefCell<HashMap<u64, Rc<Connection<R>>>>,
    ids: Cell<u64>,
    listener: OnceCell<Guard<Watch>>,
    /// Runs while no connection is accepted.
    pause: Cell<Option<Guard<TimerHandle>>>,
    /// What is sent next, of whatever connection.
    outgoing: RefCell<Vec<u8>>,
    this: Weak<Self>,
}

impl<R: Reactor + 'static> Server<R> {
    /// Listens on a free port of the loopback interface.
    pub(crate) fn start(reactor: R, sizes: Vec<u64>) -> io::Result<Rc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Everybody may connect before the loop comes to accepting; std's queue is for 128.
        rustix::net::listen(&listener, QUEUE)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let server = Rc::new_cyclic(|this| Server {
            reactor,
            address,
            sizes,
            connections: RefCell::default(),
            ids: Cell::new(0),
            listener: OnceCell::new(),
            pause: Cell::default(),
            outgoing: RefCell::default(),
            this: Weak::clone(this),
        });
        let this = Rc::downgrade(&server);
        let watch = server.reactor.add_reader(listener, move |listener| {
            if let Some(server) = this.upgrade() {
                server.accept_all(listener);
            }
        })?;
        let _ = server.listener.set(watch.remove_on_drop());
        Ok(server)
    }

    /// The URL of one of its paths.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept() {
                // A connection that cannot be set up is closed.
                Ok((stream, _)) => drop(self.serve(stream)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // Out of descriptors: the listener stays readable, and would be called for
                    // ever.
                    _ => return self.pause(),
                },
            }
        }
    }

    fn pause(&self) {
        let Some(listener) = self.listener.get() else {
            return;
        };
        listener.pause();
        let this = Weak::clone(&self.this);
        let timer = self.reactor.call_later(OUT_OF_DESCRIPTORS, move || {
            if let Some(listener) = this.upgrade().as_ref().and_then(|it| it.listener.get()) {
                let _ = listener.resume();
            }
        });
        self.pause.set(Some(timer.cancel_on_drop()));
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let id = self.ids.get();
        self.ids.set(id + 1);
        let connection = Rc::new(Connection {
            id,
            stream: Rc::new(stream),
            server: Weak::clone(&self.this),
            reader: OnceCell::new(),
            writer: OnceCell::new(),
            input: RefCell::default(),
            response: RefCell::default(),
        });
        let this = Rc::downgrade(&connection);
        let stream = Rc::clone(&connection.stream);
        let watch = self.reactor.add_reader(stream, move |_| {
            if let Some(connection) = this.upgrade() {
                connection.advance(Connection::read);
            }
        })?;
        let _ = connection.reader.set(watch.remove_on_drop());
        self.connections.borrow_mut().insert(id, connection);
        Ok(())
    }

    /// The answer to a request; none if it is not whole yet. Says how long it was.
    fn answer(&self, input: &[u8]) -> Option<(usize, Response)> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() < LONGEST_REQUEST => return None,
            Ok(httparse::Status::Partial) => return Some((0, Response::empty(431, ""))),
            Err(_) => return Some((0, Response::empty(400, ""))),
        };
        let path = request.path.unwrap_or_default().trim_start_matches('/');
        let (route, name) = path.split_once('/').unwrap_or(("", path));
        let file = name.strip_suffix(".bin").and_then(|file| file.parse().ok());
        let file = file.and_then(|file| Some((file, *self.sizes.get::<usize>(file)?)));
        let mut response = match (request.method, route, file) {
            (Some("GET"), "", Some((file, size))) => Response::file(file, size, size),
            (Some("GET"), "stall" | "cut", Some((file, size))) => {
                Response::file(file, size, size / 2)
            }
            (Some("GET"), "redirect", Some((file, _))) => {
                Response::empty(302, &format!("Location: /{file}.bin\r\n"))
            }
            (Some("GET"), ..) => Response::empty(404, ""),
            // Its body is not read, so what follows cannot be.
            _ => Response::empty(501, ""),
        };
        let closes = |header: &&httparse::Header<'_>| {
            header.name.eq_ignore_ascii_case("connection")
                && header.value.eq_ignore_ascii_case(b"close")
        };
        if route == "stall" && file.is_some() {
            response.then = Then::Stall;
        } else if route == "cut" || request.headers.iter().find(closes).is_some() {
            response.then = Then::Close;
        }
        Some((length, response))
    }
}

/// What is being sent.
struct Response {
    head: Vec<u8>,
    file: usize,
    /// What is left of the file.
    left: std::ops::Range<u64>,
    then: Then,
}

/// What comes after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    NextRequest,
    Close,
    Stall,
}

impl Response {
    /// A file, of which only the first `sent` bytes are sent.
    fn file(file: usize, size: u64, sent: u64) -> Self {
        Response {
            head: format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes(),
            file,
            left: 0..sent,
            then: Then::NextRequest,
        }
    }

    /// A status without a body.
    fn empty(status: u16, headers: &str) -> Self {
        let reason = match status {
            302 => "Found",
            404 => "Not Found",
            _ => "Not Served",
        };
        let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n{headers}\r\n");
        Response {
            head: head.into_bytes(),
            file: 0,
            left: 0..0,
            then: match status {
                302 | 404 => Then::NextRequest,
                _ => Then::Close,
            },
        }
    }

    /// Puts what is to be sent next into `outgoing`; nothing if everything was sent.
    fn next_chunk(&self, outgoing: &mut Vec<u8>) {
        outgoing.clear();
        outgoing.extend_from_slice(&self.head);
        let n = (self.left.end - self.left.start).min(CHUNK as u64) as usize;
        let body = outgoing.len();
        outgoing.resize(body + n, 0);
        fill(self.file, self.left.start, &mut outgoing[body..]);
    }

    /// Notes that so many bytes were sent.
    fn sent(&mut self, n: usize) {
        let head = n.min(self.head.len());
        self.head.drain(..head);
        self.left.start += (n - head) as u64;
    }
}

struct Connection<R> {
    id: u64,
    stream: Rc<TcpStream>,
    server: Weak<Server<R>>,
    reader: OnceCell<Guard<Watch>>,
    /// Active only while the peer takes no more for the moment.
    writer: OnceCell<Guard<Watch>>,
    input: RefCell<Vec<u8>>,
    response: RefCell<Option<Response>>,
}

/// Whether a connection goes on; an error closes it too.
type GoesOn = io::Result<bool>;

impl<R: Reactor + 'static> Connection<R> {
    /// Takes a step, and closes the connection if it was the last.
    fn advance(self: &Rc<Self>, step: impl FnOnce(&Rc<Self>, &Server<R>) -> GoesOn) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        if !step(self, &server).unwrap_or(false) {
            // Dropped when the callback that holds it returns, and its watches with it.
            server.connections.borrow_mut().remove(&self.id);
        }
    }

    fn read(self: &Rc<Self>, server: &Server<R>) -> GoesOn {
        let mut chunk = [0; 4096];
        match (&*self.stream).read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(n) => self.input.borrow_mut().extend_from_slice(&chunk[..n]),
            Err(error) => return is_transient(error).map(|()| true),
        }
        if self.response.borrow().is_some() {
            // Requests that come before the answer are kept, but not without end.
            return Ok(self.input.borrow().len() <= LONGEST_REQUEST);
        }
        self.write(server)
    }

    /// Answers what was asked, as far as it goes without waiting.
    fn write(self: &Rc<Self>, server: &Server<R>) -> GoesOn {
        let mut outgoing = server.outgoing.borrow_mut();
        let mut slot = self.response.borrow_mut();
        for _ in 0..STEPS_PER_CALL {
            let Some(response) = slot.as_mut() else {
                let mut input = self.input.borrow_mut();
                let Some((length, response)) = server.answer(&input) else {
                    self.want_to_write(server, false)?;
                    return Ok(true);
                };
                input.drain(..length);
                *slot = Some(response);
                continue;
            };
            response.next_chunk(&mut outgoing);
            match (outgoing.is_empty(), response.then) {
                (false, _) => match (&*self.stream).write(&outgoing) {
                    Ok(n) => response.sent(n),
                    Err(error) => {
                        is_transient(error)?;
                        break;
                    }
                },
                (true, Then::NextRequest) => *slot = None,
                (true, Then::Close) => return Ok(false),
                (true, Then::Stall) => {
                    self.want_to_write(server, false)?;
                    return Ok(true);
                }
            }
        }
        self.want_to_write(server, true)?;
        Ok(true)
    }

    fn want_to_write(self: &Rc<Self>, server: &Server<R>, wanted: bool) -> io::Result<()> {
        match self.writer.get() {
            Some(writer) if wanted => drop(writer.resume()?),
            Some(writer) => drop(writer.pause()),
            None if wanted => {
                let this = Rc::downgrade(self);
                let stream = Rc::clone(&self.stream);
                let watch = server.reactor.add_writer(stream, move |_| {
                    if let Some(connection) = this.upgrade() {
                        connection.advance(Connection::write);
                    }
                })?;
                let _ = self.writer.set(watch.remove_on_drop());
            }
            None => {}
        }
        Ok(())
    }
}

/// Passes on an error, unless it only says to try again.
fn is_transient(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
