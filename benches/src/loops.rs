//! The ways to drive an `IOLoop`, and the runtimes of the peers.

use std::rc::Rc;

use async_executor::LocalExecutor;
use ioloop::backends::{BackendKind, tokio::TokioBackend};
use ioloop::{IOLoop, Reactor};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::harness::{Contender, Countdown, Sample, timed};

/// One way to make a loop and to drive it: what every workload is run on.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    host: Host,
}

#[derive(Clone, Copy)]
enum Host {
    Own(BackendKind),
    /// A loop of its own in the context of a multi-thread runtime.
    OwnInMultiThread,
    CurrentThread,
    MultiThread,
    AsyncIo,
    Smol,
}

pub(crate) const BARE: Way = Way { name: "own bare", host: Host::Own(BackendKind::Bare) };
pub(crate) const OWN_ASYNC_IO: Way =
    Way { name: "own async-io", host: Host::Own(BackendKind::AsyncIo) };
pub(crate) const ATTACHED_CURRENT_THREAD: Way =
    Way { name: "attached tokio current-thread", host: Host::CurrentThread };
pub(crate) const ATTACHED_ASYNC_IO: Way = Way { name: "attached async-io", host: Host::AsyncIo };

pub(crate) const WAYS: [Way; 8] = [
    BARE,
    OWN_ASYNC_IO,
    Way { name: "own tokio", host: Host::Own(BackendKind::Tokio) },
    Way { name: "own, in tokio multi-thread", host: Host::OwnInMultiThread },
    ATTACHED_CURRENT_THREAD,
    Way { name: "attached tokio multi-thread", host: Host::MultiThread },
    ATTACHED_ASYNC_IO,
    Way { name: "attached smol", host: Host::Smol },
];

impl Way {
    pub(crate) fn open(self) -> Hosted {
        let runtime = match self.host {
            Host::CurrentThread => Some(current_thread()),
            Host::MultiThread | Host::OwnInMultiThread => Some(multi_thread()),
            _ => None,
        };
        self.open_in(runtime)
    }

    /// The runtime is one of [`Way::open`]'s.
    pub(crate) fn open_in(self, runtime: Option<Runtime>) -> Hosted {
        let builder = IOLoop::builder();
        let io_loop = match (self.host, &runtime) {
            (Host::Own(kind), _) => builder.backend(kind).build(),
            (Host::Smol, _) => builder.backend(BackendKind::Smol).attach(),
            (host, Some(runtime)) => {
                let builder = builder.host(TokioBackend::attached(runtime.handle().clone()));
                match host {
                    Host::OwnInMultiThread => builder.build(),
                    _ => builder.attach(),
                }
            }
            (_, None) => builder.backend(BackendKind::AsyncIo).attach(),
        };
        Hosted { io_loop: io_loop.expect("making a loop"), runtime, host: self.host }
    }
}

/// A loop and what it is driven by.
pub(crate) struct Hosted {
    pub(crate) io_loop: IOLoop,
    pub(crate) runtime: Option<Runtime>,
    host: Host,
}

impl Hosted {
    /// Until the loop is stopped.
    pub(crate) fn run(&self) {
        let Hosted { io_loop, runtime, host } = self;
        let result = match (host, runtime) {
            (Host::Own(_) | Host::OwnInMultiThread, _) => io_loop.start(),
            (Host::Smol, _) => smol::block_on(io_loop.run()),
            (_, Some(runtime)) => runtime.block_on(io_loop.run()),
            (_, None) => async_io::block_on(io_loop.run()),
        };
        result.expect("running the loop");
    }
}

/// One contender for each way to drive a loop.
pub(crate) fn each(run: impl Fn(Way, u64) -> Sample + 'static) -> Vec<Contender> {
    let run = Rc::new(run);
    let contender = |way: Way| {
        let run = Rc::clone(&run);
        Contender::new(way.name, move |operations| run(way, operations))
    };
    WAYS.into_iter().map(contender).collect()
}

/// `prepare` gives the loop that many operations to do, and has the last of them stop it.
pub(crate) fn contenders(prepare: impl Fn(&IOLoop, u64) + 'static) -> Vec<Contender> {
    each(move |way, operations| {
        let hosted = way.open();
        prepare(&hosted.io_loop, operations);
        timed(|| hosted.run())
    })
}

/// `work` is done in one callback.
pub(crate) fn in_a_callback(work: impl Fn(&IOLoop, u64) + Copy + 'static) -> Vec<Contender> {
    contenders(move |io_loop, operations| {
        io_loop.call_soon(move || {
            let io_loop = current();
            work(&io_loop, operations);
            io_loop.stop();
        });
    })
}

/// The loop whose callback this is.
pub(crate) fn current() -> IOLoop {
    IOLoop::current().expect("a callback has a current loop")
}

pub(crate) fn current_thread() -> Runtime {
    let builder = Builder::new_current_thread().enable_all().build();
    builder.expect("making a runtime")
}

pub(crate) fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(2).enable_all().build();
    builder.expect("making a runtime")
}

/// Has tasks spawned and waits until they have counted down; the first on a current-thread runtime,
/// in a `LocalSet`.
pub(crate) fn local_tasks(operations: u64, spawn: impl FnOnce(&LocalSet, &Countdown)) -> Sample {
    let (runtime, tasks, left) = (current_thread(), LocalSet::new(), Countdown::new(operations));
    let _entered = runtime.enter();
    spawn(&tasks, &left);
    timed(|| tasks.block_on(&runtime, left.finished()))
}

pub(crate) fn multi_thread_tasks(
    operations: u64,
    spawn: impl FnOnce(&Runtime, &Countdown),
) -> Sample {
    let (runtime, left) = (multi_thread(), Countdown::new(operations));
    let _entered = runtime.enter();
    timed(|| {
        spawn(&runtime, &left);
        runtime.block_on(left.finished());
    })
}

pub(crate) fn async_io_tasks(
    operations: u64,
    spawn: impl FnOnce(&Rc<LocalExecutor<'static>>, &Countdown),
) -> Sample {
    let (executor, left) = (Rc::new(LocalExecutor::new()), Countdown::new(operations));
    spawn(&executor, &left);
    timed(|| async_io::block_on(executor.run(left.finished())))
}
