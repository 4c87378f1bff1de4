//! Why a task has no value.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::{error, fmt, io};

use super::home::{Home, Panic, report};
use crate::observe::origin::Origin;

/// Why a task has no value: it was cancelled, its other side is gone, or it panicked.
pub struct JoinError(Reason);

enum Reason {
    Cancelled,
    Closed,
    Panicked(Box<Panicked>),
}

struct Panicked {
    // The payload is `Send` only; the mutex makes the error `Sync`, so it goes where errors go.
    payload: Mutex<Panic>,
    home: Option<Home>,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        JoinError(Reason::Cancelled)
    }

    pub(crate) fn closed() -> Self {
        JoinError(Reason::Closed)
    }

    pub(super) fn panicked(payload: Panic, home: Option<Home>) -> Self {
        JoinError(Reason::Panicked(Box::new(Panicked { payload: Mutex::new(payload), home })))
    }

    /// Reports the panic, if it is one: its task was dropped.
    pub(super) fn report(self) {
        if let Reason::Panicked(panicked) = self.0 {
            let Panicked { payload, home } = *panicked;
            let payload = payload.into_inner().unwrap_or_else(PoisonError::into_inner);
            report(home, Origin::Task, payload);
        }
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Reason::Cancelled)
    }

    /// Whether the other side went away first: the loop was closed, the runtime shut down, the
    /// [`Resolver`](crate::Resolver) dropped. Also if the value was taken before.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Reason::Closed)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Reason::Panicked(_))
    }

    /// The payload of the task's panic.
    ///
    /// # Errors
    ///
    /// The error itself, if it is another.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.0 {
            Reason::Panicked(panicked) => {
                Ok(panicked.payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            other => Err(JoinError(other)),
        }
    }

    /// Goes on with the task's panic here; gives the error back if it is another.
    ///
    /// # Panics
    ///
    /// With the task's payload, if the task panicked.
    pub fn resume_panic(self) -> JoinError {
        match self.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => error,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Cancelled => f.write_str("the task was cancelled"),
            Reason::Closed => f.write_str(
                "there is no value: its loop was closed, its runtime shut down, or its resolver dropped",
            ),
            Reason::Panicked(panicked) => {
                let payload = panicked.payload.lock().unwrap_or_else(PoisonError::into_inner);
                let message = payload.downcast_ref::<&str>().copied();
                match message.or_else(|| payload.downcast_ref().map(String::as_str)) {
                    Some(message) => write!(f, "the task panicked: {message}"),
                    None => f.write_str("the task panicked"),
                }
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        match error.is_closed() {
            true => io::Error::new(io::ErrorKind::BrokenPipe, error),
            false => io::Error::other(error),
        }
    }
}
