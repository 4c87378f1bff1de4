//! What a loop shows of itself to other threads, and the list of the loops of the process.
//!
//! Whoever inspects the process asks a loop, which answers in its next turn, on its own thread. So
//! a loop is never waited for, and one that does not answer is shown as it was when it did.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::fork::Process;
use super::inbox::{Inbox, Message};
use crate::contain::contain;
use crate::observe::metrics::Metrics;
use crate::observe::running::Running;
use crate::observe::sight::{Seen, Sight};
use crate::observe::tallies::{Spin, Tally};
use crate::reactor::callback::Caller;

/// What is known of a loop when it is made.
pub(crate) struct About {
    pub(crate) name: Option<String>,
    pub(crate) backend: String,
    pub(crate) attached: bool,
}

/// What the floors above know of a loop that is in a turn.
pub(crate) struct Driven {
    pub(crate) name: String,
    pub(crate) metrics: Metrics,
    /// It is driven by a foreign loop, whose thread does not wait in it.
    pub(crate) embedded: bool,
}

/// How the floors above describe a loop that is in a turn.
pub(crate) type Describe = Box<dyn Fn() -> Option<Driven>>;

/// Things that a loop waits for: those of one kind, from one location.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) kind: &'static str,
    pub(crate) location: Option<Caller>,
    pub(crate) count: usize,
    /// How many of them are paused watches.
    pub(crate) paused: usize,
}

/// What a loop answers.
pub(crate) struct Figures {
    pub(crate) at: Instant,
    pub(crate) driven: Driven,
    /// The time asleep, since somebody inspects the process.
    pub(crate) asleep: Duration,
    pub(crate) groups: Arc<[Group]>,
    pub(crate) calls: Vec<Tally>,
    pub(crate) spins: Vec<Spin>,
    /// How long the answer took.
    pub(crate) took: Duration,
}

/// Dropped by each loop that is asked when it has answered.
pub(crate) type Receipt = Arc<dyn Any + Send + Sync>;

/// The side of a loop that those who inspect the process hold.
pub(crate) struct Loop {
    pub(crate) number: u64,
    pub(crate) about: About,
    /// The thread that it was made on.
    pub(crate) thread: String,
    inbox: Weak<Inbox>,
    /// It is being closed: what it drops may hold it up, and nothing of it is asked any more.
    closing: AtomicBool,
    state: Mutex<State>,
}

/// How long a call has been seen when it is what holds its loop up, rather than the call around it.
/// Less than a loop has to answer in, so a call that hangs is named in the first picture.
const LASTING: Duration = Duration::from_millis(50);

/// What those who inspect the process want of its loops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    /// A socket is open: what runs is published, so a loop that hangs can be told by it.
    Running,
    /// Somebody is connected: calls are measured as well.
    Figures,
}

#[derive(Default)]
struct State {
    /// The question that is not answered yet.
    asked: Option<(Instant, Receipt)>,
    /// The loop finds out in its answer.
    wanted: Wanted,
    figures: Option<Arc<Figures>>,
    /// What the loop runs, while it publishes it, and what was seen of that.
    running: Option<Arc<Running>>,
    sight: Sight,
}

impl State {
    /// What holds the loop up: the innermost call that lasts. If there is none, all have just begun,
    /// and it is the outermost.
    fn see(&mut self, now: Instant) -> Option<Seen> {
        let calls = self.sight.see(self.running.as_deref()?, now);
        // That it was seen twice is not enough: a loop that has not answered yet is seen again at
        // once, if all others do answer.
        let lasts = |seen: &&Seen| now.saturating_duration_since(seen.since) >= LASTING;
        calls.iter().rev().find(lasts).or(calls.first()).copied()
    }
}

/// What is known of a loop now.
pub(crate) struct Answer {
    /// What it has answered last.
    pub(crate) figures: Option<Arc<Figures>>,
    /// Since when there is a question that it has not answered.
    pub(crate) asked: Option<Instant>,
    /// The call that holds it up, and since when at least.
    pub(crate) call: Option<Seen>,
    /// It is driven and does not sleep, or it is being closed.
    pub(crate) is_awake: bool,
}

impl Loop {
    /// Asks, unless it was asked and has not answered yet.
    pub(crate) fn ask(&self, receipt: &Receipt) {
        self.send(Wanted::Figures, receipt);
    }

    fn send(&self, wanted: Wanted, receipt: &Receipt) {
        let mut state = self.lock();
        let now = Instant::now();
        state.wanted = wanted;
        state.see(now);
        if state.asked.is_some() {
            return;
        }
        state.asked = Some((now, Arc::clone(receipt)));
        drop(state);
        // A closed loop is left out the next time.
        if let Some(inbox) = self.inbox.upgrade() {
            // It may call the waker of a host.
            contain(|| drop(inbox.post(Message::Show)));
        }
    }

    /// What is known of it `now`: nothing that it says of itself as not answering began later.
    pub(crate) fn answer(&self, now: Instant) -> Answer {
        let state = &mut *self.lock();
        let call = state.see(now);
        Answer {
            figures: state.figures.clone(),
            asked: state.asked.as_ref().map(|(since, _)| *since),
            call,
            is_awake: self.is_closing()
                || self.inbox.upgrade().is_some_and(|inbox| inbox.is_awake()),
        }
    }

    /// Until it is closed, and all that it held is dropped.
    pub(crate) fn is_alive(&self) -> bool {
        let is_there = |inbox: Arc<Inbox>| !inbox.is_closed() || self.is_closing();
        self.inbox.upgrade().is_some_and(|inbox| !inbox.is_forked() && is_there(inbox))
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// On the loop's thread: what is wanted of it.
    pub(super) fn wanted(&self) -> Wanted {
        self.lock().wanted
    }

    /// On the loop's thread: where it publishes what runs; none if it does not.
    pub(super) fn publish(&self, running: Option<Arc<Running>>) {
        self.lock().running = running;
    }

    /// On the loop's thread: its answer.
    pub(super) fn give(&self, figures: Option<Arc<Figures>>) {
        let mut state = self.lock();
        let before = mem::replace(&mut state.figures, figures);
        let asked = state.asked.take();
        // What is dropped may wake who has asked.
        drop(state);
        drop((before, asked));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All loops of the process.
struct Loops {
    list: Vec<Arc<Loop>>,
    next: u64,
    /// How many sockets are open, and how many of them somebody is connected to,
    open: usize,
    inspected: usize,
    /// in this process. A forked child begins with none of its parent's.
    process: Process,
}

impl Loops {
    fn wanted(&self) -> Wanted {
        match (self.open, self.inspected) {
            (0, 0) => Wanted::Nothing,
            (_, 0) => Wanted::Running,
            _ => Wanted::Figures,
        }
    }
}

static LOOPS: Mutex<Loops> =
    Mutex::new(Loops { list: Vec::new(), next: 1, open: 0, inspected: 0, process: Process::FIRST });

/// None in a forked child, if another thread of its parent held the lock during the fork.
fn lock() -> Option<MutexGuard<'static, Loops>> {
    let mut loops = if Process::FIRST.is_this() {
        LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
    } else {
        let mut tries = 0..1_000;
        loop {
            match LOOPS.try_lock() {
                Ok(loops) => break loops,
                Err(TryLockError::Poisoned(loops)) => break loops.into_inner(),
                Err(TryLockError::WouldBlock) => tries.next().map(|_| thread::yield_now())?,
            }
        }
    };
    if !loops.process.is_this() {
        // Their locks may be held by threads that are not here.
        mem::forget(mem::take(&mut loops.list));
        (loops.open, loops.inspected, loops.process) = (0, 0, Process::now());
    }
    Some(loops)
}

/// The loops there are.
pub(crate) fn loops() -> Vec<Arc<Loop>> {
    let Some(mut loops) = lock() else { return Vec::new() };
    loops.list.retain(|one| one.is_alive());
    loops.list.clone()
}

/// Changes what is wanted, and has the loops find out.
fn change(change: impl FnOnce(&mut Loops)) {
    let Some(mut loops) = lock() else { return };
    let before = loops.wanted();
    change(&mut loops);
    let wanted = loops.wanted();
    let list = if wanted == before { Vec::new() } else { loops.list.clone() };
    // Not with the lock: a wake may be the waker of a host.
    drop(loops);
    let receipt: Receipt = Arc::new(());
    list.iter().for_each(|one| one.send(wanted, &receipt));
}

/// Held while a socket is open.
pub(crate) struct Open(Process);

/// Held while somebody is connected: the loops that are asked meanwhile answer with figures.
pub(crate) struct Inspecting(Process);

impl Open {
    pub(crate) fn new() -> io::Result<Open> {
        let process = Process::this()?;
        change(|loops| loops.open += 1);
        Ok(Open(process))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.is_this() {
            change(|loops| loops.open -= 1);
        }
    }
}

impl Inspecting {
    pub(crate) fn new() -> Inspecting {
        // The loops find out when they are asked.
        if let Some(mut loops) = lock() {
            loops.inspected += 1;
        }
        Inspecting(Process::now())
    }
}

impl Drop for Inspecting {
    fn drop(&mut self) {
        if self.0.is_this() {
            change(|loops| loops.inspected -= 1);
        }
    }
}

/// Adds a loop to the list. What was made of the same parts before goes. Returns what is wanted of
/// it.
pub(super) fn add(about: About, inbox: &Arc<Inbox>) -> Option<(Arc<Loop>, Wanted)> {
    let (mut loops, inbox) = (lock()?, Arc::downgrade(inbox));
    loops.list.retain(|one| !Weak::ptr_eq(&one.inbox, &inbox) && one.is_alive());
    let (number, wanted) = (loops.next, loops.wanted());
    let thread = thread::current().name().unwrap_or("unnamed").to_owned();
    let state = Mutex::new(State { wanted, ..State::default() });
    let closing = AtomicBool::new(false);
    let one = Arc::new(Loop { number, about, thread, inbox, closing, state });
    loops.next += 1;
    loops.list.push(Arc::clone(&one));
    Some((one, wanted))
}

/// What an engine shows.
#[derive(Default)]
pub(crate) struct Shown {
    pub(super) known: OnceCell<(Arc<Loop>, Describe)>,
    /// What the loop waited for when it was listed last, and when that is done again.
    pub(super) listed: RefCell<Option<(Instant, Arc<[Group]>)>>,
    pub(super) publishes: Cell<bool>,
}

impl Shown {
    /// Notes that the closing of the loop begins or has ended.
    pub(crate) fn set_closing(&self, closing: bool) {
        if let Some((one, _)) = self.known.get() {
            one.closing.store(closing, Ordering::Release);
        }
    }
}
