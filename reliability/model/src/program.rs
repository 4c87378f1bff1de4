//! Programs: what the top level does to a loop, and what the callbacks do that it makes.

/// What one callback does, or the whole program.
pub type Script = Vec<Op>;

/// A callback.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Body {
    /// What it does when it is called.
    pub call: Script,
    /// What the value that it has captured does when it is dropped.
    pub end: Script,
}

/// One operation, on the loop or on what it handed out before.
///
/// What was handed out is named by a number, counted back from the newest: 0 is the newest.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// `call_soon`.
    CallSoon {
        /// The callback.
        body: Body,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// `Handle::add_callback`.
    Post {
        /// The callback.
        body: Body,
        /// From another thread, which is waited for.
        elsewhere: bool,
    },
    /// `call_later`, by so many milliseconds; for ever if it is the largest number.
    CallLater {
        /// The callback.
        body: Body,
        /// Milliseconds.
        delay: u8,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// `call_at`, so many milliseconds after the program's start, or before it.
    CallAt {
        /// The callback.
        body: Body,
        /// Milliseconds.
        at: i8,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// Ends what was handed out: cancels or removes it.
    End(u8),
    /// Asks a handle whether it was cancelled.
    Ask(u8),
    /// Drops a handle or a guard.
    Forget(u8),
    /// Moves a timer's deadline to so many milliseconds from now, or ago.
    Reset(u8, i8),
    /// `stop`.
    Stop,
    /// `Handle::stop`.
    PostStop {
        /// From another thread, which is waited for.
        elsewhere: bool,
    },
    /// Moves the clock on by so many milliseconds.
    Advance(u8),
    /// Switches the clock's jumps on or off.
    Jumps(bool),
    /// Panics.
    Panic,
    /// Drives the loop until it is stopped, or would sleep.
    Run,
    /// `close`.
    Close,
    /// Asks the loop what it holds.
    Count,
}
