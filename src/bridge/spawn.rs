//! Futures on an executor that nothing is known of but how it spawns.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::reactor::guard::Guard;
use crate::task::{self, Task};

/// Runs `future` on any executor, where `spawn` spawns it; awaited here, on any executor.
///
/// `spawn` is called once, here, with a future that has no output and is `Send` if `future` and its
/// value are. It may hand it on in any way, in a box too, to be polled on any thread. What is
/// dropped before its end, because the executor ends or refuses it, returns
/// [closed](crate::JoinError::is_closed); so an executor has to drop the tasks that wait when it
/// ends. One whose waiting tasks are held by their wakers alone does not: they wait for ever. A
/// handle of the executor's own that cancels when it is dropped has to be detached.
///
/// ```
/// use ioloop::bridge;
/// use futures_lite::future::block_on;
/// use futures_lite::FutureExt;
///
/// // An executor that is nothing but a thread.
/// let (sender, queue) = std::sync::mpsc::channel();
/// let worker = std::thread::spawn(move || queue.into_iter().for_each(block_on));
///
/// let id = bridge::to(
///     |future| sender.send(future.boxed()).expect("the thread is there"),
///     async { std::thread::current().id() },
/// );
/// assert_eq!(block_on(id)?, worker.thread().id());
/// # drop(sender);
/// # worker.join().unwrap();
/// # Ok::<(), ioloop::JoinError>(())
/// ```
///
/// # Panics
///
/// With what `spawn` panics with; the future is dropped then.
///
/// # Cancel safety
///
/// Dropping the guard cancels the future; see the [module](super#what-comes-of-it).
pub fn to<F: Future>(spawn: impl FnOnce(Run<F>), future: F) -> Guard<Task<F::Output>> {
    let (task, completer) = Task::new();
    spawn(Run { run: task::Run::new(future, completer) });
    task.cancel_on_drop()
}

pin_project! {
    /// The future that [`to`] has spawned: runs the one that it was given until that is done or
    /// cancelled, on whatever executor polls this.
    #[must_use = "the task returns closed if this is dropped"]
    pub struct Run<F: Future> {
        #[pin]
        run: task::Run<F>,
    }

    impl<F: Future> PinnedDrop for Run<F> {
        fn drop(this: Pin<&mut Self>) {
            // Some executors abort the process where a destructor panics, async-executor among
            // them.
            this.project().run.destroy();
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().run.poll(cx)
    }
}

impl<F: Future> fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}
