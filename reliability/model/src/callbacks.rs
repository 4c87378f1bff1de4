//! What a loop is given to call: closures that note when they are called, and do what the program
//! has for that.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::{Interest, PeriodicCallback, Reactor, Watch};

use crate::program::{Body, Moment, Op, Role, Script, Wanted};
use crate::trace::{Answer, Event};
use crate::wires::Wires;
use crate::world::{Held, MS, World, current};

/// A watch that is to be added.
pub(crate) struct NewWatch<'a> {
    pub(crate) place: usize,
    pub(crate) role: Role,
    pub(crate) share: bool,
    pub(crate) calls: &'a [Script],
    pub(crate) end: &'a Script,
    pub(crate) guard: bool,
}

pub(crate) fn interest(wanted: Wanted) -> Interest {
    let mut interest = Interest::empty();
    interest.set(Interest::READ, wanted.read);
    interest.set(Interest::WRITE, wanted.write);
    interest
}

impl World {
    /// A closure for what is called once.
    pub(crate) fn once(&self, body: &Body) -> impl FnOnce() + Send + 'static {
        let id = self.next_id();
        let (token, call) = (self.token(id, &body.end, false), body.call.clone());
        move || {
            let _token = token;
            let world = current().expect("it is called on the loop's thread");
            world.begin(id, 0);
            world.run(id, &call, true);
            world.note(Event::End(id));
        }
    }

    /// A closure for what is called again and again.
    fn again(&self, watch: &NewWatch<'_>) -> impl FnMut(u16) + 'static {
        let id = self.next_id();
        let NewWatch { place, role, calls, end, .. } = *watch;
        let (token, calls) = (self.token(id, end, true), calls.to_vec());
        let mut number = 0;
        move |came| {
            let _token = &token;
            let world = current().expect("it is called on the loop's thread");
            world.begin(id, came);
            let call = calls.get(number);
            number += 1;
            match call {
                Some(call) => world.run(id, call, true),
                None => world.op(id, &Op::Unwatch(place as u8, role), true),
            }
            world.note(Event::End(id));
        }
    }

    pub(crate) fn periodic(&self, period: u8, calls: &[Script]) -> PeriodicCallback {
        let (id, place) = (self.next_id(), self.held.borrow().len());
        let (token, calls) = (self.token(id, &Script::new(), false), calls.to_vec());
        let mut number = 0;
        let call = move || {
            let _token = &token;
            let world = current().expect("it is called on the loop's thread");
            world.begin(id, 0);
            let call = calls.get(number);
            number += 1;
            match call {
                Some(call) => world.run(id, call, true),
                // One that was dropped meanwhile is not called any more.
                None => world.stop(place),
            }
            world.note(Event::End(id));
        };
        let periodic = PeriodicCallback::new(&self.io_loop, MS * u32::from(period.max(1)), call);
        let periodic = periodic.expect("the period is not zero");
        periodic.start();
        periodic
    }

    pub(crate) fn watch(&self, new: &NewWatch<'_>) -> Answer {
        let callback = self.again(new);
        let shared = self.wires.at(new.place).filter(|_| new.share);
        let added = match shared {
            Some(source) => self.add(new.role, source, callback),
            None => self.add(new.role, Wires::lend(new.place), callback),
        };
        let held = match added {
            Ok(watch) if new.guard => Held::GuardedWatch(watch.remove_on_drop()),
            Ok(watch) => Held::Watch(watch),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Answer::Closed,
            Err(_) => return Answer::Refused,
        };
        self.hold(held);
        Answer::Done
    }

    fn add<S: AsFd + 'static>(
        &self,
        role: Role,
        source: S,
        mut callback: impl FnMut(u16) + 'static,
    ) -> io::Result<Watch> {
        let io_loop = &self.io_loop;
        match role {
            Role::Reader => io_loop.add_reader(source, move |_| callback(0)),
            Role::Writer => io_loop.add_writer(source, move |_| callback(0)),
            Role::Handler(wanted) => {
                io_loop
                    .add_handler(source, interest(wanted), move |_, events| callback(events.bits()))
            }
        }
    }

    pub(crate) fn hook(&self, moment: Moment, calls: &[Script], stays: bool, end: &Script) -> Hook {
        let id = self.next_id();
        let (token, calls) = (self.token(id, end, false), calls.to_vec());
        let mut number = 0;
        let call = move || {
            let _token = &token;
            let world = current().expect("it is called on the loop's thread");
            let call = calls.get(number);
            number += 1;
            world.note_begin(id, 0);
            // Hooks around a sleep that do nothing any more are no reason for another turn.
            if call.is_some() {
                world.stirred.set(true);
            }
            match call {
                Some(call) => world.run(id, call, true),
                None if moment == Moment::Idle => world.op(id, &Op::Panic, true),
                None => {}
            }
            world.note(Event::End(id));
            call.is_some()
        };
        self.add_hook(moment, stays, call)
    }

    fn add_hook(
        &self,
        moment: Moment,
        stays: bool,
        mut call: impl FnMut() -> bool + 'static,
    ) -> Hook {
        match moment {
            Moment::Before => self.io_loop.before_sleep(move || match call() && stays {
                true => BeforeSleep::StayAwake,
                false => BeforeSleep::Sleep,
            }),
            Moment::After => self.io_loop.after_wake(move || _ = call()),
            Moment::Idle => self.io_loop.on_idle(move || _ = call()),
        }
    }
}
