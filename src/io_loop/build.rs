//! How a loop is made, and on what.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::backends::BackendKind;
use crate::engine::clock::ManualClock;
use crate::host::backend::Backend;
use crate::io_loop::IOLoop;

/// Making a loop.
impl IOLoop {
    /// Makes a loop of its own, on the default backend (see [`Builder`]).
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    #[doc(alias = "new_event_loop")]
    #[doc(alias = "AsyncIOLoop")]
    pub fn new() -> io::Result<IOLoop> {
        IOLoop::builder().build()
    }

    /// Makes a loop that is attached to the runtime that runs here: tokio if the thread has entered
    /// one, otherwise the default (see [`Builder`]). The runtime is never shut down by the loop.
    ///
    /// **Attaching runs nothing: callbacks, timers and tasks of the loop stand still until its
    /// [`run`](Self::run) or [`run_until`](Self::run_until) is awaited, on the runtime that it was
    /// attached to.** A task that was spawned on a loop which is never driven never ends; awaiting
    /// one is [reported](crate::observe::Report::NeverDriven). A loop that is attached to a
    /// current-thread runtime of tokio's has to be awaited inside that runtime's own
    /// `Runtime::block_on`: neither `Handle::block_on` nor another runtime drives it. The loop
    /// warns, once, if the runtime has run nothing a second after it began to sleep.
    ///
    /// On a multi-thread tokio a loop of its own in the runtime's context is cheaper: the guide
    /// says [which way is the fastest for what](crate::guide::hosts).
    ///
    /// A few of Linux's files, such as the table of mounts, cannot be watched on an attached loop:
    /// see [files that tell a change once](crate::guide::threads#files-that-tell-a-change-once).
    ///
    /// In a forked child the runtime has to be one that was made there: see [a forked
    /// child](crate::guide::threads#a-forked-child).
    ///
    /// ```
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// # #[cfg(feature = "async-io")]
    /// async_io::block_on(async {
    ///     let io_loop = IOLoop::attach()?;
    ///     io_loop.call_soon(|| IOLoop::current().unwrap().stop());
    ///     io_loop.run().await
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Builder::attach`].
    #[doc(alias = "AsyncIOMainLoop")]
    pub fn attach() -> io::Result<IOLoop> {
        IOLoop::builder().attach()
    }

    /// Makes a loop with a choice of backend.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Sets the backend for loops that name none, process-wide; `None` goes back to the default.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the backend is not compiled in; nothing is
    /// changed.
    pub fn configure(backend: impl Into<Option<BackendKind>>) -> io::Result<()> {
        configure(backend.into())
    }
}

/// Makes a loop: on which backend, and whether its own or attached to a runtime that runs already.
///
/// The backend is chosen once, here: the one named or given, otherwise the one that was
/// [configured](IOLoop::configure), otherwise the default of the build: [`BackendKind::detect`] for
/// an own loop, [`BackendKind::detect_host`] for an attached one.
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

    /// Gives the loop a clock that tests move; see [`ManualClock`].
    ///
    /// Without it the loop uses the monotonic clock of the system.
    pub fn clock(self, clock: &ManualClock) -> Self {
        Builder { clock: Some(clock.clone()), ..self }
    }

    /// Names the loop, for messages; see [`IOLoop::name`].
    pub fn name(self, name: impl Into<String>) -> Self {
        Builder { name: Some(name.into()), ..self }
    }

    /// Makes a loop of its own, which [`start`](IOLoop::start) and [`run_sync`](IOLoop::run_sync)
    /// drive.
    ///
    /// # Errors
    ///
    /// The backend is not compiled in ([`Unsupported`](io::ErrorKind::Unsupported)), or the
    /// descriptors or the runtime cannot be made. Nothing is left behind.
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
    /// ([`NotFound`](io::ErrorKind::NotFound)); if the runtime was built without I/O, if the loop
    /// is bare, and if the reactor of async-io and smol is that of the process which this one was
    /// forked from (all [`Unsupported`](io::ErrorKind::Unsupported)).
    ///
    /// tokio tells by a panic alone that a runtime has no I/O. The panic is caught, after the
    /// standard library's hook has printed it. With `panic = "abort"` it ends the process.
    pub fn attach(self) -> io::Result<IOLoop> {
        let (backend, clock, name) = self.decide(BackendKind::detect_host);
        let io_loop = IOLoop::attached(match backend {
            Ok(kind) => kind.attached()?,
            Err(given) => given,
        })?;
        Ok(io_loop.with(clock, name))
    }

    /// The kind that was chosen, by whatever means, or the backend that was given; the clock and
    /// the name.
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
