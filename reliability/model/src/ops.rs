//! The operations of a program, on the real loop.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::time::Duration;

use ioloop::{Reactor, RunError, TimerHandle, deferred};

use crate::callbacks::{NewWatch, interest};
use crate::helper;
use crate::program::{Op, Role};
use crate::rig::Way;
use crate::trace::{Answer, Event, Id, PLACES, Ran};
use crate::wires::Wires;
use crate::world::{Held, MS, Thrown, World, thrown};

fn at(place: u8) -> usize {
    usize::from(place) % PLACES
}

impl World {
    /// Does one operation, as `id`.
    pub(crate) fn op(&self, id: Id, op: &Op, may_panic: bool) {
        let answer = match op {
            Op::CallSoon { body, guard } => {
                let handle = self.io_loop.call_soon(self.once(body));
                let answer = Answer::Is(handle.is_cancelled());
                self.hold(match guard {
                    true => Held::GuardedCallback(handle.cancel_on_drop()),
                    false => Held::Callback(handle),
                });
                answer
            }
            Op::Post { body, elsewhere } => {
                let (handle, callback) = (self.handle.clone(), self.once(body));
                let posted = match elsewhere {
                    true => helper::elsewhere(move || handle.add_callback(callback)),
                    false => handle.add_callback(callback),
                };
                posted.map_or(Answer::Closed, |()| Answer::Done)
            }
            Op::CallLater { body, delay, guard } => {
                let delay = if *delay == u8::MAX { Duration::MAX } else { MS * u32::from(*delay) };
                let handle = self.io_loop.call_later(delay, self.once(body));
                self.timer(handle, *guard)
            }
            Op::CallAt { body, at, guard } => {
                let handle = self.io_loop.call_at(self.instant(*at), self.once(body));
                self.timer(handle, *guard)
            }
            Op::Periodic { period, calls } => {
                let periodic = self.periodic(*period, calls);
                let answer = Answer::Is(periodic.is_running());
                self.hold(Held::Periodic(periodic));
                answer
            }
            Op::End(back) => match self.get(*back).as_deref() {
                Some(Held::Periodic(periodic)) => {
                    periodic.stop();
                    Answer::Done
                }
                Some(Held::Callback(handle)) => Answer::Is(handle.cancel()),
                Some(Held::GuardedCallback(handle)) => Answer::Is(handle.cancel()),
                Some(Held::Timer(handle)) => Answer::Is(handle.cancel()),
                Some(Held::GuardedTimer(handle)) => Answer::Is(handle.cancel()),
                Some(Held::Watch(watch)) => Answer::Is(watch.remove()),
                Some(Held::GuardedWatch(watch)) => Answer::Is(watch.remove()),
                Some(Held::Hook(hook)) => Answer::Is(hook.remove()),
                Some(Held::GuardedHook(hook)) => Answer::Is(hook.remove()),
                Some(Held::Task(task)) => match &*task.borrow() {
                    Some(task) => {
                        task.cancel();
                        Answer::Done
                    }
                    None => Answer::Nothing,
                },
                Some(Held::GuardedTask(task)) => match &*task.borrow() {
                    Some(task) => {
                        task.cancel();
                        Answer::Done
                    }
                    None => Answer::Nothing,
                },
                Some(Held::Resolver(_) | Held::Deferred(_)) => Answer::Nothing,
                Some(Held::Gone) | None => Answer::Nothing,
            },
            Op::Ask(back) => match self.get(*back).as_deref() {
                Some(Held::Periodic(periodic)) => Answer::Is(periodic.is_running()),
                Some(Held::Callback(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::GuardedCallback(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::Timer(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::GuardedTimer(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::Task(task)) => task
                    .borrow()
                    .as_ref()
                    .map_or(Answer::Nothing, |task| Answer::Is(task.is_finished())),
                Some(Held::GuardedTask(task)) => task
                    .borrow()
                    .as_ref()
                    .map_or(Answer::Nothing, |task| Answer::Is(task.is_finished())),
                Some(Held::Deferred(deferred)) => deferred
                    .borrow()
                    .as_ref()
                    .map_or(Answer::Nothing, |deferred| Answer::Is(deferred.is_finished())),
                _ => Answer::Nothing,
            },
            Op::Forget(back) => match self.index(*back) {
                Some(index) => {
                    let gone = Rc::new(Held::Gone);
                    let held = std::mem::replace(&mut self.held.borrow_mut()[index], gone);
                    drop(held);
                    Answer::Done
                }
                None => Answer::Nothing,
            },
            Op::Reset(back, ms) => {
                let distance = MS * u32::from(ms.unsigned_abs());
                let now = self.clock.now();
                let deadline = if *ms < 0 { now - distance } else { now + distance };
                match self.get(*back).as_deref() {
                    Some(Held::Timer(timer)) => Answer::Is(timer.reset(deadline)),
                    Some(Held::GuardedTimer(timer)) => Answer::Is(timer.reset(deadline)),
                    _ => Answer::Nothing,
                }
            }
            Op::Open { sockets } => self.wired(self.wires.open(*sockets)),
            Op::Shut(place) => self.wired(self.wires.close(at(*place))),
            Op::Dup(from, to) => self.wired(self.wires.dup(at(*from), at(*to))),
            Op::Write(place) => self.wired(self.wires.write(at(*place), false)),
            Op::Fill(place) => self.wired(self.wires.write(at(*place), true)),
            Op::Read(place) => self.wired(self.wires.read(at(*place), false)),
            Op::Drain(place) => self.wired(self.wires.read(at(*place), true)),
            Op::HalfClose(place) => self.wired(self.wires.shut(at(*place))),
            Op::Watch { place, role, share, calls, end, guard } => self.watch(&NewWatch {
                place: at(*place),
                role: *role,
                share: *share,
                calls,
                end,
                guard: *guard,
            }),
            Op::Pause(back) => match self.get(*back).as_deref() {
                Some(Held::Watch(watch)) => Answer::Is(watch.pause()),
                Some(Held::GuardedWatch(watch)) => Answer::Is(watch.pause()),
                _ => Answer::Nothing,
            },
            Op::Resume(back) => {
                let resumed = match self.get(*back).as_deref() {
                    Some(Held::Periodic(periodic)) => {
                        periodic.start();
                        Some(Ok(periodic.is_running()))
                    }
                    Some(Held::Watch(watch)) => Some(watch.resume()),
                    Some(Held::GuardedWatch(watch)) => Some(watch.resume()),
                    _ => None,
                };
                resumed
                    .map_or(Answer::Nothing, |resumed| resumed.map_or(Answer::Refused, Answer::Is))
            }
            Op::Unwatch(place, role) => {
                let number = Wires::lend(at(*place));
                Answer::Is(match role {
                    Role::Reader => self.io_loop.remove_reader(number),
                    Role::Writer => self.io_loop.remove_writer(number),
                    Role::Handler(_) => self.io_loop.remove_handler(number),
                })
            }
            Op::Update(place, wanted) => {
                let number = Wires::lend(at(*place));
                let updated = self.io_loop.update_handler(number, interest(*wanted));
                updated.map_or(Answer::Refused, |()| Answer::Done)
            }
            Op::Spawn { steps, end, guard } => {
                let (_, future) = self.future(steps, end);
                let task = self.io_loop.spawn(future);
                let answer = Answer::Is(task.is_finished());
                self.hold(match guard {
                    true => Held::GuardedTask(RefCell::new(Some(task.cancel_on_drop()))),
                    false => Held::Task(RefCell::new(Some(task))),
                });
                answer
            }
            Op::Defer => {
                let (resolver, deferred) = deferred();
                self.hold(Held::Resolver(RefCell::new(Some(resolver))));
                self.hold(Held::Deferred(RefCell::new(Some(deferred))));
                Answer::Done
            }
            Op::Resolve { back, elsewhere } => {
                let resolver = match self.get(*back).as_deref() {
                    Some(Held::Resolver(resolver)) => resolver.take(),
                    _ => None,
                };
                match resolver {
                    Some(resolver) if *elsewhere => {
                        Answer::Is(helper::elsewhere(move || resolver.resolve(()).is_ok()))
                    }
                    Some(resolver) => Answer::Is(resolver.resolve(()).is_ok()),
                    None => Answer::Nothing,
                }
            }
            Op::Hook { moment, calls, stays, end, guard } => {
                let hook = self.hook(*moment, calls, *stays, end);
                self.hold(match guard {
                    true => Held::GuardedHook(hook.remove_on_drop()),
                    false => Held::Hook(hook),
                });
                Answer::Done
            }
            Op::RunFor { steps, end } => {
                let (id, future) = self.future(steps, end);
                if self.rig.mode().way() == Way::Embedded {
                    self.io_loop.spawn(future).detach();
                    self.op(id, &Op::Run, may_panic);
                } else {
                    self.drive(|| self.rig.run_for(self, future));
                }
                return;
            }
            Op::Stop => {
                self.io_loop.stop();
                Answer::Done
            }
            Op::PostStop { elsewhere } => {
                let handle = self.handle.clone();
                let posted = match elsewhere {
                    true => helper::elsewhere(move || handle.stop()),
                    false => handle.stop(),
                };
                posted.map_or(Answer::Closed, |()| Answer::Done)
            }
            Op::Advance(ms) => {
                self.clock.advance(MS * u32::from(*ms));
                Answer::Done
            }
            Op::Jumps(jumps) => {
                self.clock.set_auto_advance(*jumps);
                Answer::Done
            }
            Op::Panic if may_panic => {
                self.note(Event::Panics(id));
                panic_any(Thrown(id));
            }
            Op::Panic => Answer::Nothing,
            Op::Run => return self.drive(|| self.rig.run(self)),
            Op::RunPart if self.rig.mode().way() == Way::Attached => {
                return self.drive(|| self.rig.run_part(self));
            }
            Op::RunPart => Answer::Nothing,
            Op::Close => match self.io_loop.close() {
                Ok(()) => Answer::Done,
                Err(RunError::AlreadyRunning) => Answer::AlreadyRunning,
                Err(_) => Answer::Nothing,
            },
            Op::Count => Answer::Holds {
                timers: self.io_loop.metrics().timers,
                watches: self.io_loop.metrics().watches,
                tasks: self.io_loop.metrics().tasks,
                next: self.io_loop.next_deadline().map(|at| self.nanos(at)),
                running: self.io_loop.is_running(),
                closed: self.io_loop.is_closed(),
            },
        };
        self.note(Event::Answer(answer));
    }

    /// Stops the periodic callback at a place in the table of what was handed out.
    pub(crate) fn stop(&self, place: usize) {
        let held = Rc::clone(&self.held.borrow()[place]);
        let Held::Periodic(periodic) = &*held else {
            unreachable!("it is called, and was dropped")
        };
        periodic.stop();
    }

    /// Notes a run.
    fn drive(&self, run: impl FnOnce() -> Ran) {
        self.note(Event::Run(self.stand()));
        self.stirred.set(true);
        if !self.io_loop.is_running() {
            self.ended.set(false);
        }
        let ran = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
            thrown(&*payload);
            Ran::Panicked
        });
        self.note(Event::Ran(ran, self.stand()));
    }

    /// Notes what an operation on the wires has changed.
    fn wired(&self, done: bool) -> Answer {
        self.look_at_wires();
        Answer::Is(done)
    }

    fn timer(&self, handle: TimerHandle, guard: bool) -> Answer {
        let answer = Answer::Is(handle.is_cancelled());
        self.hold(match guard {
            true => Held::GuardedTimer(handle.cancel_on_drop()),
            false => Held::Timer(handle),
        });
        answer
    }
}
