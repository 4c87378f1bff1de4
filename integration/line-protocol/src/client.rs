//! The side that asks.

use std::net::Shutdown;
use std::rc::Rc;

use ioloop::Async;

use crate::error::Error;
use crate::lines::{Lines, Output};
use crate::protocol::{Reply, Request};
use crate::socket::Socket;

/// A connection to a server.
///
/// It knows no time: give its futures to [`timeout`](ioloop::timeout).
pub struct Client<S> {
    requests: Requests<S>,
    replies: Replies<S>,
    /// Replies that have not come yet.
    owed: usize,
}

impl<S: Socket> Client<S> {
    /// A client on a socket that is connected; `limit` is the length of the longest line, in bytes.
    pub fn new(socket: Async<S>, limit: usize) -> Self {
        let socket = Rc::new(socket);
        let requests = Requests { socket: Rc::clone(&socket), output: Output::default(), limit };
        Client { requests, replies: Replies { socket, lines: Lines::new(limit) }, owed: 0 }
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    ///
    /// Those of [`Requests::queue`], [`Requests::flush`] and [`Replies::next`]; [`Error::NoReply`].
    ///
    /// # Cancel safety
    ///
    /// Given up, the request may or may not be done. Its reply is passed over by the next call.
    pub async fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        self.requests.queue(request)?;
        self.owed += 1;
        self.requests.flush().await?;
        loop {
            let reply = self.replies.next().await;
            self.owed -= 1;
            if self.owed == 0 {
                return reply?.ok_or(Error::NoReply);
            }
            // That of a call that was given up; if there is none, there will be none of this one.
            if let Ok(None) | Err(Error::Io(_)) = reply {
                return reply?.ok_or(Error::NoReply);
            }
        }
    }

    /// The half that asks and the half that listens, for a task each.
    ///
    /// The replies of calls that were given up come first.
    pub fn split(self) -> (Requests<S>, Replies<S>) {
        (self.requests, self.replies)
    }
}

/// The half of a [`Client`] that asks.
pub struct Requests<S> {
    socket: Rc<Async<S>>,
    output: Output,
    limit: usize,
}

impl<S: Socket> Requests<S> {
    /// Queues a request behind those that wait to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] and [`Error::TooLong`]; nothing is queued.
    pub fn queue(&mut self, request: &Request) -> Result<(), Error> {
        let line = request.to_line()?;
        if line.len() > self.limit {
            return Err(Error::TooLong(self.limit));
        }
        self.output.push(&line);
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// A server does not read on while its replies are not read: whoever sends more than fits into
    /// the buffers of the kernel has to listen meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Given up, the rest stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.output.flush(&self.socket).await?)
    }

    /// Sends what is queued, and closes this direction: the server answers what it got, and closes
    /// the other.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// That of [`flush`](Self::flush).
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.flush().await?;
        Ok(self.socket.get_ref().shutdown(Shutdown::Write)?)
    }
}

/// The half of a [`Client`] that listens.
pub struct Replies<S> {
    socket: Rc<Async<S>>,
    lines: Lines,
}

impl<S: Socket> Replies<S> {
    /// The next reply; none at the end of the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and what is wrong with the line.
    ///
    /// # Cancel safety
    ///
    /// Given up, it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Reply>, Error> {
        let Some(line) = self.lines.next(&self.socket).await? else { return Ok(None) };
        match Reply::from_line(&line) {
            Some(reply) => Ok(Some(reply)),
            None => Err(Error::NotAReply(line)),
        }
    }
}
