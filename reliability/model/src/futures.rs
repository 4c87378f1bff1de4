//! The futures of a program.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ioloop::{Handle, JoinError};

use crate::program::{Script, Step, Wait};
use crate::trace::{Event, Id, Outcome};
use crate::world::{Events, Held, MS, Token, World, current, push};

/// Notes that a future is woken, unless the loop is closed, and wakes it.
struct Noting {
    id: Id,
    events: Events,
    handle: Handle,
    waker: Waker,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.handle.is_closed() {
            let at = current().map(|world| world.stand());
            push(&self.events, Event::Woken { id: self.id, at });
        }
        self.waker.wake_by_ref();
    }
}

type Awaited = Pin<Box<dyn Future<Output = Outcome>>>;

impl World {
    /// A future, and its name.
    pub(crate) fn future(
        &self,
        steps: &[Step],
        end: &Script,
    ) -> (Id, impl Future<Output = ()> + use<>) {
        let id = self.next_id();
        let inner = walk(self.token(id, end, false), id, steps.to_vec());
        (id, noted(id, inner))
    }

    /// What a future awaits.
    fn awaited(&self, wait: Wait) -> Option<Awaited> {
        match wait {
            Wait::Yield => {
                let mut polled = false;
                Some(Box::pin(poll_fn(move |cx| {
                    if std::mem::replace(&mut polled, true) {
                        return Poll::Ready(Outcome::Value);
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })))
            }
            Wait::Sleep(delay) => {
                let sleep = ioloop::sleep(&self.io_loop, MS * u32::from(delay));
                Some(Box::pin(async { sleep.await.map_or(Outcome::Closed, |()| Outcome::Value) }))
            }
            Wait::For(back) => self.handed_out(back),
            Wait::Limited(limit, back) => {
                let inner = self.handed_out(back)?;
                let limited = ioloop::timeout(&self.io_loop, MS * u32::from(limit), inner);
                Some(Box::pin(async {
                    limited.await.unwrap_or_else(|error| match error.is_elapsed() {
                        true => Outcome::Elapsed,
                        false => Outcome::Closed,
                    })
                }))
            }
        }
    }

    fn handed_out(&self, back: u8) -> Option<Awaited> {
        match &*self.get(back)? {
            Held::Task(task) => {
                let task = task.take()?;
                Some(Box::pin(async { outcome(task.await) }))
            }
            Held::GuardedTask(task) => {
                let task = task.take()?;
                Some(Box::pin(async { outcome(task.await) }))
            }
            Held::Deferred(deferred) => {
                let deferred = deferred.take()?;
                Some(Box::pin(async { outcome(deferred.await) }))
            }
            _ => None,
        }
    }
}

fn outcome(result: Result<(), JoinError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Value,
        Err(error) if error.is_cancelled() => Outcome::Cancelled,
        Err(error) if error.is_closed() => Outcome::Closed,
        Err(_) => Outcome::Panicked,
    }
}

/// Step after step.
async fn walk(token: Token, id: Id, steps: Vec<Step>) {
    let _token = token;
    for step in &steps {
        let awaited = {
            let world = current().expect("it is polled on the loop's thread");
            world.run(id, &step.call, true);
            world.awaited(step.wait)
        };
        if let Some(awaited) = awaited {
            let outcome = awaited.await;
            if let Some(world) = current() {
                world.note(Event::Got(id, outcome));
            }
        }
    }
}

/// Notes the polls of a future, and when it is woken.
async fn noted(id: Id, inner: impl Future<Output = ()>) {
    let mut inner = pin!(inner);
    poll_fn(|cx| {
        let world = current().expect("it is polled on the loop's thread");
        world.begin(id, 0);
        let waker = Waker::from(Arc::new(Noting {
            id,
            events: Arc::clone(&world.events),
            handle: world.handle.clone(),
            waker: cx.waker().clone(),
        }));
        let polled = inner.as_mut().poll(&mut Context::from_waker(&waker));
        world.note(match polled {
            Poll::Pending => Event::Waits(id),
            Poll::Ready(()) => Event::End(id),
        });
        polled
    })
    .await;
}
