//! The loops of this process and what is pending on them, by number.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Handle, IOLoop, Lent, Reactor, TimerHandle, Watch};

use crate::status::{Refusal, Status};

/// A loop, on its own thread.
pub(crate) struct Loop {
    pub(crate) number: u64,
    pub(crate) io_loop: IOLoop,
    pending: RefCell<HashMap<u64, Pending>>,
}

enum Pending {
    /// Its number is taken; the loop has not answered yet.
    Asked,
    Watch(Watch),
    Timer(TimerHandle),
}

thread_local! {
    static LOOPS: RefCell<HashMap<u64, Rc<Loop>>> = RefCell::default();
}

/// Of all threads.
static HANDLES: Mutex<BTreeMap<u64, Handle>> = Mutex::new(BTreeMap::new());

fn handles() -> MutexGuard<'static, BTreeMap<u64, Handle>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that was never used before.
fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The loop of this thread that has this number.
pub(crate) fn here(number: u64) -> Result<Rc<Loop>, Refusal> {
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
pub(crate) fn anywhere(number: u64) -> Result<Handle, Refusal> {
    handles().get(&number).cloned().ok_or_else(closed)
}

fn closed() -> Refusal {
    Refusal::new(Status::Closed, "the loop is closed, or never was")
}

fn gone(what: &str) -> Refusal {
    Refusal::new(Status::Gone, format!("the {what} has ended, or never was"))
}

impl Loop {
    pub(crate) fn make(name: Option<String>) -> Result<u64, Refusal> {
        let builder = IOLoop::builder().backend(BackendKind::Bare);
        let io_loop = match name {
            Some(name) => builder.name(name),
            None => builder,
        }
        .build()?;
        let (number, handle) = (number(), io_loop.handle());
        let made = Rc::new(Loop { number, io_loop, pending: RefCell::default() });
        let kept = LOOPS.try_with(|loops| loops.borrow_mut().insert(number, made));
        kept.map_err(|_| Refusal::new(Status::Thread, "the thread is ending"))?;
        handles().insert(number, handle);
        Ok(number)
    }

    pub(crate) fn close(&self) -> Result<(), Refusal> {
        self.io_loop.close()?;
        // Whoever called holds it still; what is disposed of by then has found the loop closed.
        let _ = LOOPS.try_with(|loops| loops.borrow_mut().remove(&self.number));
        Ok(())
    }

    pub(crate) fn watch(
        self: &Rc<Self>,
        direction: Direction,
        lent: Lent,
        ready: impl FnMut() + 'static,
    ) -> Result<u64, Refusal> {
        let (number, mut numbered) = self.number(ready);
        let watcher = Watcher::new(lent, move |_| (numbered.callback())());
        let watch = self.io_loop.watch(direction, watcher)?;
        self.keep(number, Pending::Watch(watch));
        Ok(number)
    }

    pub(crate) fn unwatch(&self, direction: Direction, fd: RawFd) -> Result<(), Refusal> {
        let ended = self.io_loop.unwatch(direction, fd);
        ended.then_some(()).ok_or_else(|| gone("watch of this descriptor"))
    }

    pub(crate) fn timer(
        self: &Rc<Self>,
        delay: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<u64, Refusal> {
        let (number, numbered) = self.number(callback);
        let timer = self.io_loop.call_later(delay, move || (numbered.into_callback())());
        if timer.is_cancelled() {
            return Err(closed());
        }
        self.keep(number, Pending::Timer(timer));
        Ok(number)
    }

    /// Gives a number to a watch or timer with this callback.
    fn number<C>(self: &Rc<Self>, callback: C) -> (u64, Numbered<C>) {
        let number = number();
        self.pending.borrow_mut().insert(number, Pending::Asked);
        (number, Numbered { ticket: Ticket { number, home: Rc::downgrade(self) }, callback })
    }

    fn keep(&self, number: u64, pending: Pending) {
        // Unless it has ended already: disposing of a watch that it replaced may have closed the
        // loop.
        if let Some(kept) = self.pending.borrow_mut().get_mut(&number) {
            *kept = pending;
        }
    }

    pub(crate) fn pause(&self, number: u64) -> Result<(), Refusal> {
        let paused = match self.pending.borrow().get(&number) {
            Some(Pending::Watch(watch)) => watch.pause(),
            _ => false,
        };
        paused.then_some(()).ok_or_else(|| gone("watch"))
    }

    pub(crate) fn resume(&self, number: u64) -> Result<(), Refusal> {
        let resumed = match self.pending.borrow().get(&number) {
            Some(Pending::Watch(watch)) => watch.resume()?,
            _ => false,
        };
        resumed.then_some(()).ok_or_else(|| gone("watch"))
    }

    pub(crate) fn reset(&self, number: u64, delay: Duration) -> Result<(), Refusal> {
        let reset = match self.pending.borrow().get(&number) {
            Some(Pending::Timer(timer)) => timer.reset(self.io_loop.now() + delay),
            _ => false,
        };
        reset.then_some(()).ok_or_else(|| gone("timer"))
    }

    pub(crate) fn remove(&self, number: u64) -> Result<(), Refusal> {
        // Taken out first: what it disposes of may call back in here.
        let pending = self.pending.borrow_mut().remove(&number);
        let ended = match pending {
            Some(Pending::Watch(watch)) => watch.remove(),
            Some(Pending::Timer(timer)) => timer.cancel(),
            Some(Pending::Asked) | None => false,
        };
        ended.then_some(()).ok_or_else(|| gone("watch or timer"))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // At the latest: a thread that ends without closing its loop drops it.
        handles().remove(&self.number);
    }
}

/// A callback with its number, which goes before the callback does.
struct Numbered<C> {
    ticket: Ticket,
    callback: C,
}

impl<C> Numbered<C> {
    fn callback(&mut self) -> &mut C {
        &mut self.callback
    }

    fn into_callback(self) -> C {
        drop(self.ticket);
        self.callback
    }
}

struct Ticket {
    number: u64,
    home: Weak<Loop>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.pending.borrow_mut().remove(&self.number);
        }
    }
}
