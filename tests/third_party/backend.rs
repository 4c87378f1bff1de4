//! A whole runtime on poll(2), and the backend that lets it host a loop.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::{cell::RefCell, future::Future, io, os::fd::OwnedFd, rc::Rc, sync::Arc, time::Instant};

use ioloop::backends::{Backend, Registration};
use ioloop::{Descriptor, Drive, RunError};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// The runtime: what its futures wait for, and until when.
#[derive(Clone, Default)]
pub(crate) struct Mini(Rc<RefCell<Vec<Waiting>>>);
type Waiting = (Descriptor, Option<Instant>, Waker);

impl Mini {
    pub(crate) fn block_on(&self, mut future: Pin<&mut dyn Future<Output = ()>>) {
        let bell = Arc::new(Bell(eventfd(0, EventfdFlags::CLOEXEC).unwrap()));
        let waker = Waker::from(Arc::clone(&bell));
        let mut rung = true;
        while !rung || future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            let waiting = self.0.take();
            let next = waiting.iter().filter_map(|(_, deadline, _)| *deadline).min();
            let timeout =
                next.map(|at| at.saturating_duration_since(Instant::now()).try_into().unwrap());
            let mut polled = vec![PollFd::new(&bell.0, PollFlags::IN)];
            polled.extend(waiting.iter().map(|(fd, ..)| PollFd::new(fd, PollFlags::IN)));
            while let Err(rustix::io::Errno::INTR) = poll(&mut polled, timeout.as_ref()) {}
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            rung = ready[0] && rustix::io::read(&bell.0, &mut [0; 8]).is_ok();
            for (wait, ready) in waiting.into_iter().zip(&ready[1..]) {
                match *ready || wait.1.is_some_and(|until| until <= Instant::now()) {
                    true => wait.2.wake(),
                    false => self.0.borrow_mut().push(wait),
                }
            }
        }
    }
}

struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).unwrap();
    }
}

impl Backend for Mini {
    fn name(&self) -> &str {
        "mini"
    }

    fn register(&self, fd: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered(self.clone(), fd, false)))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        Mini::block_on(self, pin!(drive));
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        false
    }
}

/// The runtime, the descriptor, and whether it was asked to wake the loop.
struct Registered(Mini, Descriptor, bool);

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<io::Result<()>> {
        let mut waiting = self.0.0.borrow_mut();
        let before = waiting.len();
        waiting.retain(|(fd, ..)| *fd != self.1);
        if std::mem::take(&mut self.2) && waiting.len() == before {
            // It waits no more: it has woken the loop, which looks now.
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
    }
}
