//! Hooks around a sleep, on any reactor.

use std::fmt;
use std::panic::Location;
use std::rc::Weak;

use crate::reactor::callback::Caller;
use crate::reactor::guard::{Guard, Release};
use crate::reactor::handles::Owner;

/// The result of a hook [before a sleep](crate::IOLoop::before_sleep).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeforeSleep {
    /// As far as this hook is concerned the loop may sleep.
    Sleep,
    /// Make another turn first: there is something to do that the loop does not know of.
    StayAwake,
}

/// A hook before a sleep or after it, whatever closure it was made of; what
/// [`Reactor::add_hook`](crate::Reactor::add_hook) takes.
#[must_use = "a hook is called by a reactor that it is given to"]
pub struct SleepHook {
    hook: Box<dyn FnMut() -> BeforeSleep>,
    is_before: bool,
    location: Caller,
}

impl SleepHook {
    /// Erases the type of a hook before a sleep.
    #[track_caller]
    pub fn before(hook: impl FnMut() -> BeforeSleep + 'static) -> Self {
        SleepHook { hook: Box::new(hook), is_before: true, location: Location::caller() }
    }

    /// Erases the type of a hook after a sleep.
    #[track_caller]
    pub fn after(mut hook: impl FnMut() + 'static) -> Self {
        let hook = move || {
            hook();
            BeforeSleep::Sleep
        };
        SleepHook { hook: Box::new(hook), is_before: false, location: Location::caller() }
    }

    /// Whether it is called before a sleep, and not after it.
    pub fn is_before(&self) -> bool {
        self.is_before
    }

    /// Where it was made: where the reactor's method was called.
    pub fn location(&self) -> Caller {
        self.location
    }

    /// Calls it. What it returns counts before a sleep alone.
    ///
    /// # Panics
    ///
    /// With the closure's own panic.
    pub fn call(&mut self) -> BeforeSleep {
        (self.hook)()
    }
}

impl fmt::Debug for SleepHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SleepHook").field("location", &self.location).finish_non_exhaustive()
    }
}

/// A hook of a loop. Dropping this changes nothing; [`remove_on_drop`](Self::remove_on_drop) gives
/// the guard that removes.
pub struct Hook {
    owner: Weak<dyn Owner>,
    id: u64,
}

impl Hook {
    /// A handle for the hook that `owner` knows as `id`.
    pub fn new(owner: Weak<dyn Owner>, id: u64) -> Self {
        Hook { owner, id }
    }

    /// Removes the hook, which is not called any more, also not in this round; false if it is gone
    /// already.
    pub fn remove(&self) -> bool {
        self.owner.upgrade().is_some_and(|owner| owner.remove_hook(self.id))
    }

    /// A guard that removes the hook when it is dropped.
    pub fn remove_on_drop(self) -> Guard<Hook> {
        Guard::new(self)
    }
}

impl Release for Hook {
    fn release(&self) {
        self.remove();
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("id", &self.id).finish_non_exhaustive()
    }
}
