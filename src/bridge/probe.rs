//! Notices a current-thread runtime that is not driven: a wait for its timers and sockets would
//! hang in silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::level_filters::LevelFilter;

use crate::io_loop::IOLoop;
use crate::observe::events::{self, Level};
use crate::reactor::contract::Reactor;

/// A runtime that has run nothing for so long is said not to be driven.
const LATE: Duration = Duration::from_secs(1);

/// A task in the runtime that says when it ran.
pub(super) struct Probe {
    ran: Arc<AtomicBool>,
    /// When it is late, for the next poll to notice; none if that is noticed elsewhere.
    late: Option<Instant>,
}

impl Probe {
    /// None where the runtime drives itself, or no subscriber would get the warning.
    pub(super) fn send(handle: &Handle) -> Option<Probe> {
        let drives_itself = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
        // Not `tracing::enabled!`: a subscriber may decide otherwise for an event than for that
        // question.
        let is_told = LevelFilter::current() >= LevelFilter::WARN;
        if drives_itself || !is_told {
            return None;
        }
        Some(Probe::after(LATE, handle))
    }

    fn after(late: Duration, handle: &Handle) -> Probe {
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::downgrade(&ran);
        drop(handle.spawn(async move {
            if let Some(ran) = flag.upgrade() {
                ran.store(true, Ordering::Relaxed);
            }
        }));
        // Only a loop has a time that does not depend on the runtime. A test's clock must not be
        // made to jump.
        let io_loop =
            IOLoop::current().filter(|io_loop| !io_loop.inner.engine.timers.has_own_clock());
        let Some(io_loop) = io_loop else {
            return Probe { ran, late: Some(Instant::now() + late) };
        };
        let waiting = Arc::downgrade(&ran);
        io_loop.call_later(late, move || {
            // Whoever waited may have gone.
            if let Some(ran) = waiting.upgrade() {
                look(&ran);
            }
        });
        Probe { ran, late: None }
    }

    /// Warns, once, if the runtime should have run long since.
    pub(super) fn look(&mut self) {
        if self.late.is_some_and(|late| late <= Instant::now()) {
            self.late = None;
            look(&self.ran);
        }
    }
}

fn look(ran: &AtomicBool) {
    if !ran.load(Ordering::Relaxed) {
        events::tell(
            Level::Warn,
            format_args!(
                "in_tokio: the current-thread runtime has run nothing for {LATE:?}, so its timers and \
                 sockets stand still; a thread has to be in its `block_on`"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::runtime::Builder;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Counts events.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl Subscriber for Count {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_event()
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    const SOON: Duration = Duration::from_millis(1);

    /// Warnings while a loop runs for longer than it takes to be late, on the thread that has a
    /// probe out.
    fn warnings(is_driven: bool) -> usize {
        let count = Count::default();
        let runtime = Builder::new_current_thread().build().unwrap();
        tracing::subscriber::with_default(count.clone(), || {
            let io_loop = IOLoop::new().unwrap();
            let handle = runtime.handle().clone();
            let probe = io_loop.enter(|| Probe::after(SOON, &handle));
            if is_driven {
                runtime.block_on(tokio::task::yield_now());
            }
            // Set after the alarm, and for later.
            io_loop.run_sync(crate::sleep(&io_loop, 2 * SOON)).unwrap().unwrap();
            drop(probe);
        });
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_runtime_that_nobody_drives_is_told_of_once() {
        assert_eq!(warnings(false), 1);
        assert_eq!(warnings(true), 0);
    }

    #[test]
    fn without_a_loop_the_next_poll_finds_out() {
        let count = Count::default();
        let runtime = Builder::new_current_thread().build().unwrap();
        tracing::subscriber::with_default(count.clone(), || {
            let mut probe = Probe::after(Duration::ZERO, runtime.handle());
            probe.look();
            probe.look();
        });
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_subscriber_that_wants_events_alone_was_not_told() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let sent = tracing::subscriber::with_default(Count::default(), || {
            Probe::send(runtime.handle()).is_some()
        });
        assert!(sent);
    }

    #[test]
    fn a_runtime_that_drives_itself_is_sent_no_probe() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let sent = tracing::subscriber::with_default(Count::default(), || {
            Probe::send(runtime.handle()).is_some()
        });
        assert!(!sent);
    }
}
