//! Every way there is to make a loop and to drive it for a future: each backend that is compiled
//! in, own and attached.

use std::future::Future;

use ioloop::backends::BackendKind;
use ioloop::{Builder, IOLoop, ManualClock};

use crate::on_the_spot;

/// One backend in one mode.
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    kind: BackendKind,
    mode: Mode,
    runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Own,
    Attached,
    /// Attached, under an executor whose `wake` polls on the spot, and whose wakers call back.
    OnTheSpot,
}

const WAYS: [(&str, BackendKind, Mode); 8] = [
    ("bare", BackendKind::Bare, Mode::Own),
    ("own async-io", BackendKind::AsyncIo, Mode::Own),
    ("attached async-io", BackendKind::AsyncIo, Mode::Attached),
    ("attached async-io, polled on the spot", BackendKind::AsyncIo, Mode::OnTheSpot),
    ("own smol", BackendKind::Smol, Mode::Own),
    ("attached smol", BackendKind::Smol, Mode::Attached),
    ("own tokio", BackendKind::Tokio, Mode::Own),
    ("attached tokio", BackendKind::Tokio, Mode::Attached),
];

/// Calls `test` for each way.
pub fn every_way(test: impl Fn(&Way)) {
    for (name, kind, mode) in WAYS {
        if kind.is_compiled() {
            // Seen where the test fails.
            println!("{name}");
            test(&Way {
                name,
                kind,
                mode,
                runtime: tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap(),
            });
        }
    }
}

impl Way {
    /// A loop.
    pub fn io_loop(&self) -> IOLoop {
        self.make(IOLoop::builder())
    }

    /// A loop on a clock that the test moves.
    pub fn on_clock(&self, clock: &ManualClock) -> IOLoop {
        let io_loop = self.make(IOLoop::builder().clock(clock));
        if self.mode == Mode::OnTheSpot {
            on_the_spot::know(&io_loop, Some(clock));
        }
        io_loop
    }

    /// A loop that is made so.
    pub fn make(&self, builder: Builder) -> IOLoop {
        if self.mode == Mode::Own {
            return builder.backend(self.kind).build().unwrap();
        }
        let _entered = self.runtime.enter();
        let io_loop = builder.backend(self.kind).attach().unwrap();
        if self.mode == Mode::OnTheSpot {
            on_the_spot::know(&io_loop, None);
        }
        io_loop
    }

    /// Whether somebody else drives the loop.
    pub fn is_attached(&self) -> bool {
        self.mode != Mode::Own
    }

    /// Blocks on a future under the host.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        if self.kind == BackendKind::Tokio {
            return self.runtime.block_on(future);
        }
        if self.mode == Mode::OnTheSpot {
            return on_the_spot::block_on(future);
        }
        futures_lite::future::block_on(future)
    }

    /// Drives the loop until it is stopped.
    pub fn until_stopped(&self, io_loop: &IOLoop) {
        if self.mode == Mode::Own {
            return io_loop.start().unwrap();
        }
        self.block_on(io_loop.run()).unwrap();
    }

    /// Drives the loop until the future is done.
    pub fn run<F: Future>(&self, io_loop: &IOLoop, future: F) -> F::Output {
        if self.mode == Mode::Own {
            return io_loop.run_sync(future).unwrap();
        }
        self.block_on(io_loop.run_until(future)).unwrap()
    }
}
