//! The loop that an engine belongs to; whether the loop was ever driven, and whether it is closed.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

#[derive(Default)]
pub(crate) struct Life {
    /// The loop of this engine.
    io_loop: OnceCell<Weak<dyn Any>>,
    /// Takes the loop's place once that is gone, while the engine is closed.
    heir: RefCell<Option<Weak<dyn Any>>>,
    /// Set by the first run, or by the report that there was none. Never cleared.
    driven: Cell<bool>,
    /// Set by `close` and by `dismantle`. Never cleared.
    closed: Cell<bool>,
}

impl Life {
    pub(crate) fn set_loop(&self, io_loop: Weak<dyn Any>) {
        let _ = self.io_loop.set(io_loop);
    }

    pub(crate) fn set_heir(&self, heir: Weak<dyn Any>) {
        self.heir.replace(Some(heir));
    }

    pub(crate) fn io_loop(&self) -> Option<Rc<dyn Any>> {
        self.io_loop.get()?.upgrade().or_else(|| self.heir.borrow().as_ref()?.upgrade())
    }

    /// Notes that the loop is driven.
    pub(crate) fn note_driven(&self) {
        self.driven.set(true);
    }

    /// Whether the loop was ever driven, or it was reported that it was not.
    pub(crate) fn was_driven(&self) -> bool {
        self.driven.get()
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}
