//! What any [`Reactor`] promises, whoever wrote it: a native loop of somebody else's as well as
//! ours.
//!
//! Written over `Rc<dyn Reactor>`, and run for `IOLoop` on every rig too.

pub(super) mod callbacks;
pub(super) mod closing;
pub(super) mod coroutines;
pub(super) mod descriptors;
pub(super) mod fairness;
pub(super) mod handlers;
pub(super) mod hooks;
pub(super) mod posts;
pub(super) mod timers;
pub(super) mod triggers;

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::rig::Rig;
use ioloop::{IOLoop, Reactor};

/// A reactor under test: the reactor, how to run it, how to stop it from one of its callbacks, and
/// how to close it.
pub struct ReactorRig {
    reactor: Rc<dyn Reactor>,
    run: Box<dyn Fn()>,
    stop: Rc<dyn Fn()>,
    close: Box<dyn Fn()>,
}

impl ReactorRig {
    /// A rig for a reactor.
    ///
    /// `run` blocks until `stop` was called from one of the reactor's callbacks, and can be called
    /// again. `close` ends the reactor: what it holds is dropped without being called, and from
    /// then on it takes nothing. It is called when the case is over too, outside of `run`, so
    /// callbacks which hold the reactor itself leave nothing behind.
    pub fn new(
        reactor: Rc<dyn Reactor>,
        run: impl Fn() + 'static,
        stop: impl Fn() + 'static,
        close: impl Fn() + 'static,
    ) -> Self {
        ReactorRig { reactor, run: Box::new(run), stop: Rc::new(stop), close: Box::new(close) }
    }

    fn reactor(&self) -> &Rc<dyn Reactor> {
        &self.reactor
    }

    fn run(&self) {
        (self.run)();
    }

    fn close(&self) {
        (self.close)();
    }

    fn stopper(&self) -> impl Fn() + Clone + use<> {
        let stop = Rc::clone(&self.stop);
        move || stop()
    }

    /// Stops the reactor by a post, from any thread.
    fn remote_stop(&self) -> impl Fn() + Send + use<> {
        thread_local! {
            static STOP: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
        }
        STOP.set(Some(Rc::clone(&self.stop)));
        let poster = self.reactor.poster();
        move || {
            let stop = || STOP.with_borrow(|stop| stop.as_ref().expect("the reactor's thread")());
            poster.post(stop).expect("an open reactor");
        }
    }

    /// Runs what is queued and ready, for so many turns.
    fn turns(&self, turns: u32) {
        fn again(reactor: &Rc<dyn Reactor>, stop: Rc<dyn Fn()>, left: u32) {
            let next = Rc::clone(reactor);
            reactor.call_soon(move || match left {
                0 => stop(),
                _ => again(&next, stop, left - 1),
            });
        }
        again(&self.reactor, Rc::clone(&self.stop), turns);
        self.run();
    }

    /// Lets time pass, and runs what comes due.
    fn wait(&self, millis: u64) {
        self.reactor.call_later(Duration::from_millis(millis), self.stopper());
        self.run();
    }
}

impl Drop for ReactorRig {
    fn drop(&mut self) {
        self.close();
    }
}

impl From<Rig> for ReactorRig {
    fn from(rig: Rig) -> ReactorRig {
        let io_loop = rig.io_loop();
        let (driven, closed) = (io_loop.clone(), io_loop.clone());
        ReactorRig::new(
            Rc::new(io_loop),
            move || rig.run(&driven).expect("running the loop"),
            || IOLoop::current().expect("a callback has a current loop").stop(),
            move || closed.close().expect("closing a loop that does not run"),
        )
    }
}

/// Two connected ends that do not block.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("non-blocking mode");
    theirs.set_nonblocking(true).expect("non-blocking mode");
    (ours, theirs)
}

/// Turns enough for whatever is ready to be served, also where a poll is left out while callbacks
/// run.
const ENOUGH: u32 = 200;
