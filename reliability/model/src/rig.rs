//! The modes: each backend with each way to drive a loop.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, ManualClock, RunError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::outlet::Outlet;
use crate::trace::{Event, Ran};
use crate::world::World;

/// A backend, and a way to drive a loop on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Own loops.
    OwnBare,
    /// Own loops.
    OwnAsyncIo,
    /// Own loops.
    OwnSmol,
    /// Own loops.
    OwnTokio,
    /// Attached, under `async_io::block_on`.
    AsyncIo,
    /// Attached to async-io, under a `block_on` that knows nothing of it.
    Plain,
    /// Attached, under `smol::block_on`.
    Smol,
    /// Attached, under the `block_on` of a current-thread runtime.
    TokioCurrentThread,
    /// Attached, under the `block_on` of a multi-thread runtime.
    TokioMultiThread,
    /// Turned by a foreign loop that waits for the descriptor.
    EmbeddedBare,
    /// Turned by a foreign loop that waits for the descriptor.
    EmbeddedAsyncIo,
    /// Turned by a foreign loop that waits for the descriptor.
    EmbeddedSmol,
    /// Turned again and again, each turn waiting by itself.
    WaitingTurns,
}

/// The three ways to drive a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By `start` and `run_sync`.
    Own,
    /// By `run` and `run_until`, under an executor.
    Attached,
    /// By `turn`.
    Embedded,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 13] = [
        Mode::OwnBare,
        Mode::OwnAsyncIo,
        Mode::OwnSmol,
        Mode::OwnTokio,
        Mode::AsyncIo,
        Mode::Plain,
        Mode::Smol,
        Mode::TokioCurrentThread,
        Mode::TokioMultiThread,
        Mode::EmbeddedBare,
        Mode::EmbeddedAsyncIo,
        Mode::EmbeddedSmol,
        Mode::WaitingTurns,
    ];

    /// How it drives a loop.
    pub fn way(self) -> Way {
        match self {
            Mode::OwnBare | Mode::OwnAsyncIo | Mode::OwnSmol | Mode::OwnTokio => Way::Own,
            Mode::EmbeddedBare
            | Mode::EmbeddedAsyncIo
            | Mode::EmbeddedSmol
            | Mode::WaitingTurns => Way::Embedded,
            _ => Way::Attached,
        }
    }

    /// Whether a host is asked whether the loop's descriptor is readable.
    pub(crate) fn is_hosted(self) -> bool {
        self.way() == Way::Attached || self == Mode::OwnTokio
    }

    /// Whether the loop may sleep after a turn, and not in its look alone.
    pub(crate) fn sleeps_after_turns(self) -> bool {
        !matches!(self, Mode::OwnBare | Mode::OwnAsyncIo | Mode::OwnSmol)
    }

    fn backend(self) -> BackendKind {
        match self {
            Mode::OwnBare | Mode::EmbeddedBare | Mode::WaitingTurns => BackendKind::Bare,
            Mode::OwnAsyncIo | Mode::AsyncIo | Mode::Plain | Mode::EmbeddedAsyncIo => {
                BackendKind::AsyncIo
            }
            Mode::OwnSmol | Mode::Smol | Mode::EmbeddedSmol => BackendKind::Smol,
            Mode::OwnTokio | Mode::TokioCurrentThread | Mode::TokioMultiThread => {
                BackendKind::Tokio
            }
        }
    }
}

/// A mode with its host, which serves one program after the other.
pub struct Rig {
    mode: Mode,
    outlet: Option<Outlet>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Rig {
    /// Makes the host of a mode.
    pub fn new(mode: Mode) -> Self {
        let builder = match mode {
            Mode::TokioCurrentThread => Some(tokio::runtime::Builder::new_current_thread()),
            Mode::TokioMultiThread => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(1);
                Some(builder)
            }
            _ => None,
        };
        let runtime = builder
            .map(|mut builder| builder.enable_all().build().expect("making a tokio runtime"));
        Rig { mode, outlet: None, runtime }
    }

    /// Has its loops report all that they can, to something that fails.
    pub fn telling(self, outlet: Outlet) -> Self {
        Rig { outlet: Some(outlet), ..self }
    }

    pub(crate) fn outlet(&self) -> Option<Outlet> {
        self.outlet
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn make(&self, clock: &ManualClock) -> IOLoop {
        let builder = IOLoop::builder().clock(clock).backend(self.mode.backend());
        let made = match self.mode.way() {
            Way::Own | Way::Embedded => builder.build(),
            Way::Attached => {
                let _entered = self.runtime.as_ref().map(|runtime| runtime.enter());
                builder.attach()
            }
        };
        made.expect("making a loop")
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match (self.mode, &self.runtime) {
            (_, Some(runtime)) => runtime.block_on(future),
            (Mode::AsyncIo, None) => async_io::block_on(future),
            (Mode::Smol, None) => smol::block_on(future),
            _ => futures_lite::future::block_on(future),
        }
    }

    /// Drives the loop until it is stopped.
    pub(crate) fn run(&self, world: &World) -> Ran {
        let io_loop = &world.io_loop;
        let ran = match self.mode.way() {
            Way::Own => io_loop.start(),
            // Inside a callback `block_on` would be refused by the executor.
            Way::Attached if io_loop.is_running() || io_loop.is_closed() => {
                poll_once(io_loop.run()).unwrap_or(Ok(()))
            }
            Way::Attached => self.block_on(io_loop.run()),
            Way::Embedded => self.turns(world),
        };
        ran.map_or_else(Ran::from, |()| Ran::Stopped)
    }

    /// Polls a run of an attached loop once, and drops it.
    pub(crate) fn run_part(&self, world: &World) -> Ran {
        let io_loop = &world.io_loop;
        if io_loop.is_running() || io_loop.is_closed() {
            return self.run(world);
        }
        let polled = self.block_on(async {
            let mut run = pin!(io_loop.run());
            poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))).await
        });
        match polled {
            Poll::Pending => Ran::Dropped,
            Poll::Ready(ran) => ran.map_or_else(Ran::from, |()| Ran::Stopped),
        }
    }

    /// Drives the loop until the future is done, or it is stopped.
    pub(crate) fn run_for<F: Future<Output = ()>>(&self, world: &World, future: F) -> Ran {
        let io_loop = &world.io_loop;
        let ran = match self.mode.way() {
            Way::Own | Way::Embedded => io_loop.run_sync(future),
            Way::Attached if io_loop.is_running() || io_loop.is_closed() => {
                poll_once(io_loop.run_until(future)).unwrap_or(Ok(()))
            }
            Way::Attached => self.block_on(io_loop.run_until(future)),
        };
        ran.map_or_else(Ran::from, |()| Ran::Done)
    }

    fn turns(&self, world: &World) -> Result<(), RunError> {
        let io_loop = &world.io_loop;
        let wait = (self.mode != Mode::WaitingTurns).then_some(Duration::ZERO);
        loop {
            if !io_loop.is_running() && !io_loop.is_closed() {
                let readable = is_readable(io_loop)?;
                let ends = !readable && wait.is_some();
                world.note(Event::Readable { readable, ends, at: world.stand() });
                if ends {
                    // A foreign loop would wait here.
                    io_loop.stop();
                    if !is_readable(io_loop)? {
                        return Err(io::Error::other("a stop did not make itself known").into());
                    }
                }
            }
            let turn = io_loop.turn(wait)?;
            world.note(Event::Turned { work_left: turn.work_left, at: world.stand() });
            if turn.stopped {
                return Ok(());
            }
        }
    }
}

/// Whether an embedded loop says that it has something to do.
fn is_readable(io_loop: &IOLoop) -> io::Result<bool> {
    let descriptor = io_loop.descriptor()?;
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now))? > 0)
}

/// What a future answers at once, if it does.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
