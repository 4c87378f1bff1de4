//! Every way there is to make a loop and to drive it for a future: each backend that is compiled in, own and
//! attached.
// Each test binary uses its part of it.
#![allow(dead_code)]

use std::future::Future;

use ioloop::backends::BackendKind;
use ioloop::{Builder, IOLoop};

/// One backend in one mode.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    kind: BackendKind,
    attached: bool,
    #[cfg(feature = "tokio")]
    runtime: tokio::runtime::Runtime,
}

const WAYS: [(&str, BackendKind, bool); 7] = [
    ("bare", BackendKind::Bare, false),
    ("own async-io", BackendKind::AsyncIo, false),
    ("attached async-io", BackendKind::AsyncIo, true),
    ("own smol", BackendKind::Smol, false),
    ("attached smol", BackendKind::Smol, true),
    ("own tokio", BackendKind::Tokio, false),
    ("attached tokio", BackendKind::Tokio, true),
];

/// Calls `test` for each way.
pub(crate) fn every_way(test: impl Fn(&Way)) {
    for (name, kind, attached) in WAYS {
        if kind.is_compiled() {
            // Seen where the test fails.
            eprintln!("{name}");
            test(&Way {
                name,
                kind,
                attached,
                #[cfg(feature = "tokio")]
                runtime: tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap(),
            });
        }
    }
}

impl Way {
    pub(crate) fn io_loop(&self) -> IOLoop {
        self.make(IOLoop::builder())
    }

    pub(crate) fn make(&self, builder: Builder) -> IOLoop {
        if !self.attached {
            return builder.backend(self.kind).build().unwrap();
        }
        #[cfg(feature = "tokio")]
        let _entered = self.runtime.enter();
        builder.backend(self.kind).attach().unwrap()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Blocks on a future under the host.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        #[cfg(feature = "tokio")]
        if self.kind == BackendKind::Tokio {
            return self.runtime.block_on(future);
        }
        futures_lite::future::block_on(future)
    }

    /// Drives the loop until it is stopped.
    pub(crate) fn until_stopped(&self, io_loop: &IOLoop) {
        if !self.attached {
            return io_loop.start().unwrap();
        }
        self.block_on(io_loop.run()).unwrap();
    }

    /// Drives the loop until the future is done.
    pub(crate) fn run<F: Future>(&self, io_loop: &IOLoop, future: F) -> F::Output {
        if !self.attached {
            return io_loop.run_sync(future).unwrap();
        }
        self.block_on(io_loop.run_until(future)).unwrap()
    }
}
