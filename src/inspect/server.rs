//! The thread that serves the socket: it asks the loops once a second, and writes what they say.
//!
//! It waits for its descriptors alone, never for a loop or for a peer.

use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;

use super::{peer, text};
use crate::engine::shown::{self, Inspecting, Loop, Open, Receipt};

/// From one picture to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// How long loops have to answer. Those that have not by then are shown as they were.
const GRACE: Duration = Duration::from_millis(100);

const MOST_PEERS: usize = 16;

/// Pictures that a peer has not read, after which it makes room for another.
const STUCK: u32 = 10;

/// Ends the wait of the server, from any thread.
#[derive(Debug)]
pub(super) struct Bell {
    end: AtomicBool,
    sender: UnixStream,
}

impl Bell {
    /// With the side that the server listens to.
    pub(super) fn new() -> io::Result<(Arc<Bell>, UnixStream)> {
        let (sender, heard) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok((Arc::new(Bell { end: AtomicBool::new(false), sender }), heard))
    }

    fn ring(&self) {
        // One that is full is heard as well.
        let _ = peer::write(&self.sender, &[0]);
    }

    pub(super) fn end(&self) {
        self.end.store(true, Ordering::Release);
        self.ring();
    }
}

/// What each loop that is asked holds until it has answered, or is gone.
struct Answered(Arc<Bell>);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// What the server waits for.
enum Next {
    /// The next round of questions.
    Round { at: Instant },
    /// The answers, and no longer than until then.
    Answers { begun: Instant, left: Weak<Answered>, loops: Vec<Arc<Loop>> },
}

pub(super) struct Server {
    listener: UnixListener,
    /// Until when no peer is accepted, since the process has no descriptor left.
    deaf: Option<Instant>,
    bell: Arc<Bell>,
    heard: UnixStream,
    begun: Instant,
    peers: Vec<Peer>,
    _open: Open,
    /// While there is a peer.
    inspecting: Option<Inspecting>,
    next: Next,
    pictures: u64,
    picture: Option<Arc<str>>,
}

impl Server {
    pub(super) fn new(
        listener: UnixListener,
        bell: Arc<Bell>,
        heard: UnixStream,
    ) -> io::Result<Server> {
        let begun = Instant::now();
        Ok(Server {
            listener,
            deaf: None,
            bell,
            heard,
            begun,
            peers: Vec::new(),
            _open: Open::new()?,
            inspecting: None,
            next: Next::Round { at: begun },
            pictures: 0,
            picture: None,
        })
    }

    /// Serves until the bell says that this is the end.
    pub(super) fn serve(mut self) {
        while !self.bell.end.load(Ordering::Acquire) {
            self.wait();
            let now = Instant::now();
            self.accept(now);
            self.go_on(now);
            self.peers.retain_mut(Peer::write);
        }
    }

    fn wait(&mut self) {
        let next = match &self.next {
            _ if self.peers.is_empty() => None,
            Next::Round { at } => Some(*at),
            Next::Answers { begun, .. } => Some(*begun + GRACE),
        };
        let timeout = [next, self.deaf].into_iter().flatten().min();
        let timeout = timeout.map(|at| {
            // Rounded up: a wait that ends too early would be followed by many.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(1);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let listens = if self.deaf.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut all =
            vec![PollFd::new(&self.heard, PollFlags::IN), PollFd::new(&self.listener, listens)];
        all.extend(self.peers.iter().map(|peer| {
            let waits = if peer.left.is_some() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(&peer.stream, waits)
        }));
        // An interrupted wait is one that ended early.
        let _ = poll(&mut all, timeout.as_ref());
        let gone = PollFlags::HUP | PollFlags::ERR;
        let gone: Vec<bool> = all[2..].iter().map(|peer| peer.revents().intersects(gone)).collect();
        let mut gone = gone.into_iter();
        self.peers.retain(|_| gone.next() != Some(true));
        let _ = (&self.heard).read(&mut [0; 256]);
    }

    fn accept(&mut self, now: Instant) {
        self.deaf = self.deaf.filter(|until| now < *until);
        if self.deaf.is_some() {
            return;
        }
        // No more than there is room for: who comes by the hundred is served in several rounds.
        for _ in 0..MOST_PEERS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
                    if !matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock) {
                        self.deaf = Some(now + PERIOD);
                    }
                    return;
                }
            }
        }
    }

    /// Adds a peer, unless it is another user's, or there are too many.
    fn admit(&mut self, stream: UnixStream) {
        let is_ours = |user| user == geteuid().as_raw() || user == 0;
        if !peer::user(&stream).is_ok_and(is_ours) || stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.peers.len() >= MOST_PEERS {
            match self.peers.iter().position(|peer| peer.missed >= STUCK) {
                Some(stuck) => drop(self.peers.swap_remove(stuck)),
                None => {
                    let _ =
                        peer::write(&stream, b"error text=\"there are sixteen peers already\"\n");
                    return;
                }
            }
        }
        let left = self.picture.as_ref().map(|picture| (Arc::clone(picture), 0));
        self.peers.push(Peer { stream, left, missed: 0 });
    }

    fn go_on(&mut self, now: Instant) {
        if self.peers.is_empty() {
            // The loops end their tallies, and a picture of long ago is shown to nobody.
            (self.inspecting, self.picture) = (None, None);
            self.next = Next::Round { at: now };
            return;
        }
        match &self.next {
            Next::Round { at } if now >= *at => self.ask(now),
            Next::Answers { begun, left, loops }
                if left.strong_count() == 0 || now >= *begun + GRACE =>
            {
                // A server that was late goes on from now.
                let at = (*begun + PERIOD).max(now);
                self.pictures += 1;
                let picture = text::picture(self.pictures, self.begun, loops);
                self.show(picture.into());
                self.next = Next::Round { at };
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Instant) {
        self.inspecting.get_or_insert_with(Inspecting::new);
        let receipt = Arc::new(Answered(Arc::clone(&self.bell)));
        let left = Arc::downgrade(&receipt);
        let (receipt, loops): (Receipt, _) = (receipt, shown::loops());
        loops.iter().for_each(|one| one.ask(&receipt));
        self.next = Next::Answers { begun: now, left, loops };
    }

    fn show(&mut self, picture: Arc<str>) {
        self.peers.iter_mut().for_each(|peer| peer.offer(&picture));
        self.picture = Some(picture);
    }
}

struct Peer {
    stream: UnixStream,
    /// The picture that is being written, and where it goes on.
    left: Option<(Arc<str>, usize)>,
    /// How many pictures in a row it did not get, since it has not read the one before.
    missed: u32,
}

impl Peer {
    fn offer(&mut self, picture: &Arc<str>) {
        match self.left {
            Some(_) => self.missed = self.missed.saturating_add(1),
            None => (self.left, self.missed) = (Some((Arc::clone(picture), 0)), 0),
        }
    }

    /// Writes as much as there is room for. Returns false if the peer is gone.
    fn write(&mut self) -> bool {
        while let Some((picture, from)) = &mut self.left {
            match peer::write(&self.stream, &picture.as_bytes()[*from..]) {
                Ok(written) => *from += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if *from >= picture.len() {
                self.left = None;
            }
        }
        true
    }
}
