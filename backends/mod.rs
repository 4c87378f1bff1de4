//! What a runtime must provide to host a loop, and the runtimes that do.
//!
//! A loop is one descriptor, which becomes readable when the loop has something to do. To host it,
//! a runtime says when that is; everything else is the loop's own. So a backend is small, and a
//! runtime that is not here can be given one from outside, against the public API alone.
//!
//! | who | needs |
//! |---|---|
//! | chooses a backend | [`BackendKind`], or one of the types in the modules below |
//! | embeds a loop in a foreign loop | [`Descriptor`], which [`IOLoop::descriptor`](crate::IOLoop::descriptor) gives |
//! | writes a backend | [`Backend`] and [`Registration`]; a runtime that drives itself also [`Drive`], one with a pool for blocking work [`Job`], one with an executor [`RuntimeTasks`] |
//!
//! | backend | feature | own loop parks in | executor that it drives | attaches to | threads that the runtime starts |
//! |---|---|---|---|---|---|
//! | `Bare` | none | its own epoll | none | nothing; embed it with [`turn`](crate::IOLoop::turn) | none |
//! | `AsyncIo` | `async-io` (default) | its own epoll | async-executor's, [its own or a given one](async_io::AsyncIoBackend::executor) | any executor, through async-io's reactor | one, `async-io`, for its reactor, once a loop is attached |
//! | `Tokio` | `tokio` | its `LocalRuntime`; [in a multi-thread runtime's context](tokio::TokioBackend::attached): its own epoll | its `LocalRuntime` | the entered runtime, or any [`Handle`](::tokio::runtime::Handle) | none of its own kind in an own loop; a host's are its own |
//! | `Smol` | `smol` | its own epoll | as `AsyncIo`; `smol::spawn` is another one | any executor, through smol's reactor | the same; `smol::spawn` starts its own |
//!
//! | platform | state |
//! |---|---|
//! | Linux | tested, x86-64 |
//! | other Unix | the portable poller, on the `polling` crate; tested on Linux with `--cfg ioloop_portable`, untested there |
//! | Windows | refused at compile time: it has no descriptors to watch |
//! | io_uring | not used: a loop is about readiness |
//! | WASM, no_std | no: there is nothing to wait for |
#![cfg_attr(not(feature = "tokio"), allow(rustdoc::broken_intra_doc_links))]

use std::fmt;
use std::io;
use std::str::FromStr;

pub use crate::descriptor::Descriptor;
pub use crate::host::backend::{
    Backend, Drive, Job, Rebuild, Registration, RuntimeTasks, Shutdown,
};

#[cfg(feature = "async-io")]
pub mod async_io;
#[cfg(any(feature = "async-io", feature = "smol"))]
pub(crate) mod executors;
#[cfg(any(feature = "async-io", feature = "smol"))]
mod reactor;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;

/// A backend by name.
///
/// Every name exists in every build; choosing one that is not compiled in is an error that says so.
///
/// ```
/// use ioloop::backends::BackendKind;
///
/// assert_eq!("tokio".parse::<BackendKind>()?, BackendKind::Tokio);
/// assert_eq!(BackendKind::AsyncIo.to_string(), "async-io");
/// assert!("libev".parse::<BackendKind>().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// No runtime: the loop parks in its own descriptor, and cannot be attached.
    Bare,
    /// async-io (feature `async-io`).
    AsyncIo,
    /// tokio (feature `tokio`).
    Tokio,
    /// smol (feature `smol`).
    Smol,
}

impl BackendKind {
    /// Every backend there is, compiled in or not.
    pub const ALL: [BackendKind; 4] =
        [BackendKind::Bare, BackendKind::AsyncIo, BackendKind::Tokio, BackendKind::Smol];

    /// Whether this build can make loops on it.
    pub fn is_compiled(self) -> bool {
        match self {
            BackendKind::Bare => true,
            BackendKind::AsyncIo => cfg!(feature = "async-io"),
            BackendKind::Tokio => cfg!(feature = "tokio"),
            BackendKind::Smol => cfg!(feature = "smol"),
        }
    }

    /// The backend of an own loop where none was chosen: of those compiled in, tokio before smol
    /// before async-io before bare.
    ///
    /// So a feature that another package turns on takes nothing away: an own loop on tokio runs the
    /// futures of all these runtimes, and no other one does. What has to be one backend, whatever
    /// features are on, is [named](crate::Builder::backend).
    pub fn detect() -> BackendKind {
        [BackendKind::Tokio, BackendKind::Smol, BackendKind::AsyncIo]
            .into_iter()
            .find(|kind| kind.is_compiled())
            .unwrap_or(BackendKind::Bare)
    }

    /// The backend of an attached loop where none was chosen: tokio if the thread has entered a
    /// tokio runtime, otherwise as [`detect`](Self::detect), but tokio last.
    pub fn detect_host() -> BackendKind {
        #[cfg(feature = "tokio")]
        if tokio::is_entered() {
            return BackendKind::Tokio;
        }
        [BackendKind::Smol, BackendKind::AsyncIo, BackendKind::Tokio]
            .into_iter()
            .find(|kind| kind.is_compiled())
            .unwrap_or(BackendKind::Bare)
    }

    pub(crate) fn check_compiled(self) -> io::Result<()> {
        if self.is_compiled() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("backend {self} is not compiled in; enable ioloop's feature `{self}`"),
        ))
    }

    /// The backend for a loop of its own; none for a bare one.
    pub(crate) fn own(self) -> io::Result<Option<Box<dyn Backend>>> {
        self.check_compiled()?;
        match self {
            #[cfg(feature = "async-io")]
            BackendKind::AsyncIo => Ok(Some(Box::new(async_io::AsyncIoBackend::new()))),
            #[cfg(feature = "tokio")]
            BackendKind::Tokio => Ok(Some(Box::new(tokio::TokioBackend::own()?))),
            #[cfg(feature = "smol")]
            BackendKind::Smol => Ok(Some(Box::new(smol::SmolBackend::new()))),
            _ => Ok(None),
        }
    }

    /// The backend for a loop that is attached to the runtime that runs here.
    pub(crate) fn attached(self) -> io::Result<Box<dyn Backend>> {
        self.check_compiled()?;
        match self {
            #[cfg(feature = "async-io")]
            BackendKind::AsyncIo => Ok(Box::new(async_io::AsyncIoBackend::new())),
            #[cfg(feature = "tokio")]
            BackendKind::Tokio => Ok(Box::new(tokio::TokioBackend::current()?)),
            #[cfg(feature = "smol")]
            BackendKind::Smol => Ok(Box::new(smol::SmolBackend::new())),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a bare loop has no host to attach to; enable one of ioloop's features `async-io`, \
                 `tokio` or `smol`, or embed the loop with `turn`",
            )),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            BackendKind::Bare => "bare",
            BackendKind::AsyncIo => "async-io",
            BackendKind::Tokio => "tokio",
            BackendKind::Smol => "smol",
        })
    }
}

impl FromStr for BackendKind {
    type Err = io::Error;

    /// The backend of that name; an error of the kind [`InvalidInput`](io::ErrorKind::InvalidInput)
    /// if there is none.
    fn from_str(name: &str) -> io::Result<Self> {
        BackendKind::ALL.into_iter().find(|kind| kind.to_string() == name).ok_or_else(|| {
            let names = BackendKind::ALL.map(|kind| kind.to_string()).join(", ");
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no backend `{name}`; choose one of {names}"),
            )
        })
    }
}
