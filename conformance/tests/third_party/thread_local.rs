//! A runtime on poll(2), and its backend: the reactor is in a thread-local, and there only inside
//! of its `block_on`.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::{future::Future, io, time::Instant};

use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};

use crate::backend::{Waiting, wait};

thread_local! {
    /// What the futures of the innermost `block_on` wait for.
    static REACTOR: RefCell<Option<Vec<Waiting>>> = const { RefCell::new(None) };
}

/// The runtime; whoever waits in it outside of its `block_on` panics.
pub(crate) struct ThreadLocal;

impl ThreadLocal {
    pub(crate) fn block_on(future: Pin<&mut dyn Future<Output = ()>>) {
        let _outer = Outer(REACTOR.replace(Some(Vec::new())));
        crate::backend::block_on(future, |bell| {
            let waiting = with_reactor(std::mem::take);
            let ready = wait(bell, waiting.iter().map(|(fd, until, _)| (fd, *until)));
            for (wait, ready) in waiting.into_iter().zip(ready) {
                match ready {
                    true => wait.2.wake(),
                    false => with_reactor(|waiting| waiting.push(wait)),
                }
            }
        });
    }
}

fn with_reactor<T>(act: impl FnOnce(&mut Vec<Waiting>) -> T) -> T {
    REACTOR.with_borrow_mut(|reactor| act(reactor.as_mut().expect("outside of its `block_on`")))
}

/// The reactor of the `block_on` around this one, which is that of the thread again at the end.
struct Outer(Option<Vec<Waiting>>);

impl Drop for Outer {
    fn drop(&mut self) {
        REACTOR.set(self.0.take());
    }
}

impl Backend for ThreadLocal {
    fn name(&self) -> &str {
        "thread-local"
    }

    fn register(&self, fd: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered(fd, false)))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        ThreadLocal::block_on(pin!(drive));
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        false
    }
}

/// The descriptor, and whether it was asked to wake the loop.
struct Registered(Descriptor, bool);

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<io::Result<()>> {
        with_reactor(|waiting| {
            let before = waiting.len();
            waiting.retain(|(fd, ..)| *fd != self.0);
            if std::mem::take(&mut self.1) && waiting.len() == before {
                return Poll::Ready(Ok(()));
            }
            waiting.push((self.0.clone(), until, cx.waker().clone()));
            self.1 = true;
            Poll::Pending
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // It has ended with the reactor, if that has gone.
        REACTOR.with_borrow_mut(|reactor| {
            reactor.iter_mut().for_each(|waiting| waiting.retain(|(fd, ..)| *fd != self.0));
        });
    }
}
