//! A reactor that notes which watches come and go in which turn, and can refuse them.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::{Rc, Weak};

use ioloop::reactor::{Callback, Direction, Owner, Poster, Watcher};
use ioloop::{CallbackHandle, IOLoop, Lent, Reactor, Watch};

/// A reactor of its own, for the client: it is no `IOLoop`.
#[derive(Clone)]
pub(crate) struct Tap {
    pub(crate) io_loop: IOLoop,
    pub(crate) log: Rc<RefCell<Vec<Entry>>>,
    pub(crate) refuses: Rc<Cell<bool>>,
}

/// A watch that came or went.
pub(crate) struct Entry {
    turn: u64,
    /// Larger for a later one.
    watch: usize,
    pub(crate) fd: RawFd,
    /// None if the watch went.
    pub(crate) added: Option<Direction>,
}

impl Tap {
    pub(crate) fn new(io_loop: &IOLoop) -> Self {
        Tap { io_loop: io_loop.clone(), log: Rc::default(), refuses: Rc::default() }
    }

    /// How many watches there are now.
    pub(crate) fn live(&self) -> usize {
        let log = self.log.borrow();
        let added = log.iter().filter(|entry| entry.added.is_some()).count();
        2 * added - log.len()
    }

    pub(crate) fn has_watched(&self, direction: Direction) -> bool {
        let log = self.log.borrow();
        log.iter().any(|entry| entry.added == Some(direction))
    }

    /// How often a number got a new watch in the turn in which an older one went.
    pub(crate) fn reused_within_a_turn(&self) -> usize {
        let log = self.log.borrow();
        let is_reuse = |added: &&Entry| {
            added.added.is_some()
                && log.iter().any(|gone| {
                    gone.added.is_none()
                        && (gone.turn, gone.fd) == (added.turn, added.fd)
                        && gone.watch < added.watch
                })
        };
        log.iter().filter(is_reuse).count()
    }

    fn note(&self, watch: usize, fd: RawFd, added: Option<Direction>) {
        let turn = self.io_loop.metrics().turns;
        self.log.borrow_mut().push(Entry { turn, watch, fd, added });
    }
}

/// Notes the end of a watch.
struct Gone {
    tap: Tap,
    watch: usize,
    fd: RawFd,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.tap.note(self.watch, self.fd, None);
    }
}

impl Reactor for Tap {
    fn watch(&self, direction: Direction, mut watcher: Watcher) -> io::Result<Watch> {
        if self.refuses.get() {
            return Err(io::Error::other("no more watches"));
        }
        let fd = watcher.as_fd().as_raw_fd();
        let watch = self.log.borrow().len();
        self.note(watch, fd, Some(direction));
        let gone = Gone { tap: self.clone(), watch, fd };
        #[expect(unsafe_code, reason = "the watcher moves into the callback")]
        // SAFETY: what owns the descriptor, or vouches for it, is in the closure that goes with the
        // watch.
        let lent = unsafe { Lent::new(fd) };
        let watched = Watcher::new(lent, move |_| {
            let _gone = &gone;
            watcher.ready();
        });
        self.io_loop.watch(direction, watched)
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        self.io_loop.unwatch(direction, fd)
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        self.io_loop.queue(callback)
    }

    fn owner(&self) -> Weak<dyn Owner> {
        self.io_loop.owner()
    }

    fn poster(&self) -> Poster {
        self.io_loop.poster()
    }
}
