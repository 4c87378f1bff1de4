//! What a case runs on: a way to make loops and to drive them.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::tools::{open_descriptors, yield_now};
use ioloop::embed::Turn;
use ioloop::{IOLoop, RunError};

type BlockOn = Box<dyn Fn(Pin<&mut dyn Future<Output = ()>>)>;

/// Spawns a task on the executor that a loop drives, from any thread.
pub type Spawn = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

type Spawns = Box<dyn Fn(&IOLoop) -> Spawn>;

/// Makes the loops of a case, and drives them in one of the three ways.
pub struct Rig {
    make: Box<dyn Fn() -> io::Result<IOLoop>>,
    way: Way,
    gives_back_late: bool,
    spawns: Option<Spawns>,
}

enum Way {
    Own,
    Attached(BlockOn),
    Embedded,
}

impl Rig {
    /// Loops of their own, driven by `start` and `run_sync`.
    ///
    /// `make` gives or names the backend: a case configures others, which must not win.
    pub fn own(make: impl Fn() -> io::Result<IOLoop> + 'static) -> Self {
        Rig::new(make, Way::Own)
    }

    /// Attached loops, driven by `run` and `run_until` under an executor's `block_on`.
    pub fn attached(
        make: impl Fn() -> io::Result<IOLoop> + 'static,
        block_on: impl Fn(Pin<&mut dyn Future<Output = ()>>) + 'static,
    ) -> Self {
        Rig::new(make, Way::Attached(Box::new(block_on)))
    }

    /// Own loops, embedded: a poll(2) on the descriptor, then `turn`.
    pub fn embedded(make: impl Fn() -> io::Result<IOLoop> + 'static) -> Self {
        Rig::new(make, Way::Embedded)
    }

    fn new(make: impl Fn() -> io::Result<IOLoop> + 'static, way: Way) -> Self {
        Rig { make: Box::new(make), way, gives_back_late: false, spawns: None }
    }

    /// For a runtime that holds the descriptor of a registration which was dropped until it waits
    /// next: the cases that count descriptors let it wait once before they count.
    ///
    /// ```no_run
    /// # #[cfg(feature = "async-io")] {
    /// # use ioloop::{IOLoop, backends::async_io::AsyncIoBackend as Slow};
    /// # use ioloop_conformance::Rig;
    /// let attach = || IOLoop::builder().host(Slow::new()).attach();
    /// let rig = Rig::attached(attach, |future| async_io::block_on(future)).gives_back_late();
    /// # drop(rig);
    /// # }
    /// ```
    #[must_use]
    pub fn gives_back_late(mut self) -> Self {
        self.gives_back_late = true;
        self
    }

    /// For loops that drive an executor: how to spawn on that of a loop, which the cases about it
    /// need.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # #[cfg(feature = "async-io")] {
    /// # use ioloop::{IOLoop, backends::BackendKind};
    /// # use ioloop_conformance::Rig;
    /// # use ioloop::backends::async_io::AsyncIoBackend;
    /// let make = || IOLoop::builder().backend(BackendKind::AsyncIo).build();
    /// let rig = Rig::own(make).spawns(|io_loop| {
    ///     let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
    ///     Arc::new(move |task| executor.spawn(task).detach())
    /// });
    /// # drop(rig);
    /// # }
    /// ```
    #[must_use]
    pub fn spawns(mut self, spawns: impl Fn(&IOLoop) -> Spawn + 'static) -> Self {
        self.spawns = Some(Box::new(spawns));
        self
    }

    /// What spawns on the executor of a loop, if there is one.
    pub(super) fn spawn(&self, io_loop: &IOLoop) -> Option<Spawn> {
        self.spawns.as_ref().map(|spawns| spawns(io_loop))
    }

    /// How many descriptors this process has open, once the host has given back what it no longer
    /// needs.
    pub(super) fn open_descriptors(&self) -> usize {
        if self.gives_back_late {
            self.block_on(yield_now());
        }
        open_descriptors()
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self.way, Way::Own)
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.way, Way::Attached(_))
    }

    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.way, Way::Embedded)
    }

    /// A new loop.
    pub(super) fn io_loop(&self) -> IOLoop {
        (self.make)().expect("making a loop")
    }

    /// Drives a loop until it is stopped.
    pub(super) fn run(&self, io_loop: &IOLoop) -> Result<(), RunError> {
        match &self.way {
            Way::Own => io_loop.start(),
            Way::Attached(_) => self.block_on(io_loop.run()),
            Way::Embedded => {
                while !foreign_turn(io_loop)?.stopped {}
                Ok(())
            }
        }
    }

    /// Drives a loop until nothing is left.
    pub(super) fn run_until_empty(&self, io_loop: &IOLoop) -> Result<(), RunError> {
        match &self.way {
            Way::Own => io_loop.start_until_empty(),
            Way::Attached(_) => self.block_on(io_loop.run_until_empty()),
            Way::Embedded => {
                while !io_loop.is_empty() {
                    foreign_turn(io_loop)?;
                }
                Ok(())
            }
        }
    }

    /// Drives a loop until a future is done: `run_sync`, `run_until`, or a task that stops the
    /// loop.
    #[track_caller]
    pub(super) fn run_until<F>(&self, io_loop: &IOLoop, future: F) -> Result<F::Output, RunError>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        match &self.way {
            Way::Own => io_loop.run_sync(future),
            Way::Attached(_) => self.block_on(io_loop.run_until(future)),
            Way::Embedded => {
                let slot = Rc::new(Cell::new(None));
                let result = Rc::clone(&slot);
                let _task = io_loop
                    .spawn(async move {
                        result.set(Some(future.await));
                        IOLoop::current().expect("a task has a loop").stop();
                    })
                    .cancel_on_drop();
                self.run(io_loop)?;
                slot.take().ok_or(RunError::Stopped)
            }
        }
    }

    /// Blocks on a future under the executor of an attached rig; under a plain one else.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let output = Cell::new(None);
        {
            let mut future = pin!(async { output.set(Some(future.await)) });
            match &self.way {
                Way::Attached(block_on) => block_on(future.as_mut()),
                Way::Own | Way::Embedded => super::tools::block_on(future.as_mut()),
            }
        }
        output.take().expect("`block_on` returned before its future was done")
    }
}

/// One turn in a foreign loop.
fn foreign_turn(io_loop: &IOLoop) -> Result<Turn, RunError> {
    let descriptor = io_loop.descriptor()?;
    // The first turn as well waits for the descriptor, so every kind of work has to make
    // itself known through it. A deadline too, but where the platform cannot hold it.
    let deadline = io_loop.host_deadline();
    let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    wait_readable(&descriptor, timeout);
    io_loop.turn(Some(Duration::ZERO))
}

/// Waits until a descriptor is readable, for at most `timeout`; says whether it is.
pub(super) fn wait_readable(fd: &impl std::os::fd::AsFd, timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(|timeout| timeout.try_into().expect("a time-out that poll(2) takes"));
    loop {
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.expect("poll(2)") > 0,
        }
    }
}
