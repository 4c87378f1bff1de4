//! A loop inside GLib's.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::time::Duration;

use glib::source::unix_fd_source_new;
use glib::thread_guard::ThreadGuard;
use glib::{ControlFlow, IOCondition, MainContext, Priority, Source};
use ioloop::{IOLoop, RunError};

/// Has GLib drive `io_loop` whenever `context` is iterated on this thread, until the loop is stopped, which `on_end` is
/// told, or fails. One that is closed is quiet.
///
/// GLib does not dispatch a source inside of itself: a callback of the loop that runs GLib's (a modal dialog) holds up
/// the loop until that returns, and nothing else.
///
/// # Errors
///
/// The loop is closed.
pub fn embed(
    io_loop: &IOLoop,
    context: &MainContext,
    on_end: impl FnOnce(Result<(), RunError>) + 'static,
) -> io::Result<Embedded> {
    // Held by the source, so that the number that GLib polls stays open.
    let descriptor = io_loop.descriptor()?;
    let number = descriptor.as_raw_fd();
    let mut local = ThreadGuard::new((io_loop.downgrade(), Some(on_end)));
    let turn = move |_, _| {
        let _open = &descriptor;
        let (io_loop, on_end) = local.get_mut();
        let turned = match io_loop.upgrade() {
            Some(io_loop) => io_loop.turn(Some(Duration::ZERO)),
            None => Err(RunError::Closed),
        };
        // GLib polls with poll(2), which does not mind a descriptor that was renewed.
        let end = match turned {
            Ok(turn) if !turn.stopped => return ControlFlow::Continue,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Some(on_end) = on_end.take() {
            on_end(end);
        }
        ControlFlow::Break
    };
    let condition = IOCondition::IN;
    let source = unix_fd_source_new(number, condition, Some("ioloop"), Priority::DEFAULT, turn);
    source.attach(Some(context));
    Ok(Embedded(source, PhantomData))
}

/// A loop inside GLib's; dropping it takes the loop out, as it is. It stays on the loop's thread.
#[derive(Debug)]
#[must_use = "a loop is driven only as long as this is held"]
pub struct Embedded(Source, PhantomData<IOLoop>);

impl Drop for Embedded {
    fn drop(&mut self) {
        self.0.destroy();
    }
}
