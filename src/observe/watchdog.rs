//! The watchdog: a thread that names user code while it holds a loop up.
//!
//! It reads what the loop has [published](super::publisher), several times in each limit, so the
//! loop's thread does nothing for it but publish. A loop has one for itself: so nothing is shared
//! by a process, and a forked child can have one of its own.

use std::cell::{OnceCell, RefCell};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{fmt, io};

use super::events::{self, Level};
use super::origin::Origin;
use super::running::{Call, Running};
use super::sight::Sight;
use crate::contain::contain;
use crate::reactor::callback::Caller;
use crate::system::RawFd;

/// Code of the user's that holds a loop up, and has not returned yet: what the
/// [watchdog](crate::IOLoop::set_watchdog) tells, once for each call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hang {
    /// The kind of code.
    pub origin: Origin,
    /// The location where the code was handed to the loop, if it is known. That of a destructor is
    /// the location of the code that runs it.
    pub location: Option<Caller>,
    /// The [name](crate::IOLoop::name) of the loop.
    pub loop_name: Arc<str>,
    /// The name of the loop's thread, if it has one.
    pub thread_name: Option<Arc<str>>,
    /// How long it has lasted at least.
    pub duration: Duration,
    /// The number of the descriptor, of a reader, a writer or a handler.
    pub fd: Option<RawFd>,
    /// Whether that descriptor has no `O_NONBLOCK`. Then a second read in one call waits for more
    /// data, and a large write for the peer.
    pub blocks: bool,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has held the loop up for {:?}", self.origin.name(), self.duration)?;
        if let Some(name) = &self.thread_name {
            write!(f, " on thread {name}")?;
        }
        f.write_str(", and has not returned")?;
        if let Some(location) = self.location {
            write!(f, ", from {location}")?;
        }
        match self.fd {
            Some(fd) if self.blocks => write!(f, "; its descriptor {fd} blocks: set O_NONBLOCK"),
            _ => Ok(()),
        }
    }
}

pub(crate) type Handler = Arc<dyn Fn(&Hang) + Send + Sync>;

/// Where the loop puts the handler, for the thread.
type Slot = Arc<Mutex<Option<Handler>>>;

/// The watchdog of one loop, on the side of the loop.
#[derive(Default)]
pub(crate) struct Watchdog {
    handler: OnceCell<Slot>,
    thread: RefCell<Option<Sentry>>,
}

impl Watchdog {
    /// Whether there is a thread, or a handler for it.
    pub(super) fn is_set(&self) -> bool {
        self.is_on() || self.handler.get().is_some_and(|slot| lock(slot).is_some())
    }

    pub(super) fn is_on(&self) -> bool {
        self.limit().is_some()
    }

    /// The limit, if it is on.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.thread.borrow().as_ref().map(|sentry| sentry.limit)
    }

    /// Sets the handler. Returns the one before, for the caller to drop.
    #[must_use]
    pub(super) fn set_handler(&self, handler: Handler) -> Option<Handler> {
        lock(self.handler.get_or_init(Slot::default)).replace(handler)
    }

    /// Takes the handler out, for the caller to drop.
    #[must_use]
    pub(super) fn take_handler(&self) -> Option<Handler> {
        lock(self.handler.get()?).take()
    }

    /// Ends the thread, if there is one. Without a wait, since its handler may wait for the loop.
    pub(super) fn end(&self) {
        drop(self.thread.take());
    }

    /// Begins anew.
    pub(super) fn begin(
        &self,
        limit: Duration,
        running: Arc<Running>,
        blocks: fn(RawFd) -> bool,
        loop_name: &str,
    ) -> io::Result<()> {
        let ended = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            running,
            blocks,
            limit,
            handler: Arc::clone(self.handler.get_or_init(Slot::default)),
            loop_name: loop_name.into(),
            thread_name: thread::current().name().map(Arc::from),
            ended: Arc::clone(&ended),
        };
        let name = format!("watchdog of {loop_name}");
        let joined = thread::Builder::new().name(name).spawn(move || watch.run())?;
        let sentry = Sentry { limit, ended, thread: joined.thread().clone() };
        drop(self.thread.replace(Some(sentry)));
        Ok(())
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Handler>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread, which ends when this is dropped. That needs no lock, so a forked child, where the
/// thread is not, may drop it.
struct Sentry {
    limit: Duration,
    ended: Arc<AtomicBool>,
    thread: Thread,
}

impl Drop for Sentry {
    fn drop(&mut self) {
        self.ended.store(true, Release);
        self.thread.unpark();
    }
}

/// What the thread has.
struct Watch {
    running: Arc<Running>,
    /// Whether a descriptor has no `O_NONBLOCK`.
    blocks: fn(RawFd) -> bool,
    limit: Duration,
    handler: Slot,
    loop_name: Arc<str>,
    thread_name: Option<Arc<str>>,
    ended: Arc<AtomicBool>,
}

/// The thread looks so often in the length of the limit,
const LOOKS: u32 = 4;

/// but no more often than that.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

impl Watch {
    fn run(self) {
        let pause = (self.limit / LOOKS).max(LEAST_PAUSE);
        let (mut sight, mut told) = (Sight::default(), 0);
        while !self.ended.load(Acquire) {
            let now = Instant::now();
            // The innermost first: it is what holds up those around it.
            for seen in sight.see(&self.running, now).iter().rev() {
                // Once. Each has been there for as long as those inside of it.
                if seen.again == LOOKS {
                    if let Some(hang) = self.hang(seen.call, now.duration_since(seen.since)) {
                        told += 1;
                        contain(|| self.tell(&hang, told));
                    }
                }
            }
            thread::park_timeout(pause);
        }
        contain(|| drop(self.handler));
    }

    /// What there is to tell, unless the call has returned by now.
    fn hang(&self, call: Call, duration: Duration) -> Option<Hang> {
        let hang = Hang {
            origin: call.origin,
            location: call.location,
            loop_name: Arc::clone(&self.loop_name),
            thread_name: self.thread_name.clone(),
            duration,
            fd: call.fd,
            blocks: call.fd.is_some_and(self.blocks),
        };
        // After the descriptor was asked, which may be closed as soon as the call has returned.
        self.running.calls().contains(&call).then_some(hang)
    }

    fn tell(&self, hang: &Hang, number: u64) {
        let handler = lock(&self.handler).clone();
        match handler {
            Some(handler) => handler(hang),
            None if events::is_told(number) => {
                events::tell(Level::Warn, format_args!("loop {}: {hang}", self.loop_name));
            }
            None => {}
        }
    }
}
