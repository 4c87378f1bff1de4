//! Taking an idle loop to another thread: what it is made of crosses, and a loop is made of it
//! there.

use std::fmt;
use std::io;
use std::rc::Rc;

use crate::backends::Rebuild;
use crate::engine::Parts;
use crate::engine::clock::ManualClock;
use crate::error::Closed;
use crate::host::hosting::Hosting;
use crate::io_loop::IOLoop;
use crate::io_loop::handle::Handle;

/// An idle loop on its way to another thread; made by [`IOLoop::into_sendable`].
///
/// It holds what a loop is made of: its kernel objects, its inbox, its name, its clock, the means
/// to make its backend anew. A [`Handle`] of the loop stays valid: what is posted meanwhile runs on
/// the new thread. Dropping this closes the loop.
#[must_use = "dropped, it closes the loop"]
pub struct SendableLoop {
    /// Gone once a loop was made of it.
    parts: Option<Parts>,
    rebuild: Option<Rebuild>,
    clock: Option<ManualClock>,
    name: String,
}

/// Going to another thread.
impl IOLoop {
    /// Takes the loop apart, for [`SendableLoop::into_loop`] to make it anew on another thread.
    ///
    /// For other languages, which make a loop on one thread, run it on another and close it on a
    /// third. What a loop holds is bound to its thread, so it has to hold nothing;
    /// [`listing`](Self::listing) says what it holds. Handles of what it held before (`Watch`,
    /// `TimerHandle`, `WeakIOLoop` and so on) stay on this thread, and return that it has gone. Its
    /// [`metrics`](Self::metrics) begin anew. Its [`descriptor`](Self::descriptor) stays the same.
    ///
    /// ```
    /// use ioloop::IOLoop;
    /// use ioloop::backends::BackendKind;
    ///
    /// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    /// let handle = io_loop.handle();
    /// let sendable = io_loop.into_sendable()?;
    /// handle.add_callback(|| IOLoop::current().unwrap().stop())?;
    /// std::thread::spawn(move || sendable.into_loop().start()).join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotSendable`], which says why, and gives the loop back. There is another clone of the
    /// loop; it is running or current; it is closed; it holds something; it has a watchdog, a
    /// handler of exceptions, reports or hangs, or an executor of the user's; or its backend is
    /// bound to this thread, as tokio's is, and that of an attached loop.
    pub fn into_sendable(self) -> Result<SendableLoop, NotSendable> {
        match self.unsendable() {
            Some(reason) => Err(NotSendable { io_loop: self, reason }),
            None => {
                let (engine, hosting) = (&self.inner.engine, &self.inner.hosting);
                let name = self.name().to_owned();
                let rebuild = hosting.backend().and_then(|backend| backend.rebuild());
                let (clock, parts) = (engine.timers.clock().cloned(), engine.dismantle());
                match parts {
                    Some(parts) => Ok(SendableLoop { parts: Some(parts), rebuild, clock, name }),
                    None => Err(NotSendable { io_loop: self, reason: Closed.to_string() }),
                }
            }
        }
    }

    fn unsendable(&self) -> Option<String> {
        let inner = &self.inner;
        if self.is_closed() || inner.engine.is_forked() {
            return Some(Closed.to_string());
        }
        if self.is_running() {
            return Some("it is running".into());
        }
        let backend = inner.hosting.backend();
        if self.is_attached() || backend.is_some_and(|backend| backend.rebuild().is_none()) {
            return Some(format!("{} is bound to this thread", self.backend_name()));
        }
        if Rc::strong_count(inner) > 1 || Rc::strong_count(&inner.engine) > 1 {
            return Some("there is another clone of it, or it is current".into());
        }
        if inner.jobs.is_in_use() {
            return Some("it has jobs under way, or an executor of its own".into());
        }
        if inner.engine.exceptions.is_handled() {
            return Some("it has a watchdog, or a handler of exceptions or reports".into());
        }
        if !inner.engine.kept.is_empty() {
            return Some("it keeps what a `Portable` stands for".into());
        }
        let listing = self.listing();
        (!listing.entries.is_empty()).then(|| format!("it holds something: {listing}"))
    }
}

impl SendableLoop {
    /// Makes the loop anew, on this thread.
    pub fn into_loop(mut self) -> IOLoop {
        let Some(parts) = self.parts.take() else {
            unreachable!("its parts are taken here and in `drop` alone")
        };
        let backend = self.rebuild.take().map(|rebuild| rebuild());
        let io_loop = IOLoop::of_parts(parts, Hosting::own(backend));
        io_loop.with(self.clock.take(), Some(std::mem::take(&mut self.name)))
    }

    /// The side of the loop that other threads hold.
    pub fn handle(&self) -> Handle {
        let Some(parts) = &self.parts else { unreachable!("its parts are taken when it goes") };
        Handle::new(parts.inbox())
    }
}

impl Drop for SendableLoop {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            parts.close();
        }
    }
}

impl fmt::Debug for SendableLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendableLoop").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A loop that cannot go to another thread, and why.
pub struct NotSendable {
    io_loop: IOLoop,
    reason: String,
}

impl NotSendable {
    /// The loop, as it was.
    pub fn into_loop(self) -> IOLoop {
        self.io_loop
    }
}

impl fmt::Display for NotSendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the loop cannot go to another thread: {}", self.reason)
    }
}

impl fmt::Debug for NotSendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotSendable").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl std::error::Error for NotSendable {}

impl From<NotSendable> for io::Error {
    fn from(error: NotSendable) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
    }
}
