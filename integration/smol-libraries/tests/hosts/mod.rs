//! Loops whose runtime is tokio, and the ways on which a future of the other world gets there.
// Each test binary uses its part of it.
#![allow(dead_code)]

use std::future::Future;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::backends::tokio::TokioBackend;
use ioloop::{IOLoop, JoinError, Reactor, Task, bridge, deferred, timeout};
use tokio::runtime::{Builder, Handle};

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who drives the loop.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// The loop itself, in the tokio runtime that it has made.
    Own,
    CurrentThread,
    MultiThread,
}

/// Where on the loop a future is handed over, and where it is polled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// It is a task of the loop.
    Task,
    /// It is made a task of the loop by a callback.
    Callback,
    /// A task of the loop awaits it, and smol's executor polls it.
    TaskToSmol,
    /// As the last, and a callback has made the task.
    CallbackToSmol,
}

/// Runs a case on every host and every way; nothing of it may be left on the loop, or on tokio,
/// afterwards.
pub(crate) fn everywhere(case: impl AsyncFn(&IOLoop, Way)) {
    for host in [Host::Own, Host::CurrentThread, Host::MultiThread] {
        for way in [Way::Task, Way::Callback, Way::TaskToSmol, Way::CallbackToSmol] {
            // Seen where the test fails.
            eprintln!("{host:?}, {way:?}");
            host.run(async |io_loop, tokio| {
                timeout(io_loop, PATIENCE, case(io_loop, way)).await.expect("it hangs");
                let metrics = io_loop.metrics();
                let left = (metrics.watches, metrics.timers, metrics.tasks);
                assert_eq!(left, (0, 0, 0), "watches, timers and tasks");
                assert_eq!(tokio.metrics().num_alive_tasks(), 0, "tasks of tokio");
            });
        }
    }
}

impl Host {
    fn run(self, case: impl AsyncFn(&IOLoop, &Handle)) {
        let mut builder = match self {
            Host::Own => {
                let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build().unwrap();
                let tokio = io_loop.enter(Handle::current);
                return io_loop.run_sync(case(&io_loop, &tokio)).unwrap();
            }
            Host::CurrentThread => Builder::new_current_thread(),
            Host::MultiThread => Builder::new_multi_thread(),
        };
        // No time and no I/O of tokio's but for the loop's own descriptor: the libraries need none.
        let runtime = builder.worker_threads(1).enable_io().build().unwrap();
        runtime.block_on(async {
            let io_loop = IOLoop::attach().unwrap();
            assert!(io_loop.backend::<TokioBackend>().is_some(), "it is attached to tokio");
            io_loop.run_until(case(&io_loop, runtime.handle())).await.unwrap();
        });
    }
}

impl Way {
    /// Has `future` begun this way. The outer result is that of the loop's task, the inner one
    /// smol's.
    pub(crate) async fn start<F>(
        self,
        io_loop: &IOLoop,
        future: F,
    ) -> Task<Result<F::Output, JoinError>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match self {
            Way::Task => io_loop.spawn(here(future)),
            Way::TaskToSmol => io_loop.spawn(over_there(future)),
            Way::Callback => in_a_callback(io_loop, || here(future)).await,
            Way::CallbackToSmol => in_a_callback(io_loop, || over_there(future)).await,
        }
    }

    /// Begins it, and waits for its value.
    pub(crate) async fn run<F>(self, io_loop: &IOLoop, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.start(io_loop, future).await.await.unwrap().unwrap()
    }
}

async fn here<F: Future>(future: F) -> Result<F::Output, JoinError> {
    Ok(future.await)
}

async fn over_there<F>(future: F) -> Result<F::Output, JoinError>
where
    F: Future<Output: Send> + Send + 'static,
{
    bridge::to_smol(future).await
}

async fn in_a_callback<F>(io_loop: &IOLoop, make: impl FnOnce() -> F + 'static) -> Task<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let (resolver, spawned): (_, Task<Task<F::Output>>) = deferred();
    io_loop.call_soon(move || {
        let task = IOLoop::current().unwrap().spawn(make());
        resolver.resolve(task).unwrap();
    });
    spawned.await.unwrap()
}

/// Cancels a task that `begun` says has begun, and sees that it is.
pub(crate) async fn cancel<T>(task: Task<Result<T, JoinError>>, begun: Task<()>) {
    begun.await.unwrap();
    task.cancel();
    let Err(error) = task.await else { panic!("it was done already") };
    assert!(error.is_cancelled(), "{error}");
}
