//! The side that answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::yield_now;
use futures_util::future::{Either, FutureExt, Map, Shared, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ioloop::{Async, JoinError, Reactor, Resolver, Task, deferred, timeout};

use crate::error::Error;
use crate::lines::{Lines, Output};
use crate::protocol::{Reply, Request};
use crate::socket::{Listener, Socket};

/// Replies are sent when there are so many bytes of them, even if more requests are there.
const FULL: usize = 16 * 1024;

/// Requests after which a connection lets the others have their turn.
const FAIR: usize = 256;

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The length of the longest line, in bytes.
    pub line: usize,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The time for a whole request to come, and for replies to be taken.
    pub idle: Duration,
    /// The time for a client to close its side, once the server has closed its own; and for all of
    /// them to take their replies, once the server was stopped.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line: 4096,
            connections: 1000,
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}

/// A server on a listener; run by [`serve`](Self::serve).
pub struct Server<R, L> {
    reactor: R,
    listener: Async<L>,
    limits: Limits,
    stopped: Stopped,
}

/// Stops a server in order, from any thread; so does dropping it.
#[must_use = "a server whose `Stop` is dropped stops"]
#[derive(Debug)]
pub struct Stop(Resolver<()>);

impl Stop {
    /// Has the server accept no more connections, answer the requests that it has read, and part
    /// with its clients.
    pub fn stop(self) {
        // A server that is gone has stopped.
        let _ = self.0.resolve(());
    }
}

type Stopped = Shared<Map<Task<()>, fn(Result<(), JoinError>)>>;

/// What became of a server's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Those that were closed in order, by either side.
    pub closed: usize,
    /// Those that failed: their client was gone, or too slow to take its replies or to close its
    /// side.
    pub failed: usize,
    /// Those that were still there when the grace of a server that was stopped was over.
    pub dropped: usize,
}

impl<R: Reactor, L: Listener> Server<R, L> {
    /// A server, and what stops it.
    pub fn new(reactor: R, listener: Async<L>, limits: Limits) -> (Self, Stop) {
        let (resolver, deferred) = deferred();
        let ignore: fn(Result<(), JoinError>) = drop;
        let stopped = deferred.map(ignore).shared();
        (Server { reactor, listener, limits, stopped }, Stop(resolver))
    }

    /// Serves until it is stopped.
    ///
    /// It holds the reactor. Spawned on the loop that is its reactor, it keeps that loop until it
    /// is done or the loop is closed; made with a [`WeakIOLoop`](ioloop::WeakIOLoop), it does not.
    ///
    /// # Errors
    ///
    /// Those of accepting, which end all connections: that the reactor was closed, above all.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and all connections at once.
    pub async fn serve(self) -> io::Result<Served> {
        let Server { reactor, listener, limits, stopped } = self;
        let store = Store::default();
        let mut served = Served::default();
        let mut connections = FuturesUnordered::new();
        let mut stop = stopped.clone();
        loop {
            let mut accept = pin!(L::accept(&listener, &reactor));
            let event = poll_fn(|cx| {
                if stop.poll_unpin(cx).is_ready() {
                    return Poll::Ready(Event::Stop);
                }
                if let Poll::Ready(Some(ended)) = connections.poll_next_unpin(cx) {
                    return Poll::Ready(Event::Ended(ended));
                }
                if connections.len() < limits.connections {
                    return accept.as_mut().poll(cx).map(Event::Accepted);
                }
                Poll::Pending
            });
            match event.await {
                Event::Accepted(socket) => {
                    let socket = socket?;
                    let stopped = stopped.clone();
                    connections
                        .push(Connection::new(socket, limits).serve(&reactor, &store, stopped));
                }
                Event::Ended(ended) => served.count(ended),
                Event::Stop => break,
            }
        }
        // From here on the kernel refuses connections.
        drop(listener);
        let rest = async {
            while let Some(ended) = connections.next().await {
                served.count(ended);
            }
        };
        // Closed meanwhile, the reactor has closed them as well.
        let _ = timeout(&reactor, limits.grace, rest).await;
        served.dropped = connections.len();
        Ok(served)
    }
}

/// What a server waits for.
enum Event<S> {
    Accepted(io::Result<Async<S>>),
    Ended(Result<(), Error>),
    Stop,
}

impl Served {
    fn count(&mut self, ended: Result<(), Error>) {
        match ended {
            Ok(()) => self.closed += 1,
            Err(_) => self.failed += 1,
        }
    }
}

#[derive(Default)]
struct Store(RefCell<HashMap<String, String>>);

impl Store {
    fn answer(&self, line: &str) -> Reply {
        let mut values = self.0.borrow_mut();
        match line.parse() {
            Ok(Request::Get(key)) => {
                values.get(&key).map_or(Reply::Missing, |value| Reply::Data(value.clone()))
            }
            Ok(Request::Set(key, value)) => {
                values.insert(key, value);
                Reply::Done
            }
            Ok(Request::Delete(key)) => values.remove(&key).map_or(Reply::Missing, |_| Reply::Done),
            Ok(Request::Echo(text)) => Reply::Data(text),
            Err(error) => Reply::Error(error.to_string()),
        }
    }
}

/// One client's connection.
struct Connection<S> {
    socket: Async<S>,
    limits: Limits,
    lines: Lines,
    replies: Output,
}

impl<S: Socket> Connection<S> {
    fn new(socket: Async<S>, limits: Limits) -> Self {
        let lines = Lines::new(limits.line);
        Connection { socket, limits, lines, replies: Output::default() }
    }

    /// Answers until one of the two sides has enough, and closes the connection in order.
    async fn serve(
        mut self,
        reactor: &impl Reactor,
        store: &Store,
        mut stopped: Stopped,
    ) -> Result<(), Error> {
        for requests in 1.. {
            let line = match self.lines.take() {
                Some(line) => line.map(Some),
                None => {
                    self.flush(reactor).await?;
                    let next = pin!(self.lines.next(&self.socket));
                    match timeout(reactor, self.limits.idle, select(next, &mut stopped)).await {
                        Ok(Either::Left((line, _))) => line,
                        Ok(Either::Right(_)) => break,
                        Err(error) if error.is_elapsed() => {
                            self.replies.push(&Reply::Error("no request came in time".to_owned()));
                            break;
                        }
                        Err(error) => return Err(io::Error::from(error).into()),
                    }
                }
            };
            match line {
                Ok(Some(line)) => self.replies.push(&store.answer(&line)),
                Ok(None) => break,
                Err(Error::Io(error)) => return Err(error.into()),
                Err(error) => self.replies.push(&Reply::Error(error.to_string())),
            }
            if self.replies.len() > FULL {
                self.flush(reactor).await?;
            }
            if requests % FAIR == 0 {
                yield_now().await;
            }
        }
        self.part(reactor).await
    }

    async fn flush(&mut self, reactor: &impl Reactor) -> Result<(), Error> {
        if self.replies.len() > 0 {
            let flush = self.replies.flush(&self.socket);
            timeout(reactor, self.limits.idle, flush).await.map_err(io::Error::from)??;
        }
        Ok(())
    }

    /// Sends what there is to send, and waits for the client to close its side: closed with
    /// something unread, a TCP socket takes back what it has sent.
    async fn part(mut self, reactor: &impl Reactor) -> Result<(), Error> {
        self.flush(reactor).await?;
        self.socket.get_ref().shutdown(Shutdown::Write)?;
        let rest = self.lines.discard(&self.socket);
        Ok(timeout(reactor, self.limits.grace, rest).await.map_err(io::Error::from)??)
    }
}
