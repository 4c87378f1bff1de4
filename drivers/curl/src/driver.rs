//! libcurl's multi handle on a loop: what runs in it, and who is told what becomes of it.
//!
//! libcurl does the transfers but waits for nothing itself. What it wants to be called for,
//! [`Sockets`] makes watches and a timer of; each of them, when it fires, [calls](Driver::act)
//! libcurl. What libcurl's callbacks noted meanwhile is [seen to](Driver::settle) when it has
//! returned, and told to whoever waits in a callback of its own ([`Driver::tell_all`]). So nobody's
//! code runs in the watch that is being served, which a panic would end.
//!
//! A callback that takes a body is called inside libcurl, where libcurl must not be called. What it
//! starts waits in the queue, and what it cancels or resumes is [done](Driver::catch_up) when
//! libcurl has returned.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::time::Duration;

use curl::MultiError;
use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi};
use ioloop::{Guard, Reactor, TimerHandle};
use send_wrapper::SendWrapper;

use crate::callbacks::Callbacks;
use crate::error::Error;
use crate::exchange::{Calls, Exchange, Touched};
use crate::head::Timings;
use crate::request::Prepared;
use crate::setup::set_up;
use crate::sockets::Sockets;

/// How many handles are kept for the next requests: to make one takes libcurl a while.
const SPARE: usize = 64;

/// What a client may have; zero is no limit.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) host_connections: usize,
    pub(crate) requests: usize,
    pub(crate) idle: Option<usize>,
}

struct Running {
    easy: Easy2Handle<Callbacks>,
    exchange: Rc<Exchange>,
}

pub(crate) type Panic = Box<dyn Any + Send>;

/// The transfers of a client.
pub(crate) struct Driver {
    // The handles of the transfers have to leave libcurl before it goes: they are fields before it.
    running: RefCell<HashMap<usize, Running>>,
    /// Those that were ended inside libcurl,
    leaving: RefCell<Vec<Running>>,
    spare: RefCell<Vec<Easy2<Callbacks>>>,
    multi: Multi,
    /// and those that are to go on.
    going_on: RefCell<Vec<Rc<Exchange>>>,
    reactor: Rc<dyn Reactor>,
    sockets: Sockets,
    /// Beyond the limit of the client.
    waiting: RefCell<VecDeque<Rc<Exchange>>>,
    /// How many of them have been cancelled.
    cancelled: Cell<usize>,
    limit: usize,
    tokens: Cell<usize>,
    /// libcurl is being called, and may be calling back.
    inside: Cell<bool>,
    /// What a callback of libcurl's panicked with.
    panic: Cell<Option<Panic>>,
    /// What libcurl's callbacks have noted,
    touched: Rc<Touched>,
    /// and what of that is to be told.
    untold: RefCell<VecDeque<Rc<Exchange>>>,
    will_tell: Cell<bool>,
    /// There while requests run: it is dropped when the loop is closed.
    sentinel: Cell<Option<Guard<TimerHandle>>>,
    is_guarded: Cell<bool>,
    this: Weak<Self>,
}

impl Driver {
    pub(crate) fn new(reactor: Rc<dyn Reactor>, limits: &Limits) -> Rc<Self> {
        Rc::new_cyclic(|this: &Weak<Driver>| Driver {
            running: RefCell::default(),
            leaving: RefCell::default(),
            spare: RefCell::default(),
            multi: configured(limits, this),
            going_on: RefCell::default(),
            sockets: Sockets::new(Rc::clone(&reactor), Weak::clone(this)),
            reactor,
            waiting: RefCell::default(),
            cancelled: Cell::new(0),
            limit: match limits.requests {
                0 => usize::MAX,
                limit => limit,
            },
            tokens: Cell::new(0),
            inside: Cell::new(false),
            panic: Cell::default(),
            touched: Rc::default(),
            untold: RefCell::default(),
            will_tell: Cell::new(false),
            sentinel: Cell::default(),
            is_guarded: Cell::new(false),
            this: Weak::clone(this),
        })
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.running.borrow().len() + self.waiting.borrow().len() - self.cancelled.get()
    }

    /// Starts a request, or queues it. Whatever becomes of it is told later, by the loop.
    pub(crate) fn start(&self, prepared: Box<Prepared>, calls: Calls) -> Rc<Exchange> {
        let exchange = Exchange::new(prepared, calls, Rc::clone(&self.touched));
        let is_first = self.waiting.borrow().is_empty();
        if is_first && !self.inside.get() && self.running.borrow().len() < self.limit {
            self.begin(&exchange);
        } else {
            exchange.is_waiting.set(true);
            self.waiting.borrow_mut().push_back(Rc::clone(&exchange));
        }
        self.settle();
        exchange
    }

    /// Gives a request to libcurl.
    fn begin(&self, exchange: &Rc<Exchange>) {
        let Some(prepared) = exchange.state.borrow_mut().prepared.take() else {
            return;
        };
        let spare = self.spare.borrow_mut().pop();
        let mut easy = spare.unwrap_or_else(|| Easy2::new(Callbacks::default()));
        easy.get_mut().exchange = Some(Rc::clone(exchange));
        let is_set = self.calling(exchange, || {
            set_up(&mut easy, *prepared, exchange, &self.reactor, &self.this)
        });
        // The user has configured it, and may have cancelled it.
        if exchange.has_ended() {
            return;
        }
        if let Err(error) = is_set.and_then(|()| self.add(easy, exchange)) {
            drop(exchange.finish(Err(error)));
        }
    }

    fn add(&self, easy: Easy2<Callbacks>, exchange: &Rc<Exchange>) -> Result<(), Error> {
        let token = self.tokens.get();
        self.tokens.set(token.wrapping_add(1));
        let added = self.enter(|multi| multi.add2(easy));
        let mut easy = added.map_err(|error| Error::Loop(error.into()))?;
        let told = easy.set_token(token);
        told.map_err(|error| Error::Curl { url: exchange.url.clone(), error })?;
        exchange.token.set(Some(token));
        let running = Running { easy, exchange: Rc::clone(exchange) };
        self.running.borrow_mut().insert(token, running);
        Ok(())
    }

    /// Ends a request without telling anybody; says whether it had not ended before.
    pub(crate) fn abort(&self, exchange: &Rc<Exchange>) -> bool {
        if exchange.has_ended() {
            return false;
        }
        let unneeded = exchange.give_up();
        self.leave(exchange);
        self.settle();
        drop(unneeded);
        true
    }

    /// Ends a request, and has it told why.
    pub(crate) fn fail(&self, exchange: &Rc<Exchange>, error: Error) {
        if exchange.has_ended() {
            return;
        }
        let unneeded = exchange.finish(Err(error));
        self.leave(exchange);
        self.settle();
        drop(unneeded);
    }

    /// Takes a request that has ended out of libcurl, or out of the queue.
    fn leave(&self, exchange: &Rc<Exchange>) {
        if exchange.is_waiting.get() {
            // It is passed over when it is its turn; but many of them would be a leak.
            self.cancelled.set(self.cancelled.get() + 1);
            if self.cancelled.get() * 2 > self.waiting.borrow().len() {
                self.waiting.borrow_mut().retain(|waiting| !waiting.has_ended());
                self.cancelled.set(0);
            }
            return;
        };
        let token = exchange.token.take();
        let removed = token.and_then(|token| self.running.borrow_mut().remove(&token));
        match removed {
            Some(running) if self.inside.get() => self.leaving.borrow_mut().push(running),
            Some(running) => drop(self.take_out(running)),
            None => {}
        }
    }

    /// Takes a handle out of libcurl.
    fn take_out(&self, running: Running) -> Option<Easy2<Callbacks>> {
        let Running { easy, exchange } = running;
        exchange.token.set(None);
        let mut easy = self.enter(|multi| multi.remove2(easy)).ok()?;
        easy.get_mut().exchange = None;
        Some(easy)
    }

    /// Keeps a handle for another request. One whose transfer has failed or was given up is not
    /// kept: it fails once more with some versions of libcurl, such as 7.88.
    fn keep(&self, mut easy: Easy2<Callbacks>) {
        if self.spare.borrow().len() < SPARE {
            easy.reset();
            self.spare.borrow_mut().push(easy);
        }
    }

    /// Has libcurl go on with a transfer that waited for this side.
    pub(crate) fn go_on(&self, exchange: &Rc<Exchange>) {
        let Some(token) = exchange.token.get() else {
            return;
        };
        if self.inside.get() {
            return self.going_on.borrow_mut().push(Rc::clone(exchange));
        }
        let resumed = self.enter(|_| {
            let running = self.running.borrow();
            running.get(&token).map_or(Ok(()), |running| running.easy.unpause_write())
        });
        match resumed {
            Ok(()) => self.settle(),
            Err(error) => self.fail(exchange, Error::Curl { url: exchange.url.clone(), error }),
        }
    }

    /// Notes what libcurl knows of a transfer by now.
    pub(crate) fn inform(&self, exchange: &Exchange) {
        if self.inside.get() {
            // Its handle may be the one that calls.
            return;
        }
        let running = self.running.borrow();
        if let Some(running) = exchange.token.get().and_then(|token| running.get(&token)) {
            let easy = &running.easy;
            exchange.inform(easy.effective_url().ok().flatten(), timings(easy));
        }
    }

    /// Tells libcurl what has happened.
    pub(crate) fn act(&self, action: impl FnOnce(&Multi) -> Result<u32, MultiError>) {
        if let Err(error) = self.enter(action) {
            self.fail_all(&error.into());
        }
        self.settle();
    }

    /// Calls libcurl, whose callbacks call what [`configured`] gave it.
    fn enter<T>(&self, call: impl FnOnce(&Multi) -> T) -> T {
        assert!(!self.inside.replace(true), "libcurl is called from inside of it");
        let answer = call(&self.multi);
        self.inside.set(false);
        if let Some(payload) = self.panic.take() {
            resume_unwind(payload);
        }
        answer
    }

    /// Does what was asked for inside libcurl.
    fn catch_up(&self) {
        for running in self.leaving.take() {
            self.take_out(running);
        }
        for exchange in self.going_on.take() {
            self.go_on(&exchange);
        }
    }

    /// Sees to what has become of the transfers, after libcurl was called.
    fn settle(&self) {
        if self.inside.get() {
            // Whoever called libcurl does.
            return;
        }
        self.catch_up();
        loop {
            let mut ended = Vec::new();
            self.multi.messages(|message| {
                let Ok(token) = message.token() else { return };
                if let Some(running) = self.running.borrow().get(&token) {
                    if let Some(result) = message.result_for2(&running.easy) {
                        ended.push((token, result));
                    }
                }
            });
            let refused = self.sockets.take_refusal();
            if ended.is_empty() && refused.is_none() {
                break;
            }
            for (token, result) in ended {
                self.end(token, result);
            }
            if let Some(error) = refused {
                self.fail_all(&error);
            }
        }
        for exchange in self.touched.take() {
            if exchange.wants_info() {
                self.inform(&exchange);
            }
            self.untold.borrow_mut().push_back(exchange);
        }
        self.stand_guard();
        self.have_told();
    }

    /// libcurl is done with a transfer.
    fn end(&self, token: usize, result: Result<(), curl::Error>) {
        let removed = self.running.borrow_mut().remove(&token);
        let Some(running) = removed else { return };
        let result = result.map_err(|error| {
            let error = explained(error, &running.easy);
            let url = running.exchange.url.clone();
            match (error.is_filesize_exceeded(), running.exchange.state.borrow().max_body) {
                (true, limit) => Error::BodyTooLarge { url, limit },
                _ => Error::Curl { url, error },
            }
        });
        let has_succeeded = result.is_ok();
        drop(running.exchange.finish(result));
        let easy = &running.easy;
        running.exchange.inform(easy.effective_url().ok().flatten(), timings(easy));
        let easy = self.take_out(running).filter(|_| has_succeeded);
        easy.into_iter().for_each(|easy| self.keep(easy));
    }

    /// Ends every transfer: the loop did not do what libcurl needs.
    ///
    /// It takes a kernel out of memory for watches. Whose socket it was is known to libcurl, but
    /// the `curl` crate does not hand it on; and libcurl itself, when told that a callback failed,
    /// ends all transfers too.
    fn fail_all(&self, error: &io::Error) {
        let running: Vec<Running> =
            self.running.borrow_mut().drain().map(|(_, running)| running).collect();
        for running in running {
            let copy = io::Error::new(error.kind(), error.to_string());
            drop(running.exchange.finish(Err(Error::Loop(copy))));
            self.take_out(running);
        }
    }

    /// Has what has happened told by the loop.
    fn have_told(&self) {
        let is_idle = self.untold.borrow().is_empty() && !self.may_begin();
        if is_idle || self.will_tell.replace(true) {
            return;
        }
        let this = Weak::clone(&self.this);
        let queued = self.reactor.call_soon(move || {
            if let Some(driver) = this.upgrade() {
                driver.tell_all();
            }
        });
        // The loop is closed: who waits hears it from the sentinel.
        self.will_tell.set(!queued.is_cancelled());
    }

    fn may_begin(&self) -> bool {
        self.running.borrow().len() < self.limit && !self.waiting.borrow().is_empty()
    }

    /// Tells what has happened, and begins what has waited.
    fn tell_all(&self) {
        /// Where a callback panics, the others are told in another turn.
        struct GoOn<'a>(&'a Driver);
        impl Drop for GoOn<'_> {
            fn drop(&mut self) {
                self.0.settle();
            }
        }
        self.will_tell.set(false);
        let _go_on = GoOn(self);
        while self.may_begin() {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(exchange) = next else { break };
            exchange.is_waiting.set(false);
            match exchange.has_ended() {
                true => self.cancelled.set(self.cancelled.get().saturating_sub(1)),
                false => self.begin(&exchange),
            }
        }
        // What is noted while these are told is told in the next turn.
        let count = self.untold.borrow().len();
        for _ in 0..count {
            let next = self.untold.borrow_mut().pop_front();
            let Some(exchange) = next else { break };
            exchange.is_seen_to();
            self.tell(&exchange);
        }
    }

    /// The loop may be closed while requests run, and then everything that it holds is dropped
    /// unheard: a timer that never fires is what notices.
    fn stand_guard(&self) {
        let is_idle = self.running.borrow().is_empty() && self.waiting.borrow().is_empty();
        if is_idle && self.untold.borrow().is_empty() {
            self.is_guarded.set(false);
            return drop(self.sentinel.take());
        }
        let sentinel = self.sentinel.take();
        let sentinel = sentinel.unwrap_or_else(|| {
            let guard = Sentinel(Weak::clone(&self.this));
            let timer = self.reactor.call_later(Duration::MAX, move || drop(guard));
            timer.cancel_on_drop()
        });
        let is_closed = sentinel.is_cancelled();
        self.sentinel.set(Some(sentinel));
        self.is_guarded.set(true);
        if is_closed {
            self.loop_closed();
        }
    }

    /// Nothing is called any more: everything ends, and who awaits it is woken here and now.
    fn loop_closed(&self) {
        if self.inside.get() {
            // Seen when libcurl has returned.
            return;
        }
        let mut ended: Vec<Rc<Exchange>> = self.waiting.take().into();
        self.cancelled.set(0);
        let running: Vec<Running> =
            self.running.borrow_mut().drain().map(|(_, running)| running).collect();
        for running in running {
            ended.push(Rc::clone(&running.exchange));
            self.take_out(running);
        }
        self.sockets.end();
        self.is_guarded.set(false);
        drop(self.sentinel.take());
        let mut panicked = None;
        for exchange in ended.into_iter().chain(self.touched.take()).chain(self.untold.take()) {
            exchange.is_seen_to();
            let told = catch_unwind(AssertUnwindSafe(|| {
                drop(exchange.finish(Err(Error::Closed)));
                exchange.wake();
                drop(exchange.take_calls());
            }));
            panicked = told.err().or(panicked);
        }
        self.touched.take().iter().for_each(|exchange| exchange.is_seen_to());
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }
}

/// Dropped with the loop.
struct Sentinel(Weak<Driver>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        if let Some(driver) = self.0.upgrade() {
            if driver.is_guarded.get() {
                driver.loop_closed();
            }
        }
    }
}

impl Drop for Driver {
    /// Ends the watches before the transfers leave libcurl and it is cleaned up. What it announces
    /// or takes back from here on goes nowhere, since the callbacks find no driver any more.
    fn drop(&mut self) {
        self.sockets.end();
        self.sentinel.take();
        // What they hold of the user's may hold them.
        let running = self.running.take();
        for exchange in running.values().map(|running| &running.exchange) {
            drop(exchange.give_up());
        }
        self.waiting.take().iter().for_each(|exchange| drop(exchange.give_up()));
        drop(running);
        // They hold the list that holds them.
        self.touched.take();
    }
}

/// A multi handle with its limits and libcurl's two callbacks.
fn configured(limits: &Limits, this: &Weak<Driver>) -> Multi {
    let mut multi = Multi::new();
    // libcurl has had these options for longer than the sockets below.
    let _ = multi.set_max_total_connections(limits.connections);
    let _ = multi.set_max_host_connections(limits.host_connections);
    if let Some(idle) = limits.idle {
        let _ = multi.set_max_connects(idle);
    }
    // The `curl` crate wants the callbacks `Send`, since a `Multi` is. This one never leaves its
    // thread: the driver that holds it cannot.
    let driver = SendWrapper::new(Weak::clone(this));
    let announced = multi.socket_function(move |socket, events, _| {
        Driver::called(&driver, |driver| driver.sockets.announced(socket, &events));
    });
    let driver = SendWrapper::new(Weak::clone(this));
    let timer = multi.timer_function(move |timeout| {
        Driver::called(&driver, |driver| driver.sockets.timer_wanted(timeout));
        true
    });
    announced.and(timer).expect("libcurl has the multi_socket interface since 7.16");
    multi
}

impl Driver {
    /// libcurl calls. A reactor that panics must not unwind through it; and the `curl` crate would
    /// keep the panic, and call no callback on this thread any more.
    fn called(this: &Weak<Driver>, callback: impl FnOnce(&Driver)) {
        if let Some(driver) = this.upgrade() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(&driver))) {
                driver.panic.set(Some(payload));
            }
        }
    }
}

fn timings(easy: &Easy2Handle<Callbacks>) -> Timings {
    Timings {
        name_lookup: easy.namelookup_time().unwrap_or_default(),
        connect: easy.connect_time().unwrap_or_default(),
        tls: easy.appconnect_time().unwrap_or_default(),
        pre_transfer: easy.pretransfer_time().unwrap_or_default(),
        first_byte: easy.starttransfer_time().unwrap_or_default(),
        redirect: easy.redirect_time().unwrap_or_default(),
        total: easy.total_time().unwrap_or_default(),
    }
}

/// Adds why a connection could not be made, which libcurl itself leaves out.
fn explained(mut error: curl::Error, easy: &Easy2Handle<Callbacks>) -> curl::Error {
    let errno = easy.os_errno().unwrap_or_default();
    if error.is_couldnt_connect() && errno != 0 {
        let account = error.extra_description().unwrap_or(error.description());
        let reason = io::Error::from_raw_os_error(errno);
        error.set_extra(format!("{account}: {reason}"));
    }
    error
}
