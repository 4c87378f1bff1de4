//! A whole runtime on poll(2), and the backend that lets it host a loop.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::{cell::RefCell, future::Future, io, os::fd::OwnedFd, rc::Rc, sync::Arc, time::Instant};

use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// The runtime: what its futures wait for, and until when.
#[derive(Clone, Default)]
pub(crate) struct Mini(Rc<RefCell<Vec<Waiting>>>);
pub(crate) type Waiting = (Descriptor, Option<Instant>, Waker);

impl Mini {
    pub(crate) fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        block_on(future, |bell| {
            let waiting = self.0.take();
            let ready = wait(bell, waiting.iter().map(|(fd, until, _)| (fd, *until)));
            for (wait, ready) in waiting.into_iter().zip(ready) {
                match ready {
                    true => wait.2.wake(),
                    false => self.0.borrow_mut().push(wait),
                }
            }
        });
    }
}

/// Polls a future each time that it was woken. In between `park` waits, for the bell too.
pub(crate) fn block_on(mut future: Pin<&mut dyn Future<Output = ()>>, park: impl Fn(&Bell)) {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let bell = Arc::new(Bell(eventfd(0, flags).unwrap()));
    let waker = Waker::from(Arc::clone(&bell));
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        park(&bell);
        while rustix::io::read(&bell.0, &mut [0; 8]).is_err() {
            park(&bell);
        }
    }
}

/// Waits for the bell, or for what is waited for; says of each of the latter whether it is ready,
/// or its time has come.
pub(crate) fn wait<'a>(
    bell: &Bell,
    waits: impl Iterator<Item = (&'a Descriptor, Option<Instant>)>,
) -> Vec<bool> {
    let (fds, deadlines): (Vec<_>, Vec<_>) = waits.unzip();
    let next = deadlines.iter().flatten().min();
    let timeout = next.map(|at| at.saturating_duration_since(Instant::now()).try_into().unwrap());
    let mut polled = vec![PollFd::new(&bell.0, PollFlags::IN)];
    polled.extend(fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)));
    while let Err(rustix::io::Errno::INTR) = poll(&mut polled, timeout.as_ref()) {}
    let is_due = |until: &Option<Instant>| until.is_some_and(|until| until <= Instant::now());
    let each = polled[1..].iter().zip(&deadlines);
    each.map(|(fd, until)| !fd.revents().is_empty() || is_due(until)).collect()
}

pub(crate) struct Bell(OwnedFd);

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
