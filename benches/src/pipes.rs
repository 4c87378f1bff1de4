//! A ring of descriptors, in which a few bytes go round.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use ioloop::{IOLoop, Reactor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::harness::count_down;
use crate::loops;

/// What is read from one is written to the one at the next index.
pub(crate) struct Ring {
    pub(crate) readers: Vec<Arc<OwnedFd>>,
    writers: Vec<Arc<OwnedFd>>,
}

impl Ring {
    /// `active` bytes go round.
    pub(crate) fn of_pipes(pipes: usize, active: usize) -> Ring {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let pipes = (0..pipes).map(|_| {
            let (reader, writer) = pipe_with(flags).expect("a pipe");
            (Arc::new(reader), Arc::new(writer))
        });
        let (readers, writers) = pipes.unzip();
        Ring::new(readers, writers, active)
    }

    /// Takes half as many descriptors.
    pub(crate) fn of_eventfds(eventfds: usize, active: usize) -> Ring {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfd = |_| Arc::new(eventfd(0, flags).expect("an eventfd"));
        let eventfds: Vec<_> = (0..eventfds).map(eventfd).collect();
        Ring::new(eventfds.clone(), eventfds, active)
    }

    fn new(readers: Vec<Arc<OwnedFd>>, mut writers: Vec<Arc<OwnedFd>>, active: usize) -> Ring {
        for index in 0..active {
            let writer = &writers[index * writers.len() / active];
            rustix::io::write(writer, &1_u64.to_ne_bytes()).expect("room");
        }
        writers.rotate_left(1);
        Ring { readers, writers }
    }

    pub(crate) fn links(self) -> impl Iterator<Item = (Arc<OwnedFd>, Arc<OwnedFd>)> {
        self.readers.into_iter().zip(self.writers)
    }

    /// Serves an event of the descriptor at `index`.
    pub(crate) fn pass(&self, index: u64) {
        pass(&self.readers[index as usize], &self.writers[index as usize]);
    }

    /// The first half of it: what was read, to be [given](Self::give) to the next one.
    pub(crate) fn take(&self, index: u64) -> u64 {
        let mut taken = [0; 8];
        let read = rustix::io::read(&self.readers[index as usize], &mut taken);
        assert_eq!(read, Ok(taken.len()), "something to read");
        u64::from_ne_bytes(taken)
    }

    /// The second half.
    pub(crate) fn give(&self, index: u64, taken: u64) {
        let written = rustix::io::write(&self.writers[index as usize], &taken.to_ne_bytes());
        assert_eq!(written, Ok(8), "room in the next one");
    }

    /// Has a loop serve it, and stop after that many events.
    pub(crate) fn watch(self, io_loop: &IOLoop, operations: u64) {
        let left = Rc::new(Cell::new(operations));
        for (reader, writer) in self.links() {
            let left = Rc::clone(&left);
            let watch = io_loop.add_reader(reader, move |reader| {
                pass(reader, &writer);
                if count_down(&left) {
                    loops::current().stop();
                }
            });
            watch.expect("watching a pipe");
        }
    }
}

/// Reads what there is, and writes it on. The short read says that there is no more.
pub(crate) fn pass(reader: impl AsFd, writer: impl AsFd) {
    try_pass(reader, writer).expect("something to read, and room in the next one");
}

/// The same, where there may be nothing: among threads another byte may come, and be read, before
/// its event is told. A neighbour that has ended with its runtime is a broken pipe, in both
/// directions.
pub(crate) fn try_pass(reader: impl AsFd, writer: impl AsFd) -> Result<(), Errno> {
    let mut buffer = [0; 64];
    let n = rustix::io::read(reader, &mut buffer)?;
    if n == 0 {
        return Err(Errno::PIPE);
    }
    rustix::io::write(writer, &buffer[..n])?;
    Ok(())
}
