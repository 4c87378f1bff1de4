//! What is watched of GLib's descriptors.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use glib::source::unix_fd_source_new;
use glib::{ControlFlow, IOCondition, Priority};
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Closed, Events, Interest};

use super::{Attached, Inner, guarded};

/// What is watched of a descriptor.
#[derive(Default)]
pub(super) struct Descriptor {
    /// One of our own for the same file: what poll(2) is given stays open, whatever user code does.
    pub(super) own: Option<Arc<OwnedFd>>,
    /// The reader, or the handler, and the writer.
    pub(super) watched: [Option<Watched>; 2],
    pub(super) source: Option<Attached>,
}

pub(super) struct Watched {
    id: u64,
    kind: Kind,
    interest: Interest,
    pub(super) paused: bool,
    /// Absent while its callback runs.
    watcher: Option<Watcher>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Reader,
    Writer,
    /// Alone on its descriptor.
    Handler,
}

impl Kind {
    fn place(self) -> usize {
        usize::from(self == Kind::Writer)
    }

    /// What one may wait for.
    pub(super) fn supported(self) -> Interest {
        match self {
            Kind::Reader => Interest::READ,
            Kind::Writer => Interest::WRITE,
            Kind::Handler => Interest::all() - Interest::READ_CLOSED,
        }
    }

    fn check(self, interest: Interest) -> io::Result<()> {
        if self.supported().contains(interest) {
            return Ok(());
        }
        let reason = match self {
            Kind::Handler => {
                "GLib does not tell that a peer has ended its writing; read to the end"
            }
            Kind::Reader | Kind::Writer => {
                "a reader or a writer on GLib waits for its own direction"
            }
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}

impl Watched {
    /// Whether one of that kind cannot be added beside it, or in its place.
    fn excludes(&self, kind: Kind) -> bool {
        self.kind == Kind::Handler || kind == Kind::Handler
    }

    fn condition(&self) -> IOCondition {
        // The bits are poll(2)'s in both.
        IOCondition::from_bits_truncate(self.interest.bits().into())
    }
}

/// A descriptor of the reactor's own for the same file, if poll(2) can wait for that: a file or a
/// directory, which it calls always ready, is refused.
fn pollable(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fd.try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        let reason = "files and directories are always ready; use a blocking thread";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    Ok(file.into())
}

impl Inner {
    /// Adds a watch; its id.
    pub(super) fn add_watch(
        &self,
        kind: Kind,
        interest: Interest,
        watcher: Watcher,
    ) -> io::Result<u64> {
        match self.try_add(kind, interest, &watcher) {
            Ok((number, own)) => Ok(self.put(number, own, kind, interest, watcher)),
            Err(error) => {
                guarded(|| drop(watcher));
                Err(error)
            }
        }
    }

    /// Whether a watch can be added: its number, and a descriptor of our own.
    fn try_add(
        &self,
        kind: Kind,
        interest: Interest,
        watcher: &Watcher,
    ) -> io::Result<(RawFd, OwnedFd)> {
        if self.closed.get() {
            return Err(Closed.into());
        }
        kind.check(interest)?;
        let number = watcher.as_fd();
        let (number, own) = (number.as_raw_fd(), pollable(number)?);
        if self.is_reused(number) {
            self.end_all(number);
        }
        let descriptors = self.descriptors.borrow();
        let mut others = descriptors.get(&number).into_iter().flat_map(|one| one.watched.iter());
        if others.any(|other| other.as_ref().is_some_and(|other| other.excludes(kind))) {
            let reason = format!("descriptor {number} is watched already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Ok((number, own))
    }

    fn put(
        &self,
        number: RawFd,
        own: OwnedFd,
        kind: Kind,
        interest: Interest,
        watcher: Watcher,
    ) -> u64 {
        let id = id_at(self.id(), number, kind);
        let (paused, watcher) = (interest.is_empty(), Some(watcher));
        let watched = Watched { id, kind, interest, paused, watcher };
        let mut descriptors = self.descriptors.borrow_mut();
        let descriptor = descriptors.entry(number).or_default();
        descriptor.own = Some(Arc::new(own));
        let replaced = descriptor.watched[kind.place()].replace(watched);
        self.poll(number, descriptor);
        drop(descriptors);
        guarded(|| drop(replaced));
        id
    }

    pub(super) fn find_watch(&self, direction: Direction, number: RawFd) -> Option<u64> {
        let kind = match direction {
            Direction::Read => Kind::Reader,
            Direction::Write => Kind::Writer,
        };
        let descriptors = self.descriptors.borrow();
        let watched = descriptors.get(&number)?.watched[kind.place()].as_ref()?;
        (watched.kind == kind).then_some(watched.id)
    }

    pub(super) fn end_watch(&self, id: u64) -> bool {
        let (number, way) = place(id);
        let mut descriptors = self.descriptors.borrow_mut();
        let Some(descriptor) = descriptors.get_mut(&number) else {
            return false;
        };
        let removed = descriptor.watched[way].take_if(|watched| watched.id == id);
        if removed.is_some() {
            self.poll(number, descriptor);
        }
        if descriptor.watched.iter().all(Option::is_none) {
            descriptors.remove(&number);
        }
        drop(descriptors);
        let ended = removed.is_some();
        guarded(|| drop(removed));
        ended
    }

    /// Ends what is watched of a number.
    fn end_all(&self, number: RawFd) {
        let descriptors = self.descriptors.borrow();
        let ids = descriptors.get(&number).map(|descriptor| {
            descriptor.watched.each_ref().map(|watched| watched.as_ref().map(|one| one.id))
        });
        drop(descriptors);
        for id in ids.into_iter().flatten().flatten() {
            self.end_watch(id);
        }
    }

    /// Whether a number is another file's than when it was watched first.
    pub(super) fn is_reused(&self, number: RawFd) -> bool {
        let own = self.descriptors.borrow().get(&number).and_then(|found| found.own.clone());
        own.is_some_and(|own| !is_same_file(number, &own))
    }

    pub(super) fn set_interest(&self, id: u64, interest: Interest) -> io::Result<bool> {
        let Some(kind) = self.with_watched(id, |watched| watched.kind) else {
            return Ok(false);
        };
        kind.check(interest)?;
        if self.is_reused(place(id).0) {
            self.end_watch(id);
        }
        Ok(self.change_watched(id, |watched| {
            watched.paused = interest.is_empty();
            if !watched.paused {
                watched.interest = interest;
            }
        }))
    }

    /// Has GLib poll for what is watched of a descriptor now.
    fn poll(&self, number: RawFd, descriptor: &mut Descriptor) {
        let polled = descriptor.watched.iter().flatten().filter(|watched| !watched.paused);
        let wanted = polled.fold(IOCondition::empty(), |sum, watched| sum | watched.condition());
        descriptor.source = None;
        let Some(own) = descriptor.own.clone().filter(|_| !wanted.is_empty()) else {
            return;
        };
        let dispatch = self.local(move |inner, came| inner.dispatch(number, came));
        let (fd, name) = (own.as_raw_fd(), Some("ioloop watch"));
        let source = unix_fd_source_new(fd, wanted, name, Priority::DEFAULT, move |_, came| {
            let _open = &own;
            dispatch(came);
            ControlFlow::Continue
        });
        descriptor.source = Some(Attached::new(source, &self.shared.context));
    }

    fn dispatch(&self, number: RawFd, came: IOCondition) {
        let came_to = |watched: &Watched| {
            let failed = IOCondition::ERR | IOCondition::HUP | IOCondition::NVAL;
            came.intersects(watched.condition() | failed).then_some(watched.id)
        };
        let ids = self.descriptors.borrow().get(&number).map(|descriptor| {
            let [reader, writer] = &descriptor.watched;
            [reader, writer].map(|watched| watched.as_ref().and_then(came_to))
        });
        for id in ids.into_iter().flatten().flatten() {
            self.serve(id, came);
        }
    }

    fn serve(&self, id: u64, came: IOCondition) {
        let taken = self.with_watched(id, |watched| match watched.paused {
            true => None,
            false => Some((watched.kind, watched.watcher.take()?)),
        });
        let Some((kind, mut watcher)) = taken.flatten() else {
            return;
        };
        let is_whole = guarded(|| match kind {
            // The bits are poll(2)'s in both.
            Kind::Handler => watcher.ready_for(Events::from_bits_truncate(came.bits() as u16)),
            Kind::Reader | Kind::Writer => watcher.ready(),
        });
        if !is_whole {
            self.end_watch(id);
        }
        let mut left = Some(watcher);
        self.with_watched(id, |watched| watched.watcher = left.take());
        guarded(|| drop(left));
    }

    pub(super) fn with_watched<T>(
        &self,
        id: u64,
        act: impl FnOnce(&mut Watched) -> T,
    ) -> Option<T> {
        let (number, way) = place(id);
        let mut descriptors = self.descriptors.borrow_mut();
        let watched = descriptors.get_mut(&number)?.watched[way].as_mut()?;
        (watched.id == id).then(|| act(watched))
    }

    /// Changes a watch, and then what GLib polls for.
    pub(super) fn change_watched(&self, id: u64, act: impl FnOnce(&mut Watched)) -> bool {
        let changed = self.with_watched(id, act).is_some();
        let (number, _) = place(id);
        if let Some(descriptor) = self.descriptors.borrow_mut().get_mut(&number).filter(|_| changed)
        {
            self.poll(number, descriptor);
        }
        changed
    }
}

/// The id of a watch says where it is: a generation, the descriptor's number, and a bit for its
/// place.
fn id_at(generation: u64, number: RawFd, kind: Kind) -> u64 {
    generation << 32 | u64::from(number.unsigned_abs()) << 1 | kind.place() as u64
}

pub(super) fn place(id: u64) -> (RawFd, usize) {
    ((id as u32 >> 1) as RawFd, (id & 1) as usize)
}

/// Whether a number means the file that it meant once. Files of one kind that have no inode of
/// their own, such as eventfds, cannot be told apart.
fn is_same_file(number: RawFd, once: &OwnedFd) -> bool {
    let file = |number| {
        let file = fs::metadata(format!("/dev/fd/{number}"))?;
        io::Result::Ok((file.dev(), file.ino()))
    };
    match (file(once.as_raw_fd()), file(number)) {
        (Ok(once), Ok(now)) => once == now,
        (Ok(_), Err(_)) => false,
        // There is no such folder.
        (Err(_), _) => true,
    }
}
