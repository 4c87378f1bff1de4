//! Ends a process that hangs: the loop under test may be what hangs, so none of its timers
//! can.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Ends the process with status 3 unless it is dropped in time.
#[must_use = "a watchdog that is dropped watches nothing"]
pub struct Watchdog(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>);

impl Watchdog {
    /// Watches `what` for at most `patience`.
    ///
    /// # Panics
    ///
    /// Where no thread can be started.
    pub fn new(what: &str, patience: Duration) -> Watchdog {
        let (sender, receiver) = channel();
        let what = what.to_owned();
        let watch = move || {
            if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(patience) {
                eprintln!("{what} hangs: it has not ended in {patience:?}");
                std::process::exit(3);
            }
        };
        thread::Builder::new().name("watchdog".into()).spawn(watch).expect("a thread");
        Watchdog(sender)
    }
}
