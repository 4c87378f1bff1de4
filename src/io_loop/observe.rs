//! What a loop tells about itself: the methods that switch it on, and read it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::host::backend::Backend;
use crate::io_loop::IOLoop;
use crate::observe::exceptions::Exception;
use crate::observe::listing::Listing;
use crate::observe::metrics::Metrics;
use crate::observe::report::Report;
use crate::observe::watchdog::Hang;

/// Panics and reports.
impl IOLoop {
    /// Calls `handler` for each panic in a callback of any kind, in a detached task or in a
    /// destructor.
    ///
    /// The loop is [current](Self::current) in it wherever the panic was, also outside of a run: in
    /// the destructor of a timer that is cancelled, or of what a closed loop held.
    ///
    /// Without a handler a panic is one event of `tracing` or record of `log`, whichever feature is
    /// on, otherwise a line on standard error that says what panicked, where it was handed to the
    /// loop, and whether it was removed. After the sixteenth only the 32nd, the 64th and so on are
    /// written. The panic hook of the standard library has printed each panic by then. A handler
    /// that panics, a subscriber that panics, and a line that cannot be written change nothing for
    /// the loop.
    #[doc(alias = "handle_callback_exception")]
    pub fn set_exception_handler(&self, handler: impl Fn(&Exception) + 'static) {
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(handler);
        }
        let before = exceptions.set_handler(Some(Rc::new(handler)));
        exceptions.discard(before);
    }

    /// Goes back to the default: panics are written as if no handler had been
    /// [set](Self::set_exception_handler).
    pub fn reset_exception_handler(&self) {
        let exceptions = &self.inner.engine.exceptions;
        let before = exceptions.set_handler(None);
        exceptions.discard(before);
    }

    /// Calls `handler` with each [`Report`], with the loop [current](IOLoop::current). Its panic
    /// changes nothing for the loop.
    ///
    /// Without one a report is one event of `tracing` or record of `log`, whichever feature is on,
    /// otherwise a line on standard error; after the sixteenth only the 32nd, the 64th and so on. A
    /// line that cannot be written is lost.
    pub fn set_report_handler(&self, handler: impl Fn(&Report) + 'static) {
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(handler);
        }
        let before = self.inner.engine.exceptions.reports.set_handler(Some(Rc::new(handler)));
        exceptions.discard(before);
    }

    /// [Reports](Report::Slow) code of the user's that holds the loop up for at least `threshold`;
    /// none, as at first, switches it off.
    ///
    /// Callbacks, timers, readers, writers, handlers, hooks, and single polls of tasks and of the
    /// future that the loop runs for are measured. Each costs two readings of the system's clock.
    /// This is asyncio's `slow_callback_duration`.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc, thread, time::Duration};
    /// use ioloop::observe::Report;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let reports = Rc::new(RefCell::new(Vec::new()));
    /// let log = Rc::clone(&reports);
    /// io_loop.set_slow_callback_threshold(Some(Duration::from_millis(2)));
    /// io_loop.set_report_handler(move |report| log.borrow_mut().push(report.to_string()));
    /// io_loop.call_soon(|| thread::sleep(Duration::from_millis(3)));
    /// io_loop.stop();
    /// io_loop.start()?;
    /// assert!(reports.borrow()[0].starts_with("a callback held the loop up for "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "slow_callback_duration")]
    pub fn set_slow_callback_threshold(&self, threshold: Option<Duration>) {
        self.inner.engine.exceptions.set_slow(threshold);
    }

    /// Starts a thread that names the code which holds the loop up, while it does. `None` ends it,
    /// and so does [`close`](Self::close).
    ///
    /// Each call that has lasted for `limit` is told once, within about a quarter of the limit
    /// more: to the [handler](Self::set_watchdog_handler), without one as an event of `tracing`, a
    /// record of `log` or a line on standard error. What is watched is what
    /// [slow callbacks](Self::set_slow_callback_threshold) are measured of, and destructors, the
    /// tasks of the loop's `Executor`, and an executor that a job is given to. The tasks of a host,
    /// and of tokio's runtime, are not.
    ///
    /// A call inside of another, such as a destructor, takes nothing off the time of the one around
    /// it. Where both have lasted for the limit, the inner one is told first, which holds up the
    /// other. Sixteen calls inside each other are told apart.
    ///
    /// It begins with the next call: one that switches it on is not watched. Setting the limit that
    /// it has changes nothing; with another one the time of a call that runs begins anew. The
    /// thread looks once in a millisecond at most, so a limit below 4 ms, also zero, acts as one of
    /// 4 ms.
    ///
    /// It costs a few nanoseconds a call, and four looks of the thread in each limit. There is one
    /// watchdog a loop; another limit replaces it. A forked child has none: its thread is the
    /// parent's.
    ///
    /// This is Tornado's `set_blocking_signal_threshold`. A debugger shows the stack of that moment;
    /// it finds the thread by [its name](Hang::thread_name).
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let (told, hangs) = mpsc::channel();
    /// io_loop.set_watchdog_handler(move |hang| told.send(hang.to_string()).unwrap());
    /// io_loop.set_watchdog(Some(Duration::from_millis(2)))?;
    /// // Waits for a line that is written because it waits.
    /// io_loop.call_soon(move || {
    ///     let line = hangs.recv().unwrap();
    ///     assert!(line.starts_with("a callback has held the loop up for "), "{line}");
    ///     IOLoop::current().unwrap().stop();
    /// });
    /// io_loop.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The loop is closed, or the thread cannot be started. Then there is no watchdog.
    #[doc(alias = "set_blocking_signal_threshold")]
    #[doc(alias = "log_stack")]
    pub fn set_watchdog(&self, limit: Option<Duration>) -> io::Result<()> {
        self.inner.engine.set_watchdog(limit)
    }

    /// Calls `handler` with each [`Hang`], on the thread of the
    /// [watchdog](Self::set_watchdog), while the loop's thread is held up. It is not waited for,
    /// and its panic changes nothing.
    ///
    /// It may end the process with [`std::process::abort`], or have it restarted by whoever
    /// supervises it.
    pub fn set_watchdog_handler(&self, handler: impl Fn(&Hang) + Send + Sync + 'static) {
        let engine = &self.inner.engine;
        if self.is_closed() || engine.is_forked() {
            return engine.exceptions.discard(handler);
        }
        engine.exceptions.set_watchdog_handler(Arc::new(handler));
    }

    /// [Reports](Report::Spinning) a watch that is called in `turns` turns in a row without
    /// progress, and again after as many more; none, as at first, switches it off. Turns that served
    /// others, since more were ready than a turn serves, are none of its row.
    ///
    /// No progress means: after the call that reaches the limit the descriptor is still ready, and
    /// `FIONREAD` is unchanged. For writers and eventfds readiness alone counts, so use a limit of
    /// thousands. It costs one counter per event.
    pub fn set_spin_limit(&self, turns: Option<u32>) {
        self.inner.engine.exceptions.reports.set_spin(turns);
    }
}

/// Counts and lists.
impl IOLoop {
    /// What the loop has done so far, counted.
    pub fn metrics(&self) -> Metrics {
        self.inner.engine.metrics(self.inner.jobs.count())
    }

    /// Switches on or off whether the time asleep is [measured](crate::observe::Metrics::asleep);
    /// it begins at zero each time.
    ///
    /// It is off at first, because it costs two readings of the system's clock for each sleep.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ioloop::IOLoop;
    ///
    /// let io_loop = IOLoop::new()?;
    /// io_loop.measure_sleep(true);
    /// let begun = Instant::now();
    /// io_loop.run_sync(ioloop::sleep(&io_loop, Duration::from_millis(2)))??;
    /// let busy = begun.elapsed() - io_loop.metrics().asleep.unwrap();
    /// assert!(busy < begun.elapsed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn measure_sleep(&self, on: bool) {
        self.inner.engine.counters.asleep.measure(on);
    }

    /// What the loop waits for, or has queued, by the location where it was asked to.
    ///
    /// Costs a walk through everything there is, and nothing while it is not called. asyncio's
    /// debug mode keeps tracebacks instead.
    #[doc(alias = "all_tasks")]
    pub fn listing(&self) -> Listing {
        Listing { entries: self.inner.engine.list() }
    }
}

/// What it is.
impl IOLoop {
    /// The loop's name, for messages: the one given to [`Builder::name`](crate::Builder::name),
    /// otherwise that of the thread on which it was first needed.
    pub fn name(&self) -> &str {
        self.inner.engine.exceptions.name()
    }

    /// The name of the backend: `bare`, `async-io`, `tokio`, `smol`, or one from outside this
    /// crate.
    pub fn backend_name(&self) -> &str {
        self.inner.hosting.backend().map_or("bare", |backend| backend.name())
    }

    /// The backend itself, if it is of this type.
    pub fn backend<B: Backend>(&self) -> Option<&B> {
        self.inner.hosting.backend()?.as_any()?.downcast_ref()
    }

    /// Whether the loop is attached to a host.
    pub fn is_attached(&self) -> bool {
        self.inner.hosting.is_attached()
    }
}
