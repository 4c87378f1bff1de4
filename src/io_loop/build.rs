//! How a loop is made, and on what.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::backends::{Backend, BackendKind};
use crate::engine::clock::ManualClock;
use crate::io_loop::IOLoop;

/// Makes a loop: on which backend, and whether its own or attached to a runtime that runs already.
///
/// The backend is chosen once, here: the one named or given, otherwise the one that was
/// [configured](IOLoop::configure), otherwise the default of the build: [`BackendKind::detect`] for an own
/// loop, [`BackendKind::detect_host`] for an attached one.
///
/// ```
/// use ioloop::IOLoop;
/// use ioloop::backends::BackendKind;
///
/// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
/// assert_eq!(io_loop.backend_name(), "bare");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a builder makes nothing until `build` or `attach`"]
pub struct Builder {
    choice: Choice,
    clock: Option<ManualClock>,
    name: Option<String>,
}

type Decided = (Result<BackendKind, Box<dyn Backend>>, Option<ManualClock>, Option<String>);

enum Choice {
    Default,
    Named(BackendKind),
    Given(Box<dyn Backend>),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Builder { choice: Choice::Default, clock: None, name: None }
    }

    /// Chooses a backend by name.
    pub fn backend(self, kind: BackendKind) -> Self {
        Builder { choice: Choice::Named(kind), ..self }
    }

    /// Gives a backend: one with settings of its own, or one from outside this crate.
    pub fn host(self, backend: impl Backend) -> Self {
        Builder { choice: Choice::Given(Box::new(backend)), ..self }
    }

    /// Has the loop live by a clock that tests move; see [`ManualClock`].
    ///
    /// Without it the loop lives by the monotonic clock of the system.
    pub fn clock(self, clock: &ManualClock) -> Self {
        Builder { clock: Some(clock.clone()), ..self }
    }

    /// Names the loop, for messages; see [`IOLoop::name`].
    pub fn name(self, name: impl Into<String>) -> Self {
        Builder { name: Some(name.into()), ..self }
    }

    /// Makes a loop of its own, which [`start`](IOLoop::start) and [`run_sync`](IOLoop::run_sync) drive.
    ///
    /// # Errors
    ///
    /// The backend is not compiled in ([`Unsupported`](io::ErrorKind::Unsupported)), or the descriptors
    /// or the runtime cannot be made. Nothing is left behind.
    pub fn build(self) -> io::Result<IOLoop> {
        let (backend, clock, name) = self.decide(BackendKind::detect);
        let io_loop = IOLoop::own(match backend {
            Ok(kind) => kind.own()?,
            Err(given) => Some(given),
        })?;
        Ok(io_loop.with(clock, name))
    }

    /// Makes a loop that is attached to the runtime that runs here, and is driven by awaiting
    /// [`run`](IOLoop::run) or [`run_until`](IOLoop::run_until).
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build); also if tokio is chosen and no runtime is entered
    /// ([`NotFound`](io::ErrorKind::NotFound)); if the runtime was built without I/O, if the loop is bare, and if the
    /// reactor of async-io and smol is that of the process which this one was forked from
    /// (all [`Unsupported`](io::ErrorKind::Unsupported)).
    pub fn attach(self) -> io::Result<IOLoop> {
        let (backend, clock, name) = self.decide(BackendKind::detect_host);
        let io_loop = IOLoop::attached(match backend {
            Ok(kind) => kind.attached()?,
            Err(given) => given,
        })?;
        Ok(io_loop.with(clock, name))
    }

    /// The kind that was chosen, by whatever means, or the backend that was given; the clock and the name.
    fn decide(self, detect: fn() -> BackendKind) -> Decided {
        let backend = match self.choice {
            Choice::Default => Ok(configured().unwrap_or_else(detect)),
            Choice::Named(kind) => Ok(kind),
            Choice::Given(backend) => Err(backend),
        };
        (backend, self.clock, self.name)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

static CONFIGURED: Mutex<Option<BackendKind>> = Mutex::new(None);

pub(crate) fn configured() -> Option<BackendKind> {
    *CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn configure(kind: Option<BackendKind>) -> io::Result<()> {
    if let Some(kind) = kind {
        kind.check_compiled()?;
    }
    *CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner) = kind;
    Ok(())
}
