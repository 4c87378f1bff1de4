//! hiredis' asynchronous API on any [`Reactor`]: copy this file, with `ffi.rs` and `reply.rs`, into
//! your project.
//!
//! hiredis does the talking but waits for nothing itself. Through its hooks it asks to be called
//! when its socket is readable or writable: [`Watches`] makes watches of the loop of that. What the
//! replies are for gets them when hiredis has returned ([`Driver::settle`]), as futures that any
//! executor may await.
//!
//! ```ignore
//! let redis = Redis::connect(io_loop.clone(), "/run/redis/socket".as_ref(), None).await?;
//! redis.command(&["SET", "answer", "42"]).await?;
//! assert_eq!(redis.command(&["GET", "answer"]).await?, Reply::Bytes(b"42".into()));
//! redis.disconnect().await?;
//! ```
//!
//! What hiredis does that trips drivers, and where it is dealt with:
//!
//! - It frees its context by itself when the connection fails, and closes the socket within the
//!   call that notices: so the watches end inside the hook `cleanup` ([`Watches::gone`]).
//! - It asks for a direction again after each event, which may be for nothing ([`Watches::want`]).
//! - It must not be told to free its context from everywhere that it calls from: nobody's code runs
//!   inside of it.
//! - A subscription's callback is called any number of times, and an unsubscription's never; where
//!   a reply belongs to neither, it aborts the process ([`Redis::command`] refuses what leads
//!   there).
//! - Before version 1.0 it has no time-outs, nor the hook `scheduleTimer` for them: here they are
//!   the driver's, and so the same with each version ([`Driver::mind_the_time`]).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as Waking, Poll, ready};
use std::time::Duration;

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Lent, Reactor, Resolver, Task, TimerHandle, Watch, deferred};

use crate::ffi::{Context, Event, Kind, Socket};
use crate::reply::{Error, Reply};

/// A connection to a Redis server.
///
/// Dropping it ends the connection, and what was asked answers [`Error::Closed`].
pub struct Redis<R: Reactor + 'static> {
    driver: Rc<Driver<R>>,
}

/// The future of an answer.
///
/// Dropping it takes nothing back: the command was sent, and its reply is thrown away when it
/// comes.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Answer<T>(Task<Result<T, Error>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}

/// Gives an [`Answer`], if anybody waits for one.
fn give<T>(resolver: Option<Resolver<Result<T, Error>>>, answer: Result<T, Error>) {
    if let Some(resolver) = resolver {
        let _ = resolver.resolve(answer);
    }
}

impl<R: Reactor + 'static> Redis<R> {
    /// Connects to a Unix socket.
    ///
    /// With `patience`, a server that owes an answer and says nothing for that long has lost the
    /// connection: everything answers [`Error::Silent`] then. For the time a single command may
    /// take, there is [`ioloop::timeout`].
    ///
    /// # Errors
    ///
    /// There is no server, or the loop is closed.
    pub async fn connect(
        reactor: R,
        socket: &Path,
        patience: Option<Duration>,
    ) -> Result<Self, Error> {
        let (connected, answer) = deferred();
        let driver = Driver::new(reactor, patience, connected);
        let watches = Watches::new(&driver);
        let context = Context::connect(socket, watches).map_err(Error::Failed)?;
        let _ = driver.context.set(context);
        driver.settle(false);
        let redis = Redis { driver };
        Answer(answer).await?;
        Ok(redis)
    }

    /// Sends a command, given as its words; any number may be on their way.
    ///
    /// # Errors
    ///
    /// As the answer: the server's own; why the connection has ended; that the command is one of
    /// those that change who speaks when, such as `SUBSCRIBE` and `MONITOR`, or that there are
    /// subscriptions.
    pub fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> Answer<Reply> {
        let (resolver, answer) = deferred();
        match self.driver.refusal(words.first().map(AsRef::as_ref)) {
            Some(refusal) => give(Some(resolver), Err(refusal)),
            None => {
                self.driver.due.borrow_mut().push_back(resolver);
                let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
                self.driver.send(&words, Kind::Command);
            }
        }
        Answer(answer)
    }

    /// Has `on_message` called by the loop with each message on a channel, until it is
    /// unsubscribed.
    ///
    /// The answer is the server's word that messages come from now on.
    ///
    /// # Errors
    ///
    /// As the answer: it is subscribed already; the connection has ended.
    pub fn subscribe(&self, channel: &str, on_message: impl Fn(&[u8]) + 'static) -> Answer<()> {
        let (resolver, answer) = deferred();
        let driver = &self.driver;
        if let Some(end) = driver.end.borrow().clone() {
            give(Some(resolver), Err(end));
        } else if driver.subscriptions.borrow().contains_key(channel.as_bytes()) {
            give(Some(resolver), Err(Error::Refused("this channel is subscribed already")));
        } else {
            let subscription = Subscription {
                on_message: Rc::new(on_message),
                subscribed: Some(resolver),
                unsubscribed: None,
            };
            driver.subscriptions.borrow_mut().insert(channel.into(), subscription);
            driver.send(&[b"SUBSCRIBE", channel.as_bytes()], Kind::Subscribe);
        }
        Answer(answer)
    }

    /// Ends a subscription: the answer is the server's word that it has.
    ///
    /// # Errors
    ///
    /// As the answer: there is no such subscription; the connection has ended.
    pub fn unsubscribe(&self, channel: &str) -> Answer<()> {
        let (resolver, answer) = deferred();
        let mut subscriptions = self.driver.subscriptions.borrow_mut();
        match subscriptions.get_mut(channel.as_bytes()) {
            Some(subscription) if subscription.unsubscribed.is_none() => {
                subscription.unsubscribed = Some(resolver);
                drop(subscriptions);
                self.driver.send(&[b"UNSUBSCRIBE", channel.as_bytes()], Kind::Unsubscribe);
            }
            _ => give(Some(resolver), Err(Error::Refused("this channel is not subscribed"))),
        }
        Answer(answer)
    }

    /// Waits for the end of the connection, and gives its reason.
    pub async fn ended(&self) -> Error {
        if let Some(end) = self.driver.end.borrow().clone() {
            return end;
        }
        let (resolver, answer) = deferred();
        self.driver.awaiting_end.borrow_mut().push(resolver);
        answer.await.unwrap_or(Error::Closed)
    }

    /// Ends the connection once what was asked is answered; if this is given up, at once.
    ///
    /// # Errors
    ///
    /// It has ended before, and why.
    pub async fn disconnect(self) -> Result<(), Error> {
        if let Some(context) = self.driver.context.get() {
            context.disconnect();
            self.driver.settle(false);
        }
        match self.ended().await {
            Error::Closed => Ok(()),
            error => Err(error),
        }
    }
}

impl<R: Reactor + 'static> Drop for Redis<R> {
    fn drop(&mut self) {
        self.driver.end_with(Error::Closed);
    }
}

struct Driver<R: Reactor + 'static> {
    reactor: R,
    /// Set right after the driver was made.
    context: OnceCell<Context<Watches<R>>>,
    patience: Option<Duration>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    connecting: RefCell<Option<Resolver<Result<(), Error>>>>,
    /// Whom the replies are for, in the order of the commands.
    due: RefCell<VecDeque<Resolver<Result<Reply, Error>>>>,
    subscriptions: RefCell<HashMap<Vec<u8>, Subscription>>,
    /// Why the connection has ended, or is about to.
    end: RefCell<Option<Error>>,
    awaiting_end: RefCell<Vec<Resolver<Error>>>,
    this: Weak<Self>,
}

type OnMessage = dyn Fn(&[u8]);

struct Subscription {
    on_message: Rc<OnMessage>,
    subscribed: Option<Resolver<Result<(), Error>>>,
    unsubscribed: Option<Resolver<Result<(), Error>>>,
}

impl<R: Reactor + 'static> Driver<R> {
    fn new(
        reactor: R,
        patience: Option<Duration>,
        connecting: Resolver<Result<(), Error>>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Driver {
            reactor,
            context: OnceCell::new(),
            patience,
            timer: Cell::default(),
            connecting: RefCell::new(Some(connecting)),
            due: RefCell::default(),
            subscriptions: RefCell::default(),
            end: RefCell::default(),
            awaiting_end: RefCell::default(),
            this: this.clone(),
        })
    }

    /// Why this is no command to send.
    fn refusal(&self, name: Option<&[u8]>) -> Option<Error> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        // hiredis takes off a `p` in front, and the server knows an `s` there.
        let stem = name.strip_prefix(b"p").or(name.strip_prefix(b"s")).unwrap_or(&name);
        let special = [&b"subscribe"[..], b"unsubscribe", b"monitor"];
        if name.is_empty() {
            Some(Error::Refused("a command has a name"))
        } else if special.contains(&stem) || special.contains(&&name[..]) {
            Some(Error::Refused("not as a command: there are `subscribe` and `unsubscribe`"))
        } else if !self.subscriptions.borrow().is_empty() {
            Some(Error::Refused("a connection with subscriptions takes no commands"))
        } else {
            self.end.borrow().clone()
        }
    }

    fn send(&self, words: &[&[u8]], kind: Kind) {
        let sent = self.context.get().is_some_and(|context| context.command(words, kind));
        if !sent {
            // It is ending; or out of memory, after which the order of the replies is not sure.
            self.end_with(Error::Failed("hiredis does not take the command".into()));
        }
        self.settle(false);
    }

    fn ready(&self, direction: Direction) {
        if let Some(context) = self.context.get() {
            context.ready(direction);
        }
        self.settle(direction == Direction::Read);
    }

    fn end_with(&self, reason: Error) {
        self.end.borrow_mut().get_or_insert(reason);
        if let Some(context) = self.context.get() {
            context.free();
        }
        self.settle(false);
    }

    /// Looks what has come of a call of hiredis.
    fn settle(&self, heard: bool) {
        let Some(context) = self.context.get() else { return };
        if let Some(refused) = context.socket().refused.take() {
            self.end_with(Error::Loop(refused.to_string()));
        }
        // One by one, since whoever is woken may come here as well.
        while let Some(event) = context.next_event() {
            match event {
                Event::Connected => {
                    let connecting = self.connecting.take();
                    give(connecting, Ok(()));
                }
                Event::Reply(reply) => {
                    let due = self.due.borrow_mut().pop_front();
                    let answer = match reply {
                        Reply::Error(text) => Err(Error::Server(text)),
                        reply => Ok(reply),
                    };
                    give(due, answer);
                }
                Event::Message(message) => self.message(message),
                Event::Ended(why) => self.ended(why),
            }
        }
        self.mind_the_time(heard);
    }

    fn message(&self, message: Reply) {
        let Reply::Array(parts) = message else { return };
        let [Reply::Bytes(kind), Reply::Bytes(channel), ..] = &parts[..] else { return };
        let mut subscriptions = self.subscriptions.borrow_mut();
        match (&kind[..], subscriptions.get_mut(channel)) {
            (b"message", Some(subscription)) => {
                // Not from here, where a panic would end the watch; and not if it is unsubscribed
                // meanwhile.
                let on_message = Rc::downgrade(&subscription.on_message);
                drop(subscriptions);
                self.reactor.call_soon(move || {
                    if let (Some(on_message), Some(Reply::Bytes(bytes))) =
                        (on_message.upgrade(), parts.last())
                    {
                        on_message(bytes);
                    }
                });
            }
            (b"subscribe", Some(subscription)) => {
                let subscribed = subscription.subscribed.take();
                drop(subscriptions);
                give(subscribed, Ok(()));
            }
            (b"unsubscribe", Some(_)) => {
                let subscription = subscriptions.remove(channel);
                drop(subscriptions);
                give(subscription.and_then(|subscription| subscription.unsubscribed), Ok(()));
            }
            _ => {}
        }
    }

    fn ended(&self, why: Option<String>) {
        let why = why.map_or(Error::Closed, Error::Failed);
        let end = self.end.borrow_mut().get_or_insert(why).clone();
        give(self.connecting.take(), Err(end.clone()));
        for due in self.due.take() {
            give(Some(due), Err(end.clone()));
        }
        for subscription in self.subscriptions.take().into_values() {
            give(subscription.subscribed, Err(end.clone()));
            give(subscription.unsubscribed, Err(end.clone()));
        }
        for resolver in self.awaiting_end.take() {
            let _ = resolver.resolve(end.clone());
        }
    }

    /// Sets the timer while an answer is due, and anew when something was heard.
    fn mind_the_time(&self, heard: bool) {
        let Some(patience) = self.patience else { return };
        let timer = self.timer.take();
        if self.connecting.borrow().is_none() && self.due.borrow().is_empty() {
            // It is cancelled here.
            return;
        }
        let deadline = self.reactor.now() + patience;
        if let Some(timer) = timer {
            if !heard || timer.reset(deadline) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = self.this.clone();
        let timer = self.reactor.call_at(deadline, move || {
            if let Some(driver) = driver.upgrade() {
                driver.end_with(Error::Silent);
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }
}

/// What hiredis' hooks ask for, as watches of the loop.
struct Watches<R: Reactor + 'static> {
    driver: Weak<Driver<R>>,
    reader: Cell<Option<Guard<Watch>>>,
    writer: Cell<Option<Guard<Watch>>>,
    /// Why the loop does not watch.
    refused: Cell<Option<io::Error>>,
}

impl<R: Reactor + 'static> Watches<R> {
    fn new(driver: &Driver<R>) -> Self {
        Watches {
            driver: driver.this.clone(),
            reader: Cell::default(),
            writer: Cell::default(),
            refused: Cell::default(),
        }
    }

    /// Brings a direction in line with what hiredis wants.
    ///
    /// It wants to write for each command, so that a direction that is not wanted is paused.
    fn follow(
        &self,
        watch: Option<Guard<Watch>>,
        fd: RawFd,
        direction: Direction,
        wanted: bool,
    ) -> io::Result<Option<Guard<Watch>>> {
        match &watch {
            Some(known) if !wanted => drop(known.pause()),
            Some(known) if known.resume()? => {}
            // None yet, or one that has ended: its number may be another socket's by now.
            _ if wanted => return self.watch(fd, direction).map(Some),
            _ => {}
        }
        Ok(watch)
    }

    fn watch(&self, fd: RawFd, direction: Direction) -> io::Result<Guard<Watch>> {
        #[expect(unsafe_code, reason = "hiredis owns its socket")]
        // SAFETY: hiredis calls its hook `cleanup` before it closes its socket, and the watch ends
        // within that call.
        let lent = unsafe { Lent::new(fd) };
        let weak = self.driver.clone();
        let watcher = Watcher::new(lent, move |_| {
            if let Some(driver) = weak.upgrade() {
                driver.ready(direction);
            }
        });
        match self.driver.upgrade() {
            Some(driver) => Ok(driver.reactor.watch(direction, watcher)?.remove_on_drop()),
            None => Err(io::Error::other("the driver is gone")),
        }
    }
}

impl<R: Reactor + 'static> Socket for Watches<R> {
    fn want(&self, fd: RawFd, direction: Direction, wanted: bool) {
        let place = match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        };
        match self.follow(place.take(), fd, direction, wanted) {
            Ok(watch) => place.set(watch),
            Err(error) => self.refused.set(Some(error)),
        }
    }

    fn gone(&self) {
        self.reader.take();
        self.writer.take();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use ioloop::IOLoop;

    use super::*;

    /// Alone in its process, since the next file has to get the number that was closed.
    #[test]
    fn a_socket_that_was_closed_without_a_word_left_its_successor_unserved() {
        let io_loop = IOLoop::new().unwrap();
        let (connected, _answer) = deferred();
        let driver = Driver::new(io_loop.clone(), None, connected);
        let watches = Watches::new(&driver);
        let (first, _peer) = UnixStream::pair().unwrap();
        let number = first.as_raw_fd();
        watches.want(number, Direction::Read, true);
        drop(first);
        let (second, mut peer) = UnixStream::pair().unwrap();
        assert_eq!(second.as_raw_fd(), number, "the lowest free number");
        watches.want(number, Direction::Read, true);
        peer.write_all(b"x").unwrap();
        io_loop.stop();
        io_loop.start().unwrap();
        assert!(watches.refused.take().is_none());
        assert_eq!((io_loop.metrics().watches, io_loop.metrics().events), (1, 1));
        watches.gone();
    }
}
