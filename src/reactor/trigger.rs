//! Triggers: how any thread, or a signal handler, has a callback of the loop's thread called.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::Closed;
use crate::reactor::contract::{Direction, Reactor};
use crate::reactor::handles::Watch;
use crate::reactor::watcher::Watcher;

use self::wire::Wire;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable)))]
#[path = "trigger/eventfd.rs"]
mod wire;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(ioloop_portable))))]
#[path = "trigger/socket.rs"]
mod wire;

/// Has a callback called on its loop's thread, from any thread.
///
/// It is `Send`, `Sync` and a clone is a share, while the callback may be neither. For a C library
/// that asks from a thread of its own to be called, and for whoever wakes a loop often: many fires
/// before the callback runs are one call of it, and cost one system call. This is libuv's
/// `uv_async_t`.
///
/// The callback is dropped with the last share, in the next turn of the loop, or with the loop. A
/// forked child has a copy that calls nothing; firing it there may wake the parent's loop for
/// nothing.
#[doc(alias = "uv_async_t")]
#[doc(alias = "Ping")]
#[derive(Clone)]
pub struct Trigger(Arc<Handle>);

/// The shares of a trigger, as one.
struct Handle(Arc<Shared>);

struct Shared {
    wire: Wire,
    state: AtomicU8,
}

/// The callback has to be called.
const FIRED: u8 = 1;
/// The last share was dropped.
const GONE: u8 = 2;
/// The loop has dropped the callback.
const ENDED: u8 = 4;

impl Trigger {
    /// Calls `callback` on this thread after each [`fire`](Self::fire) of the trigger, from
    /// whatever thread; many fires before it runs are one.
    ///
    /// The loop owns the callback until the last share of the trigger is dropped. A callback that
    /// panics is reported and dropped.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc, thread};
    /// use ioloop::{IOLoop, Trigger};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let calls = Rc::new(Cell::new(0)); // of the loop's thread alone
    /// let counted = Rc::clone(&calls);
    /// let trigger = Trigger::new(&io_loop, move || {
    ///     counted.set(counted.get() + 1);
    ///     IOLoop::current().unwrap().stop();
    /// })?;
    /// let firing = thread::spawn(move || (0..1000).try_for_each(|_| trigger.fire()));
    /// assert!(firing.join().unwrap().is_ok());
    /// io_loop.start()?;
    /// assert_eq!(calls.get(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no descriptor left for the trigger; otherwise as for
    /// [`add_reader`](Reactor::add_reader).
    #[doc(alias = "uv_async_init")]
    #[track_caller]
    pub fn new<R: Reactor + ?Sized>(
        reactor: &R,
        mut callback: impl FnMut() + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { wire: Wire::new()?, state: AtomicU8::new(0) });
        let watch = Rc::new(OnceCell::<Watch>::new());
        let own = Rc::clone(&watch);
        let source = Source(Arc::clone(&shared));
        let watcher = Watcher::uncounted(source, move |Source(shared)| {
            if shared.take_fired() {
                callback();
            }
            if shared.state.load(Ordering::Acquire) & GONE != 0 {
                own.get().map(Watch::remove);
            }
        });
        let added = reactor.watch(Direction::Read, watcher)?;
        // A reactor calls nothing inside `watch`, so it is empty.
        let _ = watch.set(added);
        Ok(Trigger(Arc::new(Handle(shared))))
    }

    /// Has the callback called in the next turn, unless it will be already.
    ///
    /// It allocates nothing, takes no lock and may change `errno`, so the handler of a signal may
    /// call it.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the loop has dropped the callback: it was closed, or the callback panicked.
    #[doc(alias = "uv_async_send")]
    pub fn fire(&self) -> Result<(), Closed> {
        let Handle(shared) = &*self.0;
        let before = shared.state.fetch_or(FIRED, Ordering::AcqRel);
        if before & ENDED != 0 {
            return Err(Closed);
        }
        if before & FIRED == 0 {
            shared.wire.ring();
        }
        Ok(())
    }
}

impl Shared {
    /// Whether it was fired since this was asked last.
    fn take_fired(&self) -> bool {
        // Cleared first: a fire after that wakes again.
        self.wire.clear();
        self.state.fetch_and(!FIRED, Ordering::AcqRel) & FIRED != 0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.fetch_or(GONE, Ordering::AcqRel);
        self.0.wire.ring();
    }
}

/// The part of a trigger that the loop holds.
struct Source(Arc<Shared>);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wire.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.0.state.fetch_or(ENDED, Ordering::AcqRel);
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.0.state.load(Ordering::Acquire);
        f.debug_struct("Trigger")
            .field("fired", &(state & FIRED != 0))
            .field("ended", &(state & ENDED != 0))
            .finish()
    }
}
