//! Sockets: connecting, accepting and datagrams, for anything that implements `Reactor`.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixListener, UnixStream};
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType, connect, sockopt};

use super::async_source::Async;
use crate::reactor::callback::Caller;
use crate::reactor::contract::Reactor;
use crate::reactor::time::sleep_at;
use crate::system::{AsFd, BorrowedFd, Errno, OwnedFd};

/// How long to wait for what makes no descriptor ready (a free number, room in a backlog): first,
/// and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The length of an address of a Unix socket without a name: it is its family alone.
const UNNAMED: u32 = 2;

impl Async<TcpStream> {
    /// Connects to an address; the connection is under way when this returns.
    ///
    /// A name is resolved by [`ToSocketAddrs`], which blocks, or by a resolver of your choice,
    /// beforehand.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use futures_lite::{AsyncReadExt, AsyncWriteExt};
    /// use ioloop::{Async, IOLoop};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0")?;
    /// let connecting = Async::<TcpStream>::connect(&io_loop, listener.get_ref().local_addr()?);
    /// let greeting = io_loop.run_sync(async {
    ///     let (mut server, _) = listener.accept(&io_loop).await?;
    ///     server.write_all(b"hello").await?;
    ///     drop(server);
    ///     let mut greeting = String::new();
    ///     connecting.await?.read_to_string(&mut greeting).await?;
    ///     Ok::<_, std::io::Error>(greeting)
    /// })??;
    /// assert_eq!(greeting, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the connection, such as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// and of [`Async::new`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    #[track_caller]
    pub fn connect<R: Reactor>(
        reactor: &R,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self>> + use<R> {
        let begun = begin_connect(reactor, address);
        async move {
            let stream = begun?;
            loop {
                stream.writable().await?;
                sockopt::socket_error(stream.get_ref())??;
                match stream.get_ref().peer_addr() {
                    // Woken too early.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    Err(error) => return Err(error),
                    Ok(_) => return Ok(stream),
                }
            }
        }
    }
}

#[track_caller]
fn begin_connect<R: Reactor>(reactor: &R, address: SocketAddr) -> io::Result<Async<TcpStream>> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = new_stream(family)?;
    match connect(&socket, &address) {
        // Interrupted, it goes on as well.
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Async::of_socket(reactor, TcpStream::from(socket), Location::caller())
}

/// A socket that is non-blocking from the start, and not inherited by child processes.
#[cfg(not(target_vendor = "apple"))]
fn new_stream(family: AddressFamily) -> io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

#[cfg(target_vendor = "apple")]
fn new_stream(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Accepts a socket that is as [`new_stream`] makes one.
#[cfg(not(target_vendor = "apple"))]
fn accept_stream(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    Ok(acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
}

#[cfg(target_vendor = "apple")]
fn accept_stream(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (socket, peer) = rustix::net::acceptfrom(listener)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok((socket, peer))
}

impl Async<UnixStream> {
    /// Connects to a socket in the file system.
    ///
    /// While the listener's backlog is full this tries again after 5 ms, then after twice as long,
    /// up to a second: nothing tells when there is room.
    ///
    /// # Errors
    ///
    /// Those of the connection, such as [`NotFound`](io::ErrorKind::NotFound) and
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), and of [`Async::new`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    #[track_caller]
    pub fn connect<R: Reactor>(
        reactor: &R,
        path: impl AsRef<Path>,
    ) -> impl Future<Output = io::Result<Self>> {
        let location = Location::caller();
        async move {
            let address = SocketAddrUnix::new(path.as_ref())?;
            let socket = new_stream(AddressFamily::UNIX)?;
            let mut back_off = BACK_OFF.0;
            loop {
                match connect(&socket, &address) {
                    Ok(()) => {
                        let stream = UnixStream::from(socket);
                        return Async::of_socket(reactor, stream, location);
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        sleep_at(reactor, back_off, location).await?;
                        back_off = (back_off * 2).min(BACK_OFF.1);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

impl Async<TcpListener> {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::bind`] and [`Async::new`].
    #[track_caller]
    pub fn bind<R: Reactor>(reactor: &R, address: impl ToSocketAddrs) -> io::Result<Self> {
        Async::new(reactor, TcpListener::bind(address)?)
    }

    /// Accepts a connection, and watches it on `reactor`.
    ///
    /// While the process or the system has no descriptor, or no memory for one, the connection
    /// stays in the kernel's queue, and this tries again after 5 ms, then after twice as long, up
    /// to a second: a listener that is level-triggered would spin otherwise. In an `add_reader`
    /// callback on a listener do the same: on such an error `pause` the watch, and `resume` it in a
    /// `call_later`.
    ///
    /// A connection is skipped if its peer gave up meanwhile, if the network failed, or if a
    /// firewall forbids it. These are the errors of which accept(2) says to treat them like no
    /// connection yet.
    ///
    /// The future borrows the reactor while it waits. A task of the loop passes a
    /// [`WeakIOLoop`](crate::WeakIOLoop), which does not keep the loop.
    ///
    /// # Errors
    ///
    /// Those of `accept`, except the ones above, and of [`Async::new`] where the loop is closed. The
    /// kernel is told of the connection, and may refuse it, at its first wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    #[track_caller]
    pub fn accept<R: Reactor>(
        &self,
        reactor: &R,
    ) -> impl Future<Output = io::Result<(Async<TcpStream>, SocketAddr)>> {
        let location = Location::caller();
        async move {
            let accept = |listener: &TcpListener| accept_stream(listener.as_fd());
            let (socket, peer) = accept_with(self, reactor, accept, location).await?;
            let stream = TcpStream::from(socket);
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            let peer = peer.map_or_else(|| stream.peer_addr(), Ok)?;
            Ok((Async::of_socket(reactor, stream, location)?, peer))
        }
    }
}

impl Async<UnixListener> {
    /// Listens on a socket in the file system, which must not exist yet; removing it is left to the
    /// caller.
    ///
    /// # Errors
    ///
    /// Those of [`UnixListener::bind`] and [`Async::new`].
    #[track_caller]
    pub fn bind<R: Reactor>(reactor: &R, path: impl AsRef<Path>) -> io::Result<Self> {
        Async::new(reactor, UnixListener::bind(path)?)
    }

    /// Accepts a connection. Otherwise as on a [TCP listener](Async::<TcpListener>::accept).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    #[track_caller]
    pub fn accept<R: Reactor>(
        &self,
        reactor: &R,
    ) -> impl Future<Output = io::Result<(Async<UnixStream>, UnixSocketAddr)>> {
        let location = Location::caller();
        async move {
            let accept = |listener: &UnixListener| accept_stream(listener.as_fd());
            let (socket, peer) = accept_with(self, reactor, accept, location).await?;
            let stream = UnixStream::from(socket);
            let peer = match peer {
                Some(peer) if peer.addr_len() == UNNAMED => UnixSocketAddr::from_pathname("")?,
                // The standard library makes an address of a name in one way alone.
                _ => stream.peer_addr()?,
            };
            Ok((Async::of_socket(reactor, stream, location)?, peer))
        }
    }
}

async fn accept_with<R: Reactor, L, T>(
    listener: &Async<L>,
    reactor: &R,
    accept: impl Fn(&L) -> io::Result<T>,
    location: Caller,
) -> io::Result<T> {
    let mut back_off = BACK_OFF.0;
    loop {
        let error = match listener.read_with(&accept).await {
            Err(error) => error,
            accepted => return accepted,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                sleep_at(reactor, back_off, location).await?;
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
            // As if there had been no connection, which there is no more.
            Some(error) if concerns_one_connection(error) => listener.readable().await?,
            _ => return Err(error),
        }
    }
}

/// Whether an error of `accept` is that of the connection, and not of the listener; see accept(2).
fn concerns_one_connection(error: Errno) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if error == Errno::NONET {
        return true;
    }
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

/// Each datagram is whole or lost, and giving up a future loses none.
impl Async<UdpSocket> {
    /// A socket bound to an address.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::bind`] and [`Async::new`].
    #[track_caller]
    pub fn bind<R: Reactor>(reactor: &R, address: impl ToSocketAddrs) -> io::Result<Self> {
        Async::new(reactor, UdpSocket::bind(address)?)
    }

    /// Receives a datagram; what does not fit into the buffer is cut off.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::recv_from`] and [`readable`](Self::readable).
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buf)).await
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::send_to`] and [`writable`](Self::writable).
    pub async fn send_to(&self, buf: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.write_with(|socket| socket.send_to(buf, to)).await
    }

    /// Receives a datagram from the peer that `get_ref().connect` named.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::recv`] and [`readable`](Self::readable).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.recv(buf)).await
    }

    /// Sends a datagram to the peer that `get_ref().connect` named.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::send`] and [`writable`](Self::writable).
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|socket| socket.send(buf)).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::backends::BackendKind;
    use crate::io_loop::IOLoop;

    /// Accepts after one failure.
    fn after(failure: Errno) -> io::Result<()> {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
        let fails = Cell::new(true);
        let accept = |listener: &TcpListener| {
            if fails.take() { Err(failure.into()) } else { listener.accept() }
        };
        let accepting = accept_with(&listener, &io_loop, accept, Location::caller());
        io_loop.run_sync(accepting).unwrap().map(drop)
    }

    #[test]
    fn a_server_ended_for_errors_of_one_connection() {
        use Errno as E;
        let ours = [E::CONNABORTED, E::PERM, E::PROTO, E::NOPROTOOPT, E::OPNOTSUPP, E::NETDOWN];
        let theirs = [E::NETUNREACH, E::HOSTDOWN, E::HOSTUNREACH, E::INTR, E::AGAIN];
        let scarce = [E::MFILE, E::NFILE, E::NOBUFS, E::NOMEM];
        for failure in ours.into_iter().chain(theirs).chain(scarce) {
            after(failure).unwrap_or_else(|error| panic!("{failure:?} ended it: {error}"));
        }
        #[cfg(target_os = "linux")]
        after(E::NONET).unwrap();
        // What is wrong with the listener is told.
        for failure in [E::INVAL, E::BADF, E::NOTSOCK] {
            assert_eq!(after(failure).unwrap_err().raw_os_error(), Some(failure.raw_os_error()));
        }
    }
}
