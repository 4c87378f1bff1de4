//! A loop's descriptor in async-io's reactor, which is smol's too.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

// The same types, by whichever name there is.
#[cfg(feature = "async-io")]
use async_io::{Async, Timer};
#[cfg(not(feature = "async-io"))]
use smol::{Async, Timer};

use crate::backends::{Descriptor, Registration};
use crate::host::one_process::OneProcess;

/// The waker of the reactor's: it notes the wake, then wakes the host.
///
/// `poll_readable` cannot say so itself. It returns `Pending` after an event that arrived in the
/// same round of the reactor in which it was asked, and that is the usual case where async-io's own
/// thread drives the reactor.
#[derive(Default)]
struct Told(Mutex<State>);

#[derive(Default)]
struct State {
    woken: bool,
    host: Option<Waker>,
}

impl Told {
    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reactor has woken the loop since it was asked last; if not, it wakes this host.
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock: both are the host's code.
        let mut host = None;
        loop {
            let mut state = self.lock();
            if mem::take(&mut state.woken) {
                return Poll::Ready(());
            }
            if state.host.as_ref().is_some_and(|host| host.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if host.is_some() {
                mem::swap(&mut state.host, &mut host);
                return Poll::Pending;
            }
            drop(state);
            host = Some(cx.waker().clone());
        }
    }
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let host = {
            let mut state = self.lock();
            state.woken = true;
            state.host.take()
        };
        if let Some(host) = host {
            host.wake();
        }
    }
}

pub(super) struct Registered {
    descriptor: Async<Descriptor>,
    told: Arc<Told>,
    /// Of `told`.
    waker: Waker,
    /// Where the descriptor does not hold the deadline.
    alarm: Timer,
    deadline: Option<Instant>,
}

impl Registered {
    pub(super) fn new(descriptor: Descriptor) -> io::Result<Self> {
        check_process()?;
        let descriptor = Async::new_nonblocking(descriptor)?;
        let told = Arc::<Told>::default();
        let waker = Waker::from(Arc::clone(&told));
        Ok(Registered { descriptor, told, waker, alarm: Timer::never(), deadline: None })
    }

    /// Whether the reactor has woken the loop for its descriptor; if not, it will.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.told.poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut cx = Context::from_waker(&self.waker);
        // `Ready` is for an event that has woken `Told`, or is about to. The second call
        // asks for the next one.
        while self.descriptor.poll_readable(&mut cx)?.is_ready() {}
        Poll::Pending
    }
}

impl Registration for Registered {
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(ready) = self.poll_readable(cx) {
            return Poll::Ready(ready);
        }
        if self.deadline != deadline {
            self.deadline = deadline;
            self.alarm = deadline.map_or_else(Timer::never, Timer::at);
        }
        if deadline.is_none() {
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.alarm).poll(cx));
        self.deadline = None;
        Poll::Ready(Ok(()))
    }

    fn is_exact(&self) -> bool {
        // `Told` notes each wake.
        true
    }
}

/// Refuses the reactor in a process that was forked from one where a loop was attached to it: its
/// thread is there, and its kernel set is shared.
fn check_process() -> io::Result<()> {
    static REACTOR: OneProcess = OneProcess::new();
    if REACTOR.is_this() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "async-io's reactor is that of the process which this one was forked from: make an own \
         loop here, or fork before a loop is attached",
    ))
}
