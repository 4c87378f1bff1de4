//! Every promise on every backend and in every mode that is compiled in.

#[cfg(any(feature = "async-io", feature = "smol"))]
use std::sync::Arc;

use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop_conformance::Rig;
#[cfg(any(feature = "async-io", feature = "smol"))]
use ioloop_conformance::Spawn;

fn own(kind: BackendKind) -> Rig {
    Rig::own(move || IOLoop::builder().backend(kind).build())
}

fn embedded(kind: BackendKind) -> Rig {
    Rig::embedded(move || IOLoop::builder().backend(kind).build())
}

#[cfg(feature = "async-io")]
fn on_async_io(io_loop: &IOLoop) -> Spawn {
    use ioloop::backends::async_io::AsyncIoBackend;
    let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
    Arc::new(move |task| executor.spawn(task).detach())
}

#[cfg(feature = "smol")]
fn on_smol(io_loop: &IOLoop) -> Spawn {
    use ioloop::backends::smol::SmolBackend;
    let executor = io_loop.backend::<SmolBackend>().unwrap().executor();
    Arc::new(move |task| executor.spawn(task).detach())
}

/// A loop on a reactor that serves any executor, under this one's `block_on`.
#[cfg(any(feature = "async-io", feature = "smol"))]
macro_rules! under {
    ($kind:ident, $block_on:expr) => {
        Rig::attached(
            || IOLoop::builder().backend(BackendKind::$kind).attach(),
            |future| $block_on(future),
        )
    };
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use std::rc::Rc;
    use std::sync::Arc;

    use ioloop::IOLoop;
    use ioloop::backends::tokio::TokioBackend;
    use ioloop_conformance::{Rig, Spawn};
    use tokio::runtime::{Builder, Handle, LocalOptions, Runtime};
    use tokio::task::LocalSet;

    fn attach(handle: Handle) -> impl Fn() -> std::io::Result<IOLoop> {
        move || IOLoop::builder().host(TokioBackend::attached(handle.clone())).attach()
    }

    /// Of its own, in a runtime's context.
    fn own(handle: Handle) -> impl Fn() -> std::io::Result<IOLoop> {
        move || IOLoop::builder().host(TokioBackend::attached(handle.clone())).build()
    }

    pub(super) fn spawn(io_loop: &IOLoop) -> Spawn {
        let handle = io_loop.backend::<TokioBackend>().unwrap().handle().clone();
        Arc::new(move |task| drop(handle.spawn(task)))
    }

    fn runtime(mut builder: Builder) -> Runtime {
        builder.enable_all().build().unwrap()
    }

    pub(super) fn current_thread() -> Rig {
        let runtime = runtime(Builder::new_current_thread());
        Rig::attached(attach(runtime.handle().clone()), move |future| runtime.block_on(future))
    }

    fn two_workers() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        runtime(builder)
    }

    /// The loops keep the handle alone.
    fn for_ever(runtime: Runtime) -> Handle {
        Box::leak(Box::new(runtime)).handle().clone()
    }

    pub(super) fn own_in_multi_thread() -> Rig {
        Rig::own(own(for_ever(two_workers())))
    }

    pub(super) fn embedded_in_multi_thread() -> Rig {
        Rig::embedded(own(for_ever(two_workers())))
    }

    pub(super) fn multi_thread() -> Rig {
        let runtime = two_workers();
        Rig::attached(attach(runtime.handle().clone()), move |future| runtime.block_on(future))
    }

    pub(super) fn local_set() -> Rig {
        let runtime = runtime(Builder::new_current_thread());
        Rig::attached(attach(runtime.handle().clone()), move |future| {
            LocalSet::new().block_on(&runtime, future);
        })
    }

    pub(super) fn local_runtime() -> Rig {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
        let runtime = Rc::new(runtime);
        Rig::attached(attach(runtime.handle().clone()), move |future| runtime.block_on(future))
    }
}

ioloop_conformance::suite! {
    own {
        own_bare => own(BackendKind::Bare),
        #[cfg(feature = "async-io")]
        own_async_io => own(BackendKind::AsyncIo).spawns(on_async_io),
        #[cfg(feature = "smol")]
        own_smol => own(BackendKind::Smol).spawns(on_smol),
        #[cfg(feature = "tokio")]
        own_tokio => own(BackendKind::Tokio).spawns(on_tokio::spawn),
        #[cfg(feature = "tokio")]
        own_in_tokio_multi_thread => on_tokio::own_in_multi_thread(),
    }
    attached {
        #[cfg(feature = "async-io")]
        attached_async_io_block_on => under!(AsyncIo, async_io::block_on),
        #[cfg(feature = "async-io")]
        attached_async_io_plain_block_on => under!(AsyncIo, futures_lite::future::block_on),
        #[cfg(feature = "async-io")]
        attached_async_io_local_executor => under!(AsyncIo, |future| {
            let executor = async_executor::LocalExecutor::new();
            async_io::block_on(executor.run(future))
        }),
        #[cfg(feature = "async-io")]
        attached_async_io_polled_on_the_spot => Rig::attached(
            || {
                let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).attach()?;
                testkit::on_the_spot::know(&io_loop, None);
                Ok(io_loop)
            },
            |future| testkit::on_the_spot::block_on(future),
        ),
        #[cfg(feature = "smol")]
        attached_smol_block_on => under!(Smol, smol::block_on),
        #[cfg(feature = "tokio")]
        attached_tokio_current_thread => on_tokio::current_thread(),
        #[cfg(feature = "tokio")]
        attached_tokio_multi_thread => on_tokio::multi_thread(),
        #[cfg(feature = "tokio")]
        attached_tokio_local_set => on_tokio::local_set(),
        #[cfg(feature = "tokio")]
        attached_tokio_local_runtime => on_tokio::local_runtime(),
    }
    embedded {
        embedded_bare => embedded(BackendKind::Bare),
        #[cfg(feature = "async-io")]
        embedded_async_io => embedded(BackendKind::AsyncIo).spawns(on_async_io),
        #[cfg(feature = "smol")]
        embedded_smol => embedded(BackendKind::Smol).spawns(on_smol),
        #[cfg(feature = "tokio")]
        embedded_in_tokio_multi_thread => on_tokio::embedded_in_multi_thread(),
    }
}
