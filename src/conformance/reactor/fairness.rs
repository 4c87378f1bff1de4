//! What waits beside callbacks or timers that never end.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use super::{ReactorRig, pair};
use crate::Reactor;

/// Far more calls than anything may have to wait for.
const STARVED: u32 = 100_000;

/// A callback that queues itself again, or a timer of no delay that sets itself again, until something else was called.
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
        let chain = Rc::new(Chain { reactor, stop, of_timers, links, ended });
        chain.link();
        chain
    }

    fn of_callbacks(rig: &ReactorRig) -> Rc<Chain> {
        Chain::of(rig, false)
    }

    fn of_timers(rig: &ReactorRig) -> Rc<Chain> {
        Chain::of(rig, true)
    }

    fn link(self: &Rc<Self>) {
        let this = Rc::clone(self);
        let link = move || {
            this.links.set(this.links.get() + 1);
            match (this.ended.get(), this.links.get() >= STARVED) {
                (true, _) => {}
                (false, true) => (this.stop)(),
                (false, false) => this.link(),
            }
        };
        match self.of_timers {
            true => drop(self.reactor.call_later(Duration::ZERO, link)),
            false => drop(self.reactor.call_soon(link)),
        }
    }

    /// What waited beside the chain was called.
    fn end(&self) {
        self.ended.set(true);
        (self.stop)();
    }

    fn assert_ended(&self, what: &str) {
        assert!(self.ended.get(), "{what} was not called in {} calls of a chain", self.links.get());
    }
}

/// A descriptor beside a chain.
fn is_read_beside(rig: &ReactorRig, chain: &Rc<Chain>) {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let ending = Rc::clone(chain);
    let watch = rig.reactor().add_reader(theirs, move |_| ending.end()).unwrap();
    rig.run();
    chain.assert_ended("a reader");
    assert!(watch.remove());
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_descriptors(
    rig: &ReactorRig,
) {
    is_read_beside(rig, &Chain::of_callbacks(rig));
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_timers(rig: &ReactorRig) {
    let chain = Chain::of_callbacks(rig);
    let ending = Rc::clone(&chain);
    rig.reactor().call_later(Duration::ZERO, move || ending.end());
    rig.run();
    chain.assert_ended("a timer that is due");
}

pub(in super::super) fn an_endless_chain_of_callbacks_does_not_starve_posts(rig: &ReactorRig) {
    let chain = Chain::of_callbacks(rig);
    let stop = rig.remote_stop();
    std::thread::spawn(stop).join().unwrap();
    rig.run();
    assert!(chain.links.get() < STARVED, "a post was not called in {STARVED} calls of a chain");
    chain.ended.set(true);
}

pub(in super::super) fn an_endless_chain_of_timers_starves_neither_descriptors_nor_callbacks(
    rig: &ReactorRig,
) {
    is_read_beside(rig, &Chain::of_timers(rig));
    let chain = Chain::of_timers(rig);
    let ending = Rc::clone(&chain);
    rig.reactor().call_soon(move || ending.end());
    rig.run();
    chain.assert_ended("a callback");
}
