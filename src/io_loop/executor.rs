//! Blocking work on other threads, with its value on the loop.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

use crate::backends::Backend;
#[cfg(feature = "blocking")]
use crate::backends::one_process::OneProcess;
use crate::engine::inbox::Inbox;
use crate::futures::task::Task;
use crate::io_loop::IOLoop;
use crate::observe::exceptions::{Exceptions, Origin};

/// A piece of blocking work, as an executor gets it. If it is dropped instead of run, its task
/// returns an error that is [closed](crate::JoinError::is_closed).
pub type Job = Box<dyn FnOnce() + Send>;

/// Blocking work.
impl IOLoop {
    /// Runs `job`, which may block, on a thread of the default executor; the task gives its value.
    ///
    /// Where none was [set](Self::set_default_executor) the default is the runtime's own: tokio's blocking pool on
    /// tokio, the pool of the crate `blocking`, which is smol's, on all others. A loop that was built without the feature
    /// `blocking`, on a runtime without a pool, starts a thread for each job. None of them limits how many jobs wait;
    /// each starts its threads when the first job comes.
    ///
    /// ```
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let entries = io_loop.run_in_executor(|| std::fs::read_dir("/").map(Iterator::count));
    /// assert!(io_loop.run_sync(entries)??? > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// As Tornado's and asyncio's method of that name. For an executor of your own choice in one place, give the job to
    /// that executor, and its result to a [`deferred`](crate::deferred()).
    ///
    /// # Errors
    ///
    /// The task's: closed if the loop is closed or [shuts down](Self::shutdown), or the executor drops the job; the
    /// panic of the job. A job that ends after the loop was closed is discarded; on an own loop on tokio, closing
    /// waits for it, after a [`shutdown`](Self::shutdown) no longer than that one's grace.
    ///
    /// # Cancel safety
    ///
    /// Dropping the task lets the job run on. A job that is cancelled before it began does not run; one that has begun
    /// runs to its end.
    #[doc(alias = "spawn_blocking")]
    #[doc(alias = "unblock")]
    pub fn run_in_executor<T, F>(&self, job: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (task, completer) = Task::new();
        let inner = &*self.inner;
        if let Some(ticket) = inner.jobs.admit().filter(|_| !inner.engine.is_closed()) {
            let job = Box::new(move || {
                // Given back last: by then the value is there.
                let _ticket = ticket;
                completer.call(job);
            });
            inner.jobs.run(&inner.engine.exceptions, inner.hosting.backend(), job);
        }
        task
    }

    /// Has `executor` run the jobs of [`run_in_executor`](Self::run_in_executor) from now on.
    ///
    /// It is called on the loop's thread and must not block there; it is dropped when the loop is closed. Its panic
    /// goes to the exception handler, and the job's task returns closed.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ioloop::{IOLoop, Job};
    ///
    /// let (jobs, queue) = mpsc::channel::<Job>();
    /// let worker = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
    /// let io_loop = IOLoop::new()?;
    /// io_loop.set_default_executor(move |job| {
    ///     let _ = jobs.send(job); // refused, the job is dropped, and its task returns closed
    /// });
    /// assert_eq!(io_loop.run_sync(io_loop.run_in_executor(|| 6 * 7))??, 42);
    /// io_loop.close()?;
    /// worker.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_default_executor(&self, executor: impl Fn(Job) + 'static) {
        let executor: Executor = Rc::new(executor);
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(executor);
        }
        let before = self.inner.jobs.executor.replace(Some(executor));
        exceptions.discard(before);
    }

    /// Refuses further jobs from this call on, and waits for those that were begun or are queued.
    ///
    /// Waits for ever where a job never ends; see [`shutdown`](Self::shutdown) for a limit.
    pub fn shutdown_default_executor(&self) -> impl Future<Output = ()> + use<> {
        self.inner.jobs.refuse();
        let underway = self.inner.jobs.underway();
        poll_fn(move |cx| underway.poll_none(cx))
    }
}

/// One that the user set.
pub(crate) type Executor = Rc<dyn Fn(Job)>;

/// The jobs of one loop.
pub(crate) struct Jobs {
    executor: RefCell<Option<Executor>>,
    refusing: Cell<bool>,
    underway: Arc<Underway>,
}

impl Jobs {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Self {
        let underway = Underway { state: Mutex::default(), inbox: Arc::downgrade(inbox) };
        Jobs {
            executor: RefCell::default(),
            refusing: Cell::new(false),
            underway: Arc::new(underway),
        }
    }

    /// Whether any is queued or running, or an executor was set.
    pub(crate) fn is_in_use(&self) -> bool {
        self.count() > 0 || self.executor.borrow().is_some()
    }

    /// How many are queued or running.
    pub(crate) fn count(&self) -> usize {
        self.underway.count()
    }

    /// A ticket for a job to hold until it has ended; none if jobs are refused.
    fn admit(&self) -> Option<Ticket> {
        (!self.refusing.get()).then(|| self.underway.begin())
    }

    pub(crate) fn refuse(&self) {
        self.refusing.set(true);
    }

    pub(crate) fn underway(&self) -> Arc<Underway> {
        Arc::clone(&self.underway)
    }

    /// The executor that was set, to be dropped.
    #[must_use]
    pub(crate) fn take_executor(&self) -> Option<Executor> {
        self.executor.take()
    }

    fn run(&self, exceptions: &Exceptions, backend: Option<&dyn Backend>, job: Job) {
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

/// Where the runtime has no pool.
#[cfg(feature = "blocking")]
fn execute(job: Job) {
    static POOL: OneProcess = OneProcess::new();
    if POOL.is_this() {
        blocking::unblock(job).detach();
    } else {
        // The pool's threads are those of the process that this one was forked from.
        execute_alone(job);
    }
}

#[cfg(not(feature = "blocking"))]
fn execute(job: Job) {
    execute_alone(job);
}

fn execute_alone(job: Job) {
    // Without a thread it is dropped, and answers closed.
    let _ = std::thread::Builder::new().name(String::from("ioloop-job")).spawn(job);
}

/// Counts the jobs that are queued or running.
pub(crate) struct Underway {
    state: Mutex<State>,
    /// Of their loop, which is woken when there is none: nothing else need tell it.
    inbox: Weak<Inbox>,
}

#[derive(Default)]
struct State {
    jobs: usize,
    /// Woken when there is none.
    wakers: Vec<Waker>,
}

/// Held by one job.
struct Ticket(Arc<Underway>);

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
        let mut state = self.lock();
        if state.jobs == 0 {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|other| other.will_wake(&waker)) {
            state.wakers.push(waker);
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let wakers = {
            let mut state = self.0.lock();
            state.jobs -= 1;
            if state.jobs > 0 {
                return;
            }
            mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        if let Some(inbox) = self.0.inbox.upgrade() {
            inbox.ring();
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("underway", &self.count()).finish_non_exhaustive()
    }
}
