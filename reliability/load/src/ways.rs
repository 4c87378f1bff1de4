//! Every way to make a loop and to drive it for a future: each backend, in each of its modes.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures_lite::future::block_on;
use ioloop::IOLoop;
use ioloop::backends::BackendKind::{self, AsyncIo, Bare, Smol, Tokio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime;

/// A backend in a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    backend: BackendKind,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Own,
    Attached,
    /// To tokio's runtime of several threads.
    AttachedToMany,
    Embedded,
}

const fn way(backend: BackendKind, mode: Mode) -> Way {
    Way { backend, mode }
}

impl Way {
    /// All there are.
    pub const ALL: [Way; 10] = [
        way(AsyncIo, Mode::Own),
        way(AsyncIo, Mode::Attached),
        way(AsyncIo, Mode::Embedded),
        way(Smol, Mode::Own),
        way(Smol, Mode::Attached),
        way(Tokio, Mode::Own),
        way(Tokio, Mode::Attached),
        way(Tokio, Mode::AttachedToMany),
        way(Bare, Mode::Own),
        way(Bare, Mode::Embedded),
    ];

    /// What a program gets that chooses nothing.
    pub const DEFAULT: Way = way(AsyncIo, Mode::Own);

    /// Makes a loop, drives it until the future that `make` makes of it is done, and closes it.
    pub fn drive<T, F>(self, make: impl FnOnce(IOLoop) -> F) -> Result<T>
    where
        T: 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let own = || IOLoop::builder().backend(self.backend).build();
        match self.mode {
            Mode::Own => {
                let io_loop = own()?;
                let done = io_loop.run_sync(make(io_loop.clone()));
                finish(io_loop, done)
            }
            Mode::Embedded => {
                let io_loop = own()?;
                let done = embed(&io_loop, make(io_loop.clone()));
                finish(io_loop, done)
            }
            Mode::Attached | Mode::AttachedToMany => self.block_on(async {
                let io_loop = IOLoop::builder().backend(self.backend).attach()?;
                let done = io_loop.run_until(make(io_loop.clone())).await;
                finish(io_loop, done)
            }),
        }
    }

    fn block_on<T>(self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match (self.backend, self.mode) {
            (Tokio, Mode::AttachedToMany) => runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(future),
            (Tokio, _) => {
                runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
            }
            (Smol, _) => smol::block_on(future),
            _ => block_on(future),
        }
    }
}

fn finish<T>(io_loop: IOLoop, done: Result<Result<T>, ioloop::RunError>) -> Result<T> {
    io_loop.close()?;
    done.context("driving the loop")?
}

/// A foreign loop, which knows only poll(2).
fn embed<T, F>(io_loop: &IOLoop, future: F) -> Result<Result<T>, ioloop::RunError>
where
    T: 'static,
    F: Future<Output = Result<T>> + 'static,
{
    let slot = Rc::new(Cell::new(None));
    let result = Rc::clone(&slot);
    let task = io_loop.spawn(async move {
        result.set(Some(future.await));
        if let Some(io_loop) = IOLoop::current() {
            io_loop.stop();
        }
    });
    loop {
        let descriptor = io_loop.descriptor()?;
        let limit = time_limit(io_loop);
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        if io_loop.turn(Some(Duration::ZERO))?.stopped {
            task.detach();
            return Ok(slot.take().unwrap_or_else(|| Err(anyhow!("stopped before it was done"))));
        }
    }
}

/// How long a foreign loop may wait: the portable poller's descriptor does not hold the deadline.
fn time_limit(io_loop: &IOLoop) -> Option<Timespec> {
    let deadline = io_loop.host_deadline()?;
    Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Own => "own",
            Mode::Attached => "attached",
            Mode::AttachedToMany => "attached-to-many",
            Mode::Embedded => "embedded",
        };
        f.pad(&format!("{}-{mode}", self.backend))
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(name: &str) -> Result<Way, String> {
        Way::ALL.into_iter().find(|way| way.to_string() == name).ok_or_else(|| {
            format!("no such way; choose one of {}", Way::ALL.map(|way| way.to_string()).join(", "))
        })
    }
}
