//! A runtime on poll(2) that is slow to give back, and its backend: the descriptor of a
//! registration that was dropped is held until it has waited once more.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::{future::Future, io, rc::Rc, time::Instant};

use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};

use crate::backend::{Waiting, block_on, wait};

/// The runtime: what its futures wait for, and the descriptors that were given up since it waited.
#[derive(Clone, Default)]
pub(crate) struct Slow(Rc<RefCell<Vec<Waiting>>>, Rc<RefCell<Vec<Descriptor>>>);

impl Slow {
    pub(crate) fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        block_on(future, |bell| {
            let (waiting, given_up) = (self.0.take(), self.1.take());
            let ready = wait(bell, waiting.iter().map(|(fd, until, _)| (fd, *until)));
            drop(given_up);
            for (wait, ready) in waiting.into_iter().zip(ready) {
                match ready {
                    true => wait.2.wake(),
                    false => self.0.borrow_mut().push(wait),
                }
            }
        });
    }
}

impl Backend for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn register(&self, fd: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered(self.clone(), fd, false)))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        Slow::block_on(self, pin!(drive));
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        false
    }
}

/// The runtime, the descriptor, and whether it was asked to wake the loop.
struct Registered(Slow, Descriptor, bool);

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<io::Result<()>> {
        let mut waiting = self.0.0.borrow_mut();
        let before = waiting.len();
        waiting.retain(|(fd, ..)| *fd != self.1);
        if std::mem::take(&mut self.2) && waiting.len() == before {
            return Poll::Ready(Ok(()));
        }
        waiting.push((self.1.clone(), until, cx.waker().clone()));
        self.2 = true;
        Poll::Pending
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.0.borrow_mut().retain(|(fd, ..)| *fd != self.1);
        self.0.1.borrow_mut().push(self.1.clone());
    }
}
