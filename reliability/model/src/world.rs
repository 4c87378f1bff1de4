//! The interpreter: runs a program on the real loop, and notes what it sees.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ioloop::{
    BeforeSleep, CallbackHandle, Deferred, Guard, Handle, Hook, IOLoop, Interest, ManualClock,
    Reactor, Resolver, RunError, Task, TimerHandle, Watch, deferred,
};

use crate::helper;
use crate::program::{Body, Moment, Op, Role, Script, Wanted};
use crate::rig::{Rig, Way};
use crate::trace::{Answer, Event, Id, PLACES, Ran, Sleepy, Stand};
use crate::wires::Wires;

/// A watch that is to be added.
struct NewWatch<'a> {
    place: usize,
    role: Role,
    share: bool,
    calls: &'a [Script],
    end: &'a Script,
    guard: bool,
}

fn at(place: u8) -> usize {
    usize::from(place) % PLACES
}

fn interest(wanted: Wanted) -> Interest {
    let mut interest = Interest::empty();
    interest.set(Interest::READ, wanted.read);
    interest.set(Interest::WRITE, wanted.write);
    interest
}

pub(crate) const MS: Duration = Duration::from_millis(1);

/// The payload of a panic on purpose.
pub(crate) struct Thrown(pub(crate) Id);

pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

pub(crate) fn push(events: &Events, event: Event) {
    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
}

thread_local! {
    /// The world of the program that runs on this thread.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

pub(crate) fn current() -> Option<Rc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// What the loop handed out.
pub(crate) enum Held {
    Callback(CallbackHandle),
    GuardedCallback(Guard<CallbackHandle>),
    Timer(TimerHandle),
    GuardedTimer(Guard<TimerHandle>),
    Watch(Watch),
    GuardedWatch(Guard<Watch>),
    Hook(Hook),
    GuardedHook(Guard<Hook>),
    Task(RefCell<Option<Task<()>>>),
    GuardedTask(RefCell<Option<Guard<Task<()>>>>),
    Resolver(RefCell<Option<Resolver<()>>>),
    Deferred(RefCell<Option<Deferred<()>>>),
    Gone,
}

/// What a program's callbacks find when they are called.
pub(crate) struct World {
    pub(crate) rig: Rc<Rig>,
    pub(crate) io_loop: IOLoop,
    pub(crate) handle: Handle,
    clock: ManualClock,
    start: Instant,
    pub(crate) events: Events,
    wires: Wires,
    held: RefCell<Vec<Rc<Held>>>,
    ids: Cell<Id>,
    /// Something was called since the loop was last about to sleep.
    stirred: Cell<bool>,
    /// This run was stopped for want of work.
    ended: Cell<bool>,
}

/// Captured by each callback: notes when it is dropped, and does what the program has for that.
pub(crate) struct Token {
    id: Id,
    end: Script,
    events: Events,
    /// Held by a watch, whose source goes first.
    watch: bool,
}

impl Drop for Token {
    fn drop(&mut self) {
        let unwinding = thread::panicking();
        let world = current();
        let at = world.as_ref().map(|world| world.stand());
        push(&self.events, Event::Drop { id: self.id, unwinding, at });
        if let Some(world) = world {
            if self.watch {
                world.look_at_wires();
            }
            world.run(self.id, &self.end, !unwinding);
        }
        push(&self.events, Event::Dropped(self.id));
    }
}

/// Runs a program, and returns what was seen.
pub(crate) fn run(rig: &Rc<Rig>, program: &Script) -> Vec<Event> {
    let clock = ManualClock::new();
    let io_loop = rig.make(&clock);
    let world = Rc::new(World {
        rig: Rc::clone(rig),
        handle: io_loop.handle(),
        io_loop,
        start: clock.now(),
        clock,
        events: Events::default(),
        wires: Wires::new(),
        held: RefCell::default(),
        ids: Cell::new(0),
        stirred: Cell::new(false),
        ended: Cell::new(false),
    });
    let events = Arc::clone(&world.events);
    let watchdog = helper::watch(world.handle.clone());
    world.set_up();
    WORLD.set(Some(Rc::clone(&world)));
    for op in program {
        // A panic at the top level ends only its operation.
        let _ = catch_unwind(AssertUnwindSafe(|| world.op(Id::MAX, op, true)));
    }
    let _ = world.io_loop.close();
    let held = world.held.take();
    drop(held);
    world.wires.close_all();
    WORLD.set(None);
    drop(watchdog);
    drop(world);
    Arc::try_unwrap(events)
        .map(|events| events.into_inner().unwrap_or_else(PoisonError::into_inner))
        .expect("a callback's captured value was not dropped")
}

/// The id that a panic was thrown with.
fn thrown(payload: &(dyn Any + Send)) -> Id {
    payload.downcast_ref::<Thrown>().expect("the loop or the interpreter panicked by itself").0
}

impl World {
    fn set_up(self: &Rc<Self>) {
        let events = Arc::clone(&self.events);
        self.io_loop.set_exception_handler(move |exception| {
            push(&events, Event::Report(exception.origin, thrown(&*exception.payload)));
        });
        // Ends a run once there is nothing more to do: the second time that nothing was called in between.
        self.io_loop.before_sleep(|| {
            let world = current().expect("a program runs");
            let did = match (world.stirred.replace(false), world.ended.get()) {
                (_, true) => Sleepy::Sleeps,
                (true, false) => Sleepy::Stays,
                (false, false) => Sleepy::Stops,
            };
            world.note(Event::Sleep { did, at: world.stand() });
            if did == Sleepy::Stops {
                world.ended.set(true);
                world.io_loop.stop();
            }
            match did {
                Sleepy::Sleeps => BeforeSleep::Sleep,
                Sleepy::Stays | Sleepy::Stops => BeforeSleep::StayAwake,
            }
        });
    }

    pub(crate) fn note(&self, event: Event) {
        push(&self.events, event);
    }

    pub(crate) fn stand(&self) -> Stand {
        let metrics = self.io_loop.metrics();
        Stand { turn: metrics.turns, looks: metrics.looks, clock: self.nanos(self.clock.now()) }
    }

    /// An instant on the program's clock.
    fn nanos(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.start) {
            Some(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            None => -i64::try_from((self.start - at).as_nanos()).unwrap_or(i64::MAX),
        }
    }

    fn instant(&self, ms: i8) -> Instant {
        let distance = MS * u32::from(ms.unsigned_abs());
        if ms < 0 { self.start - distance } else { self.start + distance }
    }

    pub(crate) fn next_id(&self) -> Id {
        let id = self.ids.get();
        self.ids.set(id + 1);
        id
    }

    pub(crate) fn token(&self, id: Id, end: &Script, watch: bool) -> Token {
        Token { id, end: end.clone(), events: Arc::clone(&self.events), watch }
    }

    fn look_at_wires(&self) {
        self.note(Event::Wires(self.wires.snapshot()));
    }

    /// Begins what is called once or again.
    pub(crate) fn begin(&self, id: Id, came: u8) {
        self.stirred.set(true);
        self.note_begin(id, came);
    }

    fn note_begin(&self, id: Id, came: u8) {
        let current = IOLoop::current().is_some_and(|current| current == self.io_loop);
        self.note(Event::Begin { id, current, came, at: self.stand() });
    }

    pub(crate) fn run(&self, id: Id, script: &Script, may_panic: bool) {
        for op in script {
            self.op(id, op, may_panic);
        }
    }

    /// A closure for what is called once.
    fn once(&self, body: &Body) -> impl FnOnce() + Send + 'static {
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
    fn again(&self, watch: &NewWatch<'_>) -> impl FnMut(u8) + 'static {
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

    fn watch(&self, new: &NewWatch<'_>) -> Answer {
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
        mut callback: impl FnMut(u8) + 'static,
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

    /// Notes what an operation on the wires has changed.
    fn wired(&self, done: bool) -> Answer {
        self.look_at_wires();
        Answer::Is(done)
    }

    pub(crate) fn hold(&self, held: Held) {
        self.held.borrow_mut().push(Rc::new(held));
    }

    /// The place in the table of what was handed out so many times ago.
    fn index(&self, back: u8) -> Option<usize> {
        let len = self.held.borrow().len();
        (len > 0).then(|| len - 1 - usize::from(back) % len)
    }

    pub(crate) fn get(&self, back: u8) -> Option<Rc<Held>> {
        Some(Rc::clone(&self.held.borrow()[self.index(back)?]))
    }

    /// Does one operation, as `id`.
    fn op(&self, id: Id, op: &Op, may_panic: bool) {
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
            Op::End(back) => match self.get(*back).as_deref() {
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

    fn hook(&self, moment: Moment, calls: &[Script], stays: bool, end: &Script) -> Hook {
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

    fn timer(&self, handle: TimerHandle, guard: bool) -> Answer {
        let answer = Answer::Is(handle.is_cancelled());
        self.hold(match guard {
            true => Held::GuardedTimer(handle.cancel_on_drop()),
            false => Held::Timer(handle),
        });
        answer
    }
}
