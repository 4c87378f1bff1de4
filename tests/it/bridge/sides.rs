//! The sides of a bridge: everything that awaits, and everything that runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use async_executor::{Executor, LocalExecutor};
use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::backends::async_io::AsyncIoBackend;
use ioloop::{Guard, Handle, IOLoop, LoopThread, Task, bridge};
use tokio::runtime::{Builder, Handle as TokioHandle, Runtime};
use tokio::sync::oneshot;

use super::by_hand::{self, Message};

// The side that awaits.

type Local<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

pub(crate) struct Near {
    pub(crate) name: String,
    block_on: Box<dyn Fn(Local<'_>)>,
}

impl Near {
    fn new(name: impl Into<String>, block_on: impl Fn(Local<'_>) + 'static) -> Near {
        Near { name: name.into(), block_on: Box::new(block_on) }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut output = None;
        (self.block_on)(Box::pin(async { output = Some(future.await) }));
        output.unwrap()
    }
}

/// Every side that can await: the executors, a plain one, and loops, own and attached.
pub(crate) fn nears() -> Vec<Near> {
    let single = || Builder::new_current_thread().enable_all().build().unwrap();
    let (current, local, host) = (single(), single(), single());
    let many = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut nears = vec![
        Near::new("plain", |future| block_on(future)),
        Near::new("async-io", |future| async_io::block_on(future)),
        Near::new("beside async-executor", |future| {
            async_io::block_on(Executor::new().run(future));
        }),
        Near::new("a task of async-executor", |future| {
            let local = LocalExecutor::new();
            async_io::block_on(local.run(local.spawn(future)));
        }),
        Near::new("smol", |future| smol::block_on(future)),
        Near::new("tokio current-thread", move |future| current.block_on(future)),
        Near::new("tokio multi-thread", move |future| many.block_on(future)),
        Near::new("tokio LocalSet", move |future| {
            tokio::task::LocalSet::new().block_on(&local, future);
        }),
    ];
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        nears.push(Near::new(format!("own loop on {kind}"), move |future| {
            io_loop.run_sync(future).unwrap();
        }));
    }
    let attach = |kind| IOLoop::builder().backend(kind).attach().unwrap();
    let on_async_io = attach(BackendKind::AsyncIo);
    nears.push(Near::new("loop attached to async-io", move |future| {
        block_on(on_async_io.run_until(future)).unwrap();
    }));
    let on_smol = attach(BackendKind::Smol);
    nears.push(Near::new("loop attached to smol", move |future| {
        smol::block_on(on_smol.run_until(future)).unwrap();
    }));
    let on_tokio = host.block_on(async { attach(BackendKind::Tokio) });
    nears.push(Near::new("loop attached to tokio", move |future| {
        host.block_on(on_tokio.run_until(future)).unwrap();
    }));
    nears
}

// The side that runs the future.

/// Something that runs futures on other threads; shut down when dropped.
pub(crate) enum Far {
    Smol,
    Tokio(Option<Runtime>),
    /// A current-thread runtime, driven by a thread until it is told to shut it down.
    Driven(TokioHandle, Option<(oneshot::Sender<()>, JoinHandle<()>)>),
    /// One of async-executor's that a thread drives until it is told to drop it.
    Executor(Weak<Executor<'static>>, Option<(oneshot::Sender<()>, JoinHandle<()>)>),
    /// One that an own loop has made, and drives.
    OfLoop(Weak<Executor<'static>>, Option<LoopThread>),
    /// One that the library does not know.
    ByHand(Sender<Message>, Option<JoinHandle<()>>),
    Own(Handle, Option<LoopThread>),
    Attached(Handle, Option<JoinHandle<()>>),
}

impl Far {
    pub(crate) fn tokio() -> Far {
        let mut builder = Builder::new_multi_thread();
        Far::Tokio(Some(builder.worker_threads(1).enable_all().build().unwrap()))
    }

    pub(crate) fn driven() -> Far {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (sender, end) = oneshot::channel();
        let thread = thread::spawn(move || runtime.block_on(async { end.await.unwrap() }));
        Far::Driven(handle, Some((sender, thread)))
    }

    pub(crate) fn executor() -> Far {
        let executor = Arc::new(Executor::new());
        let weak = Arc::downgrade(&executor);
        let (sender, end) = oneshot::channel();
        let thread = thread::spawn(move || {
            async_io::block_on(executor.run(async { end.await.unwrap() }));
        });
        Far::Executor(weak, Some((sender, thread)))
    }

    pub(crate) fn of_loop() -> Far {
        let (sender, receiver) = mpsc::channel();
        let make = move || {
            let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
            let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
            sender.send(Arc::downgrade(&executor)).unwrap();
            Ok(io_loop)
        };
        let thread = IOLoop::spawn_thread("far", make).unwrap();
        Far::OfLoop(receiver.recv().unwrap(), Some(thread))
    }

    pub(crate) fn by_hand() -> Far {
        let (sender, messages) = mpsc::channel();
        let wakes = sender.clone();
        Far::ByHand(sender, Some(thread::spawn(|| by_hand::drive(messages, wakes))))
    }

    pub(crate) fn own(kind: BackendKind) -> Far {
        let make = move || IOLoop::builder().backend(kind).build();
        let thread = IOLoop::spawn_thread("far", make).unwrap();
        Far::Own(thread.handle(), Some(thread))
    }

    pub(crate) fn attached(kind: BackendKind) -> Far {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let future = async {
                let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
                sender.send(io_loop.handle()).unwrap();
                io_loop.run().await.unwrap();
                io_loop.close().unwrap();
            };
            match kind {
                BackendKind::Tokio => {
                    let mut builder = Builder::new_current_thread();
                    builder.enable_all().build().unwrap().block_on(future);
                }
                BackendKind::Smol => smol::block_on(future),
                _ => block_on(future),
            }
        });
        Far::Attached(receiver.recv().unwrap(), Some(thread))
    }

    pub(crate) fn run<T, F>(&self, future: F) -> Guard<Task<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runner().run(future)
    }

    /// What is left of it in somebody's hands once it is shut down.
    pub(crate) fn runner(&self) -> Runner {
        match self {
            Far::Smol => Runner::Smol,
            Far::Tokio(runtime) => Runner::Tokio(runtime.as_ref().unwrap().handle().clone()),
            Far::Driven(handle, _) => Runner::Tokio(handle.clone()),
            Far::Executor(executor, _) | Far::OfLoop(executor, _) => {
                Runner::Executor(executor.clone())
            }
            Far::ByHand(sender, _) => Runner::ByHand(sender.clone()),
            Far::Own(handle, _) | Far::Attached(handle, _) => Runner::Loop(handle.clone()),
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        match self {
            Far::Smol => {}
            Far::Tokio(runtime) => {
                // Waits for its threads, where that is allowed.
                let runtime = runtime.take().unwrap();
                thread::spawn(move || drop(runtime)).join().unwrap();
            }
            Far::Driven(_, thread) | Far::Executor(_, thread) => {
                let (end, thread) = thread.take().unwrap();
                end.send(()).unwrap();
                thread.join().unwrap();
            }
            Far::OfLoop(_, thread) => {
                let thread = thread.take().unwrap();
                thread.handle().stop().unwrap();
                thread.join().unwrap();
            }
            Far::ByHand(sender, thread) => {
                sender.send(Message::End).unwrap();
                thread.take().unwrap().join().unwrap();
            }
            Far::Own(handle, thread) => {
                handle.stop().unwrap();
                thread.take().unwrap().join().unwrap();
            }
            Far::Attached(handle, thread) => {
                handle.stop().unwrap();
                thread.take().unwrap().join().unwrap();
            }
        }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Far::Smol => "smol",
            Far::Tokio(_) => "tokio multi-thread",
            Far::Driven(..) => "tokio current-thread",
            Far::Executor(..) => "async-executor",
            Far::OfLoop(..) => "async-executor of a loop",
            Far::ByHand(..) => "an executor that the library does not know",
            Far::Own(..) => "own loop",
            Far::Attached(..) => "attached loop",
        })
    }
}

pub(crate) enum Runner {
    Smol,
    Tokio(TokioHandle),
    /// Weak, so holding it does not keep the executor from ending.
    Executor(Weak<Executor<'static>>),
    ByHand(Sender<Message>),
    Loop(Handle),
}

impl Runner {
    pub(crate) fn run<T, F>(&self, future: F) -> Guard<Task<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        match self {
            Runner::Smol => bridge::to_smol(future),
            Runner::Tokio(handle) => bridge::to_tokio(handle, future),
            Runner::Executor(executor) => match executor.upgrade() {
                Some(executor) => bridge::to_executor(&executor, future),
                None => bridge::to(drop, future),
            },
            Runner::ByHand(sender) => {
                let spawn = |future| drop(sender.send(Message::Spawn(Box::pin(future))));
                bridge::to(spawn, future)
            }
            Runner::Loop(handle) => bridge::to_loop(handle, move || future),
        }
    }
}

/// Every side that can run a future, but smol, which is never shut down.
pub(crate) fn mortals() -> Vec<Far> {
    let mut fars = vec![Far::tokio(), Far::driven()];
    fars.extend([Far::executor(), Far::of_loop(), Far::by_hand()]);
    fars.extend(BackendKind::ALL.map(Far::own));
    fars.extend([BackendKind::AsyncIo, BackendKind::Smol, BackendKind::Tokio].map(Far::attached));
    fars
}
