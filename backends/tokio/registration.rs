//! The loop's descriptor in tokio's reactor, which needs `unsafe`.
#![allow(unsafe_code)]

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use super::undriven::{Polled, Watched};
use crate::backends::{Descriptor, Registration};

pub(super) struct Registered {
    handle: Handle,
    descriptor: AsyncFd<Descriptor>,
    /// Where the descriptor does not hold the deadline.
    alarm: Option<Pin<Box<Sleep>>>,
    polled: Rc<Polled>,
    watched: Option<Watched>,
}

impl Registered {
    pub(super) fn new(
        handle: &Handle,
        descriptor: Descriptor,
        polled: &Rc<Polled>,
    ) -> io::Result<Self> {
        let _entered = handle.enter();
        // tokio panics where I/O is disabled, and has no question for it.
        let registered = catch_unwind(|| {
            // SAFETY: tokio wants one open file behind one number for as long as the `AsyncFd`
            // lives. That is what a `Descriptor` is, whoever handed it in: it shares an `OwnedFd`
            // that cannot be taken out or reached by `&mut`, so safe code can neither close it nor
            // put another file in its place. A duplicate of it is a number of its own, and all that
            // can be done with that, or with the file, leaves this number and its file as they are.
            // `as_raw_fd` always returns this number.
            unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
        });
        match registered {
            Ok(registered) => Ok(Registered {
                handle: handle.clone(),
                descriptor: registered?,
                alarm: None,
                polled: Rc::clone(polled),
                watched: None,
            }),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the tokio runtime was built without I/O; call `enable_io` or `enable_all` on its Builder",
            )),
        }
    }
}

impl Registered {
    fn sleep_until(&self, deadline: tokio::time::Instant) -> io::Result<Pin<Box<Sleep>>> {
        let _entered = self.handle.enter();
        // As with I/O, tokio panics where time is disabled.
        catch_unwind(|| Box::pin(tokio::time::sleep_until(deadline))).map_err(|_| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the tokio runtime was built without time; call `enable_time` or `enable_all` on its Builder",
            )
        })
    }
}

impl Registration for Registered {
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>> {
        if let Some(watched) = self.polled.before_sleep(&self.handle) {
            self.watched = Some(watched);
        }
        // tokio keeps an edge; it is cleared before the loop polls, so one that arrives later is
        // kept.
        if let Poll::Ready(ready) = self.descriptor.poll_read_ready(cx) {
            ready?.clear_ready();
            return Poll::Ready(Ok(()));
        }
        let Some(deadline) = deadline.map(Into::into) else {
            self.alarm = None;
            return Poll::Pending;
        };
        if self.alarm.as_ref().is_none_or(|alarm| alarm.deadline() != deadline) {
            self.alarm = Some(self.sleep_until(deadline)?);
        }
        let Some(alarm) = &mut self.alarm else {
            return Poll::Pending;
        };
        // tokio's timer panics where its runtime has been shut down.
        let elapsed = catch_unwind(AssertUnwindSafe(|| alarm.as_mut().poll(cx)));
        ready!(elapsed.map_err(|_| io::Error::other("the tokio runtime has been shutdown"))?);
        self.alarm = None;
        Poll::Ready(Ok(()))
    }

    fn is_exact(&self) -> bool {
        // tokio keeps the edge that it wakes for until it is cleared, above.
        true
    }
}
