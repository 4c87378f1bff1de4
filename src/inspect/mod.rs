//! A view of the loops of a running process: what each waits for and from where, its rates, its
//! slowest callbacks, what spins.
//!
//! The program opens a socket, with one call. The program `ioloop-inspect`, a package of its own,
//! shows what it says on a terminal, refreshed each second, and lists the processes that have
//! opened one. So does `nc -U`, since it is plain text.
//!
//! ```no_run
//! use ioloop::{IOLoop, inspect};
//!
//! let inspector = inspect::open()?; // until it is dropped
//! println!("ioloop-inspect {}", inspector.path().display());
//! let io_loop = IOLoop::new()?;
//! io_loop.run_sync(async { /* the program */ })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All loops of the process appear: of each thread, backend and mode, made before the call or
//! after. The guide has [a page](crate::guide::inspecting) with a picture, and with what to look
//! for.
//!
//! # Who may open it
//!
//! The user that the process runs as, and root. The socket has the mode 0600 from the moment at
//! which it can be found. Where the system tells whose a peer is, another user's is sent away as
//! well.
//!
//! It tells the names of the program, its threads and loops; locations in its source; counts and
//! times. It tells nothing of what callbacks and tasks work on, and it takes nothing: what a peer
//! sends is not read.
//!
//! # What it costs
//!
//! Without the feature nothing is compiled.
//!
//! | while | there is | a callback that does nothing | a reader that passes a byte on |
//! |---|---|---|---|
//! | the socket is open | a thread that sleeps; what runs is published, so a loop that hangs can be told by it | twice as long: 53 ns, were 28 | at most 1.25 times as long |
//! | somebody is connected | two readings of the clock for each call of user code; an answer of each loop once a second | six times: 180 ns | at most 1.4 times |
//!
//! An answer takes as long as a [listing](crate::IOLoop::listing): 7 µs where the loop waits for a
//! thousand things, 40 ms for a million; but never more than a hundredth of the time, since then the
//! listing is made less often. A loop is never waited for: one that hangs is shown with what it said
//! last, and with what it hangs in.
//!
//! Peers are at most sixteen. For each there is one picture at most that it has not read; a peer
//! that reads slower misses some. None of them is waited for.
//!
//! # What it says
//!
//! Lines of text, each a word and pairs `key=value`. A value that has a blank in it stands in
//! double quotes, in which `\"` and `\\` stand for `"` and `\`. Times are in seconds. Each second
//! there is a picture, which ends with the line `end`. Who reads it skips lines and keys that are
//! new; the number in the first line changes if one changes its meaning.
//!
//! ```text
//! ioloop-inspect version=1 pid=4242 program=shop picture=3 at=2.001320117
//! loop id=1 name=main thread=main backend=tokio mode=own state=driven at=2.000813452 turns=1207 polls=1100 wakeups=1050
//!      callbacks=840 events=211 fired=30 watches=3 timers=1 queued=0 tasks=2 jobs=0 exceptions=0 asleep=1.871002300 took=0.000021800
//! waits loop=1 kind=reader count=2 paused=0 from=src/main.rs:31:17
//! calls loop=1 kind=timer calls=30 total=0.060911004 longest=0.011833870 from=src/main.rs:18:13
//! spins loop=1 kind=reader fd=9 turns=1000 from=src/main.rs:25:17
//! end picture=3
//! ```
//!
//! | line | says |
//! |---|---|
//! | `loop` | the [metrics](crate::observe::Metrics) of a loop, when it was asked last: `at`; the time `asleep` since then somebody is connected; and how long its answer `took` |
//! | `waits` | how many things of a kind it waits for, or has queued, from one location |
//! | `calls` | the calls of code from one location since somebody is connected: their number, their time, and the longest |
//! | `spins` | a watch that was called so many `turns` in a row without progress since the picture before |
//!
//! The `state` of a loop is `driven` if it has answered. It is `busy` if it has not because code of
//! the user's holds it up: what `runs` and of which `kind`, `from` where, on which `fd`, and `since`
//! when at least. So is one that is being closed, for as long as what it drops takes, or the end of
//! its runtime. Otherwise it is `left`, `since` when it was asked: nobody drives it. What stands in
//! the line then is what it has said last, if it ever has; a line without `at` is of a loop that has
//! never answered.

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "peer_of_linux.rs")]
mod peer;
mod server;
mod socket;
mod text;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use self::server::{Bell, Server};
use self::socket::Socket;

/// Opens the socket of this process: `ioloop-PID.sock` in the folder that `XDG_RUNTIME_DIR` names;
/// without that, in `ioloop-UID` of the folder for temporary files.
///
/// # Errors
///
/// As [`open_at`].
pub fn open() -> io::Result<Inspector> {
    open_at(socket::default_path()?)
}

/// Opens a socket at `path`. What a process that has ended has left there goes.
///
/// ```
/// use ioloop::inspect;
///
/// let path = std::env::temp_dir().join(format!("example-{}.sock", std::process::id()));
/// let inspector = inspect::open_at(&path)?;
/// assert_eq!(inspector.path(), path);
/// drop(inspector);
/// assert!(!path.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if some process listens there,
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is something else than a socket,
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that is longer than that of a socket may
/// be: 107 bytes on Linux, 103 elsewhere. Also if the socket or the thread cannot be made; then
/// nothing is left behind.
pub fn open_at(path: impl AsRef<Path>) -> io::Result<Inspector> {
    let (listener, socket) = Socket::open(path.as_ref())?;
    let (bell, heard) = Bell::new()?;
    let server = Server::new(listener, Arc::clone(&bell), heard)?;
    let thread = thread::Builder::new().name("ioloop-inspect".into()).spawn(|| server.serve())?;
    Ok(Inspector { socket, bell, thread: Some(thread) })
}

/// Keeps the socket open. Dropped, it ends the thread, and removes the socket.
#[must_use = "the socket is closed when this is dropped"]
#[derive(Debug)]
pub struct Inspector {
    socket: Socket,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Inspector {
    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if !self.socket.is_of_this_process() {
            // A forked child: the thread and the socket are its parent's.
            return std::mem::forget(thread);
        }
        self.bell.end();
        // It waits for nothing but its descriptors.
        let _ = thread.map(JoinHandle::join);
    }
}
