//! A loop on compio, whose kernel interface is completions: a backend from outside, written against
//! the public API alone.
//!
//! Three things differ from a runtime on readiness. The wait is an operation, which is submitted
//! anew after each answer. An operation that is given up keeps the descriptor until the kernel has
//! said so, so the registration asks for that when it is dropped. And the runtime lives on one
//! thread and moves only in its own `block_on`, so it is not embeddable.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use compio_driver::op::{Interest, PollOnce};
use compio_runtime::Runtime;
use ioloop::RunError;
use ioloop::backends::{Backend, Descriptor, Drive, Registration, Shutdown};

/// Hosts a loop on a compio runtime.
pub struct CompioBackend {
    /// Absent once a loop of its own was closed.
    runtime: RefCell<Option<Runtime>>,
    own: bool,
}

impl CompioBackend {
    /// A runtime of the loop's own.
    ///
    /// # Errors
    ///
    /// Those of making the runtime.
    pub fn own() -> io::Result<Self> {
        Ok(CompioBackend { runtime: RefCell::new(Some(Runtime::new()?)), own: true })
    }

    /// A runtime that somebody else drives, on this thread.
    pub fn attached(runtime: &Runtime) -> Self {
        CompioBackend { runtime: RefCell::new(Some(runtime.clone())), own: false }
    }

    fn runtime(&self) -> Option<Runtime> {
        self.runtime.borrow().clone()
    }
}

impl Backend for CompioBackend {
    fn name(&self) -> &str {
        "compio"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        let runtime = self.runtime().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Box::new(Registered { runtime, descriptor, wait: None }))
    }

    fn block_on(&self, drive: Drive<'_>) -> Result<(), RunError> {
        if !self.own {
            return Err(RunError::Attached);
        }
        self.runtime().ok_or(RunError::Closed)?.block_on(drive);
        Ok(())
    }

    fn enter(&self, turns: &mut dyn FnMut()) {
        match self.runtime() {
            Some(runtime) => runtime.enter(turns),
            None => turns(),
        }
    }

    fn is_embeddable(&self) -> bool {
        false
    }

    fn shutdown(&self, _: Shutdown) {
        let runtime = self.runtime.take();
        drop(runtime);
    }
}

impl fmt::Debug for CompioBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioBackend").finish_non_exhaustive()
    }
}

/// An operation that completes when the descriptor is readable.
type Wait = Pin<Box<dyn Future<Output = io::Result<usize>>>>;

struct Registered {
    runtime: Runtime,
    descriptor: Descriptor,
    wait: Option<Wait>,
}

impl Registration for Registered {
    fn poll_ready(&mut self, cx: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
        let descriptor = &self.descriptor;
        let wait = self.wait.get_or_insert_with(|| {
            let operation = PollOnce::new(descriptor.clone(), Interest::Readable);
            let submitted = compio_runtime::submit(operation);
            Box::pin(async move { submitted.await.0 })
        });
        let waited = ready!(wait.as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(waited.map(drop))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Given up, the operation still holds the descriptor; what the kernel answers to that is
        // taken at once.
        drop(self.wait.take());
        self.runtime.poll_with(Some(Duration::ZERO));
    }
}
