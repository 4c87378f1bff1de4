//! What a reactor waits for, and the error that says that it waits in vain.

use std::error::Error;
use std::fmt;
use std::os::fd::RawFd;
use std::panic::Location;
use std::time::Duration;

use ioloop::Interest;
use ioloop::reactor::Direction;

/// Everything that a reactor waits for, or has queued. As text it has a line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left(pub(crate) Vec<Entry>);

/// One thing that a reactor waits for, or has queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub what: What,
    /// Where it was handed to the reactor; none while its callback runs.
    pub location: Option<&'static Location<'static>>,
}

/// The kind of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A reader or a writer.
    Watch {
        /// The number of its descriptor.
        number: RawFd,
        /// Which of them it is.
        direction: Direction,
        /// Whether it is paused.
        paused: bool,
    },
    /// A handler.
    Handler {
        /// The number of its descriptor.
        number: RawFd,
        /// Its interest; empty while it is paused.
        interest: Interest,
    },
    /// A timer.
    Timer {
        /// How far its deadline is away; zero if it is due.
        due_in: Duration,
    },
    /// A hook before a sleep or after it.
    Hook,
    /// A future that was spawned.
    Task,
    /// A queued callback, or the poll of a task.
    Callback,
}

impl Left {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them: watches, timers by deadline, hooks, tasks, callbacks in the order queued.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The number of readers, writers and handlers, paused ones too.
    pub fn watches(&self) -> usize {
        self.count(|what| matches!(what, What::Watch { .. } | What::Handler { .. }))
    }

    /// The number of timers.
    pub fn timers(&self) -> usize {
        self.count(|what| matches!(what, What::Timer { .. }))
    }

    /// The number of futures that were spawned.
    pub fn tasks(&self) -> usize {
        self.count(|what| matches!(what, What::Task))
    }

    /// The number of queued callbacks, and polls of tasks.
    pub fn callbacks(&self) -> usize {
        self.count(|what| matches!(what, What::Callback))
    }

    fn count(&self, is_counted: impl Fn(What) -> bool) -> usize {
        self.0.iter().filter(|entry| is_counted(entry.what)).count()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (index, entry) in self.0.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Watch { number, direction, paused } => {
                let paused = if paused { "paused " } else { "" };
                let kind = if direction == Direction::Read { "reader" } else { "writer" };
                write!(f, "a {paused}{kind} of descriptor {number}")?;
            }
            What::Handler { number, interest } => {
                write!(f, "a handler of descriptor {number} for {interest:?}")?;
            }
            What::Timer { due_in } => write!(f, "a timer, due in {due_in:?}")?,
            What::Hook => f.write_str("a hook")?,
            What::Task => f.write_str("a task")?,
            What::Callback => f.write_str("a queued callback")?,
        }
        match self.location {
            Some(location) => write!(f, ", from {location}"),
            None => f.write_str(", which is running"),
        }
    }
}

/// A run that would never end: nothing is left that could wake it, or something keeps it busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// It was for a future, and not until a stop.
    pub(crate) future: bool,
    /// It was given up after its many turns.
    pub(crate) forever: bool,
    pub(crate) left: Left,
}

impl Stalled {
    /// What was registered then.
    pub fn left(&self) -> &Left {
        &self.left
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.future, self.forever) {
            (true, false) => "the future is not done, and nothing is left that could wake it",
            (true, true) => "the future is not done after a hundred thousand turns",
            (false, false) => "it was not stopped, and nothing is left to run",
            (false, true) => "it was not stopped in a hundred thousand turns",
        })?;
        write!(f, "; registered:\n{}", self.left)
    }
}

impl Error for Stalled {}
