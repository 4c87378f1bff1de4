//! The handler of a signal, and those whom it tells.
//!
//! One handler of this module's stands in for every signal that has a listener. It writes to the
//! sockets of this process's listeners, and then calls the handler that was there before. With the
//! last listener the signal is handled as before the first again; where other code has put a
//! handler of his own on top meanwhile, that one stays, and ours, which it calls, does nothing
//! more.
//!
//! What runs in the handler may interrupt anything: atomics, and `getpid`, `write`, `sigaction` and
//! `raise`.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use libc::{SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, c_int, c_void, sigaction, siginfo_t};
use rustix::io::Errno;

/// More than the highest number of a signal anywhere.
const SIGNALS: usize = 129;

/// The socket of a slot that is free.
const NOBODY: i32 = -1;

static SLOTS: [Slot; SIGNALS] = [const { Slot::new() }; SIGNALS];

/// How many handlers are among the listeners just now: while there are none, no socket is being
/// written to.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// What the handler knows of a signal.
struct Slot {
    /// The listeners. None is ever taken out, and free ones are used again, so the handler can
    /// go through them at any time.
    first: OnceLock<&'static Listener>,
    /// The handler that was there before ours,
    before: AtomicUsize,
    /// and whether it takes three arguments.
    is_informed: AtomicBool,
}

/// A slot for a listener.
struct Listener {
    socket: AtomicI32,
    /// Whose it is: a forked child has them all, and is not meant.
    process: AtomicU32,
    next: OnceLock<&'static Listener>,
}

impl Slot {
    const fn new() -> Slot {
        let (before, is_informed) = (AtomicUsize::new(SIG_DFL), AtomicBool::new(false));
        Slot { first: OnceLock::new(), before, is_informed }
    }

    fn of(signal: c_int) -> Option<&'static Slot> {
        SLOTS.get(usize::try_from(signal).ok()?)
    }

    fn listeners(&self) -> impl Iterator<Item = &'static Listener> {
        std::iter::successors(self.first.get(), |listener| listener.next.get()).copied()
    }

    fn is_heard(&self) -> bool {
        let process = process::id();
        self.listeners().any(|listener| listener.socket_in(process).is_some())
    }

    /// Tells the listeners of this process; says whether there are any.
    fn tell(&self) -> bool {
        let process = process::id();
        INSIDE.fetch_add(1, SeqCst);
        let mut told = false;
        for socket in self.listeners().filter_map(|listener| listener.socket_in(process)) {
            told = true;
            // SAFETY: one byte is read from a constant. The descriptor is a socket of
            // `Listening`'s, which closes it only when it has seen `INSIDE` at zero after it took
            // the number away. A full one has been told already.
            unsafe { libc::write(socket, c"x".as_ptr().cast(), 1) };
        }
        INSIDE.fetch_sub(1, SeqCst);
        told
    }

    /// A slot for a listener, at the end if none is free. Called under the lock.
    fn free(&self) -> &'static Listener {
        if let Some(free) = self.listeners().find(|place| place.socket.load(SeqCst) == NOBODY) {
            return free;
        }
        let last = self.listeners().last().map_or(&self.first, |last| &last.next);
        last.get_or_init(|| Box::leak(Box::default()))
    }
}

impl Default for Listener {
    fn default() -> Listener {
        let (socket, process) = (AtomicI32::new(NOBODY), AtomicU32::new(0));
        Listener { socket, process, next: OnceLock::new() }
    }
}

impl Listener {
    fn socket_in(&self, process: u32) -> Option<i32> {
        let socket = self.socket.load(SeqCst);
        (socket != NOBODY && self.process.load(SeqCst) == process).then_some(socket)
    }
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = errno::errno();
    if let Some(slot) = Slot::of(signal) {
        let told = slot.tell();
        match slot.before.load(SeqCst) {
            SIG_IGN => {}
            SIG_DFL if told => {}
            SIG_DFL => let_default_act(signal, slot),
            // SAFETY: `sigaction` has given it as the handler of this signal, with this many
            // arguments, and it is called as the kernel would have called it.
            before if slot.is_informed.load(SeqCst) => unsafe {
                let before: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    mem::transmute(before);
                before(signal, info, context);
            },
            // SAFETY: as above.
            before => unsafe {
                let before: extern "C" fn(c_int) = mem::transmute(before);
                before(signal);
            },
        }
    }
    errno::set_errno(errno);
}

/// Gives a signal its default effect: there is no listener here. That is so in a forked child until
/// it executes another program, and for a moment after the last listener has gone.
fn let_default_act(signal: c_int, slot: &Slot) {
    // Another handler, on top, has handled it.
    if current(signal).is_ok_and(|current| is_ours(&current)) {
        let _ = install(signal, &default());
        // A listener that was added after the first check has installed ours before this took it
        // away again.
        if slot.is_heard() {
            let _ = install(signal, &ours());
        }
        // SAFETY: it has no condition. The signal is blocked until this handler returns, and arrives
        // then.
        unsafe { libc::raise(signal) };
    }
}

/// A signal's handling as the kernel has it.
fn current(signal: c_int) -> io::Result<sigaction> {
    // SAFETY: all its fields may be zero.
    let mut current: sigaction = unsafe { mem::zeroed() };
    // SAFETY: there is room for the result, and nothing is changed.
    match unsafe { libc::sigaction(signal, ptr::null(), &raw mut current) } {
        0 => Ok(current),
        _ => Err(io::Error::last_os_error()),
    }
}

fn install(signal: c_int, action: &sigaction) -> io::Result<()> {
    // SAFETY: the action is our own, the default one, or one that `sigaction` has given before.
    // Ours may interrupt anything: see the head of this file.
    match unsafe { libc::sigaction(signal, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn default() -> sigaction {
    // SAFETY: as above; no signal is blocked meanwhile, and there are no flags.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = SIG_DFL;
    action
}

fn ours() -> sigaction {
    let mut action = default();
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    action
}

fn is_ours(action: &sigaction) -> bool {
    action.sa_sigaction == ours().sa_sigaction
}

/// What is changed under the lock.
struct Table {
    /// How each signal was handled before its first listener, while our handler is in use.
    before: BTreeMap<c_int, sigaction>,
    /// Sockets that a handler may be writing to.
    left: Vec<Sockets>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { before: BTreeMap::new(), left: Vec::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends are kept, so no write meets a socket without a peer.
struct Sockets {
    _reader: Arc<UnixStream>,
    _writer: UnixStream,
}

/// Listens to a signal until it is dropped.
pub(super) struct Listening {
    signal: c_int,
    slot: &'static Slot,
    place: &'static Listener,
    sockets: Option<Sockets>,
}

impl Listening {
    /// Makes the other end of `writer`, which is `reader`, readable whenever the signal came.
    /// Neither may block.
    pub(super) fn new(
        signal: c_int,
        reader: Arc<UnixStream>,
        writer: UnixStream,
    ) -> io::Result<Listening> {
        let slot = Slot::of(signal).ok_or(Errno::INVAL)?;
        let mut table = table();
        let place = slot.free();
        place.process.store(process::id(), SeqCst);
        place.socket.store(writer.as_raw_fd(), SeqCst);
        let sockets = Some(Sockets { _reader: reader, _writer: writer });
        let installed = table.install(signal, slot);
        // Else dropped below, without the lock.
        drop(table);
        let listening = Listening { signal, slot, place, sockets };
        installed.map(|()| listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.place.socket.store(NOBODY, SeqCst);
        let mut table = table();
        if !self.slot.is_heard() {
            table.restore(self.signal);
        }
        table.left.extend(self.sockets.take());
        // Whoever begins after this finds none of these.
        let unused = if INSIDE.load(SeqCst) == 0 { mem::take(&mut table.left) } else { Vec::new() };
        drop(table);
        drop(unused);
    }
}

impl Table {
    /// Has our handler be called, once.
    fn install(&mut self, signal: c_int, slot: &Slot) -> io::Result<()> {
        let current = current(signal)?;
        let is_handler = ![SIG_DFL, SIG_IGN].contains(&current.sa_sigaction);
        // On top, or called by whoever put his own there later: called twice, it would call itself
        // for ever.
        if is_ours(&current) || (is_handler && self.before.contains_key(&signal)) {
            return Ok(());
        }
        slot.before.store(current.sa_sigaction, SeqCst);
        slot.is_informed.store(current.sa_flags & SA_SIGINFO != 0, SeqCst);
        install(signal, &ours())?;
        self.before.insert(signal, current);
        Ok(())
    }

    /// Has the signal handled as before, unless other code has put its own handler on top of ours,
    /// and may call it.
    fn restore(&mut self, signal: c_int) {
        if current(signal).is_ok_and(|current| is_ours(&current)) {
            if let Some(before) = self.before.remove(&signal) {
                // What the kernel has had it takes again.
                let _ = install(signal, &before);
            }
        }
    }
}
