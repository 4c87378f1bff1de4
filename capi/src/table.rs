//! The loops of this process and what is on them, by number.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_int, c_uint};
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ioloop::backends::BackendKind;
use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::{Handle, IOLoop, Interest, Lent, Reactor, Watch, signal};

use crate::calls::{Id, LoopNumber};
use crate::events;
use crate::reports::Reporter;
use crate::status::{Refusal, Status};
use crate::timers::Repeating;

/// A loop, on its own thread.
pub(crate) struct Loop {
    number: LoopNumber,
    pub(crate) io_loop: IOLoop,
    pending: RefCell<HashMap<Id, Pending>>,
    reporter: Reporter,
}

enum Pending {
    /// Its number is taken; the loop has not answered yet.
    Asked,
    Watch(Rc<Watch>, Rc<Cell<Interest>>),
    Timer(Rc<Repeating>),
    Signal(Watch),
    Hook(Hook),
}

thread_local! {
    static LOOPS: RefCell<HashMap<LoopNumber, Rc<Loop>>> = RefCell::default();
}

/// Of all threads.
static HANDLES: Mutex<BTreeMap<LoopNumber, Handle>> = Mutex::new(BTreeMap::new());

fn handles() -> MutexGuard<'static, BTreeMap<LoopNumber, Handle>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that was never used before.
fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The loop of this thread that has this number.
pub(crate) fn here(number: LoopNumber) -> Result<Rc<Loop>, Refusal> {
    let found = LOOPS.try_with(|loops| loops.borrow().get(&number).cloned());
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) if handles().contains_key(&number) => {
            Err(Refusal::new(Status::Thread, "the loop belongs to another thread; use ioloop_post"))
        }
        _ => Err(closed()),
    }
}

/// The handle of any thread's loop.
pub(crate) fn anywhere(number: LoopNumber) -> Result<Handle, Refusal> {
    handles().get(&number).cloned().ok_or_else(closed)
}

/// Stops any thread's loop.
pub(crate) fn stop(number: LoopNumber) -> Result<(), Refusal> {
    match here(number) {
        Ok(here) => here.io_loop.stop(),
        Err(_) => anywhere(number)?.stop()?,
    }
    Ok(())
}

fn closed() -> Refusal {
    Refusal::new(Status::Closed, "the loop is closed, or never was")
}

fn gone(what: &str) -> Refusal {
    Refusal::new(Status::Gone, format!("the {what} has ended, or never was"))
}

impl Loop {
    pub(crate) fn make(name: Option<String>) -> Result<LoopNumber, Refusal> {
        let builder = IOLoop::builder().backend(BackendKind::Bare);
        let io_loop = match name {
            Some(name) => builder.name(name),
            None => builder,
        }
        .build()?;
        let (number, handle) = (LoopNumber { number: number() }, io_loop.handle());
        let (pending, reporter) = (RefCell::default(), Reporter::of(&io_loop));
        let made = Rc::new(Loop { number, io_loop, pending, reporter });
        let kept = LOOPS.try_with(|loops| loops.borrow_mut().insert(number, made));
        kept.map_err(|_| Refusal::new(Status::Thread, "the thread is ending"))?;
        handles().insert(number, handle);
        Ok(number)
    }

    pub(crate) fn close(&self) -> Result<(), Refusal> {
        self.io_loop.close()?;
        // Timers are here alone. Whoever is disposed of by this finds the loop closed.
        let pending = self.pending.take();
        drop(pending);
        self.reporter.clear();
        // Whoever called holds it still.
        let _ = LOOPS.try_with(|loops| loops.borrow_mut().remove(&self.number));
        Ok(())
    }

    /// The nanoseconds until the next timer, or -1.
    pub(crate) fn timeout(&self) -> i64 {
        self.io_loop.next_deadline().map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(self.io_loop.now()).as_nanos();
            left.try_into().unwrap_or(i64::MAX)
        })
    }

    pub(crate) fn report(&self, report: impl Fn(&CStr) + 'static) {
        self.reporter.set(report);
    }

    pub(crate) fn watch(
        self: &Rc<Self>,
        lent: Lent,
        interest: Interest,
        ready: impl Fn(c_uint) + 'static,
    ) -> Result<Id, Refusal> {
        let (id, numbered) = self.number(ready);
        let wanted = Rc::new(Cell::new(interest));
        let asked = Rc::clone(&wanted);
        let added = self.io_loop.add_handler(lent, interest, move |_, events| {
            (numbered.callback())(events::came(events, asked.get()));
        });
        let watch = added.map_err(|error| Refusal::of_watch(lent.as_raw_fd(), error))?;
        self.keep(id, Pending::Watch(Rc::new(watch), wanted));
        Ok(id)
    }

    pub(crate) fn modify(&self, id: Id, interest: Interest) -> Result<(), Refusal> {
        let (watch, wanted) = match self.pending.borrow().get(&id) {
            Some(Pending::Watch(watch, wanted)) => (Rc::clone(watch), Rc::clone(wanted)),
            _ => return Err(gone("watch")),
        };
        let is_there = watch.set_interest(interest)?;
        wanted.set(interest);
        is_there.then_some(()).ok_or_else(|| gone("watch"))
    }

    pub(crate) fn timer(
        self: &Rc<Self>,
        delay: u64,
        repeat: u64,
        callback: impl Fn() + 'static,
    ) -> Result<Id, Refusal> {
        let (id, numbered) = self.number(callback);
        let timer = Repeating::new(&self.io_loop, move |timer| {
            (numbered.callback())();
            if timer.is_over() {
                numbered.end();
            }
        });
        if !timer.set(delay, repeat) {
            return Err(closed());
        }
        self.keep(id, Pending::Timer(timer));
        Ok(id)
    }

    pub(crate) fn reset(&self, id: Id, delay: u64, repeat: u64) -> Result<(), Refusal> {
        let timer = match self.pending.borrow().get(&id) {
            Some(Pending::Timer(timer)) => Rc::clone(timer),
            _ => return Err(gone("timer")),
        };
        timer.set(delay, repeat).then_some(()).ok_or_else(closed)
    }

    pub(crate) fn signal(
        self: &Rc<Self>,
        signal: c_int,
        callback: impl Fn() + 'static,
    ) -> Result<Id, Refusal> {
        let (id, numbered) = self.number(callback);
        let watch = signal::add_handler(&self.io_loop, signal, move || (numbered.callback())())
            .map_err(Refusal::of_argument)?;
        self.keep(id, Pending::Signal(watch));
        Ok(id)
    }

    pub(crate) fn before_sleep(
        self: &Rc<Self>,
        may_sleep: impl Fn() -> bool + 'static,
    ) -> Result<Id, Refusal> {
        self.hook(may_sleep, |io_loop, numbered| {
            io_loop.before_sleep(move || match (numbered.callback())() {
                true => BeforeSleep::Sleep,
                false => BeforeSleep::StayAwake,
            })
        })
    }

    pub(crate) fn after_wake(self: &Rc<Self>, hook: impl Fn() + 'static) -> Result<Id, Refusal> {
        self.hook(hook, |io_loop, numbered| io_loop.after_wake(move || (numbered.callback())()))
    }

    fn hook<C>(
        self: &Rc<Self>,
        callback: C,
        add: impl FnOnce(&IOLoop, Numbered<C>) -> Hook,
    ) -> Result<Id, Refusal> {
        let (id, numbered) = self.number(callback);
        if self.io_loop.is_closed() {
            return Err(closed());
        }
        self.keep(id, Pending::Hook(add(&self.io_loop, numbered)));
        Ok(id)
    }

    /// Gives a number to something with this callback.
    fn number<C>(self: &Rc<Self>, callback: C) -> (Id, Numbered<C>) {
        let id = Id { number: number() };
        self.pending.borrow_mut().insert(id, Pending::Asked);
        (id, Numbered { ticket: Ticket { id, home: Rc::downgrade(self) }, callback })
    }

    fn keep(&self, id: Id, pending: Pending) {
        // Unless it has ended already.
        if let Some(kept) = self.pending.borrow_mut().get_mut(&id) {
            *kept = pending;
        }
    }

    pub(crate) fn remove(&self, id: Id) -> Result<(), Refusal> {
        // Taken out first: what it disposes of may call back in here.
        let pending = self.pending.borrow_mut().remove(&id);
        let ended = match pending {
            Some(Pending::Watch(watch, _)) => watch.remove(),
            Some(Pending::Signal(watch)) => watch.remove(),
            Some(Pending::Hook(hook)) => hook.remove(),
            Some(Pending::Timer(_)) => true,
            Some(Pending::Asked) | None => false,
        };
        ended.then_some(()).ok_or_else(|| gone("watch, timer, signal or hook"))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // At the latest: a thread that ends without closing its loop drops it.
        let mut handles = handles();
        handles.remove(&self.number);
        if handles.is_empty() {
            // An empty map keeps its memory, and this one is there to the end of the process.
            *handles = BTreeMap::new();
        }
    }
}

/// A callback with its number, which goes before the callback does.
struct Numbered<C> {
    ticket: Ticket,
    callback: C,
}

impl<C> Numbered<C> {
    fn callback(&self) -> &C {
        &self.callback
    }

    /// Takes what has the number out of the table, and drops it.
    fn end(&self) {
        self.ticket.take();
    }
}

struct Ticket {
    id: Id,
    home: Weak<Loop>,
}

impl Ticket {
    fn take(&self) {
        if let Some(home) = self.home.upgrade() {
            let pending = home.pending.borrow_mut().remove(&self.id);
            drop(pending);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.take();
    }
}
