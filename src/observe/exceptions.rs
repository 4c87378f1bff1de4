//! Panics in user code: caught, and reported once.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;

use super::events::{self, Level};
use crate::reactor::Place;

/// The kind of code that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// A queued callback.
    Callback,
    /// A timer's callback.
    Timer,
    /// A reader, which was removed.
    Reader,
    /// A writer, which was removed.
    Writer,
    /// A handler, which was removed.
    Handler,
    /// A task that nobody waits for.
    Task,
    /// A destructor of something that the loop dropped.
    Destructor,
    /// A hook, which was removed.
    Hook,
    /// The executor that [`run_in_executor`](crate::IOLoop::run_in_executor) gave a job to.
    Executor,
}

impl Origin {
    /// What it is, without what became of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Callback => "a callback",
            Origin::Timer => "a timer",
            Origin::Reader => "a reader",
            Origin::Writer => "a writer",
            Origin::Handler => "a handler",
            Origin::Task => "a task",
            Origin::Destructor => "a destructor",
            Origin::Hook => "a hook",
            Origin::Executor => "the executor of blocking jobs",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Callback => "a callback",
            Origin::Timer => "a timer",
            Origin::Reader => "a reader, which was removed,",
            Origin::Writer => "a writer, which was removed,",
            Origin::Handler => "a handler, which was removed,",
            Origin::Task => "a task",
            Origin::Destructor => "a destructor",
            Origin::Hook => "a hook, which was removed,",
            Origin::Executor => "the executor of blocking jobs",
        })
    }
}

/// A panic in user code, as the handler of
/// [`IOLoop::set_exception_handler`](crate::IOLoop::set_exception_handler) gets it.
#[non_exhaustive]
pub struct Exception {
    /// What panicked.
    pub origin: Origin,
    /// Where it was handed to the loop, if that is known.
    pub place: Option<Place>,
    /// The [name](crate::IOLoop::name) of the loop.
    pub loop_name: Rc<str>,
    /// What it panicked with.
    pub payload: Box<dyn Any + Send>,
}

impl Exception {
    /// The message of the panic, if it had one.
    pub fn message(&self) -> Option<&str> {
        let payload = &self.payload;
        payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref().map(String::as_str))
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.origin, self.message().unwrap_or("(no message)"))
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exception")
            .field("origin", &self.origin)
            .field("place", &self.place)
            .field("loop_name", &self.loop_name)
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}

type Handler = Rc<dyn Fn(&Exception)>;

#[derive(Default)]
pub(crate) struct Exceptions {
    handler: RefCell<Option<Handler>>,
    name: OnceCell<Rc<str>>,
    /// How many there were that nobody handled.
    told: Cell<u64>,
}

impl Exceptions {
    /// Installs a handler, and returns the one before for the caller to drop.
    #[must_use]
    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }

    /// The loop's name: the one it was given, else that of the thread that asks first.
    pub(crate) fn name(&self) -> &Rc<str> {
        self.name.get_or_init(|| thread::current().name().unwrap_or("unnamed").into())
    }

    pub(crate) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.into());
    }

    /// Runs user code; a panic is reported. True if it returned.
    pub(crate) fn guard(&self, origin: Origin, code: impl FnOnce()) -> bool {
        self.guard_at(origin, None, code)
    }

    /// As [`guard`](Self::guard), for code of which it is known where it comes from.
    pub(crate) fn guard_at(
        &self,
        origin: Origin,
        place: Option<Place>,
        code: impl FnOnce(),
    ) -> bool {
        // Unwind safety: what the code leaves half done is its own; the loop holds no borrow here.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(()) => true,
            Err(payload) => {
                self.report(origin, place, payload);
                false
            }
        }
    }

    /// Hands a panic to the handler; without one to `tracing` or `log`. std's hook has printed it.
    ///
    /// What panics in here (the handler, its destructor, a payload's) was printed by std's hook too.
    pub(crate) fn report(
        &self,
        origin: Origin,
        place: Option<Place>,
        payload: Box<dyn Any + Send>,
    ) {
        let handler = self.handler.borrow().clone();
        let exception = Exception { origin, place, loop_name: Rc::clone(self.name()), payload };
        match handler {
            Some(handler) => {
                contain(|| handler(&exception));
                contain(|| drop(handler));
            }
            None => self.tell(&exception),
        }
        dispose(exception.payload);
    }

    fn tell(&self, exception: &Exception) {
        self.told.set(self.told.get() + 1);
        if !events::is_told(self.told.get()) {
            return;
        }
        let name = &exception.loop_name;
        // A subscriber is user code too.
        contain(|| {
            match exception.place {
                Some(place) => events::tell(
                    Level::Error,
                    format_args!("loop {name}: {exception}, from {place}"),
                ),
                None => events::tell(Level::Error, format_args!("loop {name}: {exception}")),
            };
        });
    }

    /// Drops something of the user's.
    pub(crate) fn discard<T>(&self, value: T) {
        self.guard(Origin::Destructor, || drop(value));
    }

    /// Drops many things of the user's, each by itself.
    pub(crate) fn discard_all<T>(&self, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.discard(value));
    }
}

/// Runs code whose panic nobody is to see.
pub(crate) fn contain(code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        dispose(payload);
    }
}

/// Drops a panic's payload, whose destructor may panic with another, and so on: one that does not end is
/// leaked, since nothing may unwind from here.
fn dispose(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}
