//! libcurl's multi_socket interface on any [`Reactor`]: copy this file into your project.
//!
//! It needs the crates `curl`, `ioloop` and `send_wrapper`, and nothing else of this example.
//!
//! libcurl does the transfers but waits for nothing itself. It announces through two callbacks what
//! it wants: to be told when a socket is readable or writable, and to be called again after some
//! time. [`CurlMulti`] turns the first into watches of the loop and the second into one timer of
//! the loop; each of them, when it fires, calls curl's `action`. Whatever transfer is done by then
//! gets its `on_done` called.
//!
//! ```ignore
//! let io_loop = IOLoop::new()?;
//! let curl = CurlMulti::new(io_loop.clone())?;
//! let mut easy = Easy2::new(Body::new(Vec::new()));
//! easy.url("http://example.com/")?;
//! curl.add(easy, |result, easy| {
//!     println!("{result:?}: {} bytes", easy.get_ref().sink.len());
//!     IOLoop::current().unwrap().stop();
//! })?;
//! io_loop.start()?;
//! ```
//!
//! What curl does that trips drivers, and where it is dealt with:
//!
//! - It announces a socket while the connection is still being made: the socket is watched for
//!   writing, and is not ready before it is connected or refused.
//! - It closes a socket right after it took the announcement back, and the next one may get the
//!   same number before `action` returns: so the watch ends, and the next begins, inside the
//!   callback ([`CurlMulti::announced`]).
//! - It asks for a timer of 0, which must not call it back at once, since it is not re-entrant; and
//!   for one of -1, which means none ([`CurlMulti::timer_wanted`]).
//! - It swallows a panic in a callback, and all callbacks after it ([`Body::write`]).
//! - It closes its own wake-up socket, when it is cleaned up, without taking it back ([`Drop`] of
//!   [`CurlMulti`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use curl::MultiError;
use curl::easy::{Easy2, Handler, WriteError};
use curl::multi::{Easy2Handle, Events, Multi, Socket, SocketEvents};
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Lent, Reactor, TimerHandle, Watch};
use send_wrapper::SendWrapper;

/// Writes what a transfer brings to `sink`: the handler of each easy handle.
pub(crate) struct Body<S> {
    /// Where the bytes go.
    pub(crate) sink: S,
    /// Why the sink took no more.
    error: Option<io::Error>,
}

impl<S: Write> Body<S> {
    /// A handler that writes to `sink`.
    pub(crate) fn new(sink: S) -> Self {
        Body { sink, error: None }
    }
}

impl<S: Write> Handler for Body<S> {
    fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        // The `curl` crate would keep a panic, and call no callback on this thread any more: every
        // transfer would hang. It has been printed by std's hook; here it fails the transfer that
        // it belongs to.
        let written = catch_unwind(AssertUnwindSafe(|| self.sink.write_all(data)))
            .unwrap_or_else(|_| Err(io::Error::other("the sink panicked")));
        match written {
            Ok(()) => Ok(data.len()),
            Err(error) => {
                self.error = Some(error);
                // Any number but the length makes curl fail the transfer.
                Ok(data.len() + 1)
            }
        }
    }
}

/// Why a transfer failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// curl says why: no connection, a time-out, an HTTP status (with `fail_on_error`), and so on.
    Curl(curl::Error),
    /// The sink did not take what came.
    Sink(Arc<io::Error>),
    /// curl, or the loop that it runs on, failed as a whole.
    Driver(Arc<io::Error>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Curl(error) => {
                f.write_str(error.extra_description().unwrap_or(error.description()))
            }
            Failure::Sink(error) | Failure::Driver(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// Names a transfer of a [`CurlMulti`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(usize);

type OnDone<S> = Box<dyn FnOnce(Result<(), Failure>, Easy2<Body<S>>)>;

struct Transfer<S> {
    easy: Easy2Handle<Body<S>>,
    on_done: OnDone<S>,
    /// It waits only for its `on_done`.
    ended: bool,
}

/// Watches one socket of curl's, in each direction that was ever wanted.
#[derive(Default)]
struct Watched {
    reader: Option<Guard<Watch>>,
    writer: Option<Guard<Watch>>,
}

/// Runs the transfers of libcurl on a loop, whose bodies go to sinks of type `S`.
///
/// Dropping it ends every transfer, without calling `on_done`.
pub(crate) struct CurlMulti<R, S> {
    // The handles of the transfers have to leave curl before it goes: they are fields before it.
    transfers: RefCell<HashMap<usize, Transfer<S>>>,
    /// Ended from inside curl, and dropped outside of it.
    aborted: RefCell<Vec<Transfer<S>>>,
    multi: Multi,
    reactor: R,
    sockets: RefCell<HashMap<Socket, Watched>>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    /// Why the loop did not do what curl asked for.
    refused: Cell<Option<io::Error>>,
    /// curl is being called, and may be calling back.
    inside: Cell<bool>,
    tokens: Cell<usize>,
    this: Weak<Self>,
}

impl<R: Reactor + 'static, S: Write + 'static> CurlMulti<R, S> {
    /// A driver without transfers.
    pub(crate) fn new(reactor: R) -> io::Result<Rc<Self>> {
        Self::configured(reactor, |_| Ok(()))
    }

    /// A driver whose multi handle is configured first, for example limited in its connections.
    pub(crate) fn configured(
        reactor: R,
        configure: impl FnOnce(&mut Multi) -> Result<(), MultiError>,
    ) -> io::Result<Rc<Self>> {
        let mut configured = Ok(());
        let driver = Rc::new_cyclic(|this| {
            let mut multi = Multi::new();
            configured =
                configure(&mut multi).and_then(|()| Self::listen_to(&mut multi, this.clone()));
            CurlMulti {
                transfers: RefCell::default(),
                aborted: RefCell::default(),
                multi,
                reactor,
                sockets: RefCell::default(),
                timer: Cell::default(),
                refused: Cell::default(),
                inside: Cell::new(false),
                tokens: Cell::new(0),
                this: this.clone(),
            }
        });
        configured?;
        Ok(driver)
    }

    /// Installs curl's two callbacks.
    fn listen_to(multi: &mut Multi, this: Weak<Self>) -> Result<(), MultiError> {
        // The `curl` crate wants the callbacks `Send`, since a `Multi` is. This one never leaves
        // its thread: the driver that holds it cannot.
        let driver = SendWrapper::new(this.clone());
        multi.socket_function(move |socket, events, _| {
            if let Some(driver) = driver.upgrade() {
                driver.announced(socket, &events);
            }
        })?;
        let driver = SendWrapper::new(this);
        multi.timer_function(move |timeout| {
            if let Some(driver) = driver.upgrade() {
                driver.timer_wanted(timeout);
            }
            true
        })
    }

    /// Starts a transfer; `on_done` is called once it has ended, with its handle.
    ///
    /// It is called by the loop, outside of curl, and may add further transfers or drop the driver.
    /// A sink must not: curl refuses calls from inside its callbacks.
    pub(crate) fn add(
        &self,
        easy: Easy2<Body<S>>,
        on_done: impl FnOnce(Result<(), Failure>, Easy2<Body<S>>) + 'static,
    ) -> io::Result<Token> {
        let token = self.tokens.get();
        self.tokens.set(token.wrapping_add(1));
        let mut easy = self.multi.add2(easy)?;
        easy.set_token(token)?;
        // A closed loop refuses the timer that starts the transfer.
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let transfer = Transfer { easy, on_done: Box::new(on_done), ended: false };
        self.transfers.borrow_mut().insert(token, transfer);
        Ok(Token(token))
    }

    /// Ends a transfer, and drops its sink and its `on_done`, which is not called; false if that
    /// was called already.
    pub(crate) fn abort(&self, token: Token) -> bool {
        let removed = self.transfers.borrow_mut().remove(&token.0);
        let Some(transfer) = removed else {
            return false;
        };
        if self.inside.get() {
            self.aborted.borrow_mut().push(transfer);
        } else {
            // Dropping its handle takes it out of curl, which calls back.
            self.call(|_| drop(transfer));
        }
        true
    }

    /// How many transfers there are whose `on_done` was not called yet.
    pub(crate) fn len(&self) -> usize {
        self.transfers.borrow().len()
    }

    /// curl's socket callback: watches a socket as curl wants it, from now on.
    ///
    /// Here and now, since curl may close the socket, and open another of the same number, next.
    fn announced(&self, socket: Socket, events: &SocketEvents) {
        let known = self.sockets.borrow_mut().remove(&socket);
        if events.remove() {
            // Its watches end here.
            return drop(known);
        }
        let Watched { reader, writer } = known.unwrap_or_default();
        let watched =
            self.follow(reader, Direction::Read, socket, events.input()).and_then(|reader| {
                let writer = self.follow(writer, Direction::Write, socket, events.output())?;
                Ok(Watched { reader, writer })
            });
        match watched {
            Ok(watched) => drop(self.sockets.borrow_mut().insert(socket, watched)),
            Err(error) => self.refused.set(Some(error)),
        }
    }

    /// Brings one direction of a socket in line with what curl wants.
    ///
    /// curl changes its mind several times a transfer, so that a direction that is not wanted is
    /// paused, and one that is wanted still is left alone. But for one that curl has closed without
    /// a word, and whose number is another socket's by now: it cannot be resumed, and another watch
    /// takes its place.
    pub(crate) fn follow(
        &self,
        watch: Option<Guard<Watch>>,
        direction: Direction,
        socket: Socket,
        wanted: bool,
    ) -> io::Result<Option<Guard<Watch>>> {
        match &watch {
            Some(known) if !wanted => drop(known.pause()),
            Some(known) if known.resume()? => {}
            // None yet, or one that has ended.
            _ if wanted => return self.watch(direction, socket).map(Some),
            _ => {}
        }
        Ok(watch)
    }

    fn watch(&self, direction: Direction, socket: Socket) -> io::Result<Guard<Watch>> {
        #[expect(unsafe_code, reason = "curl owns its sockets")]
        // SAFETY: curl takes a socket back through its callback before it closes it, and the watch
        // ends within that call. What it closes when it is cleaned up is not watched any more: see
        // `drop`.
        let lent = unsafe { Lent::new(socket) };
        let driver = self.this.clone();
        let watcher = Watcher::new(lent, move |lent| {
            if let Some(driver) = driver.upgrade() {
                let mut events = Events::new();
                match direction {
                    Direction::Read => events.input(true),
                    Direction::Write => events.output(true),
                };
                driver.act(|multi| multi.action(lent.as_raw_fd(), &events));
            }
        });
        Ok(self.reactor.watch(direction, watcher)?.remove_on_drop())
    }

    /// curl's timer callback: has curl called once `timeout` has passed, instead of when it wanted
    /// before.
    fn timer_wanted(&self, timeout: Option<Duration>) {
        let timer = self.timer.take();
        // -1: the timer that there was is cancelled.
        let Some(timeout) = timeout else { return };
        // 0 is a timer as well: curl must not be called from here.
        let deadline = self.reactor.now() + timeout;
        if let Some(timer) = timer {
            if timer.reset(deadline) {
                return self.timer.set(Some(timer));
            }
        }
        let driver = self.this.clone();
        let timer = self.reactor.call_at(deadline, move || {
            if let Some(driver) = driver.upgrade() {
                driver.act(|multi| multi.timeout());
            }
        });
        if timer.is_cancelled() {
            let closed = io::Error::new(io::ErrorKind::BrokenPipe, "the loop is closed");
            self.refused.set(Some(closed));
        }
        self.timer.set(Some(timer.cancel_on_drop()));
    }

    /// Tells curl what has happened.
    fn act(&self, action: impl FnOnce(&Multi) -> Result<u32, MultiError>) {
        if let Err(error) = self.call(action) {
            self.fail_all(error.into());
        }
    }

    /// Calls curl, and then looks what has become of the transfers.
    fn call<T>(&self, action: impl FnOnce(&Multi) -> T) -> T {
        self.inside.set(true);
        let answer = action(&self.multi);
        self.inside.set(false);
        drop(self.aborted.take());
        self.multi.messages(|message| {
            let Ok(token) = message.token() else { return };
            if let Some(transfer) = self.transfers.borrow_mut().get_mut(&token) {
                if let Some(result) = message.result_for2(&transfer.easy) {
                    let refused = transfer.easy.get_mut().error.take();
                    let result = result.map_err(|error| match refused {
                        Some(error) => Failure::Sink(Arc::new(error)),
                        None => Failure::Curl(explained(error, &transfer.easy)),
                    });
                    self.end(token, transfer, result);
                }
            }
        });
        if let Some(error) = self.refused.take() {
            self.fail_all(error);
        }
        answer
    }

    /// Ends every transfer: the loop did not do what curl needs.
    ///
    /// It takes a closed loop, or a kernel out of memory for watches. Whose socket it was is known
    /// to curl, but the `curl` crate does not hand it on; and curl itself, when told that a
    /// callback failed, ends all transfers too.
    fn fail_all(&self, error: io::Error) {
        let failure = Failure::Driver(Arc::new(error));
        for (token, transfer) in self.transfers.borrow_mut().iter_mut() {
            self.end(*token, transfer, Err(failure.clone()));
        }
    }

    /// Has a transfer that has ended handed over, in a callback of its own: a panic in `on_done`
    /// then takes with it neither other transfers nor the watch that is being served.
    fn end(&self, token: usize, transfer: &mut Transfer<S>, result: Result<(), Failure>) {
        if transfer.ended {
            return;
        }
        transfer.ended = true;
        let driver = self.this.clone();
        self.reactor.call_soon(move || {
            if let Some(driver) = driver.upgrade() {
                driver.hand_over(token, result);
            }
        });
    }

    /// Takes a transfer out of curl, and gives it to its owner, unless it was aborted meanwhile.
    fn hand_over(&self, token: usize, result: Result<(), Failure>) {
        let removed = self.transfers.borrow_mut().remove(&token);
        let Some(transfer) = removed else { return };
        let easy = self.call(|multi| multi.remove2(transfer.easy));
        let easy = easy.expect("curl gives up a transfer outside of its callbacks");
        (transfer.on_done)(result, easy);
    }
}

/// Adds why a connection could not be made, which curl itself leaves out.
fn explained<S>(mut error: curl::Error, easy: &Easy2Handle<Body<S>>) -> curl::Error {
    let errno = easy.os_errno().unwrap_or_default();
    if error.is_couldnt_connect() && errno != 0 {
        let account = error.extra_description().unwrap_or(error.description());
        let reason = io::Error::from_raw_os_error(errno);
        error.set_extra(format!("{account}: {reason}"));
    }
    error
}

impl<R, S> Drop for CurlMulti<R, S> {
    /// Ends the watches before the transfers leave curl and it is cleaned up. What it announces or
    /// takes back from here on goes nowhere, since the callbacks find no driver any more.
    fn drop(&mut self) {
        self.sockets.take();
        self.timer.take();
    }
}
