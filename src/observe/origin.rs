//! The kinds of user code that a loop calls.

use std::fmt;

/// The kind of user code that a loop called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// A queued callback.
    Callback,
    /// A timer's callback.
    Timer,
    /// A reader, which was removed.
    Reader,
    /// A writer, which was removed.
    Writer,
    /// A handler, which was removed.
    Handler,
    /// A task that is not awaited.
    Task,
    /// The future of a `run_sync` or `run_until`. Its panic goes to the caller, so only a
    /// [`Report`](crate::observe::Report) names it.
    Main,
    /// A destructor of something that the loop dropped.
    Destructor,
    /// A hook, which was removed.
    Hook,
    /// A task of the runtime's executor, which the loop drives.
    RuntimeTask,
    /// The executor that [`run_in_executor`](crate::IOLoop::run_in_executor) gave a job to.
    Executor,
}

impl Origin {
    /// All of them, each at its own number.
    pub(crate) const ALL: [Origin; 11] = [
        Origin::Callback,
        Origin::Timer,
        Origin::Reader,
        Origin::Writer,
        Origin::Handler,
        Origin::Task,
        Origin::Main,
        Origin::Destructor,
        Origin::Hook,
        Origin::RuntimeTask,
        Origin::Executor,
    ];

    /// The kind, without whether it was removed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Callback => "a callback",
            Origin::Timer => "a timer",
            Origin::Reader => "a reader",
            Origin::Writer => "a writer",
            Origin::Handler => "a handler",
            Origin::Task => "a task",
            Origin::Main => "the future that the loop runs for",
            Origin::Destructor => "a destructor",
            Origin::Hook => "a hook",
            Origin::RuntimeTask => "a task of the runtime's executor",
            Origin::Executor => "the executor of blocking jobs",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Callback => "a callback",
            Origin::Timer => "a timer",
            Origin::Reader => "a reader, which was removed,",
            Origin::Writer => "a writer, which was removed,",
            Origin::Handler => "a handler, which was removed,",
            Origin::Task => "a task",
            Origin::Main => "the future that the loop runs for",
            Origin::Destructor => "a destructor",
            Origin::Hook => "a hook, which was removed,",
            Origin::RuntimeTask => "a task of the runtime's executor",
            Origin::Executor => "the executor of blocking jobs",
        })
    }
}
