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
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libc::{SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, c_int, c_void, sigaction, siginfo_t};
use rustix::io::Errno;

/// More than the highest number of a signal anywhere.
const SIGNALS: usize = 129;

static SLOTS: [Slot; SIGNALS] = [const { Slot::new() }; SIGNALS];

/// How many are going through the listeners just now: while there are none, nobody holds one that
/// was taken out before.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// What the handler knows of a signal.
struct Slot {
    /// The listeners, which the handler can go through at any time. They are put in and taken out
    /// under the lock.
    first: AtomicPtr<Listener>,
    /// The handler that was there before ours,
    before: AtomicUsize,
    /// and whether it takes three arguments.
    is_informed: AtomicBool,
}

/// A socket that is written to. Both ends are kept, so no write meets a socket without a peer.
struct Listener {
    writer: UnixStream,
    _reader: Arc<UnixStream>,
    /// Whose it is: a forked child has them all, and is not meant.
    process: u32,
    next: AtomicPtr<Listener>,
}

impl Slot {
    const fn new() -> Slot {
        let (before, is_informed) = (AtomicUsize::new(SIG_DFL), AtomicBool::new(false));
        Slot { first: AtomicPtr::new(ptr::null_mut()), before, is_informed }
    }

    fn of(signal: c_int) -> Option<&'static Slot> {
        SLOTS.get(usize::try_from(signal).ok()?)
    }

    /// Visits the listeners of this process.
    fn visit(&self, mut visit: impl FnMut(&Listener)) {
        let process = process::id();
        INSIDE.fetch_add(1, SeqCst);
        let mut next = self.first.load(SeqCst);
        // SAFETY: it is null, or was in the list after `INSIDE` had been counted up here. A listener
        // is freed only if `INSIDE` is at zero after it was taken out, see `Listening::drop`; so
        // none is that can be reached from here.
        while let Some(listener) = unsafe { next.as_ref() } {
            if listener.process == process {
                visit(listener);
            }
            next = listener.next.load(SeqCst);
        }
        INSIDE.fetch_sub(1, SeqCst);
    }

    fn is_heard(&self) -> bool {
        let mut heard = false;
        self.visit(|_| heard = true);
        heard
    }

    /// Tells the listeners of this process; says whether there are any.
    fn tell(&self) -> bool {
        let mut told = false;
        self.visit(|listener| {
            told = true;
            // SAFETY: one byte is read from a constant, and the descriptor is that of an open socket.
            // A full one has been told already.
            unsafe { libc::write(listener.writer.as_raw_fd(), c"x".as_ptr().cast(), 1) };
        });
        told
    }

    /// Puts a listener into the list. Called under the lock.
    fn put(&self, listener: Listener) -> *mut Listener {
        listener.next.store(self.first.load(SeqCst), SeqCst);
        let listener = Box::into_raw(Box::new(listener));
        self.first.store(listener, SeqCst);
        listener
    }

    /// Takes a listener of [`put`](Self::put) out of the list. Called under the lock, once.
    fn take(&self, listener: *const Listener) {
        let mut link = &self.first;
        loop {
            let next = link.load(SeqCst);
            // SAFETY: the list changes under the lock alone, which is held, and nothing that is in it is
            // freed. The one that is looked for is in it, so no link before that is null.
            let after = unsafe { &(*next).next };
            if ptr::eq(next, listener) {
                return link.store(after.load(SeqCst), SeqCst);
            }
            link = after;
        }
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
    /// Listeners that were taken out, and that somebody may still be looking at.
    left: Vec<*mut Listener>,
}

// SAFETY: the pointers are boxes that nobody else frees, of what is `Send`.
unsafe impl Send for Table {}

static TABLE: Mutex<Table> = Mutex::new(Table { before: BTreeMap::new(), left: Vec::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to a signal until it is dropped.
pub(super) struct Listening {
    signal: c_int,
    slot: &'static Slot,
    /// In the list of the slot until this is dropped.
    listener: *mut Listener,
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
        let next = AtomicPtr::new(ptr::null_mut());
        let listener = Listener { writer, _reader: reader, process: process::id(), next };
        let mut table = table();
        let listener = slot.put(listener);
        let installed = table.install(signal, slot);
        // Else dropped below, without the lock.
        drop(table);
        let listening = Listening { signal, slot, listener };
        installed.map(|()| listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut table = table();
        self.slot.take(self.listener);
        table.left.push(self.listener);
        if !self.slot.is_heard() {
            table.restore(self.signal);
        }
        // Whoever begins after this finds none of these.
        let unused = if INSIDE.load(SeqCst) == 0 { mem::take(&mut table.left) } else { Vec::new() };
        drop(table);
        for listener in unused {
            // SAFETY: `put` made it from a box, `take` took it out of the list, and nobody has found it
            // that is still at it, since there was nobody inside after that.
            drop(unsafe { Box::from_raw(listener) });
        }
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
            if self.before.is_empty() {
                // An empty map keeps its memory, and this one is there to the end of the process.
                self.before = BTreeMap::new();
            }
        }
    }
}
