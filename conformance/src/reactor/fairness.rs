//! What waits beside callbacks or timers that never end.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::{ReactorRig, pair};
use ioloop::Reactor;

/// Far more calls than anything may have to wait for.
const STARVED: u32 = 100_000;

/// A callback that queues itself again, or a timer of no delay that sets itself again, until
/// something else was called.
struct Chain {
    reactor: Rc<dyn Reactor>,
    stop: Box<dyn Fn()>,
    of_timers: bool,
    links: Cell<u32>,
    ended: Cell<bool>,
}

impl Chain {
    fn of(rig: &ReactorRig, of_timers: bool) -> Rc<Chain> {
        let (reactor, stop) = (Rc::clone(rig.reactor()), Box::new(rig.stopper()));
        let (links, ended) = (Cell::new(0), Cell::new(false));
        Rc::new(Chain { reactor, stop, of_timers, links, ended })
    }

    /// Runs the chain. Its first link adds what is to be called beside it, which has to end it.
    fn run_beside(self: &Rc<Self>, rig: &ReactorRig, what: &str, add: impl FnOnce() + 'static) {
        let this = Rc::clone(self);
        self.next(move || {
            add();
            this.link();
        });
        rig.run();
        let starved = self.links.get() >= STARVED;
        assert!(
            self.ended.get() && !starved,
            "{what} was not called in {STARVED} calls of a chain"
        );
    }

    fn next(&self, link: impl FnOnce() + 'static) {
        match self.of_timers {
            true => drop(self.reactor.call_later(Duration::ZERO, link)),
            false => drop(self.reactor.call_soon(link)),
        }
    }

    fn link(self: &Rc<Self>) {
        self.links.set(self.links.get() + 1);
        let this = Rc::clone(self);
        match (self.ended.get(), self.links.get() >= STARVED) {
            (true, _) => {}
            (false, true) => (self.stop)(),
            (false, false) => self.next(move || this.link()),
        }
    }

    /// What waited beside the chain was called.
    fn end(&self) {
        self.ended.set(true);
        (self.stop)();
    }
}

/// A descriptor beside a chain.
fn is_read_beside(rig: &ReactorRig, chain: &Rc<Chain>) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let (reactor, ending) = (Rc::clone(rig.reactor()), Rc::clone(chain));
    let remover = Rc::clone(&reactor);
    chain.run_beside(rig, "a reader", move || {
        let reader = move |stream: &UnixStream| {
            remover.remove_reader(stream);
            ending.end();
        };
        reactor.add_reader(theirs, reader).unwrap();
    });
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_descriptors(
    rig: &ReactorRig,
) {
    is_read_beside(rig, &Chain::of(rig, false));
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_timers(rig: &ReactorRig) {
    let chain = Chain::of(rig, false);
    let (reactor, ending) = (Rc::clone(rig.reactor()), Rc::clone(&chain));
    chain.run_beside(rig, "a timer that is due", move || {
        reactor.call_later(Duration::ZERO, move || ending.end());
    });
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_posts(rig: &ReactorRig) {
    let chain = Chain::of(rig, false);
    let (stop, ending) = (rig.remote_stop(), Rc::clone(&chain));
    chain.next(move || {
        std::thread::spawn(stop).join().unwrap();
        ending.link();
    });
    rig.run();
    assert!(chain.links.get() < STARVED, "a post was not called in {STARVED} calls of a chain");
    chain.ended.set(true);
}

pub(in super::super) fn an_endless_chain_of_timers_starves_neither_descriptors_nor_callbacks(
    rig: &ReactorRig,
) {
    is_read_beside(rig, &Chain::of(rig, true));
    let chain = Chain::of(rig, true);
    let (reactor, ending) = (Rc::clone(rig.reactor()), Rc::clone(&chain));
    chain.run_beside(rig, "a callback", move || {
        reactor.call_soon(move || ending.end());
    });
}
