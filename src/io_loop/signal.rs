//! Signals as callbacks of a loop. Feature `signal`.

use std::io;

use crate::io_loop::IOLoop;
use crate::reactor::handles::Watch;
use crate::signal::add_handler;

/// Signals.
impl IOLoop {
    /// Calls `callback` on this loop's thread whenever a signal came;
    /// [`signal::add_handler`](crate::signal::add_handler), under asyncio's name.
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn add_signal_handler(
        &self,
        signal: i32,
        callback: impl FnMut() + 'static,
    ) -> io::Result<Watch> {
        add_handler(self, signal, callback)
    }
}
