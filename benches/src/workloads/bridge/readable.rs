//! Two tasks that send a byte to and fro through two pipes, each waiting until its own is readable:
//! what awaiting a descriptor costs.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_executor::LocalExecutor;
use ioloop::{Async, IOLoop};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::workload;
use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;

pub(crate) fn workloads() -> Vec<Workload> {
    let mut contenders = vec![Contender::new("tokio AsyncFd", on_tokio)];
    contenders.push(Contender::new("tokio AsyncFd, multi-thread", on_tokio_threads));
    contenders.push(Contender::new("async-io Async", on_async_io));
    contenders.extend(loops::contenders(on_a_loop));
    let operation = "a byte that is awaited, read and sent back";
    vec![workload("readable", operation, 100_000, contenders)]
}

/// What a task reads from, and what it writes to.
type Ends = (OwnedFd, OwnedFd);

/// The ends of both tasks; the byte is on its way to the first.
fn pipes() -> [Ends; 2] {
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let pipe = || pipe_with(flags).expect("a pipe");
    let (one, other) = (pipe(), pipe());
    rustix::io::write(&one.1, &[0]).expect("an empty pipe takes a byte");
    [(one.0, other.1), (other.0, one.1)]
}

/// Reads what there is, and writes it on. The short read says that the pipe is empty now.
fn pass(reader: impl AsFd, writer: impl AsFd) {
    let mut buffer = [0; 64];
    let n = rustix::io::read(reader, &mut buffer).expect("a readable pipe");
    rustix::io::write(writer, &buffer[..n]).expect("room in the other pipe");
}

/// Bytes still to be passed; shared by both tasks.
#[derive(Clone)]
struct Left(Rc<(Cell<u64>, Notify)>);

impl Left {
    fn new(operations: u64) -> Self {
        Left(Rc::new((Cell::new(operations), Notify::new())))
    }

    /// Counts down; says whether that was the last.
    fn count_down(&self) -> bool {
        let (left, done) = &*self.0;
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            done.notify_one();
        }
        left.get() == 0
    }

    async fn done(&self) {
        self.0.1.notified().await;
    }
}

fn on_a_loop(io_loop: &IOLoop, operations: u64) {
    let left = Left::new(operations);
    for (reader, writer) in pipes() {
        let left = left.clone();
        let reader = Async::new_nonblocking(io_loop, reader).expect("watching a pipe");
        io_loop.spawn(async move {
            loop {
                reader.readable().await.expect("a running loop");
                pass(reader.get_ref(), &writer);
                if left.count_down() {
                    IOLoop::current().expect("a task has a current loop").stop();
                }
            }
        });
    }
}

fn on_tokio(operations: u64) -> Sample {
    let runtime = loops::current_thread();
    let (tasks, left) = (LocalSet::new(), Left::new(operations));
    let _entered = runtime.enter();
    for (reader, writer) in pipes() {
        let left = left.clone();
        // SAFETY: the `AsyncFd` owns the descriptor, which stays open and the same file.
        let reader = unsafe { AsyncFd::register(reader) }.expect("registering a pipe");
        tasks.spawn_local(async move {
            loop {
                let mut guard = reader.readable().await.expect("a driven reactor");
                pass(guard.get_inner(), &writer);
                guard.clear_ready();
                left.count_down();
            }
        });
    }
    timed(|| tasks.block_on(&runtime, left.done()))
}

/// Both tasks are on a worker, as tokio's users have them; an attached loop is in `block_on`,
/// beside the workers.
fn on_tokio_threads(operations: u64) -> Sample {
    let runtime = loops::multi_thread();
    let (left, done) = (Arc::new(AtomicU64::new(operations)), Arc::new(Notify::new()));
    let _entered = runtime.enter();
    let finished = Arc::clone(&done);
    let spawn = |(reader, writer): Ends| {
        let (left, done) = (Arc::clone(&left), Arc::clone(&done));
        // SAFETY: the `AsyncFd` owns the descriptor, which stays open and the same file.
        let reader = unsafe { AsyncFd::register(reader) }.expect("registering a pipe");
        runtime.spawn(async move {
            loop {
                let mut guard = reader.readable().await.expect("a driven reactor");
                pass(guard.get_inner(), &writer);
                guard.clear_ready();
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    done.notify_one();
                }
            }
        });
    };
    timed(|| {
        pipes().into_iter().for_each(spawn);
        runtime.block_on(finished.notified());
    })
}

fn on_async_io(operations: u64) -> Sample {
    let (executor, left) = (LocalExecutor::new(), Left::new(operations));
    for (reader, writer) in pipes() {
        let left = left.clone();
        let reader = async_io::Async::new_nonblocking(Arc::new(reader));
        let reader = reader.expect("registering a pipe");
        let task = executor.spawn(async move {
            loop {
                reader.readable().await.expect("a driven reactor");
                pass(reader.get_ref(), &writer);
                left.count_down();
            }
        });
        task.detach();
    }
    timed(|| async_io::block_on(executor.run(left.done())))
}
