//! A subscriber of `tracing` that panics.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest, set_default};
use tracing::{Event, Metadata, Subscriber};

use super::Outlet;

/// The subscriber is that of this thread until this is dropped.
pub(crate) struct Spoilt {
    _guard: DefaultGuard,
}

impl Spoilt {
    pub(crate) fn new(outlet: Outlet) -> Self {
        let Outlet::PanickingSubscriber = outlet;
        Spoilt { _guard: set_default(Panicking(AtomicU32::new(0))) }
    }
}

/// The state of its dice.
struct Panicking(AtomicU32);

impl Panicking {
    /// In half of its calls, so each part of a span's life fails after the others did not.
    fn panics(&self) {
        let dice =
            self.0.load(Ordering::Relaxed).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.store(dice, Ordering::Relaxed);
        // The last bits of such a generator have a short period.
        if dice >> 31 == 0 {
            // Without the panic hook, which would print thousands.
            resume_unwind(Box::new("a subscriber"));
        }
    }
}

impl Subscriber for Panicking {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The crates that host the loop tell `tracing` of themselves, and are not meant to survive.
        let is_ours = metadata.target() == "ioloop";
        if is_ours {
            self.panics();
        }
        is_ours
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.panics();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.panics();
    }

    fn enter(&self, _: &Id) {
        self.panics();
    }

    fn exit(&self, _: &Id) {
        self.panics();
    }

    fn try_close(&self, _: Id) -> bool {
        self.panics();
        true
    }
}
