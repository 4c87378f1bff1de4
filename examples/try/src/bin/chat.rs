//! A chat server, and clients in any number that check every line they hear.
//!
//! A connection is a task that reads, and one that writes while there is something to write.
//! Whoever does not listen is parted with and holds up nobody.
//!
//!     cargo run -p try --bin chat -- 127.0.0.1:7777             and, elsewhere: nc 127.0.0.1 7777
//!     cargo run -p try --bin chat -- load 127.0.0.1:7777 5000   5,000 at once
//!     cargo run -p try --bin chat -- check                      both on one loop

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use ioloop::{Async, IOLoop, WeakIOLoop, signal, sleep, timeout};
use try_it::{LiveLine, grouped, on_a_loop};

/// Whoever sends a longer line is parted with; in bytes.
const LONGEST_LINE: u64 = 512;

/// Whoever lets more wait is parted with; in bytes.
const MOST_WAITING: usize = 256 * 1024;

/// A client has heard everything after so long, once those before it have.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients in a room, and what each of them says there.
const MEMBERS: usize = 10;
const LINES: usize = 5;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["load", address] => load(io_loop, address.parse()?, 100).await,
            ["load", address, clients] => load(io_loop, address.parse()?, clients.parse()?).await,
            ["check"] => {
                let (server, address) = Server::start(io_loop, "127.0.0.1:0")?;
                load(io_loop, address, 100).await?;
                // They have gone, and the server is about to hear of it.
                while server.members() > 0 {
                    sleep(io_loop, Duration::from_millis(1)).await?;
                }
                Ok(())
            }
            [] | [_] => {
                let address = words.first().unwrap_or(&"127.0.0.1:7777");
                let (server, address) = Server::start(io_loop, address)?;
                println!("on {}, {address}; ends with Ctrl-C", io_loop.backend_name());
                println!("whoever connects says: room name");
                let shown = Rc::clone(&server);
                let line = LiveLine::start(io_loop, move || shown.to_string())?;
                signal::ctrl_c(io_loop)?.await?;
                drop(line);
                Ok(())
            }
            _ => Err("chat ADDRESS, chat load ADDRESS [CLIENTS], or chat check".into()),
        }
    })
}

/// Who is where.
struct Server {
    reactor: WeakIOLoop,
    rooms: RefCell<HashMap<String, HashMap<String, Rc<Client>>>>,
    heard: Cell<u64>,
    told: Cell<u64>,
}

impl Server {
    fn start(io_loop: &IOLoop, address: &str) -> io::Result<(Rc<Server>, SocketAddr)> {
        let listener = Async::<TcpListener>::bind(io_loop, address)?;
        let address = listener.get_ref().local_addr()?;
        let server = Rc::new(Server {
            reactor: io_loop.downgrade(),
            rooms: RefCell::default(),
            heard: Cell::default(),
            told: Cell::default(),
        });
        io_loop.spawn_logged(Rc::clone(&server).accept(listener));
        Ok((server, address))
    }

    async fn accept(self: Rc<Self>, listener: Async<TcpListener>) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept(&self.reactor).await?;
            stream.get_ref().set_nodelay(true)?;
            let client = Client { stream, waiting: RefCell::default(), writes: Cell::default() };
            let Some(io_loop) = self.reactor.upgrade() else { return Ok(()) };
            io_loop.spawn(Rc::clone(&self).converse(Rc::new(client)));
        }
    }

    /// One client, from its first line to its last.
    async fn converse(self: Rc<Self>, client: Rc<Client>) {
        let mut lines = Lines::new(&client.stream);
        let mut seat: Option<(String, String)> = None;
        // Why it ends is nobody's business.
        while let Ok(Some(line)) = lines.next().await {
            self.heard.set(self.heard.get() + 1);
            match &seat {
                Some((room, name)) => self.tell(room, &format!("{name}: {line}\n")),
                None => seat = self.join(&client, &line),
            }
        }
        if let Some((room, name)) = seat {
            let mut rooms = self.rooms.borrow_mut();
            let is_empty = rooms.get_mut(&room).is_some_and(|members| {
                members.remove(&name);
                members.is_empty()
            });
            if is_empty {
                rooms.remove(&room);
            }
            drop(rooms);
            self.tell(&room, &format!("* {name} left\n"));
        }
    }

    fn join(&self, client: &Rc<Client>, line: &str) -> Option<(String, String)> {
        let Some((room, name)) = line.split_once(' ') else {
            client.tell(self, "! say where you want to be, and who you are: room name\n");
            return None;
        };
        let mut rooms = self.rooms.borrow_mut();
        let members = rooms.entry(room.to_owned()).or_default();
        if members.contains_key(name) {
            client.tell(self, "! that name is taken\n");
            return None;
        }
        for other in members.keys() {
            client.tell(self, &format!("* {other} is here\n"));
        }
        members.insert(name.to_owned(), Rc::clone(client));
        drop(rooms);
        self.tell(room, &format!("* {name} came\n"));
        Some((room.to_owned(), name.to_owned()))
    }

    fn tell(&self, room: &str, line: &str) {
        // Nothing that is called here comes back to the rooms.
        for client in self.rooms.borrow().get(room).into_iter().flat_map(HashMap::values) {
            client.tell(self, line);
        }
    }

    fn members(&self) -> usize {
        self.rooms.borrow().values().map(HashMap::len).sum()
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rooms, heard, told) = (self.rooms.borrow().len(), self.heard.get(), self.told.get());
        let (heard, told) = (grouped(heard), grouped(told));
        write!(f, "{} clients in {rooms} rooms; {heard} lines in, {told} out", self.members())
    }
}

struct Client {
    stream: Async<TcpStream>,
    waiting: RefCell<Vec<u8>>,
    /// Whether a task writes what waits.
    writes: Cell<bool>,
}

impl Client {
    fn tell(self: &Rc<Self>, server: &Server, line: &str) {
        server.told.set(server.told.get() + 1);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() > MOST_WAITING {
            // The task that reads hears of it, and ends.
            let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Both);
            return;
        }
        waiting.extend_from_slice(line.as_bytes());
        if let Some(io_loop) = server.reactor.upgrade().filter(|_| !self.writes.replace(true)) {
            io_loop.spawn(Rc::clone(self).write());
        }
    }

    async fn write(self: Rc<Self>) {
        loop {
            let chunk = self.waiting.take();
            if chunk.is_empty() || (&self.stream).write_all(&chunk).await.is_err() {
                break self.writes.set(false);
            }
        }
    }
}

/// The lines of a stream, none of which is too long.
struct Lines<'a>(BufReader<&'a Async<TcpStream>>);

impl<'a> Lines<'a> {
    fn new(stream: &'a Async<TcpStream>) -> Self {
        Lines(BufReader::new(stream))
    }

    async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        (&mut self.0).take(LONGEST_LINE).read_line(&mut line).await?;
        match line.strip_suffix('\n') {
            Some(text) => Ok(Some(text.trim_end_matches('\r').to_owned())),
            None if line.is_empty() => Ok(None),
            None => Err(io::Error::other("a line without end")),
        }
    }
}

/// So many clients, each of which hears all that is said in its room, in the order in which it was
/// said.
async fn load(io_loop: &IOLoop, server: SocketAddr, clients: usize) -> try_it::Result {
    let clients = clients.next_multiple_of(MEMBERS);
    let all = clients * MEMBERS * LINES;
    let (connected, heard) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (began, shown) = (Instant::now(), (Rc::clone(&connected), Rc::clone(&heard)));
    println!("on {}, {clients} clients for {server}", io_loop.backend_name());
    let line = LiveLine::start(io_loop, move || {
        let (connected, heard) = (shown.0.get(), shown.1.get());
        format!("{connected} connected, {} of {} lines", grouped(heard as u64), grouped(all as u64))
    })?;
    let mut tasks = Vec::new();
    for number in 0..clients {
        // One after the other: the kernel's queue of connections is short.
        let stream = Async::<TcpStream>::connect(io_loop, server).await?;
        stream.get_ref().set_nodelay(true)?;
        connected.set(number + 1);
        // The first one that fails ends them all.
        tasks.push(io_loop.spawn(talk(stream, number, Rc::clone(&heard))).cancel_on_drop());
    }
    for task in tasks {
        // A line that is lost would be waited for.
        timeout(io_loop, PATIENCE, task).await???;
    }
    let seconds = began.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    drop(line);
    let rate = grouped((all as f64 / seconds) as u64);
    println!("every line was heard, in order, {rate} lines a second");
    Ok(())
}

async fn talk(stream: Async<TcpStream>, number: usize, heard: Rc<Cell<usize>>) -> io::Result<()> {
    // The process is in the name, so there may be several of them.
    let (room, name) = (format!("{}-{}", process::id(), number / MEMBERS), number % MEMBERS);
    let mut lines = Lines::new(&stream);
    (&stream).write_all(format!("{room} {name}\n").as_bytes()).await?;
    let (mut present, mut of, mut said) = (0, [0; MEMBERS], 0);
    while said < MEMBERS * LINES {
        let line = lines.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(news) = line.strip_prefix("* ") {
            if !news.ends_with(" left") {
                present += 1;
                if present == MEMBERS {
                    let text: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
                    (&stream).write_all(text.as_bytes()).await?;
                }
            }
            continue;
        }
        let next = line.split_once(": line ").and_then(|(name, text)| {
            let next = of.get_mut(name.parse::<usize>().ok()?)?;
            (text.parse() == Ok(*next)).then_some(next)
        });
        *next.ok_or_else(|| io::Error::other(format!("{room}, {name} heard {line:?}")))? += 1;
        said += 1;
        heard.set(heard.get() + 1);
    }
    Ok(())
}
