//! What kind of user code it is that a loop calls.

use std::fmt;

/// The kind of code that panicked.
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
    /// A task that nobody waits for.
    Task,
    /// The future that `run_sync` or `run_until` was given. Its panic goes to their caller, so
    /// only a [`Report`](crate::observe::Report) names it.
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
    /// What it is, without what became of it.
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
