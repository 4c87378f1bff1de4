//! Random programs on the executor that a loop drives: tasks are spawned, woken, cancelled and
//! given up, and panic, by the loop's thread and by another one at the same time.
//!
//! What two threads do has no order, so what was seen is judged by what holds in every one:
//! see [`judge`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_lite::future::block_on;
use ioloop::backends::async_io::AsyncIoBackend;
use ioloop::backends::smol::SmolBackend;
use ioloop::hooks::BeforeSleep;
use ioloop::observe::Origin;
use ioloop::{Guard, IOLoop, Reactor, Task, bridge};
use rustix::event::{PollFd, PollFlags, poll};
use smol::Executor;

use crate::world::Thrown;

/// What a task does in one of its polls; after the last it is done.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Waits to be woken.
    Wait,
    /// Wakes itself.
    Yield,
    /// Spawns a task that is done in its first poll.
    Spawn,
    /// Panics.
    Panic,
}

/// One operation on the tasks, which are named by a number, counted back from the newest.
#[derive(Clone, Debug)]
pub enum Op {
    /// Spawns a task.
    Spawn(Vec<Act>),
    /// Wakes one that waits.
    Wake(u8),
    /// Cancels one.
    Cancel(u8),
    /// Drops the guard of one, which cancels.
    Drop(u8),
    /// Lets one run on, detached.
    Detach(u8),
}

/// One step of a program.
#[derive(Clone, Debug)]
pub enum Step {
    /// Operations of the loop's thread, while nobody drives the loop.
    Still(Vec<Op>),
    /// The loop runs until there is nothing to do: beside operations of callbacks, and of another
    /// thread.
    Run {
        /// A callback each.
        here: Vec<Op>,
        /// One after the other, on another thread.
        there: Vec<Op>,
    },
    /// A run that is stopped after its first turn.
    Turn,
}

/// Whose executor it is, and how its loop is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// An own loop on async-io, whose executor was given to it.
    Given,
    /// An own loop on async-io, which made its executor.
    Made,
    /// An own loop on smol, which made its executor.
    Smol,
    /// Turned by a foreign loop that waits for the descriptor; it made its executor.
    Embedded,
}

impl Host {
    /// All of them.
    pub const ALL: [Host; 4] = [Host::Given, Host::Made, Host::Smol, Host::Embedded];

    fn make(self) -> (IOLoop, Arc<Executor<'static>>) {
        let given = Arc::new(Executor::new());
        let builder = IOLoop::builder();
        let builder = match self {
            Host::Given => builder.host(AsyncIoBackend::with_executor(Arc::clone(&given))),
            Host::Made | Host::Embedded => builder.host(AsyncIoBackend::new()),
            Host::Smol => builder.host(SmolBackend::new()),
        };
        let io_loop = builder.build().expect("making a loop");
        let executor = match self {
            Host::Given => given,
            Host::Made | Host::Embedded => {
                io_loop.backend::<AsyncIoBackend>().expect("its backend").executor()
            }
            Host::Smol => io_loop.backend::<SmolBackend>().expect("its backend").executor(),
        };
        (io_loop, executor)
    }

    fn drive(self, io_loop: &IOLoop) {
        if self != Host::Embedded {
            return io_loop.start().expect("driving a loop");
        }
        loop {
            let descriptor = io_loop.descriptor().expect("an open loop");
            poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None).expect("waiting");
            if io_loop.turn(Some(Duration::ZERO)).expect("a turn").stopped {
                return;
            }
        }
    }
}

type Id = usize;

/// What was seen, in the order of the lock that it is written down under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Spawn(Id),
    /// Before the waker is called.
    Wake(Id),
    /// The call has returned, on that thread.
    Cancelled(Id, ThreadId),
    Poll(Id, ThreadId),
    Done(Id),
    Panics(Id),
    Dropped(Id, ThreadId),
    Detached(Id),
    Report(Id, Origin),
    /// A run has ended because nothing was left to do.
    Idle,
    Closed,
}

impl Event {
    /// The task whose value nobody may want from here on.
    fn given_up(&self) -> Option<Id> {
        match *self {
            Event::Detached(id) | Event::Cancelled(id, _) => Some(id),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    wakers: HashMap<Id, Waker>,
    tasks: Vec<Option<Guard<Task<Id>>>>,
}

#[derive(Clone)]
struct World {
    seen: Arc<Mutex<Seen>>,
    executor: std::sync::Weak<Executor<'static>>,
}

/// The future of a task.
struct Scripted {
    id: Id,
    acts: VecDeque<Act>,
    world: World,
}

impl Future for Scripted {
    type Output = Id;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Id> {
        let id = self.id;
        // Before it is noted: whoever wakes from then on finds this one.
        let before = self.world.lock().wakers.insert(id, cx.waker().clone());
        drop(before);
        self.world.note(Event::Poll(id, thread::current().id()));
        match self.acts.pop_front() {
            Some(Act::Wait) => {}
            Some(Act::Yield) => {
                self.world.note(Event::Wake(id));
                cx.waker().wake_by_ref();
            }
            Some(Act::Spawn) => {
                self.world.spawn(&[]);
                self.world.note(Event::Wake(id));
                cx.waker().wake_by_ref();
            }
            Some(Act::Panic) => {
                self.world.note(Event::Panics(id));
                panic_any(Thrown(id as crate::trace::Id));
            }
            None => {
                self.world.note(Event::Done(id));
                return Poll::Ready(id);
            }
        }
        Poll::Pending
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let waker = self.world.lock().wakers.remove(&self.id);
        self.world.note(Event::Dropped(self.id, thread::current().id()));
        drop(waker);
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        self.lock().events.push(event);
    }

    fn spawn(&self, acts: &[Act]) {
        let Some(executor) = self.executor.upgrade() else { return };
        let id = {
            let mut seen = self.lock();
            let id = seen.tasks.len();
            seen.tasks.push(None);
            seen.events.push(Event::Spawn(id));
            id
        };
        let future = Scripted { id, acts: acts.iter().copied().collect(), world: self.clone() };
        let task = bridge::to_executor(&executor, future);
        self.lock().tasks[id] = Some(task);
    }

    fn op(&self, op: &Op) {
        let named = |back: &u8| {
            let tasks = self.lock().tasks.len();
            (tasks > 0).then(|| tasks - 1 - usize::from(*back) % tasks)
        };
        match op {
            Op::Spawn(acts) => self.spawn(acts),
            Op::Wake(back) => {
                let Some(id) = named(back) else { return };
                let waker = {
                    let mut seen = self.lock();
                    let waker = seen.wakers.get(&id).cloned();
                    if waker.is_some() {
                        seen.events.push(Event::Wake(id));
                    }
                    waker
                };
                waker.into_iter().for_each(Waker::wake);
            }
            Op::Cancel(back) => {
                let Some(id) = named(back) else { return };
                let task = self.lock().tasks[id].take();
                if let Some(task) = task {
                    task.cancel();
                    let mut seen = self.lock();
                    seen.events.push(Event::Cancelled(id, thread::current().id()));
                    seen.tasks[id] = Some(task);
                }
            }
            Op::Drop(back) => {
                let Some(id) = named(back) else { return };
                let task = self.lock().tasks[id].take();
                if task.is_some() {
                    drop(task);
                    self.note(Event::Cancelled(id, thread::current().id()));
                }
            }
            Op::Detach(back) => {
                let Some(id) = named(back) else { return };
                let task = self.lock().tasks[id].take();
                if let Some(task) = task {
                    task.keep().detach();
                    self.note(Event::Detached(id));
                }
            }
        }
    }
}

/// As often as nothing may have been seen between two calls of the hook before a sleep, in a loop
/// with something to do.
const CALM: u32 = 4;

/// Runs a program on the executor of a loop, and judges what was seen.
///
/// # Errors
///
/// What must not be, or should have been.
pub fn check(host: Host, program: &[Step]) -> Result<(), String> {
    crate::silence();
    let (io_loop, executor) = host.make();
    let world = World { seen: Arc::default(), executor: Arc::downgrade(&executor) };
    let reports = world.clone();
    io_loop.set_exception_handler(move |exception| {
        let Thrown(id) = exception.payload.downcast_ref().expect("a panic of the program's");
        reports.note(Event::Report(*id as Id, exception.origin));
    });
    for step in program {
        match step {
            Step::Still(ops) => ops.iter().for_each(|op| world.op(op)),
            Step::Turn => {
                io_loop.stop();
                host.drive(&io_loop);
            }
            Step::Run { here, there } => run(host, &io_loop, &world, here, there),
        }
    }
    // What was detached last may panic yet, and is then reported.
    run(host, &io_loop, &world, &[], &[]);
    let held: Vec<_> = world.lock().tasks.drain(..).enumerate().collect();
    let given = (host == Host::Given).then(|| Arc::clone(&executor));
    drop(executor);
    io_loop.close().expect("closing a loop that does not run");
    world.note(Event::Closed);
    drop(given);
    let events = world.lock().events.clone();
    let results = held.into_iter().filter_map(|(id, task)| Some((id, block_on(task?))));
    judge(&events, results.collect())
}

/// Drives the loop until both threads have done their part, and nothing is left to do.
fn run(host: Host, io_loop: &IOLoop, world: &World, here: &[Op], there: &[Op]) {
    for op in here {
        let (op, world) = (op.clone(), world.clone());
        io_loop.call_soon(move || world.op(&op));
    }
    let (there, beside) = (there.to_vec(), world.clone());
    // Ended before the loop is.
    let (ending, ended) = std::sync::mpsc::channel::<()>();
    let handle = io_loop.handle();
    let other = thread::spawn(move || {
        there.iter().for_each(|op| beside.op(op));
        // Before the wake, which has the loop look.
        drop(ending);
        handle.add_callback(|| ()).expect("an open loop");
    });
    let (stopper, seen, mut calm, mut before) = (io_loop.downgrade(), world.clone(), 0, 0);
    let hook = io_loop.before_sleep(move || {
        let now = seen.lock().events.len();
        calm = if now == before { calm + 1 } else { 0 };
        before = now;
        let is_alone = ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
        if !is_alone {
            calm = 0;
            return BeforeSleep::Sleep;
        }
        // Once: a second stop would be the next run's.
        if calm == CALM {
            stopper.upgrade().iter().for_each(IOLoop::stop);
        }
        BeforeSleep::StayAwake
    });
    host.drive(io_loop);
    hook.remove();
    other.join().expect("the other thread");
    world.note(Event::Idle);
}

/// What was seen of one task.
#[derive(Default)]
struct Life {
    polls: usize,
    wakes: usize,
    drops: usize,
    last_poll: usize,
    last_wake: usize,
    cancelled: bool,
    /// That may come after the cancellation.
    late_polls: usize,
    detached: bool,
    over: bool,
    panicked: bool,
    /// It was detached before it panicked: nobody else can hear of it.
    unseen: bool,
    reports: usize,
}

/// What holds in every order.
fn judge(
    events: &[Event],
    results: Vec<(Id, Result<Id, ioloop::JoinError>)>,
) -> Result<(), String> {
    let here = thread::current().id();
    let mut lives: HashMap<Id, Life> = HashMap::new();
    let given_up: HashSet<Id> = events.iter().filter_map(Event::given_up).collect();
    let fail = |what: &str, id: Id| Err(format!("task {id}: {what}; {events:#?}"));
    for (place, event) in events.iter().enumerate() {
        match *event {
            Event::Spawn(id) => {
                lives.insert(id, Life { last_wake: place, ..Life::default() });
            }
            Event::Idle => {
                for (id, life) in &lives {
                    if life.drops == 0 && life.last_wake > life.last_poll {
                        return fail("it was woken, and not polled", *id);
                    }
                    if (life.cancelled || life.over) && life.drops == 0 {
                        return fail("it has ended, and was not dropped", *id);
                    }
                }
            }
            Event::Closed => {}
            Event::Wake(id)
            | Event::Cancelled(id, _)
            | Event::Poll(id, _)
            | Event::Done(id)
            | Event::Panics(id)
            | Event::Dropped(id, _)
            | Event::Detached(id)
            | Event::Report(id, _) => {
                let Some(life) = lives.get_mut(&id) else { return fail("it was not spawned", id) };
                match *event {
                    Event::Wake(_) => {
                        life.wakes += 1;
                        life.last_wake = place;
                    }
                    Event::Cancelled(_, thread) => {
                        life.cancelled = true;
                        // On the other thread, in a poll that had begun, but was not noted yet.
                        life.late_polls = usize::from(thread != here);
                    }
                    Event::Detached(_) => life.detached = true,
                    Event::Poll(_, thread) => {
                        life.polls += 1;
                        life.last_poll = place;
                        if thread != here {
                            return fail("it was polled on another thread", id);
                        }
                        let is_late = life.cancelled && life.late_polls == 0;
                        life.late_polls = 0;
                        if is_late || life.over || life.drops > 0 {
                            return fail("it was polled after its end", id);
                        }
                        if life.polls > life.wakes + 1 {
                            return fail("it was polled without a wake", id);
                        }
                    }
                    Event::Done(_) => life.over = true,
                    Event::Panics(_) => {
                        (life.over, life.panicked) = (true, true);
                        life.unseen = life.detached;
                    }
                    Event::Dropped(_, thread) => {
                        life.drops += 1;
                        if thread != here {
                            return fail("it was dropped on another thread", id);
                        }
                    }
                    Event::Report(_, origin) => {
                        life.reports += 1;
                        if origin != Origin::Task || !life.panicked || !given_up.contains(&id) {
                            return fail("what it did was reported", id);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    let awaited: HashSet<Id> = results.iter().map(|(id, _)| *id).collect();
    for (id, life) in &lives {
        if life.drops != 1 {
            return fail("it was not dropped once", *id);
        }
        if life.reports > 1 || life.reports == 1 && awaited.contains(id) {
            return fail("its panic was reported twice, or to two", *id);
        }
        if life.unseen && life.reports == 0 {
            return fail("its panic was lost", *id);
        }
    }
    for (id, result) in results {
        let life = &lives[&id];
        let is_right = match &result {
            Ok(value) => life.over && !life.panicked && *value == id,
            Err(error) if error.is_panic() => life.panicked,
            Err(error) if error.is_cancelled() => life.cancelled && !life.over,
            Err(_) => !life.over,
        };
        if !is_right {
            return fail(&format!("it gave {result:?}"), id);
        }
    }
    Ok(())
}
