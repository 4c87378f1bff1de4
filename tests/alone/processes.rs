//! Child processes, on every backend.
// Tracing a child, and choosing the number of one, are unsafe.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ioloop::{IOLoop, Reactor, process, sleep};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, waitpid};
use testkit::ways::every_way;

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_exit_of_a_child_is_told_once_with_its_status() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let statuses = Rc::new(RefCell::new(Vec::new()));
        for code in 0..3 {
            let statuses = Rc::clone(&statuses);
            let callback = move |status: std::io::Result<std::process::ExitStatus>| {
                let mut statuses = statuses.borrow_mut();
                statuses.push(status.unwrap().code().unwrap());
                if statuses.len() == 3 {
                    IOLoop::current().unwrap().stop();
                }
            };
            process::on_exit(&io_loop, shell(&format!("exit {code}")), callback).unwrap();
        }
        way.until_stopped(&io_loop);
        let mut statuses = statuses.take();
        statuses.sort();
        assert_eq!(statuses, [0, 1, 2]);
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

#[test]
fn a_child_is_listed_by_the_line_that_waits_for_it() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let [one, other] = [shell("read line"), shell("read line")];
        let exit = process::wait(&io_loop, one).unwrap();
        let told = process::on_exit(&io_loop, other, |_| ()).unwrap();
        let listing = io_loop.listing();
        assert_eq!(listing.entries.len(), 2, "{listing}");
        let is_here = |location: &std::panic::Location| location.file() == file!();
        assert!(listing.entries.iter().all(|one| one.location.is_some_and(is_here)), "{listing}");
        exit.handle().kill().unwrap();
        told.kill().unwrap();
        way.run(&io_loop, exit).unwrap();
    });
}

#[test]
fn a_child_that_has_exited_already_is_told_of_too() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("exit 7");
        // Its output ends when it has, and it is not reaped.
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        let exit = process::wait(&io_loop, child).unwrap();
        assert_eq!(way.run(&io_loop, exit).unwrap().code(), Some(7));
    });
}

#[test]
fn hundreds_of_children_at_once_are_all_told_of() {
    const CHILDREN: usize = 200;
    let io_loop = IOLoop::new().unwrap();
    let exits: Vec<_> = (0..CHILDREN)
        .map(|_| process::wait(&io_loop, Command::new("true").spawn().unwrap()).unwrap())
        .collect();
    let numbers: Vec<_> = exits.iter().map(|exit| exit.id()).collect();
    io_loop
        .run_sync(async {
            for exit in exits {
                assert!(exit.await.unwrap().success());
            }
        })
        .unwrap();
    assert_eq!(io_loop.metrics().watches, 0);
    // A zombie would have a directory still; a number that was used again names no child of ours.
    for number in numbers {
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let ours = format!("PPid:\t{}\n", std::process::id());
        assert!(!(status.contains(&ours) && status.contains("Z (zombie)")), "{status}");
    }
}

#[test]
fn a_child_that_is_stopped_has_not_exited_and_one_that_is_killed_has() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("read line");
        let _input = child.stdin.take();
        let exit = process::wait(&io_loop, child).unwrap();
        let pid = Pid::from_raw(exit.id() as i32).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let mut exit = pin!(exit);
        way.run(&io_loop, sleep(&io_loop, Duration::from_millis(2))).unwrap();
        assert!(poll_once(exit.as_mut()).is_pending());
        exit.kill().unwrap();
        let status = way.run(&io_loop, exit.as_mut()).unwrap();
        assert_eq!(status.code(), None, "killed");
        assert!(exit.kill().is_ok(), "it has exited, and is not killed again");
    });
}

#[test]
fn giving_up_leaves_no_watch_and_lets_the_child_run_on() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("read line; echo $line");
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let exit = process::wait(&io_loop, child).unwrap();
        assert_eq!(io_loop.metrics().watches, 1);
        drop(exit);
        assert_eq!(io_loop.metrics().watches, 0);
        input.write_all(b"alive\n").unwrap();
        drop(input);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "alive\n");
    });
}

#[test]
fn a_loop_that_is_closed_answers_whoever_waits() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("read line");
        let input = child.stdin.take();
        let mut exit = pin!(process::wait(&io_loop, child).unwrap());
        assert!(poll_once(exit.as_mut()).is_pending());
        let called = Rc::new(Cell::new(false));
        let set = Rc::clone(&called);
        let mut other = shell("read line");
        let _other = other.stdin.take();
        process::on_exit(&io_loop, other, move |_| set.set(true)).unwrap();
        io_loop.close().unwrap();
        let Poll::Ready(Err(error)) = poll_once(exit) else { panic!("it hangs") };
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(!called.get());
        assert_eq!(Rc::strong_count(&called), 1, "the callback is dropped");
        drop(input);
    });
}

/// A child that runs until it gets a signal.
fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

// B276
#[test]
fn a_child_that_reads_to_the_end_of_an_input_that_nobody_took_exits() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let exit = process::wait(&io_loop, shell("cat; exit 4")).unwrap();
        assert_eq!(way.run(&io_loop, exit).unwrap().code(), Some(4));
        let code = Rc::new(Cell::new(None));
        let set = Rc::clone(&code);
        let callback = move |status: std::io::Result<std::process::ExitStatus>| {
            set.set(status.unwrap().code());
            IOLoop::current().unwrap().stop();
        };
        process::on_exit(&io_loop, shell("cat; exit 5"), callback).unwrap();
        way.until_stopped(&io_loop);
        assert_eq!(code.get(), Some(5));
    });
}

// B276
#[test]
fn a_child_that_was_reaped_before_is_told_with_the_status_that_it_holds() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let reaped = |code: i32| {
            let mut child = shell(&format!("exit {code}"));
            child.wait().unwrap();
            child
        };
        let exit = process::wait(&io_loop, reaped(5)).unwrap();
        exit.kill().unwrap();
        assert_eq!(way.run(&io_loop, exit).unwrap().code(), Some(5));
        let code = Rc::new(Cell::new(None));
        let set = Rc::clone(&code);
        let waiting = process::on_exit(&io_loop, reaped(6), move |status| {
            set.set(status.unwrap().code());
            IOLoop::current().unwrap().stop();
        });
        assert_eq!(code.get(), None, "it is no call inside a call");
        way.until_stopped(&io_loop);
        assert_eq!(code.get(), Some(6));
        assert!(!waiting.unwrap().remove());
    });
}

// B276
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_has_the_number_of_a_reaped_child_is_neither_waited_for_nor_signalled() {
    let mut child = shell("exit 5");
    child.wait().unwrap();
    let number = child.id() as i32;
    let Some(other) = start_as(number) else {
        return eprintln!("skipped: it takes the right to choose the number of a process");
    };
    let io_loop = IOLoop::new().unwrap();
    let exit = process::wait(&io_loop, child).unwrap();
    exit.kill().unwrap();
    assert_eq!(io_loop.run_sync(exit).unwrap().unwrap().code(), Some(5));
    let alive = fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    assert!(!alive.contains(") Z "), "{alive}");
    kill_process(other, Signal::KILL).unwrap();
    let (_, status) = waitpid(Some(other), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
}

/// A process of this number that waits for a signal; none where numbers cannot be chosen.
#[cfg(target_os = "linux")]
fn start_as(number: i32) -> Option<Pid> {
    #[repr(C)]
    #[derive(Default)]
    struct Args {
        /// Flags, descriptors, identifiers,
        unused: [u64; 4],
        exit_signal: u64,
        /// the stack and the thread's own memory.
        also_unused: [u64; 3],
        set_tid: u64,
        set_tid_size: u64,
    }
    let set_tid = (&raw const number) as u64;
    let args =
        Args { exit_signal: libc::SIGCHLD as u64, set_tid, set_tid_size: 1, ..Args::default() };
    // SAFETY: it is `clone3` as the kernel documents it, with the flags of a fork. The child calls
    // nothing but `pause`.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<Args>()) } {
        // SAFETY: neither has any condition, and the first does not return before a signal ends the
        // process.
        0 => unsafe {
            libc::pause();
            libc::_exit(1)
        },
        child if child > 0 => Pid::from_raw(i32::try_from(child).ok()?),
        _ => None,
    }
}

// B278
#[cfg(target_os = "linux")]
#[test]
fn an_exited_child_whose_tracer_has_not_seen_its_end_costs_no_turn() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = sleeper();
        let number = Pid::from_raw(child.id() as i32).unwrap();
        let process = rustix::process::pidfd_open(number, PidfdFlags::empty()).ok();
        let traced = process.and_then(|process| Some((process, trace(child.id() as i32)?)));
        let Some((process, (_tracer, let_go))) = traced else {
            child.kill().unwrap();
            child.wait().unwrap();
            return eprintln!(
                "skipped: it takes a descriptor of a process, and the right to trace"
            );
        };
        let mut exit = pin!(process::wait(&io_loop, child).unwrap());
        exit.kill().unwrap();
        // It has exited when its descriptor says so.
        let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: it is one descriptor, and the room for it.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, 60_000) }, 1);
        assert_eq!(poll.revents, libc::POLLIN);
        let turns = io_loop.metrics().turns;
        for _ in 0..10 {
            way.run(&io_loop, sleep(&io_loop, Duration::from_millis(1))).unwrap();
        }
        let turns = io_loop.metrics().turns - turns;
        assert!(turns <= 100, "{turns} turns for ten sleeps");
        assert!(poll_once(exit.as_mut()).is_pending());
        drop(let_go);
        assert_eq!(way.run(&io_loop, exit).unwrap().signal(), Some(libc::SIGKILL));
    });
}

/// Has another process trace this one, which it does until the pipe is closed.
#[cfg(target_os = "linux")]
fn trace(traced: i32) -> Option<(impl Drop, OwnedFd)> {
    struct Tracer(Pid);

    impl Drop for Tracer {
        fn drop(&mut self) {
            let _ = waitpid(Some(self.0), WaitOptions::empty());
        }
    }

    // No other child has a share in them.
    let (begun, said) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (end, let_go) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (said_to, end_of, kept) = (said.as_raw_fd(), end.as_raw_fd(), let_go.as_raw_fd());
    // SAFETY: between here and its end the child calls nothing but what a signal handler may, and
    // no destructor runs.
    let tracer = match unsafe { libc::fork() } {
        // SAFETY: as above; the buffers are local ones.
        0 => unsafe {
            libc::close(kept);
            let traces = libc::ptrace(libc::PTRACE_SEIZE, traced, 0, 0) == 0;
            libc::write(said_to, (&raw const traces).cast(), 1);
            let mut room = 0_u8;
            libc::read(end_of, (&raw mut room).cast(), 1);
            libc::_exit(0)
        },
        child => Tracer(Pid::from_raw(child).expect("a child")),
    };
    let mut traces = [0];
    assert_eq!(rustix::io::read(&begun, &mut traces), Ok(1));
    (traces == [1]).then_some((tracer, let_go))
}

// B277
#[test]
fn a_child_is_signalled_from_its_future_and_from_a_callback() {
    every_way(|way| {
        let io_loop = way.io_loop();
        type Send = fn(&process::ChildHandle) -> std::io::Result<()>;
        let signals: [(Send, i32); 4] = [
            (|child| child.kill(), libc::SIGKILL),
            (|child| child.terminate(), libc::SIGTERM),
            (|child| child.signal(libc::SIGUSR1), libc::SIGUSR1),
            (|child| child.signal(libc::SIGRTMIN() + 1), libc::SIGRTMIN() + 1),
        ];
        for (send, number) in signals {
            let exit = process::wait(&io_loop, sleeper()).unwrap();
            send(&exit).unwrap();
            assert_eq!(way.run(&io_loop, exit).unwrap().signal(), Some(number));
            // The future is in a task, and the callback has a handle.
            let exit = process::wait(&io_loop, sleeper()).unwrap();
            let child = exit.handle();
            io_loop.call_soon(move || send(&child).unwrap());
            assert_eq!(way.run(&io_loop, exit).unwrap().signal(), Some(number));
            // A callback waits.
            let signal = Rc::new(Cell::new(None));
            let set = Rc::clone(&signal);
            let waiting = process::on_exit(&io_loop, sleeper(), move |status| {
                set.set(status.unwrap().signal());
                IOLoop::current().unwrap().stop();
            });
            let waiting = waiting.unwrap();
            let child = waiting.handle();
            io_loop.call_soon(move || send(&child).unwrap());
            way.until_stopped(&io_loop);
            assert_eq!(signal.get(), Some(number));
            // It has been reaped, and its number may be another's.
            send(&waiting).unwrap();
            assert!(!waiting.remove());
        }
    });
}

#[test]
fn what_is_no_signal_is_not_sent() {
    let io_loop = IOLoop::new().unwrap();
    let exit = process::wait(&io_loop, sleeper()).unwrap();
    for number in [0, -1, 32, 65, i32::MAX, i32::MIN] {
        let error = exit.signal(number).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
    exit.kill().unwrap();
    assert_eq!(io_loop.run_sync(exit).unwrap().unwrap().signal(), Some(libc::SIGKILL));
}

// B277
#[test]
fn a_child_that_nobody_waits_for_any_more_is_signalled_by_its_handle() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let waiting = process::on_exit(&io_loop, sleeper(), |_| unreachable!()).unwrap();
        let child = waiting.handle();
        drop(waiting.remove_on_drop());
        assert_eq!(io_loop.metrics().watches, 0);
        child.kill().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let (_, status) = waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
        // Somebody else has reaped it.
        child.kill().unwrap();
    });
}
