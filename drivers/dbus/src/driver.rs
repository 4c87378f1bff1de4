//! What a connection waits for and whom it tells: replies, signals, calls, the end.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::Duration;

use dbus::arg::ReadAll;
use dbus::channel::{Channel, default_reply};
use dbus::message::MessageType;
use ioloop::reactor::Watcher;
use ioloop::{Guard, Reactor, Resolver, Task, TimerHandle, deferred};

use crate::error::{self, Error};
use crate::ffi::Socket;
use crate::message::Message;
use crate::remote::Remote;
use crate::reply::Reply;
use crate::serve::{Handler, MethodCall};
use crate::signals::Queue;

/// How long a call waits for its reply, unless told otherwise: as libdbus does by default.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(25);

/// Gets the reply of a call, or why there is none.
pub(crate) type Answer = dyn FnOnce(Result<dbus::Message, Error>);

/// The arguments of a reply, or why there are none; or with what reading them has panicked.
pub(crate) type Outcome<T> = thread::Result<Result<T, Error>>;

pub(crate) struct Driver {
    reactor: Rc<dyn Reactor>,
    socket: Socket,
    /// Its name on the bus.
    pub(crate) name: OnceCell<String>,
    pub(crate) timeout: Cell<Option<Duration>>,
    pending: RefCell<HashMap<u32, Pending>>,
    /// The queues of the streams; those that have gone are swept when the next one is added.
    queues: RefCell<Vec<Weak<Queue>>>,
    handlers: RefCell<HashMap<String, HashMap<String, Rc<Handler>>>>,
    flushing: RefCell<Vec<Resolver<Result<(), Error>>>>,
    end: RefCell<Option<Error>>,
    awaiting_end: RefCell<Vec<Resolver<Error>>>,
    pub(crate) remote: RefCell<Option<Remote>>,
    /// Messages are being given to those whom they are for, in order.
    settling: Cell<bool>,
    this: Weak<Self>,
}

struct Pending {
    answer: Box<Answer>,
    /// Cancelled when the call is over.
    _timer: Option<Guard<TimerHandle>>,
}

impl Driver {
    /// # Errors
    ///
    /// There is no bus at the address, or the loop does not watch its socket.
    pub(crate) fn open(reactor: Rc<dyn Reactor>, address: &str) -> Result<Rc<Self>, Error> {
        let refused = |reason: String| Error::Connect { address: address.to_owned(), reason };
        if address.contains('\0') {
            return Err(refused("there is a NUL in it".into()));
        }
        let channel = Channel::open_private(address)
            .map_err(|error| refused(error.message().unwrap_or_default().to_owned()))?;
        let driver = Rc::new_cyclic(|this| Driver {
            reactor,
            socket: Socket::new(channel),
            name: OnceCell::new(),
            timeout: Cell::new(Some(TIMEOUT)),
            pending: RefCell::default(),
            queues: RefCell::default(),
            handlers: RefCell::default(),
            flushing: RefCell::default(),
            end: RefCell::default(),
            awaiting_end: RefCell::default(),
            remote: RefCell::default(),
            settling: Cell::default(),
            this: this.clone(),
        });
        driver.follow();
        match driver.ended() {
            Some(error) => Err(error),
            None => Ok(driver),
        }
    }

    pub(crate) fn reactor(&self) -> &Rc<dyn Reactor> {
        &self.reactor
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.end.borrow().clone()
    }

    /// Sends a message that has no answer.
    pub(crate) fn send(&self, message: dbus::Message) -> Result<u32, Error> {
        if let Some(error) = self.ended() {
            return Err(error);
        }
        let sent = self.socket.send(message).ok_or(Error::OutOfMemory);
        self.sent();
        sent
    }

    /// Sends a call, and calls `answer` with its reply, once, inside of this call perhaps; the
    /// call's serial number if it waits for one.
    pub(crate) fn ask(
        &self,
        call: dbus::Message,
        timeout: Option<Duration>,
        answer: Box<Answer>,
    ) -> Option<u32> {
        if let Some(error) = self.ended() {
            answer(Err(error));
            return None;
        }
        let Some(serial) = self.socket.send(call) else {
            answer(Err(Error::OutOfMemory));
            return None;
        };
        let timer = timeout.map(|limit| {
            let driver = self.this.clone();
            let timer = self.reactor.call_later(limit, move || {
                let pending = driver.upgrade().and_then(|driver| driver.forget(serial));
                if let Some(pending) = pending {
                    (pending.answer)(Err(Error::TimedOut(limit)));
                }
            });
            timer.cancel_on_drop()
        });
        self.pending.borrow_mut().insert(serial, Pending { answer, _timer: timer });
        self.sent();
        Some(serial)
    }

    /// As [`ask`](Self::ask), with the answer as a future.
    pub(crate) fn call<T: ReadAll + 'static>(
        &self,
        call: Result<dbus::Message, Error>,
        timeout: Option<Duration>,
    ) -> Reply<T> {
        let (answer, task) = outcome();
        let serial = match call {
            Ok(call) => self.ask(call, timeout, answer),
            Err(error) => {
                answer(Err(error));
                None
            }
        };
        Reply::new(task, self.this.clone(), serial)
    }

    /// Waits no longer for the reply to a call.
    fn forget(&self, serial: u32) -> Option<Pending> {
        self.pending.borrow_mut().remove(&serial)
    }

    /// Nobody awaits the reply to a call any more.
    pub(crate) fn abandon(&self, serial: u32) {
        drop(self.forget(serial));
    }

    /// Resolves when libdbus has handed all that was sent to the socket.
    pub(crate) fn flush(&self, resolver: Resolver<Result<(), Error>>) {
        let answer = match self.ended() {
            Some(error) => Err(error),
            None if !self.socket.has_output() => Ok(()),
            None => return self.flushing.borrow_mut().push(resolver),
        };
        let _ = resolver.resolve(answer);
    }

    pub(crate) fn add_queue(&self, queue: &Rc<Queue>) {
        let mut queues = self.queues.borrow_mut();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Rc::downgrade(queue));
    }

    /// Adds the handler of an interface of an object; false if there is one.
    pub(crate) fn add_handler(&self, path: &str, interface: &str, handler: Rc<Handler>) -> bool {
        let mut handlers = self.handlers.borrow_mut();
        let interfaces = handlers.entry(path.to_owned()).or_default();
        let is_free = !interfaces.contains_key(interface);
        if is_free {
            interfaces.insert(interface.to_owned(), handler);
        }
        is_free
    }

    pub(crate) fn remove_handler(&self, path: &str, interface: &str) {
        let removed = {
            let mut handlers = self.handlers.borrow_mut();
            let Some(interfaces) = handlers.get_mut(path) else { return };
            let removed = interfaces.remove(interface);
            if interfaces.is_empty() {
                handlers.remove(path);
            }
            removed
        };
        // Here, where its closure may do anything.
        drop(removed);
    }

    /// Resolves with the reason when the connection ends.
    pub(crate) fn await_end(&self, resolver: Resolver<Error>) {
        match self.ended() {
            Some(error) => drop(resolver.resolve(error)),
            None => self.awaiting_end.borrow_mut().push(resolver),
        }
    }

    /// Brings the watches in line with what libdbus waits for.
    pub(crate) fn follow(&self) {
        let followed = self.socket.follow(&self.reactor, |lent| {
            let watched = Watched(self.this.clone());
            Watcher::new(lent, move |_| {
                if let Some(driver) = watched.0.upgrade() {
                    driver.ready();
                }
            })
        });
        if let Err(error) = followed {
            self.end_with(Error::Loop(error.to_string()));
        }
    }

    fn ready(&self) {
        self.socket.read_write();
        self.settle();
    }

    /// Something was sent, which may have found the connection broken.
    fn sent(&self) {
        if self.socket.is_connected() {
            self.follow();
        } else {
            self.settle();
        }
    }

    /// Tells whomever it concerns what has come of a call of libdbus.
    fn settle(&self) {
        // Who is told may come here as well; what is read meanwhile is told in order, below.
        if !self.settling.replace(true) {
            let settled = Settled(&self.settling);
            while let Some(message) = self.socket.pop() {
                self.receive(message);
            }
            drop(settled);
        }
        if !self.socket.is_connected() {
            self.end_with(Error::Disconnected);
            return;
        }
        self.follow();
        if !self.flushing.borrow().is_empty() && !self.socket.has_output() {
            for resolver in self.flushing.take() {
                let _ = resolver.resolve(Ok(()));
            }
        }
    }

    fn receive(&self, mut message: dbus::Message) {
        match message.msg_type() {
            MessageType::MethodReturn | MessageType::Error => {
                let serial = message.get_reply_serial();
                if let Some(pending) = serial.and_then(|serial| self.forget(serial)) {
                    let is_error = message.as_result().err();
                    (pending.answer)(match is_error {
                        Some(error) => Err(error::of_reply(&error)),
                        None => Ok(message),
                    });
                }
            }
            MessageType::Signal => self.signal(message),
            MessageType::MethodCall => self.dispatch(message),
        }
    }

    fn signal(&self, message: dbus::Message) {
        let queues: Vec<_> = self.queues.borrow().iter().filter_map(Weak::upgrade).collect();
        let takers: Vec<_> = queues.iter().filter(|queue| queue.wants(&message)).collect();
        if takers.is_empty() {
            return;
        }
        let message = Message::new(message, self.this.clone());
        takers.iter().for_each(|queue| queue.push(message.clone()));
        takers.iter().for_each(|queue| queue.wake());
    }

    fn dispatch(&self, message: dbus::Message) {
        let handler = self.handler(&message);
        match handler {
            Some(handler) => {
                let call = MethodCall::new(Message::new(message, self.this.clone()));
                // Not from here, where a panic would end the watch. A handler that was removed
                // meanwhile is not called: then the call answers with an error as it is dropped.
                self.reactor.call_soon(move || {
                    if let Some(handler) = handler.upgrade() {
                        handler(call);
                    }
                });
            }
            None => {
                if let Some(reply) = default_reply(&message) {
                    // A connection that has ended needs no reply.
                    let _ = self.send(reply);
                }
            }
        }
    }

    /// Who answers a call. One that names no interface goes to any of the object.
    fn handler(&self, call: &dbus::Message) -> Option<Weak<Handler>> {
        let handlers = self.handlers.borrow();
        let interfaces = handlers.get(&*call.path()?)?;
        let handler = match call.interface() {
            Some(interface) => interfaces.get(&*interface),
            None => interfaces.values().next(),
        };
        handler.map(Rc::downgrade)
    }

    /// Ends the connection, and answers all that waits for it.
    pub(crate) fn end_with(&self, why: Error) {
        if self.end.borrow().is_some() {
            return;
        }
        self.end.replace(Some(why.clone()));
        self.socket.close();
        // Who is answered may come here as well, and finds the end.
        for pending in self.pending.take().into_values() {
            (pending.answer)(Err(why.clone()));
        }
        for resolver in self.flushing.take() {
            let _ = resolver.resolve(Err(why.clone()));
        }
        for queue in self.queues.take().iter().filter_map(Weak::upgrade) {
            queue.end();
        }
        self.remote.take();
        for resolver in self.awaiting_end.take() {
            let _ = resolver.resolve(why.clone());
        }
        // Handlers may hold the connection, and so keep each other.
        drop(self.handlers.take());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end_with(Error::Closed);
    }
}

/// Settling is over, also after a panic.
struct Settled<'a>(&'a Cell<bool>);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Owned by the loop, with the callback of a watch: dropped when the loop has ended the watch, or
/// the driver itself has.
struct Watched(Weak<Driver>);

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(driver) = self.0.upgrade() {
            if driver.socket.is_watched() {
                driver.end_with(Error::Closed);
            }
        }
    }
}

/// An answer that reads the reply as it arrives, and the task that gives what it has read.
///
/// Reading is the code of a type of the caller's. The loop's reader is below it on the stack, which
/// a panic would end; so the panic is kept for who awaits the reply.
pub(crate) fn outcome<T: ReadAll + 'static>() -> (Box<Answer>, Task<Outcome<T>>) {
    let (resolver, task) = deferred();
    let answer = move |reply: Result<dbus::Message, Error>| {
        let _ = resolver.resolve(read_contained(reply));
    };
    (Box::new(answer), task)
}

pub(crate) fn read_contained<T: ReadAll>(reply: Result<dbus::Message, Error>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(|| reply.and_then(|reply| read(&reply))))
}

/// The arguments of a message.
pub(crate) fn read<T: ReadAll>(message: &dbus::Message) -> Result<T, Error> {
    T::read(&mut message.iter_init()).map_err(|error| Error::Type(error.to_string()))
}
