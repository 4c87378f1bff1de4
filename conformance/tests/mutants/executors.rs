//! Executors of a backend that break one promise each, around the honest one of a backend from
//! outside.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use ioloop::IOLoop;
use ioloop::backends::{Backend, Descriptor, Registration, RuntimeTasks, Shutdown};
use ioloop_conformance::Rig;

use crate::spawning::Spawning;

/// Delegates everything to the honest backend, but for what its fault says.
struct Broken {
    fault: String,
    honest: Arc<Spawning>,
}

impl Broken {
    fn new(fault: &str) -> Self {
        Broken { fault: fault.to_owned(), honest: Arc::default() }
    }

    fn has(&self, fault: &str) -> bool {
        self.fault == fault
    }
}

/// A rig of loops of their own.
pub(crate) fn rig(fault: String) -> Rig {
    let make = move || IOLoop::builder().host(Broken::new(&fault)).build();
    Rig::own(make).spawns(|io_loop| {
        let broken = io_loop.backend::<Broken>().unwrap();
        if broken.has("a task is polled on a thread of its own") {
            return Arc::new(|task| drop(thread::spawn(|| futures_lite::future::block_on(task))));
        }
        broken.honest.spawner()
    })
}

impl Backend for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        self.honest.register(descriptor)
    }

    fn run_tasks(&self, waker: &Waker) -> Option<RuntimeTasks> {
        if self.has("it is asked for no tasks") {
            return None;
        }
        // Whatever is made later has the loop ask again.
        let deaf = self.has("an executor that is made later is not told of");
        let mut tasks = self.honest.run_tasks(if deaf { Waker::noop() } else { waker })?;
        if self.has("a woken task does not wake the loop") {
            return Some(Box::pin(poll_fn(move |_| {
                tasks.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })));
        }
        if self.has("it polls until no task is awake") {
            return Some(Box::pin(poll_fn(move |cx| {
                (0..u32::MAX).for_each(|_| _ = tasks.as_mut().poll(cx));
                Poll::Pending
            })));
        }
        if self.has("a run that ends takes its tasks along") {
            let honest = Arc::clone(&self.honest);
            let clears = Clears(honest);
            return Some(Box::pin(async move {
                let _clears = clears;
                tasks.await;
            }));
        }
        Some(tasks)
    }

    fn shutdown(&self, how: Shutdown) {
        if !self.has("its tasks outlive the loop") {
            self.honest.shutdown(how);
        }
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

/// Drops the tasks when it is dropped.
struct Clears(Arc<Spawning>);

impl Drop for Clears {
    fn drop(&mut self) {
        self.0.clear();
    }
}
