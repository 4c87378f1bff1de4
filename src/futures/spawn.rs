//! Tasks on any reactor.

use std::future::Future;
use std::panic::Location;

use crate::reactor::callback::Caller;
use crate::reactor::contract::Reactor;
use crate::reactor::coroutine::Coroutine;
use crate::task::{Run, Task};

/// Runs `future` as a task of a reactor, on this thread; it is polled first in the next turn.
///
/// For code that is generic over [`Reactor`]. On an [`IOLoop`](crate::IOLoop) it is
/// [`IOLoop::spawn`](crate::IOLoop::spawn), whose rules hold for any reactor: a panic is the
/// task's, a dropped task goes on, a closed loop drops the future, and the task returns closed. The
/// reactor holds the future: what is in it holds the reactor in a form that does not keep it alive,
/// such as a [`WeakIOLoop`](crate::WeakIOLoop).
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ioloop::{IOLoop, Reactor, sleep, spawn};
///
/// /// Counts down beside whatever the reactor does; knows no runtime.
/// fn count_down<R: Reactor + Clone + 'static>(reactor: &R, left: Rc<Cell<u32>>) {
///     let clock = reactor.clone();
///     spawn(reactor, async move {
///         while left.get() > 0 && sleep(&clock, Duration::from_millis(1)).await.is_ok() {
///             left.set(left.get() - 1);
///         }
///     });
/// }
///
/// let io_loop = IOLoop::new()?;
/// let left = Rc::new(Cell::new(3));
/// count_down(&io_loop.downgrade(), Rc::clone(&left));
/// io_loop.run_sync(async {
///     while left.get() > 0 {
///         sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
///     }
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the task detaches it: the future runs on.
#[doc(alias = "create_task")]
#[track_caller]
pub fn spawn<R, F>(reactor: &R, future: F) -> Task<F::Output>
where
    R: Reactor + ?Sized,
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_at(reactor, Location::caller(), future)
}

/// As [`spawn`], for a callback of the library's own, which is not the one that hands the future in.
pub(crate) fn spawn_at<R, F>(reactor: &R, location: Caller, future: F) -> Task<F::Output>
where
    R: Reactor + ?Sized,
    F: Future + 'static,
    F::Output: 'static,
{
    let (task, completer) = Task::new();
    reactor.run_coroutine(Coroutine::at(location, Run::new(future, completer)));
    task
}
