//! Handles that may be dropped on any thread: the loop keeps them, and a number travels.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::contain::contain;
use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::inbox::{Inbox, Message};
use crate::engine::local;
use crate::io_loop::IOLoop;
use crate::io_loop::handle::Handle;
use crate::reactor::callback::Posted;

/// Something of a loop's thread that may be held and dropped on any thread; made by
/// [`IOLoop::portable`].
///
/// The loop keeps the value, on its own thread. This is the value's number, and a way to post to
/// the loop. Dropping it drops the value there: at once on that thread, from elsewhere in the
/// loop's next turn. A loop that is closed or dropped drops what it keeps. After that this
/// is empty, and dropping it does nothing.
///
/// It is `Send` and `Sync`, whatever the value is.
pub struct Portable<H> {
    inbox: Arc<Inbox>,
    /// None where the value has left, or was never kept.
    key: Option<Key>,
    /// The value is not in here, and crosses no thread.
    value: PhantomData<fn() -> H>,
}

/// Handles that may be dropped on any thread.
impl IOLoop {
    /// Keeps `handle`, and returns something that stands for it and may be dropped on any thread.
    ///
    /// For other languages, whose garbage collector finalises an object on whatever thread it runs
    /// on. A `Watch`, a `TimerHandle`, a `Hook`, their guards, or a struct of them is bound to the
    /// loop's thread.
    ///
    /// The loop owns what it keeps: a value that holds an `IOLoop` of this loop, such as a
    /// [`PeriodicCallback`](crate::PeriodicCallback), keeps the loop alive until it is dropped.
    /// Make such a value of a [`WeakIOLoop`](crate::WeakIOLoop). A loop that keeps something
    /// [cannot go to another thread](Self::into_sendable). A closed loop drops `handle` at once.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let timer = io_loop.call_later(Duration::from_secs(60), || unreachable!());
    /// let timer = io_loop.portable(timer.cancel_on_drop());
    /// let stopper = io_loop.handle();
    /// // A finaliser: the timer is cancelled on the loop's thread.
    /// thread::spawn(move || {
    ///     drop(timer);
    ///     stopper.stop()
    /// });
    /// io_loop.start()?;
    /// assert_eq!(io_loop.metrics().timers, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn portable<H: 'static>(&self, handle: H) -> Portable<H> {
        let engine = &self.inner.engine;
        let inbox = Arc::clone(engine.inbox());
        let key = match engine.is_closed() {
            false => Some(engine.kept.add(handle)),
            true => {
                engine.exceptions.discard(handle);
                None
            }
        };
        Portable { inbox, key, value: PhantomData }
    }
}

impl<H: 'static> Portable<H> {
    /// Calls `call` with the value, on the loop's thread, as having the loop at hand proves; none
    /// if it is another loop, or the loop was closed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ioloop::{IOLoop, Reactor};
    ///
    /// let io_loop = IOLoop::new()?;
    /// let timer = io_loop.portable(io_loop.call_later(Duration::from_secs(60), || ()));
    /// assert_eq!(timer.with(&io_loop, |timer| timer.cancel()), Some(true));
    /// io_loop.close()?;
    /// assert_eq!(timer.with(&io_loop, |timer| timer.cancel()), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with<T>(&self, io_loop: &IOLoop, call: impl FnOnce(&H) -> T) -> Option<T> {
        let value = self.engine_of(io_loop)?.kept.get(self.key?)?;
        value.downcast_ref().map(call)
    }

    /// Gives the value back, on the loop's thread; none if the loop was closed.
    ///
    /// # Errors
    ///
    /// This, as it was, if `io_loop` is another loop.
    pub fn into_inner(mut self, io_loop: &IOLoop) -> Result<Option<H>, Self> {
        let Some(engine) = self.engine_of(io_loop) else { return Err(self) };
        let value = self.key.take().and_then(|key| engine.kept.take(key));
        let value = value.and_then(|value| value.downcast().ok());
        // Nobody else has a share: `with` borrows this while it has one.
        Ok(value.and_then(Rc::into_inner))
    }

    fn engine_of<'a>(&self, io_loop: &'a IOLoop) -> Option<&'a Engine> {
        let engine = &io_loop.inner.engine;
        engine.has_inbox(&self.inbox).then_some(engine)
    }
}

impl<H> Portable<H> {
    /// The side of the loop that other threads hold.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.inbox))
    }
}

impl<H> Drop for Portable<H> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let release = move |engine: &Engine| engine.exceptions.discard(engine.kept.take(key));
        let here = local::here(&self.inbox);
        if let Some(engine) = here {
            return release(&engine);
        }
        // Refused by a loop that shuts down or is closed, which drops all that it keeps.
        let refused = self.inbox.post(Message::Callback(Posted::new(move || {
            if let Some(engine) = local::current() {
                release(&engine);
            }
        })));
        contain(|| drop(refused));
    }
}

impl<H> fmt::Debug for Portable<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portable").field("closed", &self.inbox.is_closed()).finish_non_exhaustive()
    }
}
