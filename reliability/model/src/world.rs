//! The interpreter: runs a program on the real loop, and notes what it sees.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ioloop::{
    BeforeSleep, CallbackHandle, Guard, Handle, IOLoop, ManualClock, Reactor, RunError, TimerHandle,
};

use crate::helper;
use crate::program::{Body, Op, Script};
use crate::rig::Rig;
use crate::trace::{Answer, Event, Id, Sleepy, Stand};

const MS: Duration = Duration::from_millis(1);

/// The payload of a panic on purpose.
pub(crate) struct Thrown(pub(crate) Id);

type Events = Arc<Mutex<Vec<Event>>>;

fn push(events: &Events, event: Event) {
    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
}

thread_local! {
    /// The world of the program that runs on this thread.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

fn current() -> Option<Rc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// What the loop handed out.
enum Held {
    Callback(CallbackHandle),
    GuardedCallback(Guard<CallbackHandle>),
    Timer(TimerHandle),
    GuardedTimer(Guard<TimerHandle>),
    Gone,
}

/// What a program's callbacks find when they are called.
pub(crate) struct World {
    rig: Rc<Rig>,
    pub(crate) io_loop: IOLoop,
    handle: Handle,
    clock: ManualClock,
    start: Instant,
    events: Events,
    held: RefCell<Vec<Rc<Held>>>,
    ids: Cell<Id>,
    /// Something was called since the loop was last about to sleep.
    stirred: Cell<bool>,
    /// This run was stopped for want of work.
    ended: Cell<bool>,
}

/// Captured by each callback: notes when it is dropped, and does what the program has for that.
struct Token {
    id: Id,
    end: Script,
    events: Events,
}

impl Drop for Token {
    fn drop(&mut self) {
        let unwinding = thread::panicking();
        let world = current();
        push(&self.events, Event::Drop { id: self.id, unwinding, here: world.is_some() });
        if let Some(world) = world {
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

    fn next_id(&self) -> Id {
        let id = self.ids.get();
        self.ids.set(id + 1);
        id
    }

    fn token(&self, id: Id, end: &Script) -> Token {
        Token { id, end: end.clone(), events: Arc::clone(&self.events) }
    }

    /// Begins what is called once or again.
    fn begin(&self, id: Id) {
        self.stirred.set(true);
        let current = IOLoop::current().is_some_and(|current| current == self.io_loop);
        self.note(Event::Begin { id, current, at: self.stand() });
    }

    fn run(&self, id: Id, script: &Script, may_panic: bool) {
        for op in script {
            self.op(id, op, may_panic);
        }
    }

    /// A closure for what is called once.
    fn once(&self, body: &Body) -> impl FnOnce() + Send + 'static {
        let id = self.next_id();
        let (token, call) = (self.token(id, &body.end), body.call.clone());
        move || {
            let _token = token;
            let world = current().expect("it is called on the loop's thread");
            world.begin(id);
            world.run(id, &call, true);
            world.note(Event::End(id));
        }
    }

    fn hold(&self, held: Held) {
        self.held.borrow_mut().push(Rc::new(held));
    }

    /// The place in the table of what was handed out so many times ago.
    fn index(&self, back: u8) -> Option<usize> {
        let len = self.held.borrow().len();
        (len > 0).then(|| len - 1 - usize::from(back) % len)
    }

    fn get(&self, back: u8) -> Option<Rc<Held>> {
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
                Some(Held::Gone) | None => Answer::Nothing,
            },
            Op::Ask(back) => match self.get(*back).as_deref() {
                Some(Held::Callback(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::GuardedCallback(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::Timer(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::GuardedTimer(handle)) => Answer::Is(handle.is_cancelled()),
                Some(Held::Gone) | None => Answer::Nothing,
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
            Op::Run => {
                self.note(Event::Run(self.stand()));
                self.stirred.set(true);
                if !self.io_loop.is_running() {
                    self.ended.set(false);
                }
                let ran = self.rig.run(self);
                self.note(Event::Ran(ran, self.stand()));
                return;
            }
            Op::Close => match self.io_loop.close() {
                Ok(()) => Answer::Done,
                Err(RunError::AlreadyRunning) => Answer::AlreadyRunning,
                Err(_) => Answer::Nothing,
            },
            Op::Count => Answer::Holds {
                timers: self.io_loop.metrics().timers,
                next: self.io_loop.next_deadline().map(|at| self.nanos(at)),
                running: self.io_loop.is_running(),
                closed: self.io_loop.is_closed(),
            },
        };
        self.note(Event::Answer(answer));
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
