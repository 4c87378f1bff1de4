//! Everything that a loop waits for, by the locations where it was handed in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::reactor::callback::Caller;
use crate::reactor::readiness::Interest;
use crate::system::RawFd;

/// One thing that a loop waits for, or has queued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// Its kind.
    pub what: What,
    /// The location where it was handed to the loop. None while its callback runs.
    pub location: Option<Caller>,
    /// Whether a run [until nothing is left](crate::IOLoop::start_until_empty) goes on for it.
    pub keeps: bool,
}

/// The kind of a [`Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A reader.
    #[non_exhaustive]
    Reader {
        /// The number of its descriptor.
        fd: RawFd,
        /// Whether it is paused.
        paused: bool,
    },
    /// A writer.
    #[non_exhaustive]
    Writer {
        /// The number of its descriptor.
        fd: RawFd,
        /// Whether it is paused.
        paused: bool,
    },
    /// A handler.
    #[non_exhaustive]
    Handler {
        /// The number of its descriptor.
        fd: RawFd,
        /// Its interest.
        interest: Interest,
    },
    /// A timer.
    #[non_exhaustive]
    Timer {
        /// When it is due.
        deadline: Instant,
    },
    /// A queued callback.
    Callback,
    /// A task.
    Task,
    /// A hook around the sleep, or an idle callback.
    Hook,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            What::Reader { .. } => "reader",
            What::Writer { .. } => "writer",
            What::Handler { .. } => "handler",
            What::Timer { .. } => "timer",
            What::Callback => "callback",
            What::Task => "task",
            What::Hook => "hook",
        }
    }
}

/// Everything that a loop waits for. As text it has a line for each location and kind, with their
/// number; it is `nothing` if the loop waits for nothing.
///
/// ```
/// use std::time::Duration;
/// use ioloop::{IOLoop, Reactor};
///
/// let io_loop = IOLoop::new()?;
/// for minutes in 1..=3 {
///     io_loop.call_later(Duration::from_secs(60 * minutes), || ());
/// }
/// io_loop.spawn(std::future::pending::<()>());
/// let listing = io_loop.listing();
/// // The task is queued for its first poll.
/// assert_eq!(listing.entries.len(), 4);
/// let text = listing.to_string();
/// assert!(text.contains("3 timers from ") && text.contains("1 task from "), "{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// In no order.
    pub entries: Vec<Pending>,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return f.write_str("nothing");
        }
        let mut lines = BTreeMap::new();
        for Pending { what, location, .. } in &self.entries {
            let location =
                location.map(|location| (location.file(), location.line(), location.column()));
            *lines.entry((location, what.name())).or_insert(0_usize) += 1;
        }
        for (index, ((location, name), number)) in lines.into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let plural = if number == 1 { "" } else { "s" };
            write!(f, "{number} {name}{plural}")?;
            if let Some((file, line, column)) = location {
                write!(f, " from {file}:{line}:{column}")?;
            }
        }
        Ok(())
    }
}
