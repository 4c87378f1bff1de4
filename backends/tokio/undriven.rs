//! Notices a current-thread runtime that is not driven: a loop that waits for it would sleep for
//! ever in silence.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::observe::events::{self, Level};

/// Whether the runtime has threads that drive it.
pub(super) fn drives_itself(handle: &Handle) -> bool {
    handle.runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// A runtime that has run nothing for so long is said not to be driven.
const LATE: Duration = Duration::from_secs(1);

/// What ends a watch over a runtime, by being dropped.
pub(super) struct Watched(Sender<()>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// What is known of who polls a loop, until it first sleeps.
#[derive(Debug, Default)]
pub(super) struct Polled {
    /// The loop has slept, and all was found out that is to be known.
    is_known: Cell<bool>,
    /// A poll has begun, perhaps with others inside of it.
    is_inside: Cell<bool>,
    /// Its thread had entered the runtime before.
    was_entered: Cell<bool>,
    /// Allocated with the loop, so its first sleep allocates nothing.
    yielded: Arc<Yielded>,
}

/// Whether the waker of a yield was woken at once.
#[derive(Debug, Default)]
struct Yielded(AtomicBool);

impl Wake for Yielded {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Polled {
    /// Notes whether a poll of the loop finds its runtime entered; true for the outermost one,
    /// which [ends](Self::end).
    #[inline]
    pub(super) fn begin(&self, was_entered: bool) -> bool {
        let is_outermost = !self.is_known.get() && !self.is_inside.replace(true);
        if is_outermost {
            self.was_entered.set(was_entered);
        }
        is_outermost
    }

    pub(super) fn end(&self) {
        self.is_inside.set(false);
    }

    /// Before the first sleep: warns if the runtime that the loop sleeps under is not driven,
    /// as long as what this returns is held.
    ///
    /// Costs a thread for a second, and only where the runtime is a current-thread one that is not
    /// driven by this thread. Another thread may drive it; tokio gives no means to ask for that.
    #[inline]
    pub(super) fn before_sleep(&self, handle: &Handle) -> Option<Watched> {
        if self.is_known.replace(true) {
            return None;
        }
        let is_driven = drives_itself(handle) || (self.was_entered.get() && self.is_in_scheduler());
        (!is_driven).then(|| watch(handle))
    }

    /// Whether this thread polls inside of a runtime's scheduler, and so drives that runtime.
    ///
    /// Under `Handle::block_on` the runtime is entered as well, and not driven. A yield waits for
    /// the driver where there is a scheduler, and for nothing elsewhere.
    fn is_in_scheduler(&self) -> bool {
        let waker = Waker::from(Arc::clone(&self.yielded));
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        !self.yielded.0.load(Ordering::Relaxed)
    }
}

fn watch(handle: &Handle) -> Watched {
    let name = thread::current().name().unwrap_or("unnamed").to_owned();
    let tell = move || {
        events::tell(
            Level::Warn,
            format_args!(
                "the loop on thread {name} sleeps under a current-thread tokio runtime that has run \
                 nothing for {LATE:?}, so the loop is told of no descriptor and no timer; await `run` \
                 inside that runtime's `Runtime::block_on`, or attach the loop to the runtime that it \
                 runs under"
            ),
        );
    };
    watch_for(LATE, handle, tell)
}

fn watch_for(late: Duration, handle: &Handle, tell: impl FnOnce() + Send + 'static) -> Watched {
    let (sender, receiver) = mpsc::channel();
    let ran = Watched(sender.clone());
    drop(handle.spawn(async move { drop(ran) }));
    // Neither the loop nor its runtime may ever run again.
    let watch = move || {
        if receiver.recv_timeout(late) == Err(RecvTimeoutError::Timeout) {
            tell();
        }
    };
    // Without a thread there is no warning.
    let _ = thread::Builder::new().name("ioloop-undriven".into()).spawn(watch);
    Watched(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use tokio::runtime::{Builder, LocalOptions, Runtime};
    use tokio::task::LocalSet;

    use super::*;
    use crate::backends::Backend;
    use crate::backends::tokio::TokioBackend;

    fn current_thread() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Whether a poll at this place, of a loop that is attached to this runtime, is taken to drive
    /// it.
    fn is_driven_here(handle: &Handle) -> bool {
        let backend = TokioBackend::attached(handle.clone());
        let mut watched = None;
        backend.enter(&mut || watched = Some(backend.polled.before_sleep(handle)));
        watched.unwrap().is_none()
    }

    #[test]
    fn a_runtime_is_driven_where_its_scheduler_polls() {
        let runtime = current_thread();
        let handle = runtime.handle().clone();
        assert!(runtime.block_on(async { is_driven_here(&handle) }));
        let spawned = handle.clone();
        let in_task = runtime.spawn(async move { is_driven_here(&spawned) });
        assert!(runtime.block_on(in_task).unwrap());
        assert!(LocalSet::new().block_on(&runtime, async { is_driven_here(&handle) }));
        let local = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        assert!(local.block_on(async { is_driven_here(local.handle()) }));
        let multi = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert!(is_driven_here(multi.handle()), "by threads of its own");
    }

    #[test]
    fn a_loop_under_another_runtime_was_taken_to_drive_its_own() {
        let (runtime, other) = (current_thread(), current_thread());
        let handle = runtime.handle().clone();
        assert!(!is_driven_here(&handle), "nowhere");
        let entered = handle.enter();
        assert!(!is_driven_here(&handle), "entered");
        drop(entered);
        assert!(!handle.block_on(async { is_driven_here(&handle) }), "`Handle::block_on`");
        assert!(!other.block_on(async { is_driven_here(&handle) }), "another runtime");
        let local = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        assert!(!local.block_on(async { is_driven_here(&handle) }), "another local runtime");
    }

    #[test]
    fn a_callback_that_enters_its_loop_hides_no_other_runtime() {
        let (runtime, other) = (current_thread(), current_thread());
        let handle = runtime.handle().clone();
        let backend = TokioBackend::attached(handle.clone());
        let mut watched = None;
        other.block_on(async {
            backend.enter(&mut || {
                backend.enter(&mut || ());
                watched = Some(backend.polled.before_sleep(&handle));
            });
        });
        assert!(watched.unwrap().is_some());
    }

    /// What `tell` sends to arrives, or is hung up when the watch is over.
    fn watched(late: Duration, handle: &Handle) -> (Watched, Receiver<()>) {
        let (sender, told) = mpsc::channel();
        (watch_for(late, handle, move || sender.send(()).unwrap()), told)
    }

    #[test]
    fn a_loop_slept_under_a_runtime_that_nobody_drives_in_silence() {
        let runtime = current_thread();
        let (_watched, told) = watched(Duration::from_millis(1), runtime.handle());
        assert!(told.recv().is_ok());
    }

    #[test]
    fn a_runtime_that_runs_is_not_told_of() {
        let runtime = current_thread();
        let (_watched, told) = watched(Duration::MAX, runtime.handle());
        runtime.block_on(tokio::task::yield_now());
        assert!(told.recv().is_err());
    }

    #[test]
    fn a_loop_that_no_longer_waits_is_not_told_of() {
        let runtime = current_thread();
        let (watched, told) = watched(Duration::MAX, runtime.handle());
        drop(watched);
        assert!(told.recv().is_err());
    }
}
