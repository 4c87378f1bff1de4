//! A loop's descriptor in async-io's reactor, which is smol's too.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

// The same types, by whichever name there is.
#[cfg(feature = "async-io")]
use async_io::{Async, Timer};
#[cfg(not(feature = "async-io"))]
use smol::{Async, Timer};

use crate::Descriptor;
use crate::backends::Registration;
use crate::host::one_process::OneProcess;

pub(super) struct Registered {
    descriptor: Async<Descriptor>,
    /// Where the descriptor does not hold the deadline.
    alarm: Timer,
    deadline: Option<Instant>,
}

impl Registered {
    pub(super) fn new(descriptor: Descriptor) -> io::Result<Self> {
        check_process()?;
        let descriptor = Async::new_nonblocking(descriptor)?;
        Ok(Registered { descriptor, alarm: Timer::never(), deadline: None })
    }
}

impl Registration for Registered {
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(ready) = self.descriptor.poll_readable(cx) {
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
        // The reactor counts an event before it wakes for it, and the count is what `poll_readable` asks.
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
