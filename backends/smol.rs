//! smol, under whatever executor polls the loop.
//!
//! smol's reactor is async-io's: one for the process, driven by its own thread, or by whoever is in
//! `smol::block_on`. An attached loop is woken through it; an own loop parks in its own descriptor
//! and leaves it alone, so that two own loops do not queue for one reactor.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use smol::{Async, Timer};

use crate::Descriptor;
use crate::backends::{Backend, Registration, check_reactor};

/// Hosts a loop on smol's reactor.
#[derive(Debug, Default)]
pub struct SmolBackend(());

impl SmolBackend {
    /// The backend; there is one reactor, so that there is nothing to choose.
    pub fn new() -> Self {
        SmolBackend(())
    }
}

impl Backend for SmolBackend {
    fn name(&self) -> &str {
        "smol"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        check_reactor()?;
        Ok(Box::new(Registered {
            descriptor: Async::new_nonblocking(descriptor)?,
            alarm: Timer::never(),
            deadline: None,
        }))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

struct Registered {
    descriptor: Async<Descriptor>,
    /// Where the descriptor does not hold the deadline.
    alarm: Timer,
    deadline: Option<Instant>,
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
}
