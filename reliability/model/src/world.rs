//! The interpreter: runs a program on the real loop, and notes what it sees.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::{
    CallbackHandle, Guard, Handle, IOLoop, ManualClock, PeriodicCallback, Resolver, Task,
    TimerHandle, Watch,
};

use crate::helper;
use crate::program::Script;
use crate::rig::Rig;
use crate::trace::{Event, Id, Sleepy, Stand};
use crate::wires::Wires;
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
    Periodic(PeriodicCallback),
    Watch(Watch),
    GuardedWatch(Guard<Watch>),
    Hook(Hook),
    GuardedHook(Guard<Hook>),
    Task(RefCell<Option<Task<()>>>),
    GuardedTask(RefCell<Option<Guard<Task<()>>>>),
    Resolver(RefCell<Option<Resolver<()>>>),
    Deferred(RefCell<Option<Task<()>>>),
    Gone,
}

/// What a program's callbacks find when they are called.
pub(crate) struct World {
    pub(crate) rig: Rc<Rig>,
    pub(crate) io_loop: IOLoop,
    pub(crate) handle: Handle,
    pub(crate) clock: ManualClock,
    start: Instant,
    pub(crate) events: Events,
    pub(crate) wires: Wires,
    pub(crate) held: RefCell<Vec<Rc<Held>>>,
    ids: Cell<Id>,
    /// Something was called since the loop was last about to sleep.
    pub(crate) stirred: Cell<bool>,
    /// This run was stopped for want of work.
    pub(crate) ended: Cell<bool>,
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
pub(crate) fn thrown(payload: &(dyn Any + Send)) -> Id {
    payload.downcast_ref::<Thrown>().expect("the loop or the interpreter panicked by itself").0
}

/// As often as nothing may have been called between two calls of the hook before a sleep, in a loop
/// with something to do.
const CALM: u32 = 4;

impl World {
    fn set_up(self: &Rc<Self>) {
        let (events, tells) = (Arc::clone(&self.events), self.rig.outlet().is_some());
        self.io_loop.set_exception_handler(move |exception| {
            push(&events, Event::Report(exception.origin, thrown(&*exception.payload)));
            if tells {
                // Without the panic hook.
                resume_unwind(Box::new("an exception handler"));
            }
        });
        if tells {
            self.io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
            self.io_loop.set_spin_limit(Some(1));
        }
        // Ends a run once there is nothing more to do: after so many times that nothing was called
        // in between. It is called once around each look, which a jump of the clock may follow, and
        // once more before a sleep after a turn.
        let calm = Cell::new(0);
        self.io_loop.before_sleep(move || {
            let world = current().expect("a program runs");
            calm.set(if world.stirred.replace(false) { 0 } else { calm.get() + 1 });
            let did = match (calm.get() < CALM, world.ended.get()) {
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
        Stand { turn: metrics.turns, polls: metrics.polls, clock: self.nanos(self.clock.now()) }
    }

    /// An instant on the program's clock.
    pub(crate) fn nanos(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.start) {
            Some(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            None => -i64::try_from((self.start - at).as_nanos()).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn instant(&self, ms: i8) -> Instant {
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

    pub(crate) fn look_at_wires(&self) {
        self.note(Event::Wires(self.wires.snapshot()));
    }

    /// Begins what is called once or again.
    pub(crate) fn begin(&self, id: Id, came: u16) {
        self.stirred.set(true);
        self.note_begin(id, came);
    }

    pub(crate) fn note_begin(&self, id: Id, came: u16) {
        let current = IOLoop::current().is_some_and(|current| current == self.io_loop);
        self.note(Event::Begin { id, current, came, at: self.stand() });
    }

    pub(crate) fn run(&self, id: Id, script: &Script, may_panic: bool) {
        for op in script {
            self.op(id, op, may_panic);
        }
    }

    pub(crate) fn hold(&self, held: Held) {
        self.held.borrow_mut().push(Rc::new(held));
    }

    /// The place in the table of what was handed out so many times ago.
    pub(crate) fn index(&self, back: u8) -> Option<usize> {
        let len = self.held.borrow().len();
        (len > 0).then(|| len - 1 - usize::from(back) % len)
    }

    pub(crate) fn get(&self, back: u8) -> Option<Rc<Held>> {
        Some(Rc::clone(&self.held.borrow()[self.index(back)?]))
    }
}
