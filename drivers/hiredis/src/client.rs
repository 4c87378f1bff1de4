//! A client that connects again.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::{Rc, Weak};

use ioloop::{Reactor, deferred};

use crate::answer::Answer;
use crate::dialogue::{Due, Whole};
use crate::driver::{Driver, request};
use crate::encode::{encode, refusal, refusal_of_state};
use crate::error::Error;
use crate::link::{Link, User};
use crate::options::Options;
use crate::pipeline::Pipeline;
use crate::pubsub::{Done, Key, Messages, Sink, Source};
use crate::reply::Reply;

/// A client of a Redis server, which connects again when the connection is lost.
///
/// - What was out then returns [`Error::Lost`], or [`Error::Silent`]: it may have been executed, so
///   it is not sent again.
/// - What is asked while there is no connection waits for the next attempt, and is sent if that
///   goes well. Otherwise it returns why not; the client goes on trying, with waits that
///   [`Options::backoff`] sets.
/// - Subscriptions have a connection of their own, made for the first of them. They are taken up
///   again, also by their messages' streams; what was published meanwhile is lost.
///
/// A clone is a share. With the last one the connections end, and what was asked returns
/// [`Error::Closed`]; so it does once the loop is closed, as [`Error::Loop`].
///
/// ```no_run
/// use std::net::SocketAddr;
/// use futures_util::StreamExt;
/// use ioloop::IOLoop;
/// use ioloop_hiredis::{Client, Options};
///
/// let io_loop = IOLoop::new()?;
/// io_loop.run_sync(async {
///     let client = Client::new(io_loop.downgrade(), SocketAddr::from(([127, 0, 0, 1], 6379)));
///     let mut news = client.subscribe("news").await?;
///     client.command(["PUBLISH", "news", "it works"]).await?;
///     assert_eq!(news.next().await.unwrap().payload, b"it works");
///     Ok::<(), ioloop_hiredis::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<R: Reactor + Clone + 'static> {
    shares: Rc<Shares<R>>,
}

impl<R: Reactor + Clone + 'static> Client<R> {
    /// A client that begins to connect in the next turn of the loop.
    pub fn new(reactor: R, to: impl Into<Options>) -> Self {
        let options = to.into();
        let commands: Rc<Commands> = Rc::default();
        let user: Rc<dyn User<R>> = commands.clone();
        let link = Link::new(reactor.clone(), options.clone(), Rc::downgrade(&user));
        Client {
            shares: Rc::new(Shares {
                reactor,
                options,
                commands,
                link,
                subscriptions: OnceCell::new(),
            }),
        }
    }

    /// A client that is connected.
    ///
    /// # Errors
    ///
    /// Those of the first attempt, after which there is no other.
    pub async fn connect(reactor: R, to: impl Into<Options>) -> Result<Self, Error> {
        let client = Self::new(reactor, to);
        // Waits for the attempt like a command, and is sent to nobody.
        let (asker, answer) = Answer::<Reply>::new();
        client.shares.commands.waiting.borrow_mut().push_back((Vec::new(), Due::Reply(asker)));
        if let Some(end) = client.shares.link.over() {
            return Err(end);
        }
        answer.await.map(|_| client)
    }

    /// Whether there is a connection that takes commands now.
    pub fn is_connected(&self) -> bool {
        self.shares.link.driver().is_some()
    }

    /// Sends a command, given as its words; waits for the connection first, if there is none.
    ///
    /// # Errors
    ///
    /// As the answer: the server's own; [`Lost`](Error::Lost) or [`Silent`](Error::Silent), after
    /// which nobody knows whether it was executed; [`Unreachable`](Error::Unreachable) and others
    /// where an attempt to connect has failed, and nothing was sent; [`Refused`](Error::Refused)
    /// for what [`Connection::command`](crate::Connection::command) refuses, and for what would be
    /// forgotten with the connection, such as `SELECT`, `WATCH` and `MULTI`.
    pub fn command<W: AsRef<[u8]>>(&self, words: impl IntoIterator<Item = W>) -> Answer {
        let mut bytes = Vec::new();
        encode(&mut bytes, words);
        if let Some(why) = refusal(&bytes).or_else(|| refusal_of_state(&bytes)) {
            return Answer::known(Err(Error::Refused(why)));
        }
        let (asker, answer) = Answer::new();
        self.send(bytes, Due::Reply(asker));
        answer
    }

    /// Sends several commands in one piece, as
    /// [`Connection::pipeline`](crate::Connection::pipeline).
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command), for all of them.
    pub fn pipeline(&self, pipeline: &Pipeline) -> Answer<Vec<Reply>> {
        self.whole(pipeline, Whole::Pipeline)
    }

    /// Has several commands executed as one, as
    /// [`Connection::transaction`](crate::Connection::transaction).
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command). Where it was lost, either all of it was executed or
    /// nothing.
    pub fn transaction(&self, pipeline: &Pipeline) -> Answer<Vec<Reply>> {
        self.whole(pipeline, Whole::Transaction)
    }

    fn whole(&self, pipeline: &Pipeline, kind: Whole) -> Answer<Vec<Reply>> {
        if let Err(error) = pipeline.check().and_then(|()| pipeline.check_state()) {
            return Answer::known(Err(error));
        }
        if pipeline.is_empty() {
            return Answer::known(Ok(Reply::Array(Vec::new())));
        }
        let (asker, answer) = Answer::new();
        let (bytes, due) = request(pipeline, kind, asker);
        self.send(bytes, due);
        answer
    }

    fn send(&self, bytes: Vec<u8>, due: Due) {
        let Shares { link, commands, .. } = &*self.shares;
        if let Some(end) = link.over() {
            return due.fail(&end);
        }
        match link.driver() {
            Some(driver) => driver.send(&bytes, due),
            None => commands.waiting.borrow_mut().push_back((bytes, due)),
        }
    }

    /// Subscribes to a channel; returns when the server has confirmed it.
    ///
    /// The messages are a stream that goes on over reconnects; drop it to unsubscribe. It does not
    /// keep the client alive.
    ///
    /// # Errors
    ///
    /// The attempt to connect that it waited for has failed; otherwise as for
    /// [`Connection::subscribe`](crate::Connection::subscribe).
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
        let Shares { reactor, options, .. } = &*self.shares;
        let subscriptions = self.shares.subscriptions.get_or_init(|| {
            let make = |this: &Weak<Subscriptions<R>>| {
                let user: Weak<dyn User<R>> = this.clone();
                let link = Link::new(reactor.clone(), options.clone(), user);
                Subscriptions { link, wanted: RefCell::default() }
            };
            Rc::new_cyclic(make)
        });
        let key = Key { is_pattern, name: name.into() };
        let (confirming, confirmed) = deferred();
        let sink = Sink::new(options.room, confirming);
        let source: Rc<dyn Source> = subscriptions.clone();
        let messages = Messages::new(key.clone(), Rc::clone(&sink), Rc::downgrade(&source));
        drop(source);
        subscriptions.begin(key, &sink);
        confirmed.await.unwrap_or(Err(Error::Closed)).map(|()| messages)
    }
}

impl<R: Reactor + Clone + 'static> Clone for Client<R> {
    fn clone(&self) -> Self {
        Client { shares: Rc::clone(&self.shares) }
    }
}

impl<R: Reactor + Clone + 'static> fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_connected = self.is_connected();
        f.debug_struct("Client").field("is_connected", &is_connected).finish_non_exhaustive()
    }
}

/// What the shares of a client have in common.
struct Shares<R: Reactor + Clone + 'static> {
    reactor: R,
    options: Options,
    commands: Rc<Commands>,
    link: Rc<Link<R>>,
    subscriptions: OnceCell<Rc<Subscriptions<R>>>,
}

impl<R: Reactor + Clone + 'static> Drop for Shares<R> {
    fn drop(&mut self) {
        self.commands.fail(&Error::Closed);
        let wanted = self.subscriptions.get().map(|subscriptions| subscriptions.wanted.take());
        for sink in wanted.into_iter().flatten().map(|(_, sink)| sink) {
            sink.end(&Error::Closed);
        }
    }
}

/// What waits for a connection, encoded; none where nothing is to be sent.
#[derive(Default)]
struct Commands {
    waiting: RefCell<VecDeque<(Vec<u8>, Due)>>,
}

impl Commands {
    fn fail(&self, why: &Error) {
        for (_, due) in self.waiting.take() {
            due.fail(why);
        }
    }
}

impl<R: Reactor + 'static> User<R> for Commands {
    fn is_up(&self, driver: &Driver<R>) {
        for (bytes, due) in self.waiting.take() {
            match due {
                Due::Reply(asker) if bytes.is_empty() => {
                    crate::answer::give(Some(asker), Ok(Reply::Nil));
                }
                due => driver.send(&bytes, due),
            }
        }
    }

    fn is_down(&self, why: &Error) {
        self.fail(why);
    }
}

/// The subscriptions of a client, with their connection.
struct Subscriptions<R: Reactor + Clone + 'static> {
    link: Rc<Link<R>>,
    wanted: RefCell<HashMap<Key, Rc<Sink>>>,
}

impl<R: Reactor + Clone + 'static> Subscriptions<R> {
    fn begin(&self, key: Key, sink: &Rc<Sink>) {
        if let Some(end) = self.link.over() {
            return sink.end(&end);
        }
        let is_taken = self.wanted.borrow().contains_key(&key);
        if is_taken {
            return sink.end(&Error::Refused("it is subscribed already: share those messages"));
        }
        self.wanted.borrow_mut().insert(key.clone(), Rc::clone(sink));
        if let Some(driver) = self.link.driver() {
            driver.subscribe(&key, sink);
        }
    }
}

impl<R: Reactor + Clone + 'static> User<R> for Subscriptions<R> {
    fn is_up(&self, driver: &Driver<R>) {
        let wanted: Vec<_> = self.wanted.borrow().clone().into_iter().collect();
        for (key, sink) in wanted {
            driver.subscribe(&key, &sink);
        }
    }

    fn is_down(&self, why: &Error) {
        let is_over = self.link.over().is_some();
        let ends = |sink: &Rc<Sink>| is_over || sink.is_new();
        let ended: Vec<_> =
            self.wanted.borrow().values().filter(|sink| ends(sink)).cloned().collect();
        self.wanted.borrow_mut().retain(|_, sink| !ended.iter().any(|end| Rc::ptr_eq(end, sink)));
        for sink in ended {
            sink.end(why);
        }
    }
}

impl<R: Reactor + Clone + 'static> Source for Subscriptions<R> {
    fn unsubscribe(&self, key: &Key, sink: &Rc<Sink>, done: Option<Done>) {
        let mut wanted = self.wanted.borrow_mut();
        if wanted.get(key).is_some_and(|known| Rc::ptr_eq(known, sink)) {
            wanted.remove(key);
        }
        drop(wanted);
        match self.link.driver() {
            Some(driver) => driver.unsubscribe(key, sink, done),
            // There is no subscription now.
            None => crate::answer::give(done, Ok(())),
        }
    }
}
