//! Loops on every kind of host, each with a tokio runtime beside or under it.

use std::future::Future;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::backends::tokio::TokioBackend;
use ioloop::{Guard, IOLoop, Task, bridge, sleep, timeout};
use tokio::runtime::{Builder, Handle, Runtime};

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who drives the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The loop itself, beside async-io's reactor.
    Own,
    /// The loop itself, without any runtime.
    Bare,
    /// An executor of smol's, which the loop is attached to.
    Smol,
    /// A runtime of tokio's that the loop made for itself.
    TokioOwn,
    /// tokio's current-thread runtime, which the loop is attached to.
    TokioCurrentThread,
    /// tokio's multi-thread runtime, which the loop is attached to.
    TokioMultiThread,
}

impl Host {
    /// All there are.
    pub const ALL: [Host; 6] = [
        Host::Own,
        Host::Bare,
        Host::Smol,
        Host::TokioOwn,
        Host::TokioCurrentThread,
        Host::TokioMultiThread,
    ];

    /// Whether the loop's callbacks and tasks run in tokio's context anyway.
    pub fn is_tokio(self) -> bool {
        !matches!(self, Host::Own | Host::Bare | Host::Smol)
    }

    /// The runtime that the loop is attached to; for hosts that are none, one that drives itself.
    fn runtime(self) -> Option<Runtime> {
        let mut builder = match self {
            Host::TokioOwn => return None,
            Host::TokioCurrentThread => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        Some(builder.worker_threads(1).enable_all().build().unwrap())
    }

    fn make_loop(self, runtime: Option<&Runtime>) -> IOLoop {
        let builder = IOLoop::builder();
        let made = match (self, runtime) {
            (Host::Bare, _) => builder.backend(BackendKind::Bare).build(),
            (Host::Smol, _) => builder.backend(BackendKind::Smol).attach(),
            (Host::TokioOwn, _) => builder.backend(BackendKind::Tokio).build(),
            (Host::TokioCurrentThread | Host::TokioMultiThread, Some(runtime)) => {
                let _entered = runtime.enter();
                builder.attach()
            }
            _ => builder.backend(BackendKind::AsyncIo).build(),
        };
        made.unwrap()
    }

    fn drive(self, runtime: Option<&Runtime>, io_loop: &IOLoop, future: impl Future<Output = ()>) {
        let driven = match (self, runtime) {
            (Host::Smol, _) => {
                let executor = smol::LocalExecutor::new();
                smol::block_on(executor.run(io_loop.run_until(future)))
            }
            (Host::TokioCurrentThread | Host::TokioMultiThread, Some(runtime)) => {
                runtime.block_on(io_loop.run_until(future))
            }
            _ => io_loop.run_sync(future),
        };
        driven.unwrap();
    }
}

/// A loop, and the tokio runtime that its tasks use.
#[derive(Clone, Debug)]
pub struct Site {
    /// Who drives the loop.
    pub host: Host,
    /// The loop.
    pub io_loop: IOLoop,
    /// The runtime: under the loop if that is on tokio, else beside it.
    pub tokio: Handle,
}

impl Site {
    /// A future of tokio's, as the loop has to await it: as it is on tokio, else in the runtime's
    /// context.
    pub fn here<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let beside = (!self.host.is_tokio()).then(|| self.tokio.clone());
        async move {
            match beside {
                Some(tokio) => bridge::in_tokio(&tokio, future).await,
                None => future.await,
            }
        }
    }

    /// Runs code that needs tokio's context, and is no future.
    pub fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        let _entered = (!self.host.is_tokio()).then(|| self.tokio.enter());
        code()
    }

    /// Starts a future of tokio's at one of the two places.
    pub fn start<T: Send + 'static>(
        &self,
        polled: Polled,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Guard<Task<T>> {
        match polled {
            Polled::ByTheLoop => self.io_loop.spawn(self.here(future)).cancel_on_drop(),
            Polled::ByTokio => bridge::to_tokio(&self.tokio, future),
        }
    }

    /// What hyper starts its connections with.
    pub fn executor(&self, polled: Polled) -> Executor {
        Executor { host: self.host, tokio: self.tokio.clone(), polled }
    }

    /// Waits until no task is left, neither of the loop nor of the runtime.
    ///
    /// A task's end is not the moment at which its value is there, and the other side of a
    /// connection hears of its end later still.
    async fn settle(&self) {
        while self.io_loop.metrics().tasks > 0 || self.tokio.metrics().num_alive_tasks() > 0 {
            sleep(&self.io_loop, Duration::from_millis(1)).await.unwrap();
        }
    }
}

/// Where a future of tokio's is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// On the loop's thread, as a task of the loop.
    ByTheLoop,
    /// By the runtime, as a task of its own.
    ByTokio,
}

impl Polled {
    /// Both.
    pub const ALL: [Polled; 2] = [Polled::ByTheLoop, Polled::ByTokio];
}

/// Starts hyper's futures where it is told to.
#[derive(Clone, Debug)]
pub struct Executor {
    host: Host,
    tokio: Handle,
    polled: Polled,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        match self.polled {
            Polled::ByTheLoop => {
                // Whoever asks for it is polled by the loop too.
                let io_loop = IOLoop::current().expect("a loop polls this");
                let site = Site { host: self.host, io_loop, tokio: self.tokio.clone() };
                site.io_loop.spawn(site.here(future)).detach();
            }
            Polled::ByTokio => drop(self.tokio.spawn(future)),
        }
    }
}

/// Runs a case on each kind of host, one after the other.
///
/// The loop and the runtime have to be as empty afterwards as they were before.
pub fn on_every_host(case: impl AsyncFn(&Site)) {
    for host in Host::ALL {
        let runtime = host.runtime();
        let io_loop = host.make_loop(runtime.as_ref());
        let tokio = match &runtime {
            Some(runtime) => runtime.handle().clone(),
            None => io_loop.backend::<TokioBackend>().unwrap().handle().clone(),
        };
        let site = Site { host, io_loop, tokio };
        host.drive(runtime.as_ref(), &site.io_loop, async {
            let ended = timeout(&site.io_loop, PATIENCE, case(&site)).await;
            ended.unwrap_or_else(|_| panic!("on {host:?} it hangs"));
            if timeout(&site.io_loop, PATIENCE, site.settle()).await.is_err() {
                let (here, there) = (site.io_loop.metrics().tasks, site.tokio.metrics());
                let there = there.num_alive_tasks();
                panic!("on {host:?} the loop has {here} tasks left, and tokio {there}");
            }
        });
        let metrics = site.io_loop.metrics();
        let left = (metrics.watches, metrics.timers, metrics.tasks);
        assert_eq!(left, (0, 0, 0), "watches, timers and tasks on {host:?}");
    }
}
