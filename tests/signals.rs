//! Signals, on every backend. B86 to B94
#![cfg(feature = "signal")]

mod ways;

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::StreamExt;
use ioloop::signal::{self, SIGUSR1, SIGUSR2, SIGWINCH};
use ioloop::{IOLoop, sleep};
use signal_hook::low_level;
use ways::every_way;

/// Signals are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On this thread, so that it is handled before this returns.
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

// B90
/// In a process of its own, which the signal ends.
#[test]
fn with_the_last_handler_the_default_effect_comes_back() {
    const CHILD: &str = "IOLOOP_SIGNALS_CHILD";
    const TEST: &str = "with_the_last_handler_the_default_effect_comes_back";
    if env::var_os(CHILD).is_none() {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(CHILD, "")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("running 1 test"), "{text}");
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
