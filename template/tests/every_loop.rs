//! The same conversation on each runtime that is compiled in: on a loop of its own, and attached to
//! one that runs.

use std::time::{Duration, SystemTime};

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, spawn};
use neutral_sntp::{Query, bind, serve};

const HOUR: Duration = Duration::from_secs(3600);

/// What a user of the library writes; `io_loop` is driven by whoever polls this.
async fn talk(io_loop: &IOLoop) {
    let server = bind(io_loop, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.get_ref().local_addr().unwrap();
    let serving = spawn(io_loop, async move { serve(&server, || SystemTime::now() + HOUR).await });
    let _ends_with_this = serving.cancel_on_drop();
    let answer = Query::new(address).tries(10).send(io_loop).await.unwrap();
    assert_eq!(answer.stratum, 1);
    assert!((answer.offset / HOUR.as_secs_f64()).round() == 1.0, "{answer:?}");
}

fn own(kind: BackendKind) {
    let io_loop = IOLoop::builder().backend(kind).build().unwrap();
    io_loop.run_sync(talk(&io_loop)).unwrap();
}

#[allow(dead_code, reason = "without a runtime there is nothing to attach to")]
async fn attached(kind: BackendKind) {
    let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
    io_loop.run_until(talk(&io_loop)).await.unwrap();
}

#[test]
fn own_bare() {
    own(BackendKind::Bare);
}

#[cfg(feature = "async-io")]
#[test]
fn on_async_io() {
    own(BackendKind::AsyncIo);
    async_io::block_on(attached(BackendKind::AsyncIo));
}

#[cfg(feature = "smol")]
#[test]
fn on_smol() {
    own(BackendKind::Smol);
    smol::block_on(attached(BackendKind::Smol));
}

#[cfg(feature = "tokio")]
#[test]
fn on_tokio() {
    own(BackendKind::Tokio);
    let current_thread = tokio::runtime::Builder::new_current_thread().enable_all().build();
    current_thread.unwrap().block_on(attached(BackendKind::Tokio));
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.unwrap().block_on(attached(BackendKind::Tokio));
}
