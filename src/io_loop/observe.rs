//! What a loop tells about itself: the methods that switch it on, and read it.

use std::rc::Rc;
use std::time::Duration;

use crate::io_loop::IOLoop;
use crate::observe::listing::Listing;
use crate::observe::report::Report;

/// Looking at a loop.
impl IOLoop {
    /// What the loop waits for, or has queued, by the location where it was asked to.
    ///
    /// Costs a walk through everything there is, and nothing while it is not called. asyncio's debug mode keeps
    /// tracebacks instead.
    #[doc(alias = "all_tasks")]
    pub fn listing(&self) -> Listing {
        Listing { entries: self.inner.engine.list() }
    }
}

/// Metrics that need a clock.
impl IOLoop {
    /// Switches on or off whether the time asleep is [measured](crate::observe::Metrics::asleep); it begins at zero each time.
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
}

/// Reports.
impl IOLoop {
    /// Has code of the user's [reported](Report::Slow) that holds the loop up for at least `threshold`; none, as at
    /// first, switches it off.
    ///
    /// Callbacks, timers, readers, writers, handlers, hooks, and single polls of tasks and of the future that the loop
    /// runs for are measured, at the price of two looks at the system's clock each. asyncio's
    /// `slow_callback_duration`.
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
        self.inner.engine.exceptions.reports.set_slow(threshold);
    }

    /// Has a watch [reported](Report::Spinning) that is called in `turns` turns in a row without progress, and again
    /// after as many more; none, as at first, switches it off.
    ///
    /// No progress means: after the call that reaches the limit the descriptor is still ready, and `FIONREAD` is
    /// unchanged. For writers and eventfds readiness alone counts, so use a limit of thousands. It costs one
    /// counter per event.
    pub fn set_spin_limit(&self, turns: Option<u32>) {
        self.inner.engine.exceptions.reports.set_spin(turns);
    }

    /// Has `handler` called with each [`Report`], with the loop [current](IOLoop::current). Its panic changes nothing for
    /// the loop.
    ///
    /// Without one a report is one event of `tracing` or record of `log`, whichever feature is on, else a line on
    /// standard error; after the sixteenth only the 32nd, the 64th and so on. A line that cannot be written is lost.
    pub fn set_report_handler(&self, handler: impl Fn(&Report) + 'static) {
        let exceptions = &self.inner.engine.exceptions;
        if self.is_closed() {
            return exceptions.discard(handler);
        }
        let before = self.inner.engine.exceptions.reports.set_handler(Some(Rc::new(handler)));
        exceptions.discard(before);
    }
}
