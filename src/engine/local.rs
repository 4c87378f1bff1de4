//! The loops that are current on this thread, innermost last.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::Engine;
use super::fork::Process;
use super::inbox::Inbox;

thread_local! {
    static CURRENT: RefCell<Vec<Rc<Engine>>> = const { RefCell::new(Vec::new()) };
    /// The loops of this thread, and some that are gone.
    static LOOPS: RefCell<Vec<Weak<Engine>>> = const { RefCell::new(Vec::new()) };
    /// How many runs block this thread (a `start`, a `run_sync`, a `turn` that waits), and in which
    /// process.
    static BLOCKED: Cell<(Process, u32)> = const { Cell::new((Process::FIRST, 0)) };
}

/// How many runs block this thread in this process. A forked child inherits its parent's number,
/// whose runs are the parent's.
fn blocked() -> u32 {
    let (process, loops) = BLOCKED.get();
    if process.is_this() { loops } else { 0 }
}

/// Held while a run blocks this thread.
pub(crate) struct Blocked(Process);

pub(crate) fn block() -> Blocked {
    let process = Process::now();
    BLOCKED.set((process, blocked() + 1));
    Blocked(process)
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Otherwise the run is the parent's, and this forked child does not count it.
        if self.0.is_this() {
            BLOCKED.set((self.0, blocked().saturating_sub(1)));
        }
    }
}

/// Whether a run of some loop blocks this thread. Its runtime may be running a task of its own just
/// now.
pub(crate) fn is_blocked() -> bool {
    blocked() > 0
}

/// Makes a loop current until the guard is dropped. On a thread that is ending no loop becomes
/// current.
#[must_use]
pub(crate) struct Entered(bool);

pub(crate) fn enter(engine: &Rc<Engine>) -> Entered {
    let entered = CURRENT.try_with(|stack| stack.borrow_mut().push(Rc::clone(engine)));
    Entered(entered.is_ok())
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0 {
            // Taken out first: dropping the last owner of a loop closes it, and that runs user
            // code.
            let engine = CURRENT.try_with(|stack| stack.borrow_mut().pop());
            drop(engine);
        }
    }
}

/// The innermost loop.
pub(crate) fn current() -> Option<Rc<Engine>> {
    CURRENT.try_with(|stack| stack.borrow().last().cloned()).ok().flatten()
}

/// Whether a callback of some loop is running on this thread. In a forked child the callback that
/// forked is its parent's.
pub(crate) fn any_driven() -> bool {
    let driven = |engine: &Rc<Engine>| engine.is_driven() && !engine.is_forked();
    CURRENT.try_with(|stack| stack.borrow().iter().any(driven)).unwrap_or(false)
}

/// The loop of this inbox, if it is being driven on this thread. In a forked child it is not: a
/// callback that forked goes on there, and nothing after it.
pub(crate) fn driven_here(inbox: &Inbox) -> Option<Rc<Engine>> {
    if inbox.is_forked() {
        return None;
    }
    with_driven_here(inbox, Rc::clone)
}

/// Calls `queue` with the loop of this inbox, if it is being driven on this thread. It may queue an
/// entry, which calls nobody, since a turn follows: the stack stays as it is.
#[inline]
pub(crate) fn with_driven_here<T>(
    inbox: &Inbox,
    queue: impl FnOnce(&Rc<Engine>) -> T,
) -> Option<T> {
    let queued = CURRENT.try_with(|stack| {
        let stack = stack.borrow();
        let is_it = |engine: &&Rc<Engine>| engine.is_driven() && engine.has_inbox(inbox);
        stack.iter().rev().find(is_it).map(queue)
    });
    queued.ok().flatten()
}

/// Remembers a new loop as one of this thread's.
pub(crate) fn add(engine: &Rc<Engine>) {
    let _ = LOOPS.try_with(|loops| {
        let mut loops = loops.borrow_mut();
        // Loops that are gone are removed when the list would grow.
        if loops.len() == loops.capacity() {
            loops.retain(|engine| engine.strong_count() > 0);
        }
        loops.push(Rc::downgrade(engine));
    });
}

/// The loop of this inbox, if it is this thread's.
pub(crate) fn here(inbox: &Inbox) -> Option<Rc<Engine>> {
    let found = LOOPS.try_with(|loops| {
        let loops = loops.borrow();
        let mut alive = loops.iter().filter_map(Weak::upgrade);
        alive.find(|engine| engine.has_inbox(inbox))
    });
    found.ok().flatten()
}
