//! hiredis' socket and its time as watches and a timer of a [`Reactor`].
//!
//! hiredis does the talking but waits for nothing itself: a [`Wire`] writes what the socket takes,
//! reads what is there, and takes replies apart. The driver calls it when the socket is ready.
//!
//! What hiredis does that trips drivers, and where it is dealt with:
//!
//! - Its asynchronous API, which is not used here, frees its context by itself, calls back from
//!   inside of itself, and aborts the process at a reply that nobody asked for: whom a reply is for
//!   is found out by [`Dialogue`], which makes that the end of the connection.
//! - It blocks for a name: [`Address`](crate::Address) has none.
//! - It closes its socket in `redisFree`, not before: the watches own a share of the context, so
//!   the socket is closed when they have ended ([`Driver::end`]).
//! - It says that a write or a read went well where the connection has not been made yet, or could
//!   not be: that is asked of the socket ([`Wire::connected`]).
//! - After an error its context is good for nothing, not even for replies that it has read: so
//!   replies are taken after each read, before the next one ([`Driver::readable`]).
//! - It writes to a socket that may be closed on the other side: a program that takes SIGPIPE, as a
//!   Rust program by itself does not, ends by that.
//! - Before version 1.0 it has no time-outs without blocking: here they are the driver's, and so
//!   the same with each version ([`Driver::mind_the_time`]).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Reactor, TimerHandle, Watch};

use crate::answer::{Answer, Asker, give};
use crate::dialogue::{Dialogue, Due, Whole};
use crate::encode::{encode, refusal};
use crate::error::Error;
use crate::ffi::{Wire, knows_resp3};
use crate::options::{Address, Options};
use crate::pipeline::Pipeline;
use crate::pubsub::{Done, Key, Sink, Source};
use crate::reply::Reply;

/// One connection, from its beginning to its end.
pub(crate) struct Driver<R: Reactor + 'static> {
    reactor: R,
    address: Address,
    patience: Option<Duration>,
    /// Whoever ends the connection takes it.
    wire: RefCell<Option<Rc<Wire>>>,
    reader: RefCell<Option<Held>>,
    writer: RefCell<Option<Held>>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    phase: Cell<Phase>,
    dialogue: Dialogue,
    /// What was sent since the last flush.
    out: RefCell<Vec<u8>>,
    /// Room to encode a command in.
    scratch: Cell<Vec<u8>>,
    is_flush_queued: Cell<bool>,
    /// No more is asked, and the last reply is the end.
    is_closing: Cell<bool>,
    end: RefCell<Option<Error>>,
    events: Events,
    this: Weak<Self>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The socket connects.
    Connecting,
    /// The server has to let it in.
    Greeting,
    Open,
}

/// Called with why a connection has ended.
pub(crate) type OnEnd = Box<dyn FnOnce(&Error)>;

/// Who is told what becomes of a connection. Called from callbacks of the loop, or from inside of a
/// call of the driver.
pub(crate) struct Events {
    /// It can be used.
    pub(crate) opened: Cell<Option<Box<dyn FnOnce()>>>,
    /// It has ended; at most one of each.
    pub(crate) ended: RefCell<Vec<OnEnd>>,
    /// Whether another connection takes up the subscriptions.
    pub(crate) is_followed: bool,
}

impl<R: Reactor + 'static> Driver<R> {
    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// It could not begin; then `events` hears nothing.
    pub(crate) fn open(reactor: R, options: &Options, events: Events) -> Result<Rc<Self>, Error> {
        if options.speaks_resp3() && !knows_resp3() {
            return Err(Error::Refused("this hiredis knows no RESP3; it does from 1.0 on"));
        }
        let address = &options.address;
        let unreachable = |reason| Error::Unreachable { address: address.clone(), reason };
        let wire = Rc::new(Wire::connect(address).map_err(unreachable)?);
        let driver = Rc::new_cyclic(|this| Driver {
            reactor,
            address: address.clone(),
            patience: options.patience,
            wire: RefCell::new(Some(wire)),
            reader: RefCell::default(),
            writer: RefCell::default(),
            timer: Cell::default(),
            phase: Cell::new(Phase::Connecting),
            dialogue: Dialogue::default(),
            out: RefCell::default(),
            scratch: Cell::default(),
            is_flush_queued: Cell::new(false),
            is_closing: Cell::new(false),
            end: RefCell::default(),
            events,
            this: this.clone(),
        });
        driver.dialogue.speaks_resp3.set(options.speaks_resp3());
        driver.greet(options);
        driver.watch(Direction::Write)?;
        driver.mind_the_time(false);
        Ok(driver)
    }

    /// Keeps what a server wants to hear first.
    fn greet(&self, options: &Options) {
        let (bytes, count) = options.greeting();
        if count == 0 {
            return;
        }
        self.out.replace(bytes);
        let weak = self.this.clone();
        let told = Box::new(move |answer: Result<Reply, Error>| {
            let Some(driver) = weak.upgrade() else { return };
            match answer.and_then(Reply::get::<Vec<()>>) {
                Ok(_) => driver.opened(),
                Err(error) => driver.end(error),
            }
        });
        self.dialogue.expect(Due::Replies {
            kind: Whole::Pipeline,
            count,
            heard: Vec::new(),
            told,
        });
    }

    /// Why it has ended, if it has.
    pub(crate) fn end_so_far(&self) -> Option<Error> {
        self.end.borrow().clone()
    }

    /// Why nothing can be asked any more, if so.
    pub(crate) fn over(&self) -> Option<Error> {
        let closing = || self.is_closing.get().then_some(Error::Closed);
        self.end.borrow().clone().or_else(closing)
    }

    /// Calls `told` with the end of the connection, unless that has come.
    pub(crate) fn on_end(&self, told: OnEnd) {
        self.events.ended.borrow_mut().push(told);
    }

    /// Sends a command.
    pub(crate) fn command<W: AsRef<[u8]>>(&self, words: impl IntoIterator<Item = W>) -> Answer {
        let mut bytes = self.scratch.take();
        bytes.clear();
        // These may be anybody's: nothing is borrowed.
        encode(&mut bytes, words);
        let refused = refusal(&bytes).map_or(Ok(()), |why| Err(Error::Refused(why)));
        let answer = match refused.and_then(|()| self.check()) {
            Err(error) => Answer::known(Err(error)),
            Ok(()) => {
                let (asker, answer) = Answer::new();
                self.send(&bytes, Due::Reply(asker));
                answer
            }
        };
        self.scratch.set(bytes);
        answer
    }

    /// Sends several commands.
    pub(crate) fn pipeline<T>(&self, pipeline: &Pipeline, kind: Whole) -> Answer<T> {
        if let Err(error) = pipeline.check().and_then(|()| self.check()) {
            return Answer::known(Err(error));
        }
        if pipeline.is_empty() {
            return Answer::known(Ok(Reply::Array(Vec::new())));
        }
        let (asker, answer) = Answer::new();
        let (request, due) = request(pipeline, kind, asker);
        self.send(&request, due);
        answer
    }

    fn check(&self) -> Result<(), Error> {
        self.over().map_or_else(|| self.dialogue.check(), Err)
    }

    /// Sends what is encoded; whoever is due hears of an end.
    pub(crate) fn send(&self, bytes: &[u8], due: Due) {
        if let Some(end) = self.over() {
            return due.fail(&end);
        }
        self.dialogue.expect(due);
        self.out.borrow_mut().extend_from_slice(bytes);
        self.flush_soon();
        self.mind_the_time(false);
    }

    /// Begins a subscription, whose sink hears what comes of it.
    pub(crate) fn subscribe(&self, key: &Key, sink: &Rc<Sink>) {
        if let Some(end) = self.over() {
            return sink.end(&end);
        }
        if !self.dialogue.add(key, sink) {
            return sink.end(&Error::Refused("it is subscribed already: share those messages"));
        }
        let mut bytes = Vec::new();
        encode(&mut bytes, key.subscribe());
        self.send(&bytes, Due::Subscribed(key.clone(), Rc::clone(sink)));
    }

    /// Whether a reply is due, or the connection is not there yet.
    fn is_waiting(&self) -> bool {
        self.phase.get() == Phase::Connecting || self.dialogue.is_due()
    }

    /// Ends the connection once what was asked is answered.
    pub(crate) fn close(&self) {
        self.is_closing.set(true);
        self.close_if_done();
    }

    fn close_if_done(&self) {
        if self.is_closing.get() && !self.is_waiting() && self.out.borrow().is_empty() {
            self.end(Error::Closed);
        }
    }

    /// Ends the connection, unless it has ended.
    pub(crate) fn end(&self, reason: Error) {
        let mut end = self.end.borrow_mut();
        if end.is_some() {
            return;
        }
        *end = Some(reason.clone());
        drop(end);
        // Each is taken out before it is dropped, which may call back.
        let watches = (self.reader.take(), self.writer.take(), self.timer.take());
        drop(watches);
        drop(self.wire.take());
        drop(self.events.opened.take());
        self.dialogue.end(&reason, |sink| match self.events.is_followed {
            true => sink.interrupt(),
            false => sink.end(&reason),
        });
        for told in self.events.ended.take() {
            told(&reason);
        }
    }

    fn opened(&self) {
        self.phase.set(Phase::Open);
        if let Some(opened) = self.events.opened.take() {
            opened();
        }
    }

    fn ready(&self, direction: Direction) {
        let Some(wire) = self.wire.borrow().clone() else { return };
        match direction {
            Direction::Read => self.readable(&wire),
            Direction::Write => self.writable(&wire),
        }
    }

    fn writable(&self, wire: &Wire) {
        if self.phase.get() != Phase::Connecting {
            return self.flush(wire);
        }
        if let Err(reason) = wire.connected() {
            return self.end(self.unreachable(reason));
        }
        if let Err(error) = self.watch(Direction::Read) {
            return self.end(error);
        }
        if self.dialogue.is_due() {
            self.phase.set(Phase::Greeting);
        } else {
            self.opened();
        }
        self.flush(wire);
        self.mind_the_time(true);
    }

    /// Writes what was sent in one piece, after the callbacks that send.
    fn flush_soon(&self) {
        if self.phase.get() == Phase::Connecting || self.is_flush_queued.replace(true) {
            return;
        }
        let weak = self.this.clone();
        let queued = self.reactor.call_soon(move || {
            let Some(driver) = weak.upgrade() else { return };
            driver.is_flush_queued.set(false);
            let wire = driver.wire.borrow().clone();
            if let Some(wire) = wire {
                driver.flush(&wire);
            }
        });
        if queued.is_cancelled() {
            self.end(closed_loop());
        }
    }

    fn flush(&self, wire: &Wire) {
        let mut out = self.out.borrow_mut();
        let queued = if out.is_empty() { Ok(()) } else { wire.queue(&out) };
        out.clear();
        // What was large once is not kept.
        out.shrink_to(1 << 16);
        drop(out);
        match queued.and_then(|()| wire.write()) {
            Err(reason) => self.end(Error::Lost(reason)),
            Ok(true) => {
                drop(self.writer.take());
                self.close_if_done();
            }
            Ok(false) if self.writer.borrow().is_some() => {}
            Ok(false) => {
                if let Err(error) = self.watch(Direction::Write) {
                    self.end(error);
                }
            }
        }
    }

    fn readable(&self, wire: &Wire) {
        let mut read = wire.read();
        while read.is_ok() && self.wire.borrow().is_some() {
            match wire.reply() {
                Ok(None) => break,
                Ok(Some(reply)) => {
                    if let Err(why) = self.dialogue.hear(reply) {
                        self.end(why);
                    }
                }
                Err(reason) => read = Err(reason),
            }
        }
        if let Err(reason) = read {
            self.end(Error::Lost(reason));
        }
        self.mind_the_time(true);
        self.close_if_done();
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { address: self.address.clone(), reason }
    }

    fn watch(&self, direction: Direction) -> Result<(), Error> {
        let Some(wire) = self.wire.borrow().clone() else { return Ok(()) };
        // Until the loop has it: what it refuses, it drops.
        let is_let_go = Rc::new(Cell::new(true));
        let watched = Watched { driver: self.this.clone(), is_let_go: Rc::clone(&is_let_go) };
        let watcher = Watcher::new(wire, move |_| {
            if let Some(driver) = watched.driver.upgrade() {
                driver.ready(direction);
            }
        });
        match self.reactor.watch(direction, watcher) {
            Ok(watch) => {
                is_let_go.set(false);
                let held = Held { _watch: watch.remove_on_drop(), is_let_go };
                let place = match direction {
                    Direction::Read => &self.reader,
                    Direction::Write => &self.writer,
                };
                drop(place.replace(Some(held)));
                Ok(())
            }
            Err(error) => Err(Error::Loop(error.to_string())),
        }
    }

    /// Sets the timer while an answer is due, and anew when something was heard.
    fn mind_the_time(&self, heard: bool) {
        let Some(patience) = self.patience else { return };
        let timer = self.timer.take();
        if !self.is_waiting() || self.end.borrow().is_some() {
            // It is cancelled here.
            return;
        }
        // Only what is heard begins a new time; one without an end goes on.
        if let Some(timer) = timer {
            let deadline = heard.then(|| self.reactor.now().checked_add(patience)).flatten();
            if deadline.is_none_or(|deadline| timer.reset(deadline)) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = self.this.clone();
        let timer = self.reactor.call_later(patience, move || {
            if let Some(driver) = driver.upgrade() {
                driver.end(Error::Silent);
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }
}

impl<R: Reactor + 'static> Source for Driver<R> {
    fn unsubscribe(&self, key: &Key, sink: &Rc<Sink>, done: Option<Done>) {
        if !self.dialogue.remove(key, sink) {
            return;
        }
        let mut bytes = Vec::new();
        encode(&mut bytes, key.unsubscribe());
        self.send(&bytes, Due::Unsubscribed(done));
    }
}

/// What is sent for several commands, and what is due then.
pub(crate) fn request(pipeline: &Pipeline, kind: Whole, asker: Asker) -> (Vec<u8>, Due) {
    let (bytes, count) = match kind {
        Whole::Pipeline => (pipeline.bytes.clone(), pipeline.len()),
        Whole::Transaction => (pipeline.as_transaction(), pipeline.len() + 2),
    };
    let told = Box::new(move |answer| give(Some(asker), answer));
    (bytes, Due::Replies { kind, count, heard: Vec::with_capacity(count), told })
}

pub(crate) fn closed_loop() -> Error {
    Error::Loop("it is closed".into())
}

/// A watch that ends with this.
struct Held {
    _watch: Guard<Watch>,
    /// The end of the watch is this side's doing.
    is_let_go: Rc<Cell<bool>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.is_let_go.set(true);
    }
}

/// In the closure of a watch. The loop drops that by itself when it is closed, or when somebody
/// else watches the socket: nobody would ever be answered then.
struct Watched<R: Reactor + 'static> {
    driver: Weak<Driver<R>>,
    is_let_go: Rc<Cell<bool>>,
}

impl<R: Reactor + 'static> Drop for Watched<R> {
    fn drop(&mut self) {
        if self.is_let_go.get() {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            driver.end(Error::Loop("it has dropped the watch, as a closed loop does".into()));
        }
    }
}
