//! A loop that a foreign loop drives, turn by turn.

use std::io;
use std::time::{Duration, Instant};

use crate::descriptor::Descriptor;
use crate::engine::local;
use crate::engine::turn::Wait;
use crate::error::RunError;
use crate::host::driver::Endless;
use crate::io_loop::run::Mode;
use crate::io_loop::{BoundToItsThread, IOLoop};
use crate::reactor::contract::deadline_after;

/// In a foreign loop.
impl IOLoop {
    /// Runs one turn of a loop that is embedded in a foreign one.
    ///
    /// Waits until there is something to do, for at most `timeout`: for ever without one, and not
    /// at all if it is zero. Afterwards the [`descriptor`](Self::descriptor) is readable whenever
    /// there is something to do, and only then. [`Turn::work_left`] says that there is something
    /// already; [`is_empty`](Self::is_empty), that there will be nothing unless other threads or
    /// signals bring it.
    ///
    /// # Errors
    ///
    /// [`AlreadyRunning`](RunError::AlreadyRunning), [`Closed`](RunError::Closed),
    /// [`Attached`](RunError::Attached) and [`NotEmbeddable`](RunError::NotEmbeddable) change
    /// nothing. Nor does [`OtherLoopRunning`](RunError::OtherLoopRunning), which only a turn that
    /// would wait returns. [`Io`](RunError::Io) if the kernel fails.
    pub fn turn(&self, timeout: Option<Duration>) -> Result<Turn, RunError> {
        let _running = self.begin(Mode::Embedded { waits: timeout != Some(Duration::ZERO) })?;
        let wait = match timeout {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Never,
            Some(timeout) => Wait::Until(deadline_after(Instant::now(), timeout)),
        };
        let BoundToItsThread { engine, hosting, .. } = &*self.inner;
        let turned = hosting.enter(|| {
            let _current = local::enter(engine);
            engine.rouse();
            engine.after_wake();
            engine.budget.spend();
            let ran = engine.turn(wait, &mut Endless(hosting));
            ran.map(|ran| {
                // Without a free descriptor it cannot be renewed; the next turn tries again.
                let renewed = engine.is_astray() && matches!(engine.renew(), Ok(true));
                let stopped = engine.take_stop();
                if ran.idle && !stopped {
                    engine.jump();
                }
                let work_left = engine.leave_awake(engine.stays_awake());
                if !work_left {
                    engine.counters.asleep.begin();
                }
                Turn { work_left, stopped, renewed }
            })
        });
        Ok(turned??)
    }

    /// The descriptor that is readable while an embedded loop has something to do, for a foreign
    /// loop to watch.
    ///
    /// On Linux it becomes readable at the next deadline too. Elsewhere the foreign loop also waits
    /// no longer than until [`host_deadline`](Self::host_deadline). With more than 64 distant
    /// timers it can become readable before the first is due; that `turn` does nothing.
    ///
    /// It is a share in the loop's own, and stays open while it is held, also after the loop was
    /// closed. It stays the same until a [`turn`](Self::turn) returns [`renewed`](Turn::renewed).
    /// Then the loop has made its kernel set anew, because a watched descriptor was closed while a
    /// duplicate of it lives on, and the foreign loop has to watch the new descriptor instead. A
    /// foreign loop on poll(2) asks for it before each wait.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe): the loop is closed.
    #[doc(alias = "AsFd")]
    pub fn descriptor(&self) -> io::Result<Descriptor> {
        Ok(self.inner.engine.descriptor().ok_or(crate::error::Closed)?)
    }

    /// Until when a foreign loop may wait for the [`descriptor`](Self::descriptor), on the system's
    /// clock; none if it may wait for ever, because the descriptor becomes readable at the next
    /// deadline by itself.
    ///
    /// Ask for it before each wait, and call [`turn`](Self::turn) when the descriptor is readable
    /// or this instant has passed. A timer that is set meanwhile makes the descriptor readable, so
    /// the next wait gets a new answer.
    ///
    /// On Linux it is always none, since the descriptor holds the deadline. On a loop with a
    /// [`ManualClock`](crate::ManualClock) it is none everywhere: moving the clock makes the
    /// descriptor readable. It may lie somewhat before the next deadline; that turn finds nothing
    /// to do. When the next timer is due on the loop's own clock is
    /// [`next_deadline`](Self::next_deadline).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ioloop::{IOLoop, Reactor, backends::BackendKind};
    /// use rustix::event::{PollFd, PollFlags, Timespec, poll};
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
    /// loop {
    ///     let descriptor = io_loop.descriptor()?;
    ///     let left = io_loop.host_deadline().map(|at| at.saturating_duration_since(Instant::now()));
    ///     let timeout = left.map(|left| Timespec::try_from(left).unwrap());
    ///     poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], timeout.as_ref())?;
    ///     if io_loop.turn(Some(Duration::ZERO))?.stopped {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn host_deadline(&self) -> Option<Instant> {
        self.inner.engine.timers.deadline_for_host()
    }

    /// Whether [`turn`](Self::turn) may drive this loop: it is attached to nothing, and its backend
    /// makes progress by itself.
    ///
    /// ```
    /// use ioloop::{IOLoop, backends::BackendKind};
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// assert!(io_loop.is_embeddable());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_embeddable(&self) -> bool {
        let hosting = &self.inner.hosting;
        !hosting.is_attached() && hosting.backend().is_none_or(|host| host.is_embeddable())
    }
}

/// What a [`turn`](IOLoop::turn) left.
#[doc(alias = "iteration")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Callbacks are queued or a timer is due: the descriptor is readable, and the next turn will
    /// not wait.
    pub work_left: bool,
    /// [`stop`](IOLoop::stop) was called, in this turn or before it.
    pub stopped: bool,
    /// The kernel set was made anew: the loop has another [`descriptor`](IOLoop::descriptor), for
    /// the foreign loop to watch instead of the one before. With hundreds of watches that takes
    /// several turns, and only the last of them says so; before, work is left.
    pub renewed: bool,
}
