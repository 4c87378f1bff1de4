//! Traces: what was seen while a program ran.

use ioloop::RunError;
use ioloop::observe::Origin;

/// Names a callback, in the order in which they were made.
pub type Id = u32;

/// Where a loop stands: its turns and looks so far, and nanoseconds on its clock since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Turns begun.
    pub turn: u64,
    /// Looks at the descriptors.
    pub polls: u64,
    /// Nanoseconds since the program's start.
    pub clock: i64,
}

/// Places for descriptors.
pub const PLACES: usize = 8;

/// What poll(2) says about each place: [`OPEN`], and the bits of [`Events`](ioloop::Events).
pub type Snapshot = [u16; PLACES];

/// Something is open at a place.
pub const OPEN: u16 = 128;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It was stopped.
    Stopped,
    /// Refused: it is running.
    AlreadyRunning,
    /// Refused: it is closed.
    Closed,
    /// The future that it was for is done.
    Done,
    /// That future has panicked, or its destructor.
    Panicked,
    /// It was dropped half-way.
    Dropped,
    /// Anything else.
    Failed,
}

impl From<RunError> for Ran {
    fn from(error: RunError) -> Self {
        match error {
            RunError::AlreadyRunning => Ran::AlreadyRunning,
            RunError::Closed => Ran::Closed,
            RunError::Stopped => Ran::Stopped,
            _ => Ran::Failed,
        }
    }
}

/// What an operation answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to tell.
    Done,
    /// There is nothing by that number, or nothing of that kind.
    Nothing,
    /// True, or false.
    Is(bool),
    /// The loop is closed.
    Closed,
    /// Refused.
    AlreadyRunning,
    /// Refused, for whatever reason.
    Refused,
    /// What the loop holds.
    Holds {
        /// Timers pending.
        timers: usize,
        /// Watches there are.
        watches: usize,
        /// Tasks there are.
        tasks: usize,
        /// The next deadline on the program's clock, in nanoseconds.
        next: Option<i64>,
        /// Whether it is running.
        running: bool,
        /// Whether it is closed.
        closed: bool,
    },
}

/// What the hook does that ends the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleepy {
    /// Something was called since the last time: it keeps the loop awake.
    Stays,
    /// Nothing was: it stops the loop.
    Stops,
    /// It has stopped this run already.
    Sleeps,
}

/// What came of what a future has awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A value.
    Value,
    /// The time was over.
    Elapsed,
    /// The task was cancelled.
    Cancelled,
    /// The other side is gone.
    Closed,
    /// The task has panicked.
    Panicked,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A callback begins.
    Begin {
        /// Which.
        id: Id,
        /// Whether the loop is the current one.
        current: bool,
        /// What a handler is told, as the bits of [`Events`](ioloop::Events).
        came: u16,
        /// Where the loop stands.
        at: Stand,
    },
    /// It returns.
    End(Id),
    /// A future's poll returns, and it is not done.
    Waits(Id),
    /// A future is woken.
    Woken {
        /// Which.
        id: Id,
        /// Where the loop stands; none on another thread.
        at: Option<Stand>,
    },
    /// What a future has awaited is there.
    Got(Id, Outcome),
    /// A callback, or a destructor, panics on purpose.
    Panics(Id),
    /// The value that a callback captured is being dropped.
    Drop {
        /// Whose.
        id: Id,
        /// While a panic unwinds.
        unwinding: bool,
        /// Where the loop stands; none on another thread.
        at: Option<Stand>,
    },
    /// It is gone.
    Dropped(Id),
    /// The exception handler was told of a panic.
    Report(Origin, Id),
    /// Descriptors may have been opened, closed, written to or read from.
    Wires(Snapshot),
    /// An operation has answered.
    Answer(Answer),
    /// The top level begins to drive the loop.
    Run(Stand),
    /// It is over.
    Ran(Ran, Stand),
    /// The loop is about to sleep; what the program's own hook did about it.
    Sleep {
        /// What.
        did: Sleepy,
        /// Where the loop stands.
        at: Stand,
    },
    /// What the descriptor of an embedded loop says before a turn.
    Readable {
        /// That there is something to do.
        readable: bool,
        /// The foreign loop would sleep now: it stops the loop.
        ends: bool,
        /// Where the loop stands.
        at: Stand,
    },
    /// An embedded loop was turned.
    Turned {
        /// What it said.
        work_left: bool,
        /// Where the loop stands.
        at: Stand,
    },
}
