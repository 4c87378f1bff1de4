//! The server with callbacks: a reader, and where it is needed a writer, for each client.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::{Guard, Reactor, Watch};

use crate::MOST_WAITING;
use crate::lines::{Lines, Unreadable};
use crate::rooms::{Ear, Rooms, Seat};

/// Connections that are accepted in one call of the listener's reader.
const AT_ONCE: usize = 64;

/// How long nobody is accepted where there is no room for another descriptor.
const REST: Duration = Duration::from_millis(100);

/// A server that runs as long as it lives.
pub struct Server<R: Reactor + Clone + 'static> {
    shared: Rc<Shared<R>>,
}

/// What the callbacks find through a `Weak`.
struct Shared<R> {
    reactor: R,
    rooms: Rooms<Client<R>>,
    clients: RefCell<HashMap<u64, Rc<Client<R>>>>,
    accepted: Cell<u64>,
    listening: OnceCell<Guard<Watch>>,
}

struct Client<R> {
    number: u64,
    shared: Weak<Shared<R>>,
    stream: Rc<TcpStream>,
    lines: RefCell<Lines>,
    seat: RefCell<Option<Seat>>,
    outgoing: RefCell<VecDeque<u8>>,
    reader: OnceCell<Guard<Watch>>,
    /// Paused while there is nothing to write.
    writer: OnceCell<Guard<Watch>>,
}

impl<R: Reactor + Clone + 'static> Server<R> {
    /// Serves whoever connects, from the next turn of the reactor on.
    ///
    /// # Errors
    ///
    /// Those of putting the listener in non-blocking mode, and of watching it.
    pub fn new(reactor: R, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let shared = Rc::new(Shared {
            reactor,
            rooms: Rooms::default(),
            clients: RefCell::default(),
            accepted: Cell::default(),
            listening: OnceCell::new(),
        });
        let weak = Rc::downgrade(&shared);
        let listening = shared.reactor.add_reader(listener, move |listener| {
            if let Some(shared) = weak.upgrade() {
                if shared.accept(listener).is_err() {
                    shared.rest();
                }
            }
        })?;
        let _ = shared.listening.set(listening.remove_on_drop());
        Ok(Server { shared })
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.shared.clients.borrow().len()
    }
}

impl<R: Reactor + Clone + 'static> Shared<R> {
    /// An error says that there is no room for more.
    fn accept(self: &Rc<Self>, listener: &TcpListener) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // That client has gone again.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Level-triggered, the listener would be called again and again while there is no room.
    fn rest(self: &Rc<Self>) {
        if let Some(listening) = self.listening.get() {
            listening.pause();
        }
        let weak = Rc::downgrade(self);
        self.reactor.call_later(REST, move || {
            let shared = weak.upgrade();
            if let Some(listening) = shared.as_ref().and_then(|shared| shared.listening.get()) {
                // Refused on a closed loop alone.
                let _ = listening.resume();
            }
        });
    }

    fn admit(self: &Rc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        let client = Rc::new(Client {
            number,
            shared: Rc::downgrade(self),
            stream: Rc::new(stream),
            lines: RefCell::default(),
            seat: RefCell::default(),
            outgoing: RefCell::default(),
            reader: OnceCell::new(),
            writer: OnceCell::new(),
        });
        let calling = |call: fn(&Rc<Client<R>>)| {
            let client = Rc::downgrade(&client);
            move |_: &Rc<TcpStream>| client.upgrade().iter().for_each(call)
        };
        let reader =
            self.reactor.add_reader(Rc::clone(&client.stream), calling(Client::readable))?;
        let _ = client.reader.set(reader.remove_on_drop());
        let writer =
            self.reactor.add_writer(Rc::clone(&client.stream), calling(Client::writable))?;
        writer.pause();
        let _ = client.writer.set(writer.remove_on_drop());
        self.clients.borrow_mut().insert(number, client);
        Ok(())
    }

    fn part(&self, client: &Client<R>) {
        // The watches end with the client, also from inside one of them.
        let parted = self.clients.borrow_mut().remove(&client.number);
        let seat = client.seat.take();
        if let Some(seat) = seat {
            self.rooms.leave(&seat);
        }
        drop(parted);
    }
}

impl<R: Reactor + Clone + 'static> Client<R> {
    /// One read a call: whoever has more to say is called again, and the others have their turn.
    fn readable(self: &Rc<Self>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut chunk = [0; 4096];
        let read = (&*self.stream).read(&mut chunk);
        let heard = match read {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Ok(0) | Err(_) => Err(Unreadable),
            Ok(n) => {
                let mut seat = self.seat.take();
                let lines = &mut *self.lines.borrow_mut();
                let heard = lines.take(&chunk[..n], |line| {
                    shared.rooms.hear(&mut seat, self, line);
                    Ok(())
                });
                self.seat.replace(seat);
                heard
            }
        };
        if heard.is_err() {
            shared.part(self);
        }
    }

    fn writable(self: &Rc<Self>) {
        let mut outgoing = self.outgoing.borrow_mut();
        match (&*self.stream).write(outgoing.as_slices().0) {
            Ok(n) => drop(outgoing.drain(..n)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // The reader hears of it.
            Err(_) => outgoing.clear(),
        }
        if let Some(writer) = self.writer.get().filter(|_| outgoing.is_empty()) {
            writer.pause();
        }
    }
}

impl<R: Reactor + Clone + 'static> Ear for Client<R> {
    fn tell(&self, line: &str) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut outgoing = self.outgoing.borrow_mut();
        let was_empty = outgoing.is_empty();
        outgoing.extend(line.as_bytes());
        let resumed = match self.writer.get().filter(|_| was_empty) {
            Some(writer) => writer.resume().is_ok(),
            None => true,
        };
        if outgoing.len() > MOST_WAITING || !resumed {
            outgoing.clear();
            let client = shared.clients.borrow().get(&self.number).cloned();
            if let Some(client) = client {
                shared.reactor.clone().call_soon(move || shared.part(&client));
            }
        }
    }
}
