//! One connection, which ends once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use ioloop::{Reactor, deferred};

use crate::answer::{Answer, give};
use crate::dialogue::Whole;
use crate::driver::{Driver, Events};
use crate::error::Error;
use crate::options::Options;
use crate::pipeline::Pipeline;
use crate::pubsub::{Key, Messages, Sink, Source};
use crate::reply::Reply;

/// A connection to a Redis server.
///
/// It ends once, and [`ended`](Self::ended) says why; a [`Client`](crate::Client) connects again.
/// Any number of commands may be on their way; those of one turn of the loop are written as one.
///
/// Dropping it ends the connection, and what was asked returns [`Error::Closed`].
///
/// ```no_run
/// use std::path::Path;
/// use ioloop::IOLoop;
/// use ioloop_hiredis::Connection;
///
/// let io_loop = IOLoop::new()?;
/// io_loop.run_sync(async {
///     let redis = Connection::connect(io_loop.clone(), Path::new("/run/redis/socket")).await?;
///     redis.command(["SET", "answer", "42"]).await?;
///     assert_eq!(redis.command(["GET", "answer"]).to::<i64>().await?, 42);
///     redis.disconnect().await
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection<R: Reactor + 'static> {
    driver: Rc<Driver<R>>,
    room: usize,
}

impl<R: Reactor + 'static> Connection<R> {
    /// Connects, to an address or with [`Options`], and signs in.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](Error::Unreachable); [`Server`](Error::Server) where it does not let this
    /// client in; [`Silent`](Error::Silent); [`Loop`](Error::Loop) where the loop is closed.
    ///
    /// # Cancel safety
    ///
    /// Given up, it closes its socket and leaves nothing.
    pub async fn connect(reactor: R, to: impl Into<Options>) -> Result<Self, Error> {
        let options = to.into();
        let (resolver, opened) = deferred();
        let opening = Events {
            opened: Cell::new(Some(Box::new(move || give(Some(resolver), Ok(()))))),
            ended: RefCell::default(),
            is_followed: false,
        };
        let driver = Driver::open(reactor, &options, opening)?;
        let connection = Connection { driver, room: options.room };
        // It fails with the connection, whose end says more.
        let opened = opened.await.unwrap_or(Err(Error::Closed));
        connection.driver.over().map_or(opened, Err).map(|()| connection)
    }

    /// Sends a command, given as its words.
    ///
    /// ```no_run
    /// # use ioloop_hiredis::{Connection, Error};
    /// # async fn set(redis: Connection<ioloop::IOLoop>) -> Result<(), Error> {
    /// redis.command(["SET", "name", "Ada"]).await?;
    /// let picture = vec![0xff, 0xd8];
    /// redis.command([b"SET".as_slice(), b"picture", &picture]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As the answer: the server's own; why the connection has ended; [`Refused`](Error::Refused)
    /// for a command that changes who speaks when, such as `SUBSCRIBE`, `MONITOR` and `CLIENT
    /// REPLY`, and while there are subscriptions, unless [RESP3](Options::resp3) is spoken.
    pub fn command<W: AsRef<[u8]>>(&self, words: impl IntoIterator<Item = W>) -> Answer {
        self.driver.command(words)
    }

    /// Sends several commands in one piece; the answer has their replies in order.
    ///
    /// An error among them stands in its place: take the answer as a `Vec<Result<T, Error>>`, or as
    /// a tuple, which fails with the first error. Other commands may be executed between these.
    ///
    /// ```no_run
    /// # use ioloop_hiredis::{Connection, Error};
    /// # async fn get(redis: Connection<ioloop::IOLoop>) -> Result<(), Error> {
    /// let mut pipeline = ioloop_hiredis::Pipeline::new();
    /// pipeline.command(["INCR", "visits"]).command(["GET", "name"]);
    /// let (visits, name): (i64, Option<String>) = redis.pipeline(&pipeline).to().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command). Where one command is refused, none is sent.
    pub fn pipeline(&self, pipeline: &Pipeline) -> Answer<Vec<Reply>> {
        self.driver.pipeline(pipeline, Whole::Pipeline)
    }

    /// Has several commands executed as one (`MULTI`, `EXEC`); the answer has their replies in
    /// order.
    ///
    /// It is `None` where a key has changed that was watched by a `WATCH` before. A command that
    /// fails when it is executed does not keep the others from it, and its error stands in its
    /// place.
    ///
    /// # Errors
    ///
    /// As for [`pipeline`](Self::pipeline); the server's, where it finds one of the commands wrong:
    /// then none was executed.
    pub fn transaction(&self, pipeline: &Pipeline) -> Answer<Option<Vec<Reply>>> {
        self.driver.pipeline(pipeline, Whole::Transaction)
    }

    /// Subscribes to a channel; returns when the server has confirmed it.
    ///
    /// The messages, to be dropped for its end, are a stream, which ends with the connection.
    ///
    /// # Errors
    ///
    /// The connection has ended; the server's, mostly that this user may not;
    /// [`Refused`](Error::Refused) where the channel is subscribed already.
    ///
    /// # Cancel safety
    ///
    /// Given up, the subscription is ended.
    pub async fn subscribe(&self, channel: impl AsRef<[u8]>) -> Result<Messages, Error> {
        self.begin(false, channel.as_ref()).await
    }

    /// Subscribes to all channels that match a pattern, such as `news.*`; otherwise as
    /// [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub async fn subscribe_pattern(&self, pattern: impl AsRef<[u8]>) -> Result<Messages, Error> {
        self.begin(true, pattern.as_ref()).await
    }

    async fn begin(&self, is_pattern: bool, name: &[u8]) -> Result<Messages, Error> {
        let key = Key { is_pattern, name: name.into() };
        let (confirming, confirmed) = deferred();
        let sink = Sink::new(self.room, confirming);
        let source: Weak<dyn Source> = Rc::downgrade(&(Rc::clone(&self.driver) as Rc<dyn Source>));
        let messages = Messages::new(key.clone(), Rc::clone(&sink), source);
        self.driver.subscribe(&key, &sink);
        confirmed.await.unwrap_or(Err(Error::Closed)).map(|()| messages)
    }

    /// Waits for the end of the connection, and gives its reason.
    pub async fn ended(&self) -> Error {
        if let Some(end) = self.driver.end_so_far() {
            return end;
        }
        let (resolver, end) = deferred::<Result<(), Error>>();
        self.driver.on_end(Box::new(move |why| give(Some(resolver), Err(why.clone()))));
        match end.await {
            Ok(Err(why)) => why,
            _ => Error::Closed,
        }
    }

    /// Ends the connection once what was asked is answered.
    ///
    /// # Errors
    ///
    /// It has ended before, and why.
    ///
    /// # Cancel safety
    ///
    /// Given up, it ends the connection at once.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.driver.close();
        match self.ended().await {
            Error::Closed => Ok(()),
            error => Err(error),
        }
    }
}

impl<R: Reactor + 'static> Drop for Connection<R> {
    fn drop(&mut self) {
        self.driver.end(Error::Closed);
    }
}

impl<R: Reactor + 'static> fmt::Debug for Connection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.driver.end_so_far();
        f.debug_struct("Connection").field("end", &end).finish_non_exhaustive()
    }
}
