//! Which loop is current.

use crate::engine::local;
use crate::io_loop::IOLoop;

/// The current loop.
impl IOLoop {
    /// The loop whose callback, task or `run_sync` future is executing on this thread, or the one
    /// entered with [`enter`](Self::enter), whichever is innermost; none if there is neither.
    ///
    /// Unlike Tornado before version 5, it never falls back to a global loop.
    #[doc(alias = "get_running_loop")]
    #[doc(alias = "get_event_loop")]
    pub fn current() -> Option<IOLoop> {
        IOLoop::of(&*local::current()?)
    }

    /// Makes this loop current while `code` runs, in its backend's context.
    ///
    /// What was current before is current again afterwards, also after a panic.
    ///
    /// # Panics
    ///
    /// With the panic of `code`; and if the backend, one from outside, does not run `code` exactly
    /// once.
    #[doc(alias = "make_current")]
    pub fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        self.inner.enter(code).unwrap_or_else(|error| panic!("{error}"))
    }
}
