//! A child that is forked without exec: it is refused the loop, and cannot harm its parent's.
//!
//! Each test forks in a process of its own, where no other thread is.
// `fork`, and the end of the child, are unsafe.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::{Closed, IOLoop, Reactor, RunError};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use testkit::alone::{end_a_hang, end_at_first_panic};
use testkit::ways::every_way;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn a_child_is_refused_and_harms_nothing() {
    alone("a_child_is_refused_and_harms_nothing", || {
        for io_loop in every_loop() {
            refused(&io_loop, &|| io_loop.start());
        }
    });
}

fn refused(io_loop: &IOLoop, drive: &dyn Fn() -> Result<(), RunError>) {
    let (writer, calls) = counted_reader(io_loop);
    let (paused, _writer) = pipe();
    let paused = io_loop.add_reader(paused, |_| unreachable!()).unwrap();
    assert!(paused.pause());
    let timer = io_loop.call_later(HOUR, || unreachable!());
    let handle = io_loop.handle();
    let before = kernel_sets();
    wait_for(fork(|| {
        assert!(matches!(drive(), Err(RunError::Forked)));
        assert!(matches!(io_loop.run_sync(async {}), Err(RunError::Forked)));
        assert!(matches!(io_loop.turn(Some(Duration::ZERO)), Err(RunError::Forked)));
        let (reader, _writer) = pipe();
        let error = io_loop.add_reader(reader, |_| unreachable!()).unwrap_err().to_string();
        assert!(error.contains("was forked from: make a new loop here"), "{error}");
        assert!(paused.resume().is_err());
        assert!(!paused.pause());
        assert!(!paused.remove());
        // Each of these would set the parent's timer, or ring its bell.
        timer.reset(io_loop.now() + 2 * HOUR);
        io_loop.call_later(HOUR / 2, || unreachable!());
        io_loop.call_soon(|| unreachable!());
        io_loop.stop();
        handle.stop().unwrap_err();
        assert!(handle.is_closed());
        assert!(futures_lite::future::block_on(handle.call(|| ())).is_err());
        io_loop.close().unwrap();
        assert!(matches!(drive(), Err(RunError::Closed)));
    }));
    assert_eq!(kernel_sets(), before);
    // Not closed by hand.
    wait_for(fork(|| drop(io_loop.handle())));
    rustix::io::write(&writer, b"x").unwrap();
    io_loop.start().unwrap();
    assert_eq!(calls.get(), 1);
    assert!(paused.resume().unwrap());
    assert_eq!(timer.deadline().saturating_duration_since(io_loop.now()).as_secs() / 60, 59);
}

#[test]
fn a_child_that_drops_the_last_loop_harms_nothing() {
    alone("a_child_that_drops_the_last_loop_harms_nothing", || {
        for io_loop in every_loop() {
            let (writer, calls) = counted_reader(&io_loop);
            let before = kernel_sets();
            let io_loop = RefCell::new(Some(io_loop));
            wait_for(fork(|| drop(io_loop.take())));
            assert_eq!(kernel_sets(), before);
            rustix::io::write(&writer, b"x").unwrap();
            io_loop.take().unwrap().start().unwrap();
            assert_eq!(calls.get(), 1);
        }
    });
}

#[test]
fn a_child_that_is_forked_in_a_callback_ends_its_run() {
    alone("a_child_that_is_forked_in_a_callback_ends_its_run", || {
        for io_loop in every_loop() {
            let forked = fork_in_callback(&io_loop);
            let run = io_loop.start();
            ends_the_child(&forked, &io_loop, &run);
            run.unwrap();
        }
    });
}

#[test]
fn a_child_that_is_forked_in_a_callback_could_post_what_never_ran() {
    alone("a_child_that_is_forked_in_a_callback_could_post_what_never_ran", || {
        for io_loop in every_loop() {
            let handle = io_loop.handle();
            io_loop.call_soon(move || {
                let pid = fork_here();
                if pid == 0 {
                    exit(|| {
                        assert_eq!(handle.add_callback(|| ()), Err(Closed));
                        assert_eq!(handle.stop(), Err(Closed));
                        assert!(block_on(handle.call(|| ())).is_err());
                        assert!(block_on(handle.spawn(|| async {})).is_err());
                    });
                }
                wait_for(pid);
                IOLoop::current().unwrap().stop();
            });
            io_loop.start().unwrap();
        }
    });
}

/// Forks in a callback; the parent's loop stops when its child has ended.
fn fork_in_callback(io_loop: &IOLoop) -> Rc<Cell<Option<i32>>> {
    let forked = Rc::new(Cell::new(None));
    let fork = Rc::clone(&forked);
    io_loop.call_soon(move || {
        let pid = fork_here();
        fork.set(Some(pid));
        IOLoop::current().unwrap().call_soon(move || {
            assert_ne!(pid, 0, "the child makes no other turn");
            wait_for(pid);
            IOLoop::current().unwrap().stop();
        });
    });
    forked
}

/// In the child: checks how its run has ended, and ends it.
fn ends_the_child(forked: &Cell<Option<i32>>, io_loop: &IOLoop, run: &Result<(), RunError>) {
    if forked.get() == Some(0) {
        exit(|| {
            assert!(matches!(run, Err(RunError::Forked)), "{run:?}");
            assert!(!io_loop.is_running());
            io_loop.close().unwrap();
        });
    }
}

#[test]
fn a_loop_that_a_child_makes_works_and_is_its_own() {
    alone("a_loop_that_a_child_makes_works_and_is_its_own", || {
        let parents = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        wait_for(fork(|| {
            let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
            let (writer, calls) = counted_reader(&io_loop);
            wait_for(fork(|| {
                assert!(matches!(io_loop.start(), Err(RunError::Forked)));
                assert!(matches!(parents.start(), Err(RunError::Forked)));
            }));
            io_loop.call_later(Duration::from_millis(1), move || {
                rustix::io::write(&writer, b"x").unwrap();
            });
            io_loop.start().unwrap();
            assert_eq!(calls.get(), 1);
            assert!(matches!(parents.start(), Err(RunError::Forked)));
        }));
        parents.stop();
        parents.start().unwrap();
    });
}

#[cfg(feature = "tokio")]
#[test]
fn a_child_leaves_the_host_of_an_attached_loop_alone() {
    alone("a_child_leaves_the_host_of_an_attached_loop_alone", || {
        use std::future::{Future, poll_fn};
        use std::pin::pin;
        use std::task::Poll;

        use ioloop::backends::tokio::TokioBackend;

        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        let backend = TokioBackend::attached(runtime.handle().clone());
        let io_loop = IOLoop::builder().host(backend).attach().unwrap();
        let (writer, calls) = counted_reader(&io_loop);
        // Asleep when it is forked.
        let mut run = Box::pin(io_loop.run());
        let poll_once = poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending()));
        assert!(runtime.block_on(poll_once));
        let before = kernel_sets();
        let (run, io_loop) = (RefCell::new(Some(run)), RefCell::new(Some(io_loop)));
        wait_for(fork(|| {
            let mut run = run.take().unwrap();
            let run = futures_lite::future::block_on(run.as_mut());
            assert!(matches!(run, Err(RunError::Forked)));
            drop(io_loop.take());
        }));
        assert_eq!(kernel_sets(), before);
        let mut run = pin!(run.take().unwrap());
        let mut written = false;
        let woken = runtime.block_on(poll_fn(|cx| {
            let polled = run.as_mut().poll(cx);
            if polled.is_pending() && !written {
                // It sleeps again: only tokio can tell it of this.
                written = true;
                rustix::io::write(&writer, b"x").unwrap();
            }
            polled
        }));
        woken.unwrap();
        assert_eq!(calls.get(), 1);
        let io_loop = io_loop.take().unwrap();
        let forked = fork_in_callback(&io_loop);
        let run = runtime.block_on(io_loop.run());
        ends_the_child(&forked, &io_loop, &run);
        run.unwrap();
    });
}

// B298
#[test]
fn a_child_that_is_forked_in_a_callback_runs_loops_of_its_own() {
    alone("a_child_that_is_forked_in_a_callback_runs_loops_of_its_own", || {
        every_way(|way| {
            let parents = way.io_loop();
            let in_tokio = parents.backend_name() == "tokio";
            let forked = Rc::new(Cell::new(0));
            let count = Rc::clone(&forked);
            parents.call_soon(move || {
                for kind in kinds() {
                    wait_for(fork(|| match kind {
                        // tokio lets a thread be in one runtime at a time, and this one is in the
                        // parent's.
                        BackendKind::Tokio if in_tokio => {
                            thread::spawn(move || runs(kind)).join().unwrap()
                        }
                        kind => runs(kind),
                    }));
                    count.set(count.get() + 1);
                }
                IOLoop::current().unwrap().stop();
            });
            way.until_stopped(&parents);
            assert_eq!(forked.get(), kinds().count());
        });
    });
}

/// Runs an own loop for a reader and a timer, and is refused another one inside of it.
fn runs(kind: BackendKind) {
    let io_loop = IOLoop::builder().backend(kind).build().unwrap();
    let (writer, calls) = counted_reader(&io_loop);
    let other = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    io_loop.call_later(Duration::from_millis(1), move || {
        assert!(matches!(other.start(), Err(RunError::OtherLoopRunning)));
        rustix::io::write(&writer, b"x").unwrap();
    });
    io_loop.start().unwrap();
    assert_eq!(calls.get(), 1);
}

// B298
#[test]
fn a_child_whose_inherited_run_has_ended_runs_loops_of_its_own() {
    alone("a_child_whose_inherited_run_has_ended_runs_loops_of_its_own", || {
        for io_loop in every_loop() {
            let forked = fork_in_callback(&io_loop);
            let run = io_loop.start();
            if forked.get() == Some(0) {
                exit(|| {
                    assert!(matches!(run, Err(RunError::Forked)), "{run:?}");
                    kinds().for_each(runs);
                });
            }
            run.unwrap();
            runs(BackendKind::Bare);
        }
    });
}

#[cfg(all(feature = "async-io", feature = "smol"))]
#[test]
fn a_child_is_refused_the_reactor_of_its_parent_instead_of_hanging() {
    alone("a_child_is_refused_the_reactor_of_its_parent_instead_of_hanging", || {
        let kinds = [BackendKind::AsyncIo, BackendKind::Smol];
        let attach = |kind| IOLoop::builder().backend(kind).attach();
        // Nobody has used it yet.
        for kind in kinds {
            wait_for(fork(|| {
                let io_loop = attach(kind).unwrap();
                let (writer, calls) = counted_reader(&io_loop);
                io_loop.call_later(Duration::from_millis(1), move || {
                    rustix::io::write(&writer, b"x").unwrap();
                });
                futures_lite::future::block_on(io_loop.run()).unwrap();
                assert_eq!(calls.get(), 1);
            }));
        }
        drop(attach(BackendKind::AsyncIo).unwrap());
        for kind in kinds {
            wait_for(fork(|| {
                let error = attach(kind).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
                assert!(
                    error.to_string().contains("forked from: make an own loop here"),
                    "{error}"
                );
                runs(kind);
            }));
        }
        drop(attach(BackendKind::Smol).unwrap());
    });
}

#[test]
fn a_job_of_a_child_does_not_wait_for_the_threads_of_its_parent() {
    alone("a_job_of_a_child_does_not_wait_for_the_threads_of_its_parent", || {
        for io_loop in every_loop() {
            let job = |io_loop: &IOLoop| {
                let job = io_loop.run_in_executor(|| thread::current().id());
                io_loop.run_sync(job).unwrap().unwrap()
            };
            assert_ne!(job(&io_loop), thread::current().id());
            let kind = io_loop.backend_name().parse().unwrap();
            wait_for(fork(|| {
                let io_loop = IOLoop::builder().backend(kind).build().unwrap();
                assert_ne!(job(&io_loop), thread::current().id());
            }));
        }
    });
}

// B279
#[cfg(feature = "signal")]
#[test]
fn a_childs_signals_are_its_own() {
    use ioloop::signal::{self, SIGUSR1};

    alone("a_childs_signals_are_its_own", || {
        for io_loop in every_loop() {
            let heard = Rc::new(Cell::new(0));
            let count = Rc::clone(&heard);
            let watch = signal::add_handler(&io_loop, SIGUSR1, move || {
                count.set(count.get() + 1);
                IOLoop::current().unwrap().stop();
            });
            let watch = watch.unwrap();
            // It listens itself.
            wait_for(fork(|| {
                let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
                let stop = || IOLoop::current().unwrap().stop();
                let own = signal::add_handler(&io_loop, SIGUSR1, stop).unwrap();
                signal_hook::low_level::raise(SIGUSR1).unwrap();
                io_loop.start().unwrap();
                assert!(own.remove());
                io_loop.close().unwrap();
            }));
            // It does not, and the signal ends it.
            let pid = fork(|| signal_hook::low_level::raise(SIGUSR1).unwrap());
            let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.terminating_signal(), Some(SIGUSR1));
            // None of it was heard here, but this.
            signal_hook::low_level::raise(SIGUSR1).unwrap();
            io_loop.start().unwrap();
            assert_eq!(heard.get(), 1);
            assert!(watch.remove());
        }
    });
}

fn kinds() -> impl Iterator<Item = BackendKind> {
    BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled())
}

/// An own loop on every backend.
fn every_loop() -> impl Iterator<Item = IOLoop> {
    kinds().map(|kind| IOLoop::builder().backend(kind).build().unwrap())
}

/// A reader that stops its loop, and how often it was called.
fn counted_reader(io_loop: &IOLoop) -> (OwnedFd, Rc<Cell<u32>>) {
    let (reader, writer) = pipe();
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let watch = io_loop.add_reader(reader, move |reader| {
        assert_eq!(rustix::io::read(reader, &mut [0]), Ok(1));
        count.set(count.get() + 1);
        IOLoop::current().unwrap().stop();
    });
    watch.unwrap();
    (writer, calls)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

/// What the kernel holds in every epoll instance, timer and eventfd of this process.
fn kernel_sets() -> Vec<String> {
    let mut sets = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let Ok(target) = fs::read_link(&path) else { continue };
        let number = path.file_name().unwrap().to_str().unwrap();
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { continue };
        let lines = info
            .lines()
            .filter(|line| ["tfd:", "eventfd-count:"].iter().any(|start| line.starts_with(start)));
        let mut set: Vec<String> = lines.map(str::to_owned).collect();
        // What is left of an hour, in halves of one.
        let left = info.lines().find_map(|line| line.strip_prefix("it_value: ("));
        if let Some((seconds, _)) = left.and_then(|left| left.split_once(',')) {
            set.push(format!("timer: {}", seconds.parse::<u64>().unwrap().div_ceil(1800)));
        }
        set.sort();
        sets.push(format!("{number} {} {set:?}", target.display()));
    }
    sets.retain(|set| set.contains("anon_inode"));
    sets.sort();
    sets
}

/// Runs `code` in a forked child.
pub(super) fn fork(code: impl FnOnce()) -> i32 {
    match fork_here() {
        0 => exit(code),
        pid => pid,
    }
}

fn fork_here() -> i32 {
    // SAFETY: there is no other thread, so the child may do what this process may; or one
    // that sleeps, and holds no lock.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        end_a_hang();
    }
    pid
}

/// Runs `code`, and ends the child that this is.
fn exit(code: impl FnOnce()) -> ! {
    let panicked = catch_unwind(AssertUnwindSafe(code)).is_err();
    // SAFETY: the process ends, without the parent's exit handlers.
    unsafe { libc::_exit(i32::from(panicked)) }
}

pub(super) fn wait_for(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a child");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "the child has panicked");
}

/// Runs the scenario of the test called `test` in a process of its own.
fn alone(test: &str, scenario: impl FnOnce()) {
    testkit::alone::alone(module_path!(), test, || {
        end_at_first_panic();
        scenario();
    });
}
