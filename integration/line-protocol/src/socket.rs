//! The sockets that the protocol runs over: TCP and Unix ones.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use ioloop::{Async, Reactor};

/// A connected stream socket.
pub trait Socket: AsFd + 'static {
    /// Reads some bytes; none at the end.
    ///
    /// # Errors
    ///
    /// Those of `read(2)`.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes some of `bytes`.
    ///
    /// # Errors
    ///
    /// Those of `write(2)`.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Closes one direction, or both.
    ///
    /// # Errors
    ///
    /// Those of `shutdown(2)`.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// A socket that accepts connections.
pub trait Listener: AsFd + Sized + 'static {
    /// What it accepts.
    type Socket: Socket;

    /// Accepts a connection, and watches it on `reactor`.
    ///
    /// # Errors
    ///
    /// Those of [`Async::accept`].
    fn accept<R: Reactor>(
        listener: &Async<Self>,
        reactor: &R,
    ) -> impl Future<Output = io::Result<Async<Self::Socket>>>;
}

macro_rules! sockets {
    ($($listener:ty, $socket:ty);*) => {$(
        impl Socket for $socket {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }

            fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, bytes)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }
        }

        impl Listener for $listener {
            type Socket = $socket;

            async fn accept<R: Reactor>(
                listener: &Async<Self>,
                reactor: &R,
            ) -> io::Result<Async<$socket>> {
                Ok(listener.accept(reactor).await?.0)
            }
        }
    )*};
}

sockets!(TcpListener, TcpStream; UnixListener, UnixStream);
