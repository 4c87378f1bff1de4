//! GLib as a host of loops.

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use glib::source::unix_fd_source_new;
use glib::{ControlFlow, IOCondition, MainContext, Priority, Source};
use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration};

/// Hosts a loop on a main context of GLib's.
///
/// An attached loop is awaited in a future that the context runs: under its `block_on`, or in
/// `spawn_local` beside all else that is on the thread. An own loop runs the context as long as it
/// runs itself.
///
/// ```
/// use ioloop::IOLoop;
/// use ioloop_glib::GlibBackend;
///
/// let backend = GlibBackend::new(&glib::MainContext::default());
/// let io_loop = IOLoop::builder().host(backend).build()?;
/// let answer = io_loop.run_sync(async { glib::timeout_future_seconds(0).await; 42 })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct GlibBackend(MainContext);

impl GlibBackend {
    /// The backend for loops on this context.
    pub fn new(context: &MainContext) -> Self {
        GlibBackend(context.clone())
    }

    /// Runs a future in the context; what an attached loop is driven by.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Backend for GlibBackend {
    fn name(&self) -> &str {
        "glib"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered { context: self.0.clone(), descriptor, waiting: None }))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        // GLib would panic in both cases: inside a future of its own, and while another thread has
        // the context.
        drop(futures_executor::enter().map_err(|_| RunError::InAsyncContext)?);
        let _acquired = self.0.acquire().map_err(io::Error::other)?;
        self.0.block_on(drive);
        Ok(())
    }

    fn enter(&self, turns: &mut dyn FnMut()) {
        // Outside of the context, and while another thread has it, there is none to enter.
        if self.0.with_thread_default(&mut *turns).is_err() {
            turns();
        }
    }

    // GLib's own sources are dispatched only inside of its `block_on`.
    fn is_embeddable(&self) -> bool {
        false
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

struct Registered {
    context: MainContext,
    descriptor: Descriptor,
    /// While the loop sleeps.
    waiting: Option<Waiting>,
}

/// A source that GLib dispatches once.
struct Waiting {
    source: Source,
    waker: Arc<Mutex<Waker>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.source.destroy();
    }
}

impl Registration for Registered {
    // The deadline is in the descriptor.
    fn poll_ready(&mut self, cx: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
        match self.waiting.take() {
            // It was dispatched.
            Some(waiting) if waiting.source.is_destroyed() => return Poll::Ready(Ok(())),
            Some(waiting) => {
                let mut waker = waiting.waker.lock().unwrap_or_else(PoisonError::into_inner);
                waker.clone_from(cx.waker());
                drop(waker);
                self.waiting = Some(waiting);
            }
            None => self.waiting = Some(self.wait(cx.waker())),
        }
        Poll::Pending
    }
}

impl Registered {
    fn wait(&self, waker: &Waker) -> Waiting {
        let waker = Arc::new(Mutex::new(waker.clone()));
        let (number, condition) = (self.descriptor.as_raw_fd(), IOCondition::IN);
        let woken = Arc::clone(&waker);
        // Held by the source, so the number that GLib polls stays open.
        let descriptor = self.descriptor.clone();
        let wake = move |_, _| {
            let _open = &descriptor;
            let waker = woken.lock().unwrap_or_else(PoisonError::into_inner).clone();
            waker.wake();
            ControlFlow::Break
        };
        let source = unix_fd_source_new(number, condition, Some("ioloop"), Priority::DEFAULT, wake);
        source.attach(Some(&self.context));
        Waiting { source, waker }
    }
}
