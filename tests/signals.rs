//! Signals, on every backend. B86 to B94
//!
//! A program of its own, since the end of the last listener brings back the default effect for the
//! whole process.
#![cfg(feature = "signal")]
// How the kernel handles a signal is read and set by unsafe calls.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::future::Future;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::Command;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::StreamExt;
use ioloop::signal::{self, SIGUSR1, SIGUSR2, SIGWINCH};
use ioloop::{IOLoop, Reactor, sleep};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::low_level;
use testkit::alone::{again, is_child};
use testkit::ways::every_way;

/// Signals are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On this thread, so it is handled before this returns.
fn raise(signal: i32) {
    low_level::raise(signal).unwrap();
}

#[derive(Clone, Default)]
struct Count(Rc<Cell<u32>>);

impl Count {
    fn counting(&self) -> impl FnMut() + 'static {
        let count = self.clone();
        move || count.0.set(count.0.get() + 1)
    }
}

// B313
#[test]
fn a_signal_handler_keeps_no_run_that_ends_when_nothing_is_left() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let count = Count::default();
        let handler = signal::add_handler(&io_loop, SIGUSR1, count.counting()).unwrap();
        assert!(io_loop.is_empty());
        io_loop.call_soon(|| raise(SIGUSR1));
        io_loop.call_later(Duration::from_millis(5), || ());
        let ended = match way.is_attached() {
            true => way.block_on(io_loop.run_until_empty()),
            false => io_loop.start_until_empty(),
        };
        ended.unwrap();
        assert_eq!(count.0.get(), 1, "it is called all the same");
        assert!(handler.remove());
    });
}

// B86, B87
#[test]
fn a_handler_runs_on_the_loops_thread_and_wakes_its_sleep() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let here = thread::current().id();
        let called = Rc::new(Cell::new(false));
        let set = Rc::clone(&called);
        signal::add_handler(&io_loop, SIGUSR1, move || {
            set.set(thread::current().id() == here);
            IOLoop::current().unwrap().stop();
        })
        .unwrap();
        // From another thread, while the loop sleeps or is about to.
        let raising = thread::spawn(|| raise(SIGUSR1));
        way.until_stopped(&io_loop);
        raising.join().unwrap();
        assert!(called.get());
    });
}

// B89, B90, B92, B94
#[test]
fn several_handlers_each_hear_of_it_once_and_each_is_removed_by_itself() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let (one, other) = (Count::default(), Count::default());
        let first = io_loop.add_signal_handler(SIGUSR1, one.counting()).unwrap();
        let second = signal::add_handler(&io_loop, SIGUSR1, other.counting()).unwrap();
        let until = |count: &Count, number| {
            way.run(&io_loop, async {
                while count.0.get() < number {
                    sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
                }
            });
        };
        raise(SIGUSR1);
        until(&one, 1);
        until(&other, 1);
        assert_eq!((one.0.get(), other.0.get()), (1, 1));
        assert!(first.remove());
        assert!(!first.remove());
        raise(SIGUSR1);
        until(&other, 2);
        assert_eq!((one.0.get(), other.0.get()), (1, 2));
        // Before the loop gets to them, many are one; another signal is not lost among them.
        let third = Count::default();
        signal::add_handler(&io_loop, SIGWINCH, third.counting()).unwrap();
        for _ in 0..100_000 {
            raise(SIGUSR1);
        }
        raise(SIGWINCH);
        until(&other, 3);
        until(&third, 1);
        assert_eq!((other.0.get(), third.0.get()), (3, 1));
        assert!(second.remove());
        io_loop.close().unwrap();
        // Closed, it has no handler any more.
        raise(SIGWINCH);
        assert_eq!(third.0.get(), 1);
    });
}

#[test]
fn loops_on_several_threads_each_hear_of_it() {
    let _alone = alone();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            IOLoop::spawn_thread("listens", || {
                let io_loop = IOLoop::new()?;
                signal::add_handler(&io_loop, SIGUSR2, || IOLoop::current().unwrap().stop())?;
                Ok(io_loop)
            })
        })
        .collect();
    // All listen by now.
    raise(SIGUSR2);
    for thread in threads {
        thread.unwrap().join().unwrap();
    }
}

// B91
#[test]
fn what_is_no_signal_or_cannot_be_caught_is_an_error_that_names_it() {
    let _alone = alone();
    let io_loop = IOLoop::new().unwrap();
    for number in [0, -1, 4, 8, 9, 11, 19, 32, 65, 1000, i32::MAX, i32::MIN] {
        let error = signal::add_handler(&io_loop, number, || ()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{number}: {error}");
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
    assert_eq!(io_loop.metrics().watches, 0);
}

#[test]
fn a_stream_loses_no_signal_and_ends_with_its_loop() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut signals = signal::stream(&io_loop, SIGUSR2).unwrap();
        way.run(&io_loop, async {
            for _ in 0..3 {
                raise(SIGUSR2);
                assert_eq!(signals.recv().await, Some(()));
            }
            raise(SIGUSR2);
            // Given up before it has come through the loop.
            {
                let mut next = pin!(signals.recv());
                let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
            }
            sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
            assert_eq!(signals.next().await, Some(()));
        });
        io_loop.close().unwrap();
        let mut next = pin!(signals.next());
        let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(None));
    });
}

#[test]
fn a_closed_loop_was_taken_for_ctrl_c() {
    let _alone = alone();
    let io_loop = IOLoop::new().unwrap();
    let interrupted = signal::ctrl_c(&io_loop).unwrap();
    io_loop.close().unwrap();
    assert!(futures_lite::future::block_on(interrupted).is_err());
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_hears_of_the_signal_too() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::user_defined2();
        let mut theirs = tokio::signal::unix::signal(kind).unwrap();
        let io_loop = IOLoop::attach().unwrap();
        let mut ours = signal::stream(&io_loop, SIGUSR2).unwrap();
        raise(SIGUSR2);
        io_loop
            .run_until(async {
                assert!(ours.recv().await.is_some());
                assert!(theirs.recv().await.is_some());
            })
            .await
            .unwrap();
    });
}

/// How the kernel handles a signal: what is called, and the flags that it can be told from another
/// one by.
fn handling(signal: i32) -> (usize, i32) {
    // SAFETY: there is room for the answer, all of whose fields may be zero, and nothing is
    // changed.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) }, 0);
    (action.sa_sigaction, action.sa_flags & (libc::SA_SIGINFO | libc::SA_RESTART))
}

static THEIRS: AtomicU32 = AtomicU32::new(0);

/// The handler of a C library.
extern "C" fn theirs(_: i32) {
    THEIRS.fetch_add(1, Ordering::SeqCst);
}

/// The same, with the particulars of the signal.
extern "C" fn informed(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives it where a handler wants to know more.
    if unsafe { (*info).si_signo } == signal {
        THEIRS.fetch_add(1, Ordering::SeqCst);
    }
}

fn handle_by(signal: i32, handler: usize, flags: i32) {
    // SAFETY: all its fields may be zero, and the handler does nothing that it may not do.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

// B279
#[test]
fn a_real_time_signal_or_one_that_is_rare_is_heard_like_any_other() {
    let _alone = alone();
    let caught = (1..=64).filter(|number| ![4, 8, 9, 11, 19, 32, 33].contains(number));
    let caught: Vec<i32> =
        caught.filter(|number| *number != 34 || libc::SIGRTMIN() == 34).collect();
    // The standard library's own handler of it, which would be called too, takes itself out when it
    // is.
    let (handler, flags) = handling(libc::SIGBUS);
    handle_by(libc::SIGBUS, libc::SIG_DFL, 0);
    every_way(|way| {
        let io_loop = way.io_loop();
        for signal in &caught {
            let before = handling(*signal);
            let stop = || IOLoop::current().unwrap().stop();
            let handler = signal::add_handler(&io_loop, *signal, stop).unwrap();
            raise(*signal);
            way.until_stopped(&io_loop);
            assert!(handler.remove());
            assert_eq!(handling(*signal), before, "{signal}");
        }
    });
    handle_by(libc::SIGBUS, handler, flags);
}

// B279
#[test]
fn a_signal_that_was_ignored_is_ignored_again_after_its_last_listener() {
    let _alone = alone();
    // Rust's programs ignore the first, `nohup` and the background jobs of a shell the others.
    let ignored = [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT];
    assert_eq!(handling(libc::SIGPIPE).0, libc::SIG_IGN);
    every_way(|way| {
        let io_loop = way.io_loop();
        for signal in ignored {
            handle_by(signal, libc::SIG_IGN, 0);
            let stop = || IOLoop::current().unwrap().stop();
            let one = signal::add_handler(&io_loop, signal, stop).unwrap();
            let other = signal::add_handler(&io_loop, signal, || ()).unwrap();
            assert!(one.remove());
            assert_ne!(handling(signal).0, libc::SIG_IGN, "somebody listens still");
            assert!(other.remove());
            assert_eq!(handling(signal).0, libc::SIG_IGN);
            raise(signal);
            // Once more, and the loop is closed.
            signal::add_handler(&io_loop, signal, stop).unwrap();
            raise(signal);
            way.until_stopped(&io_loop);
        }
        io_loop.close().unwrap();
        for signal in ignored {
            assert_eq!(handling(signal).0, libc::SIG_IGN);
        }
    });
    handle_by(libc::SIGHUP, libc::SIG_DFL, 0);
    handle_by(libc::SIGINT, libc::SIG_DFL, 0);
}

// B279
#[test]
fn the_handler_of_a_c_library_is_called_beside_the_listeners_and_alone_after_them() {
    let _alone = alone();
    let plain = (theirs as *const () as usize, 0);
    let informed = (informed as *const () as usize, libc::SA_SIGINFO);
    every_way(|way| {
        let io_loop = way.io_loop();
        for (handler, flags) in [plain, informed] {
            handle_by(libc::SIGINT, handler, flags);
            THEIRS.store(0, Ordering::SeqCst);
            let stop = || IOLoop::current().unwrap().stop();
            let ours = signal::add_handler(&io_loop, libc::SIGINT, stop).unwrap();
            raise(libc::SIGINT);
            way.until_stopped(&io_loop);
            assert_eq!(THEIRS.load(Ordering::SeqCst), 1);
            assert!(ours.remove());
            assert_eq!(handling(libc::SIGINT), (handler, flags));
            raise(libc::SIGINT);
            assert_eq!(THEIRS.load(Ordering::SeqCst), 2);
        }
    });
    handle_by(libc::SIGINT, libc::SIG_DFL, 0);
}

// B279
#[test]
fn a_listener_that_could_not_be_added_takes_nothing_from_its_signal() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        io_loop.close().unwrap();
        let before = handling(libc::SIGTERM);
        signal::add_handler(&io_loop, libc::SIGTERM, || ()).unwrap_err();
        assert_eq!(handling(libc::SIGTERM), before);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_goes_on_listening_after_the_last_listener_here_whoever_came_first() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let theirs = |signal| {
        let kind = tokio::signal::unix::SignalKind::from_raw(signal);
        runtime.block_on(async { tokio::signal::unix::signal(kind).unwrap() })
    };
    let hears = |stream: &mut tokio::signal::unix::Signal, signal| {
        raise(signal);
        assert!(runtime.block_on(stream.recv()).is_some());
    };
    let io_loop = IOLoop::new().unwrap();
    let ours = |signal| {
        let stop = || IOLoop::current().unwrap().stop();
        signal::add_handler(&io_loop, signal, stop).unwrap()
    };
    // Each of them would end the process by itself.
    let [first, last] = [libc::SIGIO, libc::SIGALRM];
    let mut before = theirs(first);
    for _ in 0..2 {
        let listener = ours(first);
        hears(&mut before, first);
        io_loop.start().unwrap();
        assert!(listener.remove());
        hears(&mut before, first);
    }
    let listener = ours(last);
    let mut after = theirs(last);
    hears(&mut after, last);
    io_loop.start().unwrap();
    assert!(listener.remove());
    hears(&mut after, last);
    let _listener = ours(last);
    hears(&mut after, last);
    io_loop.start().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn listeners_that_come_and_go_in_a_storm_hear_and_leave_no_descriptor() {
    let _alone = alone();
    let io_loop = IOLoop::new().unwrap();
    // While it is there the storm does not end the process.
    let always = signal::add_handler(&io_loop, SIGUSR2, || ()).unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    raise(SIGUSR2);
                }
            });
        }
        for _ in 0..2_000 {
            let mut heard = signal::stream(&io_loop, SIGUSR2).unwrap();
            raise(SIGUSR2);
            assert_eq!(io_loop.run_sync(heard.recv()).unwrap(), Some(()));
        }
        over.store(true, Ordering::SeqCst);
    });
    // What a handler was writing to when its listener went is closed with the next one.
    drop(signal::stream(&io_loop, SIGUSR2).unwrap());
    assert_eq!(descriptors(), before);
    assert!(always.remove());
}

// B279
#[test]
fn a_signal_for_a_child_that_has_not_executed_its_program_yet_is_the_childs_alone() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let heard = Count::default();
        signal::add_handler(&io_loop, libc::SIGTERM, heard.counting()).unwrap();
        let (forked, said) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (waits, _goes_on) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let child = thread::spawn(move || {
            let mut command = Command::new("true");
            let between = move || {
                let number = std::process::id().to_ne_bytes();
                // Until the signal comes.
                rustix::io::write(&said, &number)?;
                rustix::io::read(&waits, &mut [0])?;
                Ok(())
            };
            // SAFETY: it makes system calls, and nothing else.
            unsafe { command.pre_exec(between) };
            // The child ends without having executed anything, which is no error for who has made
            // it.
            command.spawn().unwrap().wait().unwrap()
        });
        let mut number = [0; 4];
        assert_eq!(rustix::io::read(&forked, &mut number), Ok(4));
        let number = Pid::from_raw(i32::from_ne_bytes(number)).unwrap();
        kill_process(number, Signal::TERM).unwrap();
        assert_eq!(child.join().unwrap().signal(), Some(libc::SIGTERM));
        // What comes after it is heard, and it was not.
        let last = signal::add_handler(&io_loop, SIGUSR1, || IOLoop::current().unwrap().stop());
        raise(SIGUSR1);
        way.until_stopped(&io_loop);
        assert_eq!(heard.0.get(), 0);
        raise(libc::SIGTERM);
        raise(SIGUSR1);
        way.until_stopped(&io_loop);
        assert_eq!(heard.0.get(), 1);
        assert!(last.unwrap().remove());
    });
}

/// The socket that [`tell`] writes to.
static TOLD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn tell(_: i32) {
    // SAFETY: one byte of a constant, to a socket that the test holds.
    unsafe { libc::write(TOLD.load(Ordering::SeqCst), c"x".as_ptr().cast(), 1) };
}

#[test]
fn a_handler_that_sigaction_has_set_reaches_the_loop_through_a_socket() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let (reader, writer) = UnixStream::pair().unwrap();
        let bytes = Rc::new(Cell::new(0));
        let count = Rc::clone(&bytes);
        let read = move |mut reader: &UnixStream| {
            count.set(count.get() + reader.read(&mut [0; 64]).unwrap());
            IOLoop::current().unwrap().stop();
        };
        io_loop.add_reader(reader, read).unwrap();
        TOLD.store(writer.as_raw_fd(), Ordering::SeqCst);
        handle_by(SIGUSR1, tell as *const () as usize, libc::SA_RESTART);
        let raising = thread::spawn(|| raise(SIGUSR1));
        way.until_stopped(&io_loop);
        raising.join().unwrap();
        assert_eq!(bytes.get(), 1);
        handle_by(SIGUSR1, libc::SIG_DFL, 0);
    });
}

/// A signal that only the loop's thread can take, and that is blocked there.
#[cfg(target_os = "linux")]
fn blocked(signal: i32) -> OwnedFd {
    // SAFETY: the set is filled before it is used, and the descriptor is new.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()), 0);
        let number = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
        assert!(number >= 0);
        OwnedFd::from_raw_fd(number)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_for_the_loops_thread_alone_comes_through_a_signalfd_on_an_own_loop() {
    let _alone = alone();
    every_way(|way| {
        if way.is_attached() {
            return;
        }
        let io_loop = way.io_loop();
        let read = Rc::new(Cell::new(0));
        let count = Rc::clone(&read);
        let reader = move |signals: &OwnedFd| {
            count.set(rustix::io::read(signals, &mut [0; 128]).unwrap());
            IOLoop::current().unwrap().stop();
        };
        io_loop.add_reader(blocked(SIGWINCH), reader).unwrap();
        // SAFETY: it has no condition. With musl it is a pointer, and cannot be sent as one.
        let here = unsafe { libc::pthread_self() } as usize;
        let sending = thread::spawn(move || {
            // SAFETY: the loop's thread lives until this one was joined.
            assert_eq!(unsafe { libc::pthread_kill(here as libc::pthread_t, SIGWINCH) }, 0);
        });
        way.until_stopped(&io_loop);
        sending.join().unwrap();
        assert_eq!(read.get(), 128);
    });
}

#[test]
fn a_signal_for_the_loops_thread_alone_is_heard_on_every_loop() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let stop = || IOLoop::current().unwrap().stop();
        let handler = signal::add_handler(&io_loop, SIGUSR2, stop).unwrap();
        // SAFETY: as above.
        let here = unsafe { libc::pthread_self() } as usize;
        let sending = thread::spawn(move || {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_kill(here as libc::pthread_t, SIGUSR2) }, 0);
        });
        way.until_stopped(&io_loop);
        sending.join().unwrap();
        assert!(handler.remove());
    });
}

// B90
/// In a process of its own, which the signal ends.
#[test]
fn with_the_last_handler_the_default_effect_comes_back() {
    const TEST: &str = "with_the_last_handler_the_default_effect_comes_back";
    if !is_child(module_path!(), TEST) {
        let output = again(None, module_path!(), TEST);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("heard"), "{text}");
        assert_eq!(output.status.signal(), Some(SIGUSR1), "{text}");
        return;
    }
    let io_loop = IOLoop::new().unwrap();
    for _ in 0..2 {
        let handler = signal::add_handler(&io_loop, SIGUSR1, || {
            println!("heard");
            IOLoop::current().unwrap().stop();
        });
        raise(SIGUSR1);
        io_loop.start().unwrap();
        assert!(handler.unwrap().remove());
    }
    raise(SIGUSR1);
    unreachable!("nobody handles it");
}

#[test]
fn a_signal_is_listed_by_the_line_that_listens_for_it() {
    let _alone = alone();
    every_way(|way| {
        let io_loop = way.io_loop();
        let watches = [
            signal::add_handler(&io_loop, SIGUSR1, || ()).unwrap(),
            io_loop.add_signal_handler(SIGUSR2, || ()).unwrap(),
        ];
        let _stream = signal::stream(&io_loop, SIGUSR1).unwrap();
        let _interrupted = signal::ctrl_c(&io_loop).unwrap();
        let listing = io_loop.listing();
        assert_eq!(listing.entries.len(), 4, "{listing}");
        let is_here = |location: &std::panic::Location| location.file() == file!();
        assert!(listing.entries.iter().all(|one| one.location.is_some_and(is_here)), "{listing}");
        watches.iter().for_each(|watch| assert!(watch.remove()));
    });
}
