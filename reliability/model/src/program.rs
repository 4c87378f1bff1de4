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

/// A part of a future: what it does, and what it awaits then.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Step {
    /// What it does.
    pub call: Script,
    /// What it awaits.
    pub wait: Wait,
}

/// What a future awaits. Where what it names cannot be awaited, it goes on.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Wait {
    /// To be polled again.
    Yield,
    /// `sleep`, for so many milliseconds.
    Sleep(u8),
    /// A task or a deferred that was handed out.
    For(u8),
    /// The same, for at most so many milliseconds.
    Limited(u8, u8),
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Moment {
    /// `before_sleep`.
    Before,
    /// `after_wake`.
    After,
    /// `on_idle`.
    Idle,
}

/// What a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Role {
    /// `add_reader`.
    Reader,
    /// `add_writer`.
    Writer,
    /// `add_handler`.
    Handler(Wanted),
}

/// What a handler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Wanted {
    /// Something to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
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
    /// Makes and starts a `PeriodicCallback`.
    Periodic {
        /// Milliseconds; none is one.
        period: u8,
        /// What it does when it is called for the first time, the second, and so on; after that it
        /// stops itself.
        calls: Vec<Script>,
    },
    /// Ends what was handed out: cancels, removes or stops it.
    End(u8),
    /// Asks a handle whether it was cancelled, or is running.
    Ask(u8),
    /// Drops a handle, a guard or a periodic callback.
    Forget(u8),
    /// Moves a timer's deadline to so many milliseconds from now, or ago.
    Reset(u8, i8),
    /// Opens a pipe, or a pair of sockets, at two free places.
    Open {
        /// Sockets.
        sockets: bool,
    },
    /// Closes what is at a place, behind the loop's back, unless the loop holds it too.
    Shut(u8),
    /// Puts a duplicate of what is at one place at another that is free.
    Dup(u8, u8),
    /// Writes a byte at a place.
    Write(u8),
    /// Writes until it is full.
    Fill(u8),
    /// Reads a byte at a place.
    Read(u8),
    /// Reads all there is.
    Drain(u8),
    /// Shuts a socket down for writing.
    HalfClose(u8),
    /// Watches a place.
    Watch {
        /// Where.
        place: u8,
        /// What for.
        role: Role,
        /// Give the loop a share in the descriptor, instead of the number.
        share: bool,
        /// What it does when it is called for the first time, the second, and so on; after that it
        /// ends itself.
        calls: Vec<Script>,
        /// What the value that it has captured does when it is dropped.
        end: Script,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// Pauses a watch.
    Pause(u8),
    /// Resumes a watch, or starts a periodic callback.
    Resume(u8),
    /// Ends the watch that a place has in a role, by its number.
    Unwatch(u8, Role),
    /// Changes what the handler of a place waits for.
    Update(u8, Wanted),
    /// `spawn`.
    Spawn {
        /// The future.
        steps: Vec<Step>,
        /// What the value that it has captured does when it is dropped.
        end: Script,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// `deferred`: hands out a resolver, then what it resolves.
    Defer,
    /// Resolves a deferred by its resolver.
    Resolve {
        /// The resolver.
        back: u8,
        /// On another thread, which is waited for.
        elsewhere: bool,
    },
    /// Adds a hook.
    Hook {
        /// When it is called.
        moment: Moment,
        /// What it does when it is called for the first time, the second, and so on. After that one
        /// before a sleep, or after it, does nothing, and an idle callback panics.
        calls: Vec<Script>,
        /// Keep the loop awake as long as it does something.
        stays: bool,
        /// What the value that it has captured does when it is dropped.
        end: Script,
        /// Keep the guard instead of the handle.
        guard: bool,
    },
    /// Drives the loop until a future is done, or it is stopped, or would sleep.
    RunFor {
        /// The future.
        steps: Vec<Step>,
        /// What the value that it has captured does when it is dropped.
        end: Script,
    },
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
    /// Polls a run of an attached loop once, and drops it.
    RunPart,
    /// `close`.
    Close,
    /// Asks the loop what it holds.
    Count,
}
