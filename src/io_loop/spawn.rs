//! Futures as tasks of a loop.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;

use crate::io_loop::IOLoop;
use crate::observe::origin::Origin;
use crate::task::Task;

/// Futures, as tasks of the loop.
impl IOLoop {
    /// Runs `future` as a task of this loop, on this thread; it is polled first in the next turn.
    ///
    /// Its panic is an error where the task is awaited, and a report to the exception handler where
    /// the task was dropped. An `Err` that it returns is a value, and is lost with a task that is
    /// dropped: use [`spawn_logged`](Self::spawn_logged) there. On a closed loop the future is
    /// dropped, and the task returns closed.
    ///
    /// A future that holds an `IOLoop` of its own loop keeps the loop open while it is pending, so
    /// hand it a [`WeakIOLoop`](crate::WeakIOLoop):
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor, sleep};
    ///
    /// async fn tick<R: Reactor>(reactor: R) {
    ///     while sleep(&reactor, Duration::from_millis(1)).await.is_ok() {}
    /// }
    ///
    /// let io_loop = IOLoop::new()?;
    /// let ticking = io_loop.spawn(tick(io_loop.downgrade()));
    /// drop(io_loop);
    /// assert!(ticking.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    /// # If the compiler says
    ///
    /// *Does not live long enough*: the future borrows what this function owns, often the loop, by an
    /// `async fn work(io_loop: &IOLoop)`. Let it own what it needs, as `tick` does above, or borrow
    /// inside of an `async move` block that owns it.
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (task, completer) = Task::new();
        completer.spawn(&self.inner.engine, Location::caller(), future);
        task
    }

    /// Runs `future` as a task of this loop, and has its error reported.
    ///
    /// For tasks that are not awaited. The error that a [`spawn`](Self::spawn)ed task returns is
    /// lost with the task; this one's goes where its panic would go: to the [exception
    /// handler](Self::set_exception_handler), and without one to `tracing`, `log` or standard
    /// error. [`Exception::is_panic`](crate::observe::Exception::is_panic) tells the two apart, and
    /// [`Exception::message`](crate::observe::Exception::message) is the error's text, in the
    /// alternate form (`{:#}`), which of many error types is the whole chain.
    ///
    /// ```
    /// use std::{cell::RefCell, io, rc::Rc};
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let failures = Rc::new(RefCell::new(Vec::new()));
    /// let log = Rc::clone(&failures);
    /// io_loop.set_exception_handler(move |exception| {
    ///     log.borrow_mut().push(exception.to_string());
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.spawn_logged(async { Err(io::Error::other("no answer")) });
    /// io_loop.start()?;
    /// assert_eq!(*failures.borrow(), ["a task failed: no answer"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "spawn_callback")]
    #[track_caller]
    pub fn spawn_logged<F, E>(&self, future: F) -> Task<()>
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display + 'static,
    {
        let (engine, location) = (Rc::downgrade(&self.inner.engine), Location::caller());
        let logged = async move {
            if let Err(error) = future.await {
                if let Some(engine) = engine.upgrade() {
                    engine.exceptions.report_error(
                        Origin::Task,
                        Some(location),
                        format!("{error:#}"),
                    );
                }
            }
        };
        self.spawn(logged)
    }

    /// Runs `future` as a task of this loop, and calls `callback` with its output.
    ///
    /// The callback is called on this thread and never inside this call, also if the future is done
    /// already; callbacks of futures that are done keep the order in which they were added. A panic
    /// of the callback goes to the exception handler. An error of the future is in its output:
    /// `add_future` on a [`Task`] hands the callback a `Result`. If the future itself panics, the
    /// callback is not called, and the panic is reported.
    ///
    /// Dropping the returned task changes nothing; cancelling it drops future and callback.
    ///
    /// ```
    /// use ioloop::IOLoop;
    ///
    /// let worker = IOLoop::spawn_thread("worker", IOLoop::new)?;
    /// let io_loop = IOLoop::new()?;
    /// let far = worker.handle().call(|| 6 * 7);
    /// io_loop.add_future(far, |answer| {
    ///     assert_eq!(answer.unwrap(), 42);
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.start()?;
    /// # worker.handle().stop()?;
    /// # worker.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn add_future<F, C>(&self, future: F, callback: C) -> Task<()>
    where
        F: Future + 'static,
        C: FnOnce(F::Output) + 'static,
    {
        let (engine, location) = (Rc::downgrade(&self.inner.engine), Location::caller());
        self.spawn(async move {
            let output = future.await;
            if let Some(engine) = engine.upgrade() {
                engine.exceptions.guard_at(Origin::Callback, Some(location), || callback(output));
            }
        })
    }
}
