//! The ways to drive an `IOLoop`: what every workload is run on.

use std::io;
use std::rc::Rc;

use ioloop::IOLoop;
use ioloop::backends::{BackendKind, tokio::TokioBackend};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Contender, Sample, timed};

/// Makes a loop, has it prepared, and drives it to its end.
type Way = fn(&dyn Fn(&IOLoop)) -> Sample;

/// One contender for each way to drive a loop. `prepare` gives the loop that many operations to do, and
/// has the last of them stop it.
pub(crate) fn contenders(prepare: impl Fn(&IOLoop, u64) + 'static) -> Vec<Contender> {
    let prepare = Rc::new(prepare);
    let contender = |name, way: Way| {
        let prepare = Rc::clone(&prepare);
        Contender::new(name, move |operations| way(&|io_loop| prepare(io_loop, operations)))
    };
    vec![
        contender("own bare", |prepare| own(BackendKind::Bare, prepare)),
        contender("own async-io", |prepare| own(BackendKind::AsyncIo, prepare)),
        contender("own tokio", |prepare| own(BackendKind::Tokio, prepare)),
        contender("attached tokio current-thread", |prepare| {
            attached_to_tokio(&current_thread(), prepare)
        }),
        contender("attached tokio multi-thread", |prepare| {
            attached_to_tokio(&multi_thread(), prepare)
        }),
        contender("attached async-io", |prepare| {
            let io_loop = attached(BackendKind::AsyncIo).expect("attaching to async-io");
            prepare(&io_loop);
            timed(|| async_io::block_on(io_loop.run()).expect("running the loop"))
        }),
        contender("attached smol", |prepare| {
            let io_loop = attached(BackendKind::Smol).expect("attaching to smol");
            prepare(&io_loop);
            timed(|| smol::block_on(io_loop.run()).expect("running the loop"))
        }),
    ]
}

fn own(kind: BackendKind, prepare: &dyn Fn(&IOLoop)) -> Sample {
    let io_loop = IOLoop::builder().backend(kind).build().expect("making a loop");
    prepare(&io_loop);
    timed(|| io_loop.start().expect("running the loop"))
}

fn attached_to_tokio(runtime: &Runtime, prepare: &dyn Fn(&IOLoop)) -> Sample {
    let io_loop = IOLoop::builder()
        .host(TokioBackend::attached(runtime.handle().clone()))
        .attach()
        .expect("attaching to tokio");
    prepare(&io_loop);
    timed(|| runtime.block_on(io_loop.run()).expect("running the loop"))
}

fn attached(kind: BackendKind) -> io::Result<IOLoop> {
    IOLoop::builder().backend(kind).attach()
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
