//! A ring of a thousand pipes, in which a few bytes go round: what an event costs.

use std::cell::Cell;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use async_executor::LocalExecutor;
use async_io::Async;
use ioloop::{IOLoop, Reactor};
use mio::unix::SourceFd;
use polling::PollMode;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;

const PIPES: usize = 1000;

/// Events taken from the kernel at once, where that is ours to choose.
const EVENTS: usize = 1024;

/// `active` bytes go round.
pub(crate) fn workload(name: &'static str, active: usize) -> Workload {
    let contender = |name, run: fn(Ring, u64) -> Sample| {
        Contender::new(name, move |operations| run(Ring::new(active), operations))
    };
    let mut contenders = vec![contender("raw epoll", raw_epoll)];
    contenders.extend(loops::contenders(move |io_loop, operations| {
        watch(io_loop, Ring::new(active), operations);
    }));
    contenders.push(contender("tokio AsyncFd tasks", async_fd_tasks));
    contenders.push(contender("async-io Async tasks", async_tasks));
    contenders.push(contender("mio", on_mio));
    contenders.push(contender("polling", on_polling));
    Workload {
        name,
        operation: "a byte that is read from a pipe and written to the next",
        operations: 100_000,
        contenders,
    }
}

/// The pipes; what is read from one is written to the one at the next index.
struct Ring {
    readers: Vec<OwnedFd>,
    writers: Vec<OwnedFd>,
}

impl Ring {
    fn new(active: usize) -> Ring {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let pipes = (0..PIPES).map(|_| pipe_with(flags).expect("a pipe"));
        let (readers, mut writers): (Vec<OwnedFd>, Vec<OwnedFd>) = pipes.unzip();
        for index in 0..active {
            let writer = &writers[index * PIPES / active];
            rustix::io::write(writer, &[0]).expect("an empty pipe takes a byte");
        }
        writers.rotate_left(1);
        Ring { readers, writers }
    }

    fn links(self) -> impl Iterator<Item = (OwnedFd, OwnedFd)> {
        self.readers.into_iter().zip(self.writers)
    }

    /// Serves an event of the pipe at `index`.
    fn pass(&self, index: u64) {
        pass(&self.readers[index as usize], &self.writers[index as usize]);
    }
}

/// Reads what there is, and writes it on. The short read says that the pipe is empty now.
fn pass(reader: impl AsFd, writer: impl AsFd) {
    let mut buffer = [0; 64];
    let n = rustix::io::read(reader, &mut buffer).expect("a readable pipe");
    rustix::io::write(writer, &buffer[..n]).expect("room in the next pipe");
}

/// Counts down; says whether that was the last.
fn count_down(left: &Cell<u64>) -> bool {
    left.set(left.get().saturating_sub(1));
    left.get() == 0
}

fn watch(io_loop: &IOLoop, ring: Ring, operations: u64) {
    let left = Rc::new(Cell::new(operations));
    for (reader, writer) in ring.links() {
        let left = Rc::clone(&left);
        let watch = io_loop.add_reader(reader, move |reader| {
            pass(reader, &writer);
            if count_down(&left) {
                IOLoop::current().expect("a callback has a current loop").stop();
            }
        });
        watch.expect("watching a pipe");
    }
}

fn raw_epoll(ring: Ring, operations: u64) -> Sample {
    let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll set");
    for (index, reader) in ring.readers.iter().enumerate() {
        let data = EventData::new_u64(index as u64);
        epoll::add(&epoll, reader, data, EventFlags::IN).expect("watching a pipe");
    }
    let left = Cell::new(operations);
    let mut events = Vec::with_capacity(EVENTS);
    timed(|| {
        while left.get() > 0 {
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), None).expect("a wait");
            for event in &events {
                ring.pass(event.data.u64());
                count_down(&left);
            }
        }
    })
}

/// In the fastest form that is right: the short read clears the readiness, which saves the read that
/// would answer "would block".
fn async_fd_tasks(ring: Ring, operations: u64) -> Sample {
    let runtime = loops::current_thread();
    let tasks = LocalSet::new();
    let left = Rc::new(Cell::new(operations));
    let done = Rc::new(Notify::new());
    let _entered = runtime.enter();
    for (reader, writer) in ring.links() {
        let (left, done) = (Rc::clone(&left), Rc::clone(&done));
        // SAFETY: the `AsyncFd` owns the descriptor, which stays open and the same file.
        let reader = unsafe { AsyncFd::register(reader) }.expect("registering a pipe");
        tasks.spawn_local(async move {
            loop {
                let mut guard = reader.readable().await.expect("a driven reactor");
                pass(guard.get_inner(), &writer);
                guard.clear_ready();
                if count_down(&left) {
                    done.notify_one();
                }
            }
        });
    }
    timed(|| tasks.block_on(&runtime, done.notified()))
}

/// In the fastest form: it waits for the readiness first, which saves the read that would answer "would
/// block".
fn async_tasks(ring: Ring, operations: u64) -> Sample {
    let executor = LocalExecutor::new();
    let left = Rc::new(Cell::new(operations));
    let done = Rc::new(Notify::new());
    for (reader, writer) in ring.links() {
        let (left, done) = (Rc::clone(&left), Rc::clone(&done));
        let reader = Async::new_nonblocking(Arc::new(reader)).expect("registering a pipe");
        let task = executor.spawn(async move {
            loop {
                reader.readable().await.expect("a driven reactor");
                pass(reader.get_ref(), &writer);
                if count_down(&left) {
                    done.notify_one();
                }
            }
        });
        task.detach();
    }
    timed(|| async_io::block_on(executor.run(done.notified())))
}

fn on_mio(ring: Ring, operations: u64) -> Sample {
    let mut poll = mio::Poll::new().expect("a poll");
    for (index, reader) in ring.readers.iter().enumerate() {
        let registry = poll.registry();
        let (mut source, token) = (SourceFd(&reader.as_raw_fd()), mio::Token(index));
        let registered = registry.register(&mut source, token, mio::Interest::READABLE);
        registered.expect("registering a pipe");
    }
    let left = Cell::new(operations);
    let mut events = mio::Events::with_capacity(EVENTS);
    timed(|| {
        while left.get() > 0 {
            poll.poll(&mut events, None).expect("a wait");
            for event in &events {
                ring.pass(event.token().0 as u64);
                count_down(&left);
            }
        }
    })
}

fn on_polling(ring: Ring, operations: u64) -> Sample {
    let poller = polling::Poller::new().expect("a poller");
    for (index, reader) in ring.readers.iter().enumerate() {
        let event = polling::Event::readable(index);
        // SAFETY: the descriptors are deleted from the poller below, before they are closed.
        let added = unsafe { poller.add_with_mode(reader, event, PollMode::Level) };
        added.expect("registering a pipe");
    }
    let left = Cell::new(operations);
    let mut events = polling::Events::new();
    let sample = timed(|| {
        while left.get() > 0 {
            events.clear();
            match poller.wait(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => panic!("a wait: {error}"),
                _ => {}
            }
            for event in events.iter() {
                ring.pass(event.key as u64);
                count_down(&left);
            }
        }
    });
    for reader in &ring.readers {
        poller.delete(reader).expect("deleting a pipe");
    }
    sample
}
