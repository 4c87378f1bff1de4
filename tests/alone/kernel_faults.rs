//! Every system call that a loop makes fails, one at a time: an error value or another try, and
//! then all goes on.
//!
//! strace makes the nth call of a kind fail, for each n that there is, in a process that runs the
//! scenario below on a bare loop; own loops on async-io and smol are parked the same way. A hosted
//! loop's own calls are the same too, but its host makes such calls itself, and what it does about
//! a failing one is its affair.
// It closes a descriptor behind the loop's back.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Command};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::{Events, IOLoop, Interest, Lent, Reactor, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use testkit::alone::{again_by, assert_ran_one, end_a_hang, end_at_first_panic, strace_works};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What sets the timer, on 32 bits too.
const SET_TIMER: &str = "timerfd_settime,?timerfd_settime64";

/// What rings the bell: an eventfd's write, or a socket's of the portable poller.
const RING: &str = if cfg!(ioloop_portable) { "sendto" } else { "write" };

#[test]
fn making_an_epoll_instance() {
    sweep("making_an_epoll_instance", "epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]);
}

#[test]
fn making_a_timer() {
    sweep("making_a_timer", "timerfd_create", &["EMFILE", "ENFILE", "ENOMEM"]);
}

#[test]
fn making_a_bell() {
    sweep("making_a_bell", "eventfd2", &["EMFILE", "ENFILE", "ENOMEM"]);
}

#[test]
fn changing_the_set_for_want_of_memory() {
    sweep("changing_the_set_for_want_of_memory", "epoll_ctl", &["ENOMEM", "ENOSPC"]);
}

/// What the kernel says of a number that was closed, or has become another file's. A watch may end
/// by it.
#[test]
fn changing_the_set_where_a_descriptor_is_gone() {
    let errors = ["EBADF", "ENOENT", "EPERM"];
    sweep("changing_the_set_where_a_descriptor_is_gone", "epoll_ctl", &errors);
}

#[test]
fn waiting() {
    // There are a few hundred, most of them alike: every eleventh.
    sweep_by(11, "waiting", "epoll_wait,epoll_pwait", &["EINTR", "EBADF", "ENOMEM"]);
}

#[test]
fn setting_the_timer() {
    sweep("setting_the_timer", SET_TIMER, &["ENOMEM", "EBADF"]);
}

#[test]
fn ringing_the_bell() {
    sweep("ringing_the_bell", RING, &["EAGAIN", "EINTR", "ENOMEM"]);
}

/// Not one call, but every nth.
#[test]
fn again_and_again() {
    for (calls, error, every) in [
        ("epoll_create1", "EMFILE", 2),
        ("timerfd_create", "EMFILE", 2),
        ("eventfd2", "EMFILE", 2),
        // A new set takes more calls than a few.
        ("epoll_ctl", "ENOMEM", 13),
        ("epoll_wait,epoll_pwait", "ENOMEM", 2),
        (SET_TIMER, "ENOMEM", 2),
        (RING, "EAGAIN", 2),
    ] {
        if !under_strace() {
            break;
        }
        let when = format!("1+{every}");
        assert!(meets_fault("again_and_again", calls, error, &when), "no {calls} was made");
    }
}

/// What a loop goes through. Each part leaves it as it was.
fn scenario() {
    let before = descriptors();
    let io_loop = tried(|| IOLoop::builder().backend(BackendKind::Bare).build());
    two_watches_of_one_descriptor(&io_loop);
    a_handler(&io_loop);
    an_orphan(&io_loop);
    nobody_drives(&io_loop);
    parked(&io_loop);
    io_loop.close().unwrap();
    drop(io_loop);
    assert_eq!(descriptors(), before);
}

fn two_watches_of_one_descriptor(io_loop: &IOLoop) {
    let wire = Wire::new();
    let mut reader = wire.add_reader(io_loop);
    let mut writer = wire.add_writer(io_loop);
    wire.reads(io_loop, true);
    wire.writes(io_loop, true);
    told(writer.pause(), || writer = wire.add_writer(io_loop));
    if !is_told_gone() {
        wire.writes(io_loop, false);
        wire.reads(io_loop, true);
        assert!(tried(|| writer.resume()));
    }
    wire.writes(io_loop, true);
    told(writer.remove(), || ());
    assert!(!writer.remove());
    wire.writes(io_loop, false);
    told(reader.pause(), || reader = wire.add_reader(io_loop));
    writer = wire.add_writer(io_loop);
    wire.writes(io_loop, true);
    if !is_told_gone() {
        wire.reads(io_loop, false);
        assert!(writer.pause());
        quiet(io_loop);
        assert!(tried(|| writer.resume()));
        wire.writes(io_loop, true);
        assert!(writer.pause());
        assert!(tried(|| reader.resume()));
        wire.reads(io_loop, true);
    }
    told(reader.remove(), || ());
    told(writer.remove(), || ());
    assert_eq!(Rc::strong_count(&wire.ours), 1, "its sources were dropped");
    wire.reads(io_loop, false);
    quiet(io_loop);
    // It is open still, and can be watched again.
    let reader = wire.add_reader(io_loop);
    wire.reads(io_loop, true);
    told(reader.remove(), || ());
    quiet(io_loop);
}

fn a_handler(io_loop: &IOLoop) {
    let wire = Wire::new();
    // Whoever waits for nothing is registered all the same, to learn whether it can be.
    wire.add_handler(io_loop, Interest::empty());
    wire.reads(io_loop, false);
    quiet(io_loop);
    for (interest, reads, writes) in [
        (Interest::READ, true, false),
        (Interest::READ | Interest::WRITE, true, true),
        (Interest::WRITE, false, true),
        (Interest::empty(), false, false),
    ] {
        tried(|| io_loop.update_handler(&wire.ours, interest));
        wire.reads(io_loop, reads);
        wire.writes(io_loop, writes);
    }
    quiet(io_loop);
    assert!(io_loop.remove_handler(&wire.ours));
}

/// A descriptor is closed behind the loop's back while a duplicate lives: the set has to be made
/// anew.
fn an_orphan(io_loop: &IOLoop) {
    let wire = Wire::new();
    let reader = wire.add_reader(io_loop);
    let (paused, _peer) = UnixStream::pair().unwrap();
    let paused = tried(|| io_loop.add_reader(paused.try_clone().unwrap(), |_| unreachable!()));
    told(paused.pause(), || ());
    let (ours, peer) = UnixStream::pair().unwrap();
    let duplicate = ours.try_clone().unwrap();
    let number = ours.into_raw_fd();
    // SAFETY: this is what the promise is against; what the loop does then is under test.
    let lent = unsafe { Lent::new(number) };
    let orphan = tried(|| io_loop.add_reader(lent, |_| ()));
    // SAFETY: nobody else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    send(&peer);
    assert!(orphan.remove());
    quiet(io_loop);
    wire.reads(io_loop, true);
    told(reader.remove(), || ());
    told(paused.remove(), || ());
    drop(duplicate);
}

/// The descriptor becomes readable whenever there is something to do.
fn nobody_drives(io_loop: &IOLoop) {
    quiet(io_loop);
    let ran = Rc::new(Cell::new(0));
    let count = || {
        let ran = Rc::clone(&ran);
        move || ran.set(ran.get() + 1)
    };
    let runs = |expected| {
        while ran.get() < expected {
            assert!(is_due(io_loop), "whoever waits for it is told");
            tried(|| io_loop.turn(Some(Duration::ZERO)));
        }
        assert_eq!(ran.get(), expected);
    };
    let far = io_loop.call_later(HOUR, || unreachable!());
    io_loop.call_later(Duration::from_millis(1), count());
    runs(1);
    // Now it is set to the far one again.
    assert!(far.reset(io_loop.now() + Duration::from_millis(1)) && far.cancel());
    io_loop.call_soon(count());
    runs(2);
    for posts in 3..6 {
        let handle = io_loop.handle();
        let (sender, receiver) = mpsc::channel();
        let post = move || handle.add_callback(move || sender.send(()).unwrap()).unwrap();
        thread::spawn(post).join().unwrap();
        assert!(is_readable(io_loop, None));
        while receiver.try_recv().is_err() {
            tried(|| io_loop.turn(Some(Duration::ZERO)));
        }
        io_loop.call_soon(count());
        runs(posts);
    }
    quiet(io_loop);
}

/// `start` ends with the error, and goes on where it was when it is called again. What a hook
/// before the sleep let go of is held again, B299.
fn parked(io_loop: &IOLoop) {
    let held = Rc::new(Cell::new(true));
    let (before, after) = (Rc::clone(&held), Rc::clone(&held));
    let before = io_loop.before_sleep(move || {
        before.set(false);
        BeforeSleep::Sleep
    });
    let after = io_loop.after_wake(move || after.set(true));
    let start = || {
        let started = io_loop.start();
        assert!(held.get(), "{started:?}");
        started
    };
    let (ours, peer) = UnixStream::pair().unwrap();
    let watch = tried(|| {
        io_loop.add_reader(ours.try_clone().unwrap(), |mut ours| {
            ours.read_exact(&mut [0]).unwrap();
            IOLoop::current().unwrap().stop();
        })
    });
    let (begun, begins) = mpsc::channel();
    io_loop.call_soon(move || begun.send(()).unwrap());
    let sender = thread::spawn(move || {
        begins.recv().unwrap();
        send(&peer);
        peer
    });
    tried(start);
    let _peer = sender.join().unwrap();
    io_loop.call_later(Duration::from_millis(1), || IOLoop::current().unwrap().stop());
    tried(start);
    let (handle, begun) = (io_loop.handle(), mpsc::channel());
    io_loop.call_soon(move || begun.0.send(()).unwrap());
    let stopper = thread::spawn(move || {
        begun.1.recv().unwrap();
        handle.stop().unwrap();
    });
    tried(start);
    stopper.join().unwrap();
    told(watch.remove(), || ());
    assert!(before.remove() && after.remove());
}

/// A connection, one end of which the loop watches.
struct Wire {
    ours: Rc<UnixStream>,
    peer: UnixStream,
    reads: Rc<Cell<u32>>,
    writes: Rc<Cell<u32>>,
}

impl Wire {
    fn new() -> Wire {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        Wire { ours: Rc::new(ours), peer, reads: Rc::default(), writes: Rc::default() }
    }

    fn add_reader(&self, io_loop: &IOLoop) -> Watch {
        tried(|| {
            let reads = Rc::clone(&self.reads);
            io_loop.add_reader(Rc::clone(&self.ours), move |ours| read(ours, &reads))
        })
    }

    fn add_writer(&self, io_loop: &IOLoop) -> Watch {
        tried(|| {
            let writes = Rc::clone(&self.writes);
            io_loop.add_writer(Rc::clone(&self.ours), move |_| writes.set(writes.get() + 1))
        })
    }

    fn add_handler(&self, io_loop: &IOLoop, interest: Interest) -> Watch {
        tried(|| {
            let (reads, writes) = (Rc::clone(&self.reads), Rc::clone(&self.writes));
            io_loop.add_handler(Rc::clone(&self.ours), interest, move |ours, events| {
                if events.contains(Events::READ) {
                    read(ours, &reads);
                }
                if events.contains(Events::WRITE) {
                    writes.set(writes.get() + 1);
                }
            })
        })
    }

    /// Sends a byte, and checks whether the loop reads it.
    fn reads(&self, io_loop: &IOLoop, expected: bool) {
        let before = self.reads.get();
        send(&self.peer);
        turns(io_loop);
        if !is_told_gone() {
            assert_eq!(self.reads.get() > before, expected, "reads");
        }
    }

    /// Checks whether the loop says that it can be written to.
    fn writes(&self, io_loop: &IOLoop, expected: bool) {
        let before = self.writes.get();
        turns(io_loop);
        if !is_told_gone() {
            assert_eq!(self.writes.get() > before, expected, "writes");
        }
    }
}

/// Sends a byte, by a call that strace cannot tell from a ring of the portable poller.
fn send(mut peer: &UnixStream) {
    while peer.write(b"x").is_err() {}
}

fn read(mut ours: &UnixStream, reads: &Cell<u32>) {
    let _ = ours.read(&mut [0; 16]).unwrap();
    reads.set(reads.get() + 1);
}

/// Turns enough to call whatever is ready, and once more where the set could not be mended in the
/// first.
fn turns(io_loop: &IOLoop) {
    for _ in 0..4 {
        tried(|| io_loop.turn(Some(Duration::ZERO)));
    }
}

/// Checks that a loop with nothing to do would sleep.
fn quiet(io_loop: &IOLoop) {
    turns(io_loop);
    if !is_told_gone() {
        assert!(!is_readable(io_loop, Some(&Timespec::default())), "the loop would spin");
    }
}

/// Waits as a foreign loop does, and says whether there is something to do then.
fn is_due(io_loop: &IOLoop) -> bool {
    // The portable poller's descriptor does not hold the deadline.
    let deadline = io_loop.host_deadline();
    let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let limit = limit.map(|limit| Timespec::try_from(limit).unwrap());
    is_readable(io_loop, limit.as_ref()) || deadline.is_some_and(|at| at <= Instant::now())
}

fn is_readable(io_loop: &IOLoop, timeout: Option<&Timespec>) -> bool {
    let descriptor = io_loop.descriptor().unwrap();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], timeout).unwrap() == 1
}

/// What a watch answers; where the kernel says that its descriptor is gone it may have ended.
fn told(answer: bool, otherwise: impl FnOnce()) {
    if is_told_gone() {
        otherwise();
    } else {
        assert!(answer);
    }
}

thread_local! {
    static FAULTS: Cell<u32> = const { Cell::new(0) };
}

/// Tries until it succeeds, which is the second time at the latest where one call fails. An error
/// leaves no descriptor behind.
fn tried<T, E: Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    loop {
        let before = descriptors();
        match attempt() {
            Ok(value) => return value,
            Err(error) => {
                FAULTS.set(FAULTS.get() + 1);
                assert!(FAULTS.get() == 1 || env::var_os(AGAIN).is_some(), "{error:?}");
                assert_eq!(descriptors(), before, "{error:?}");
            }
        }
    }
}

/// How many descriptors are open.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Set in the process that runs the scenario: the error that its calls meet.
const FAULT: &str = "IOLOOP_KERNEL_FAULT";

/// Set where not one call meets it, but many.
const AGAIN: &str = "IOLOOP_KERNEL_FAULT_AGAIN";

/// Whether the fault says that a descriptor is gone, which ends its watch.
fn is_told_gone() -> bool {
    ["EBADF", "ENOENT", "EPERM"]
        .iter()
        .any(|gone| env::var(FAULT).is_ok_and(|fault| fault == *gone))
}

/// Runs the scenario once for each call of the kind `calls` that it makes and for each of the
/// errors.
fn sweep(test: &str, calls: &str, errors: &[&str]) {
    sweep_by(1, test, calls, errors);
}

/// The same, for one of so many calls.
fn sweep_by(stride: usize, test: &str, calls: &str, errors: &[&str]) {
    if !under_strace() {
        return;
    }
    for error in errors {
        let made = (1_u32..)
            .step_by(stride)
            .find(|nth| !meets_fault(test, calls, error, &nth.to_string()));
        assert!(made > Some(1), "no {calls} was made");
    }
}

/// Whether the scenario is to be run under strace: not in the process where it is, which runs it
/// here, nor where that does not work.
fn under_strace() -> bool {
    if env::var_os(FAULT).is_some() {
        end_a_hang();
        end_at_first_panic();
        scenario();
        return false;
    }
    let works = strace_works();
    if !works {
        eprintln!("SKIPPED: strace is not installed, or may not trace here");
    }
    works
}

/// Runs the scenario with the calls failing that `when` says, in strace's words; false if there
/// were none.
fn meets_fault(test: &str, calls: &str, error: &str, when: &str) -> bool {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.{}", process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qqq", "-e", "signal=none", "-o"]).arg(&log);
    if calls == "write" {
        strace.args(["-P", "anon_inode:[eventfd]"]);
    } else {
        strace.arg("--seccomp-bpf");
    }
    strace
        .args(["-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:error={error}:when={when}")]);
    let mut command = again_by(Some(strace), module_path!(), test);
    command.env(FAULT, error).envs(when.contains('+').then_some((AGAIN, "1")));
    let output = command.output().unwrap();
    assert_ran_one(&output, test);
    let trace = fs::read_to_string(&log).unwrap();
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    let status = output.status;
    assert!(status.success(), "{error} of call {when}: {status}\n{said}{trace}");
    // Kept where the check failed.
    fs::remove_file(log).unwrap();
    trace.contains("(INJECTED)")
}
