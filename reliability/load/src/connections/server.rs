//! The server: callbacks of one loop, and nothing else.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use anyhow::Result;
use ioloop::{IOLoop, Reactor, Watch};

use super::protocol::{Kind, Request};

/// A connection with more than this to send is not read from.
const MUCH: usize = 256 * 1024;

/// Connections that are accepted at once.
const ACCEPTED: usize = 16;

/// What the server has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Most of them open at a time.
    pub most_open: usize,
    /// Requests of connections that do not reset.
    pub requests: u64,
    /// Requests of connections that do.
    pub requests_before_reset: u64,
    /// Connections that ended in an error.
    pub errors: u64,
    /// Connections that ended in an end of file, with every answer sent.
    pub ended: u64,
    /// Requests that were not the next of their connection.
    pub out_of_order: u64,
}

/// A server on a loop.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    listener: Watch,
    shared: Rc<Shared>,
}

struct Shared {
    seen: RefCell<Seen>,
    open: Cell<usize>,
    scratch: RefCell<Box<[u8]>>,
}

struct Peer {
    stream: Rc<TcpStream>,
    shared: Rc<Shared>,
    state: RefCell<State>,
    reader: OnceCell<Watch>,
    writer: OnceCell<Watch>,
}

#[derive(Default)]
struct State {
    /// The beginning of a request.
    partial: Vec<u8>,
    /// Requests to answer, and how far the first answer was sent.
    answers: VecDeque<Request>,
    sent: usize,
    pending: usize,
    last: Option<u64>,
    /// The client has closed its half.
    ended: bool,
}

impl Server {
    /// Begins to listen.
    pub fn new(io_loop: &IOLoop) -> Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Longer than the standard library's 128: thousands come at once.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Rc::new(Shared {
            seen: RefCell::default(),
            open: Cell::new(0),
            scratch: RefCell::new(vec![0; 64 * 1024].into()),
        });
        let accepting = Rc::clone(&shared);
        let listener = io_loop.add_reader(listener, move |listener| {
            // It is called again while others wait, after what else the loop has to do.
            for _ in 0..ACCEPTED {
                let Ok((stream, _)) = listener.accept() else { break };
                Peer::start(stream, &accepting).expect("serving a connection");
            }
        })?;
        Ok(Server { address, listener, shared })
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.get()
    }

    /// Ends listening.
    pub fn close(self) -> Seen {
        self.listener.remove();
        self.shared.seen.borrow().clone()
    }
}

impl Peer {
    fn start(stream: TcpStream, shared: &Rc<Shared>) -> Result<()> {
        let io_loop = IOLoop::current().expect("a callback has a loop");
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        shared.open.set(shared.open.get() + 1);
        {
            let seen = &mut *shared.seen.borrow_mut();
            seen.accepted += 1;
            seen.most_open = seen.most_open.max(shared.open.get());
        }
        let stream = Rc::new(stream);
        let peer = Rc::new(Peer {
            stream: Rc::clone(&stream),
            shared: Rc::clone(shared),
            state: RefCell::default(),
            reader: OnceCell::new(),
            writer: OnceCell::new(),
        });
        // The loop holds the closures, the closures the peer, and the peer only handles: removing
        // ends all.
        let (reading, writing) = (Rc::clone(&peer), Rc::clone(&peer));
        let reader = io_loop.add_reader(Rc::clone(&stream), move |_| reading.serve(Peer::read))?;
        let writer = io_loop.add_writer(stream, move |_| writing.serve(|_| Ok(())))?;
        writer.pause();
        let _ = (peer.reader.set(reader), peer.writer.set(writer));
        Ok(())
    }

    /// Does what the socket is ready for, answers as far as can be, and waits for what comes next.
    fn serve(&self, work: impl FnOnce(&Peer) -> io::Result<()>) {
        match work(self).and_then(|()| self.write()).and_then(|()| self.wait()) {
            Ok(()) => {}
            Err(_) => {
                self.shared.seen.borrow_mut().errors += 1;
                self.close();
            }
        }
    }

    fn read(&self) -> io::Result<()> {
        let room = &mut *self.shared.scratch.borrow_mut();
        let state = &mut *self.state.borrow_mut();
        match retry(|| (&*self.stream).read(room))? {
            None => {}
            Some(0) => state.ended = true,
            Some(len) => {
                state.partial.extend_from_slice(&room[..len]);
                let whole = state.partial.len() / Request::SIZE * Request::SIZE;
                for request in state.partial[..whole].chunks_exact(Request::SIZE) {
                    let request = Request::decode(request.try_into().expect("twelve bytes"));
                    self.note(request, &mut state.last);
                    state.pending += request.answer_len();
                    state.answers.push_back(request);
                }
                state.partial.drain(..whole);
            }
        }
        Ok(())
    }

    fn note(&self, request: Request, last: &mut Option<u64>) {
        let seen = &mut *self.shared.seen.borrow_mut();
        if last.is_some_and(|last| request.id != last + 1) {
            seen.out_of_order += 1;
        }
        *last = Some(request.id);
        match Kind::of(request.connection()) {
            Kind::Resets => seen.requests_before_reset += 1,
            _ => seen.requests += 1,
        }
    }

    fn write(&self) -> io::Result<()> {
        let room = &mut *self.shared.scratch.borrow_mut();
        let state = &mut *self.state.borrow_mut();
        while !state.answers.is_empty() {
            // As many answers as there is room for, at once.
            let mut len = 0;
            for (place, request) in state.answers.iter().enumerate() {
                len += request.answer(if place == 0 { state.sent } else { 0 }, &mut room[len..]);
                if len == room.len() {
                    break;
                }
            }
            let Some(written) = retry(|| (&*self.stream).write(&room[..len]))? else { break };
            state.pending -= written;
            state.sent += written;
            while let Some(first) = state.answers.front() {
                if state.sent < first.answer_len() {
                    break;
                }
                state.sent -= first.answer_len();
                state.answers.pop_front();
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let (pending, ended) = {
            let state = self.state.borrow();
            (state.pending, state.ended)
        };
        let (Some(reader), Some(writer)) = (self.reader.get(), self.writer.get()) else {
            return Ok(());
        };
        if ended && pending == 0 {
            self.shared.seen.borrow_mut().ended += 1;
            self.close();
            return Ok(());
        }
        // An end of file stays readable for ever.
        if ended || pending > MUCH {
            reader.pause()
        } else {
            reader.resume()?
        };
        if pending > 0 {
            writer.resume()?
        } else {
            writer.pause()
        };
        Ok(())
    }

    fn close(&self) {
        self.shared.open.set(self.shared.open.get() - 1);
        for watch in [&self.reader, &self.writer] {
            watch.get().map(Watch::remove);
        }
    }
}

/// None where it would block.
fn retry(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match operation() {
            Ok(len) => return Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
