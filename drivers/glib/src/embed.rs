//! A loop inside GLib's.

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io};

use glib::source::unix_fd_source_new;
use glib::thread_guard::ThreadGuard;
use glib::{ControlFlow, IOCondition, MainContext, Priority, Source};
use ioloop::backends::Descriptor;
use ioloop::{IOLoop, RunError, WeakIOLoop};

/// Has GLib drive `io_loop` whenever `context` is iterated on this thread, until the loop is
/// stopped, which `on_end` is told, or fails. One that is closed is quiet.
///
/// GLib does not dispatch a source inside of itself: a callback of the loop that runs GLib's (a
/// modal dialog) holds up the loop until that returns, and nothing else.
///
/// ```
/// use std::time::Duration;
/// use ioloop::backends::BackendKind;
/// use ioloop::{IOLoop, Reactor};
///
/// let main_loop = glib::MainLoop::new(None, false);
/// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
/// let quit = main_loop.clone();
/// let _embedded = ioloop_glib::embed(&io_loop, &main_loop.context(), move |_end| quit.quit())?;
/// io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
/// main_loop.run();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe): the loop is closed. Others are those of duplicating
/// its descriptor. A loop of a backend that cannot be embedded fails in its first turn, which
/// `on_end` is told.
pub fn embed(
    io_loop: &IOLoop,
    context: &MainContext,
    on_end: impl FnOnce(Result<(), RunError>) + 'static,
) -> io::Result<Embedded> {
    let site = Rc::new(Site {
        io_loop: io_loop.downgrade(),
        context: context.clone(),
        source: RefCell::default(),
        on_end: RefCell::new(Some(Box::new(on_end))),
    });
    site.watch(io_loop.descriptor()?);
    Ok(Embedded(site))
}

/// A loop inside GLib's; dropping it takes the loop out, as it is. It stays on the loop's thread.
#[must_use = "a loop is driven only as long as this is held"]
pub struct Embedded(Rc<Site>);

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Embedded").field(&self.0.io_loop).finish()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.0.leave();
    }
}

type OnEnd = Box<dyn FnOnce(Result<(), RunError>)>;

/// A loop and its place in GLib.
struct Site {
    io_loop: WeakIOLoop,
    context: MainContext,
    source: RefCell<Option<Source>>,
    on_end: RefCell<Option<OnEnd>>,
}

impl Site {
    /// Has GLib watch this descriptor from now on.
    fn watch(self: &Rc<Self>, descriptor: Descriptor) {
        let number = descriptor.as_raw_fd();
        let local = ThreadGuard::new(Rc::downgrade(self));
        let turn = move |_, _| {
            // Held by the source, so the number that GLib polls stays open.
            let _open = &descriptor;
            local.get_ref().upgrade().map_or(ControlFlow::Break, |site| site.turn())
        };
        let (condition, name) = (IOCondition::IN, Some("ioloop"));
        let source = unix_fd_source_new(number, condition, name, Priority::DEFAULT, turn);
        source.attach(Some(&self.context));
        self.source.replace(Some(source));
    }

    fn leave(&self) {
        if let Some(source) = self.source.take() {
            source.destroy();
        }
    }

    fn turn(self: &Rc<Self>) -> ControlFlow {
        let Some(io_loop) = self.io_loop.upgrade() else {
            return self.end(Err(RunError::Closed));
        };
        match io_loop.turn(Some(Duration::ZERO)) {
            Ok(turn) if turn.stopped => self.end(Ok(())),
            // The loop has another descriptor now; one that was taken out in this turn stays out.
            Ok(turn) if turn.renewed && self.source.borrow().is_some() => {
                match io_loop.descriptor() {
                    Ok(descriptor) => self.watch(descriptor),
                    Err(error) => return self.end(Err(error.into())),
                }
                ControlFlow::Break
            }
            Ok(_) => ControlFlow::Continue,
            Err(error) => self.end(Err(error)),
        }
    }

    fn end(&self, end: Result<(), RunError>) -> ControlFlow {
        let on_end = self.on_end.take();
        if let Some(on_end) = on_end {
            on_end(end);
        }
        ControlFlow::Break
    }
}
