//! A loop's descriptor in async-io's reactor, which is smol's too.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

// The same types, by whichever name there is.
#[cfg(feature = "async-io")]
use async_io::{Async, Timer};
#[cfg(not(feature = "async-io"))]
use smol::{Async, Timer};

use crate::backends::{Descriptor, Registration};
use crate::host::one_process::OneProcess;

/// The waker that the reactor gets: it notes that it was woken, then wakes the host.
///
/// `poll_readable` cannot say so itself. It returns `Pending` after an event that arrived in the same
/// round of the reactor in which it was asked, and that is the usual case where async-io's own thread
/// drives the reactor.
struct Told {
    woken: AtomicBool,
    host: Waker,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.host.wake_by_ref();
    }
}

pub(super) struct Registered {
    descriptor: Async<Descriptor>,
    told: Option<(Arc<Told>, Waker)>,
    /// Where the descriptor does not hold the deadline.
    alarm: Timer,
    deadline: Option<Instant>,
}

impl Registered {
    pub(super) fn new(descriptor: Descriptor) -> io::Result<Self> {
        check_process()?;
        let descriptor = Async::new_nonblocking(descriptor)?;
        Ok(Registered { descriptor, told: None, alarm: Timer::never(), deadline: None })
    }

    /// Whether the reactor has woken the loop for its descriptor; if not, it will.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((told, _)) = &self.told {
            if told.woken.swap(false, Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        let told = self.told.take().filter(|(told, _)| told.host.will_wake(cx.waker()));
        let (_, waker) = self.told.insert(told.unwrap_or_else(|| {
            let told = Told { woken: AtomicBool::new(false), host: cx.waker().clone() };
            let told = Arc::new(told);
            (Arc::clone(&told), Waker::from(told))
        }));
        let mut cx = Context::from_waker(waker);
        // `Ready` is about an event that the waker has told of, or is about to. The second call asks for
        // the next one.
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
