//! The reports of panics in tasks that were dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::contain::dispose;
use crate::engine::inbox::{Inbox, Message};
use crate::engine::local;
use crate::observe::origin::Origin;
use crate::reactor::callback::{Caller, Posted};

/// The payload of a panic.
pub(super) type Panic = Box<dyn Any + Send>;

/// Runs a destructor, and reports its panic.
pub(super) fn destroy(home: impl FnOnce() -> Option<Home>, destructor: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(destructor)) {
        report(home(), Origin::Destructor, panic);
    }
}

/// The loop to which a panic is reported if the task was dropped.
pub(crate) struct Home {
    inbox: Arc<Inbox>,
    location: Option<Caller>,
}

impl Home {
    pub(crate) fn new(inbox: &Arc<Inbox>, location: Caller) -> Self {
        Home { inbox: Arc::clone(inbox), location: Some(location) }
    }

    /// The loop that polls here; none in a task of a runtime's.
    pub(super) fn here() -> Option<Home> {
        let engine = local::current()?;
        Some(Home { inbox: Arc::clone(engine.inbox()), location: engine.tasks.polled_location() })
    }
}

/// Reports a panic whose task was dropped: at once on the loop's thread, from elsewhere in its next
/// turn. Without a loop, or if it is closed, the panic is dropped; the hook of std has printed it.
pub(super) fn report(home: Option<Home>, origin: Origin, panic: Panic) {
    let Some(Home { inbox, location }) = home else { return dispose(panic) };
    if let Some(engine) = local::here(&inbox) {
        return engine.exceptions.report(origin, location, panic);
    }
    let panic = Unreported(Some(panic));
    let report = move || match local::current() {
        Some(engine) => engine.exceptions.report(origin, location, panic.take()),
        None => drop(panic),
    };
    // A loop that is closed gives it back.
    drop(inbox.post(Message::Callback(Posted::new(report))));
}

/// A panic on its way to its loop, which may be closed meanwhile.
struct Unreported(Option<Panic>);

impl Unreported {
    fn take(mut self) -> Panic {
        self.0.take().unwrap_or_else(|| Box::new(()))
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        if let Some(panic) = self.0.take() {
            dispose(panic);
        }
    }
}
