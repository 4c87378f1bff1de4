//! Blocking work that a loop hands to a pool.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

use crate::engine::inbox::Inbox;
use crate::host::backend::{Backend, Job};
#[cfg(feature = "blocking")]
use crate::host::one_process::OneProcess;
use crate::observe::exceptions::Exceptions;
use crate::observe::origin::Origin;

/// An executor that the user has set.
pub(crate) type Executor = Rc<dyn Fn(Job)>;

/// The jobs of one loop.
pub(crate) struct Jobs {
    executor: RefCell<Option<Executor>>,
    refusing: Cell<bool>,
    underway: Arc<Underway>,
}

impl Jobs {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Self {
        let underway = Underway { count: Mutex::default(), inbox: Arc::downgrade(inbox) };
        Jobs {
            executor: RefCell::default(),
            refusing: Cell::new(false),
            underway: Arc::new(underway),
        }
    }

    /// Whether a job is queued or running, or an executor was set.
    pub(crate) fn is_in_use(&self) -> bool {
        self.count() > 0 || self.executor.borrow().is_some()
    }

    /// How many jobs are queued or running.
    pub(crate) fn count(&self) -> usize {
        self.underway.count()
    }

    /// A ticket, which a job holds until it has ended. None if jobs are refused.
    pub(crate) fn admit(&self) -> Option<Ticket> {
        (!self.refusing.get()).then(|| self.underway.begin())
    }

    pub(crate) fn refuse(&self) {
        self.refusing.set(true);
    }

    pub(crate) fn underway(&self) -> Arc<Underway> {
        Arc::clone(&self.underway)
    }

    /// Sets an executor. Returns the one before, for the caller to drop.
    #[must_use]
    pub(crate) fn set_executor(&self, executor: Executor) -> Option<Executor> {
        self.executor.replace(Some(executor))
    }

    /// Takes out the executor that was set, for the caller to drop.
    #[must_use]
    pub(crate) fn take_executor(&self) -> Option<Executor> {
        self.executor.take()
    }

    pub(crate) fn run(&self, exceptions: &Exceptions, backend: Option<&dyn Backend>, job: Job) {
        let executor = self.executor.borrow().clone();
        exceptions.guard(Origin::Executor, || match executor {
            Some(executor) => executor(job),
            None => {
                let left = match backend {
                    Some(backend) => backend.execute(job),
                    None => Err(job),
                };
                if let Err(job) = left {
                    execute(job);
                }
            }
        });
    }
}

/// Runs a job where the runtime has no pool.
#[cfg(feature = "blocking")]
fn execute(job: Job) {
    static POOL: OneProcess = OneProcess::new();
    if POOL.is_this() {
        blocking::unblock(job).detach();
    } else {
        // The pool's threads are those of the parent of this forked child.
        execute_alone(job);
    }
}

#[cfg(not(feature = "blocking"))]
fn execute(job: Job) {
    execute_alone(job);
}

fn execute_alone(job: Job) {
    // If there is no thread, the job is dropped, and returns closed.
    let _ = std::thread::Builder::new().name(String::from("ioloop-job")).spawn(job);
}

/// Counts the jobs that are queued or running.
pub(crate) struct Underway {
    count: Mutex<Count>,
    /// The loop's inbox. The loop is woken when no job is left.
    inbox: Weak<Inbox>,
}

#[derive(Default)]
struct Count {
    jobs: usize,
    /// Woken when no job is left.
    wakers: Vec<Waker>,
}

/// Held by one job.
pub(crate) struct Ticket(Arc<Underway>);

impl Underway {
    fn begin(self: &Arc<Self>) -> Ticket {
        self.lock().jobs += 1;
        Ticket(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().jobs
    }

    pub(crate) fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        // Made before the lock: cloning and dropping a waker is the executor's code.
        let waker = cx.waker().clone();
        let mut count = self.lock();
        if count.jobs == 0 {
            return Poll::Ready(());
        }
        if !count.wakers.iter().any(|other| other.will_wake(&waker)) {
            count.wakers.push(waker);
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let wakers = {
            let mut count = self.0.lock();
            count.jobs -= 1;
            if count.jobs > 0 {
                return;
            }
            mem::take(&mut count.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        if let Some(inbox) = self.0.inbox.upgrade() {
            inbox.nudge();
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("underway", &self.count()).finish_non_exhaustive()
    }
}
