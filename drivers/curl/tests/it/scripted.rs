//! A server on threads of its own, which answers as the test says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A server that runs until it is dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

/// A request whose headers were read.
pub(crate) struct Asked<'a> {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    reader: &'a mut BufReader<TcpStream>,
}

impl Scripted {
    /// Answers each request of each connection by `script`; a connection ends when that fails.
    pub(crate) fn start(
        script: impl Fn(&mut Asked<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Scripted::on(listener, script)
    }

    /// The same at an address that a server had before.
    pub(crate) fn again(
        address: SocketAddr,
        script: impl Fn(&mut Asked<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::on(TcpListener::bind(address).unwrap(), script)
    }

    fn on(
        listener: TcpListener,
        script: impl Fn(&mut Asked<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Scripted {
        rustix::net::listen(&listener, 1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, script) = (Arc::new(Shared::default()), Arc::new(script));
        let mut server = Scripted { address, shared: Arc::clone(&shared), accepting: None };
        server.accepting = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let ours = stream.try_clone().unwrap();
                let mut open = shared.open.lock().unwrap();
                open.push(ours);
                drop(open);
                let (script, others) = (Arc::clone(&script), Arc::clone(&shared));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(mut asked) = Asked::read(&mut reader) {
                        if script(&mut asked).is_err() {
                            break;
                        }
                    }
                    // The last that is closed, so a reset is one.
                    let stream = reader.into_inner();
                    let peer = stream.peer_addr().ok();
                    let mut open = others.open.lock().unwrap();
                    open.retain(|ours| ours.peer_addr().ok() != peer);
                });
            }
        }));
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Ends it, and gives its address when nobody listens there.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.end();
        self.address
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Scripted {
    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which closes the listener.
        let _ = TcpStream::connect(self.address);
        accepting.join().unwrap();
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.end();
    }
}

impl<'a> Asked<'a> {
    fn read(reader: &'a mut BufReader<TcpStream>) -> Option<Self> {
        let mut next = || {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(line.trim_end().to_owned()),
            }
        };
        let first = next()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = next()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Some(Asked { method, path, headers, reader })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Reads the body, whichever way its length is told.
    pub(crate) fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = self.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.reader.read_exact(&mut body)?;
            return Ok(body);
        }
        if self.header("transfer-encoding").is_none() {
            return Ok(body);
        }
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; length + 2];
            self.reader.read_exact(&mut chunk)?;
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    /// Sends nothing more: the connection ends.
    pub(crate) fn abandon(&self) -> io::Result<()> {
        Err(io::Error::other("on purpose"))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Waits until the client closes the connection.
    pub(crate) fn body_until_closed(&mut self) -> io::Result<()> {
        io::copy(self.reader, &mut io::sink()).map(drop)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a whole response.
    pub(crate) fn answer(&mut self, status: &str, body: &[u8]) -> io::Result<()> {
        self.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        self.send(body)
    }
}
