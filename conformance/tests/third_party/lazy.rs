//! A lazy runtime on poll(2), and its backend: the reactor is made, and asked for a descriptor,
//! only when somebody waits.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::{future::Future, io, rc::Rc, time::Instant};

use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};

use crate::backend::{block_on, wait};

/// The runtime: its reactor, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Lazy(Rc<OnceCell<Reactor>>);
type Reactor = RefCell<Vec<Rc<Slot>>>;

/// What the reactor knows of a descriptor.
struct Slot {
    descriptor: Descriptor,
    until: Cell<Option<Instant>>,
    /// Whom to wake, once.
    waker: Cell<Option<Waker>>,
    /// Set before the wake, and used up by the answer.
    ready: Cell<bool>,
}

impl Lazy {
    pub(crate) fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        block_on(future, |bell| {
            let mut slots = self.0.get().map_or_else(Vec::new, |slots| slots.borrow().clone());
            slots.retain(|slot| !slot.ready.get());
            let ready = wait(bell, slots.iter().map(|slot| (&slot.descriptor, slot.until.get())));
            for (slot, _) in slots.iter().zip(ready).filter(|(_, ready)| *ready) {
                slot.ready.set(true);
                slot.waker.take().into_iter().for_each(Waker::wake);
            }
        });
    }
}

impl Backend for Lazy {
    fn name(&self) -> &str {
        "lazy"
    }

    fn register(&self, fd: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered(self.clone(), fd, None)))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        Lazy::block_on(self, pin!(drive));
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        false
    }
}

/// The runtime, the descriptor, and its slot once it was polled.
struct Registered(Lazy, Descriptor, Option<Rc<Slot>>);

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<io::Result<()>> {
        let slot = self.2.get_or_insert_with(|| {
            let descriptor = self.1.clone();
            let slot = Slot {
                descriptor,
                until: Cell::default(),
                waker: Cell::default(),
                ready: Cell::default(),
            };
            let slot = Rc::new(slot);
            self.0.0.get_or_init(Reactor::default).borrow_mut().push(Rc::clone(&slot));
            slot
        });
        if slot.ready.take() {
            return Poll::Ready(Ok(()));
        }
        slot.until.set(until);
        slot.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn is_exact(&self) -> bool {
        true
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some((slots, slot)) = self.0.0.get().zip(self.2.take()) {
            slots.borrow_mut().retain(|other| !Rc::ptr_eq(other, &slot));
        }
    }
}
