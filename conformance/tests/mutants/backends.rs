//! Backends and registrations that break one promise each, around the honest ones of a runtime on
//! poll(2).

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use ioloop::backends::{Backend, Descriptor, Drive, Job, Registration};
use ioloop::{IOLoop, RunError};
use ioloop_conformance::Rig;

use crate::backend::Mini;

/// Delegates everything to the honest backend, but for what its fault says.
#[derive(Clone)]
struct Broken {
    fault: Rc<str>,
    honest: Mini,
    registered: Rc<Cell<u32>>,
    held: Rc<RefCell<Vec<Box<dyn Registration>>>>,
    jobs: Rc<RefCell<Vec<Job>>>,
}

impl Broken {
    fn new(fault: &str) -> Self {
        Broken {
            fault: fault.into(),
            honest: Mini::default(),
            registered: Rc::default(),
            held: Rc::default(),
            jobs: Rc::default(),
        }
    }
}

/// A rig of loops of their own, or of attached ones.
pub(crate) fn rig(fault: String, attached: bool) -> Rig {
    let broken = Broken::new(&fault);
    let host = broken.honest.clone();
    match attached {
        false => Rig::own(move || IOLoop::builder().host(Broken::new(&fault)).build()),
        true => Rig::attached(
            move || IOLoop::builder().host(broken.clone()).attach(),
            move |future| host.block_on(future),
        ),
    }
}

impl Backend for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        self.registered.set(self.registered.get() + 1);
        if &*self.fault == "a second registration fails" && self.registered.get() > 1 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let honest = Some(self.honest.register(descriptor)?);
        Ok(Box::new(Registered { broken: self.clone(), honest, first: None, polls: 0 }))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        match &*self.fault {
            "block_on drives nothing" => Ok(()),
            "block_on gives up after one poll" => {
                let _ = pin!(drive).poll(&mut Context::from_waker(Waker::noop()));
                Ok(())
            }
            "block_on drives, and says that it did not" => {
                self.honest.block_on(pin!(drive));
                Err(RunError::InAsyncContext)
            }
            _ => Backend::block_on(&self.honest, drive),
        }
    }

    fn enter(&self, turns: &mut dyn FnMut()) {
        // The jobs that wait for the loop.
        self.jobs.take().into_iter().for_each(|job| job());
        match &*self.fault {
            "enter runs nothing" => {}
            "enter runs it twice" => {
                turns();
                turns();
            }
            "enter swallows a panic" => drop(catch_unwind(AssertUnwindSafe(turns))),
            _ => self.honest.enter(turns),
        }
    }

    fn execute(&self, job: Job) -> Result<(), Job> {
        match &*self.fault {
            "execute runs the job itself" => job(),
            "execute drops the job" => drop(job),
            "execute keeps the job until the loop turns" => self.jobs.borrow_mut().push(job),
            "execute runs one job after the other" => {
                drop(thread::Builder::new().name("one".into()).spawn({
                    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
                    move || {
                        let _one = ONE.lock();
                        job();
                    }
                }));
            }
            "execute runs the job on a thread without a name" => drop(thread::spawn(job)),
            _ => return self.honest.execute(job),
        }
        Ok(())
    }

    fn is_embeddable(&self) -> bool {
        &*self.fault == "it is embeddable, and drives itself" || self.honest.is_embeddable()
    }
}

struct Registered {
    broken: Broken,
    honest: Option<Box<dyn Registration>>,
    first: Option<Waker>,
    polls: u32,
}

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<io::Result<()>> {
        self.broken.held.take();
        self.polls += 1;
        let honest = self.honest.as_mut().unwrap();
        let nobody = &mut Context::from_waker(Waker::noop());
        match &*self.broken.fault {
            "a registration keeps its first waker" => {
                let first = self.first.get_or_insert_with(|| cx.waker().clone());
                honest.poll_ready(&mut Context::from_waker(first), at)
            }
            "a registration wakes nobody" => honest.poll_ready(nobody, at),
            "a registration wakes once" if self.polls > 2 => honest.poll_ready(nobody, at),
            "a registration is always ready" => Poll::Ready(Ok(())),
            "a registration fails later" if self.polls > 2 => {
                Poll::Ready(Err(io::ErrorKind::Other.into()))
            }
            _ => honest.poll_ready(cx, at),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let honest = self.honest.take();
        match &*self.broken.fault {
            "a dropped registration stays" => mem::forget(honest),
            "a dropped registration is given back later" => {
                self.broken.held.borrow_mut().extend(honest);
            }
            _ => drop(honest),
        }
    }
}
