//! Every kind of loop that has an executor around it: each backend, own, and attached under each of
//! its executors.

use std::fmt;

use ioloop::backends::BackendKind;
use ioloop::{Builder, IOLoop};
use tokio::runtime;

/// A backend, and who drives the loop.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    /// The loop itself.
    Own(BackendKind),
    /// `async_io::block_on`.
    AsyncIo,
    /// `smol::block_on`.
    Smol,
    /// A current-thread runtime of tokio.
    TokioCurrentThread,
    /// A runtime of tokio with a worker.
    TokioMultiThread,
}

/// All of them.
pub const HOSTS: [Host; 8] = [
    Host::Own(BackendKind::Bare),
    Host::Own(BackendKind::AsyncIo),
    Host::Own(BackendKind::Smol),
    Host::Own(BackendKind::Tokio),
    Host::AsyncIo,
    Host::Smol,
    Host::TokioCurrentThread,
    Host::TokioMultiThread,
];

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Own(kind) => kind.fmt(f),
            Host::AsyncIo => f.write_str("attached-async-io"),
            Host::Smol => f.write_str("attached-smol"),
            Host::TokioCurrentThread => f.write_str("tokio-current-thread"),
            Host::TokioMultiThread => f.write_str("tokio-multi-thread"),
        }
    }
}

impl Host {
    /// Runs a case on a loop that `builder` makes. No task of tokio's may be left afterwards.
    ///
    /// # Panics
    ///
    /// The loop cannot be made or run, or a task is left.
    pub fn run(self, builder: Builder, case: impl AsyncFn(&IOLoop)) {
        match self {
            Host::Own(kind) => {
                let io_loop = builder.backend(kind).build().expect("an own loop");
                io_loop.run_sync(case(&io_loop)).expect("running the case");
            }
            Host::AsyncIo => async_io::block_on(attached(builder, BackendKind::AsyncIo, case)),
            Host::Smol => smol::block_on(attached(builder, BackendKind::Smol, case)),
            Host::TokioCurrentThread => {
                on_tokio(runtime::Builder::new_current_thread(), builder, case);
            }
            Host::TokioMultiThread => on_tokio(runtime::Builder::new_multi_thread(), builder, case),
        }
    }
}

fn on_tokio(mut host: runtime::Builder, builder: Builder, case: impl AsyncFn(&IOLoop)) {
    let runtime = host.worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(attached(builder, BackendKind::Tokio, case));
    assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks of tokio");
}

async fn attached(builder: Builder, kind: BackendKind, case: impl AsyncFn(&IOLoop)) {
    let io_loop = builder.backend(kind).attach().expect("an attached loop");
    io_loop.run_until(case(&io_loop)).await.expect("running the case");
}
