//! A signal interrupts a sleep: who asked for it hears of it, and the sleep goes on.
// Sending a signal to one thread of many needs libc.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use libc::SIGUSR1;
use testkit::alone::alone;
use testkit::ways::{Way, every_way};

const HOUR: Duration = Duration::from_secs(60 * 60);
const INTERRUPTS: u32 = 5;

/// Sends signals to this thread until it is dropped.
struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Storm {
    fn begin() -> Storm {
        // A handler that does nothing; without one the signal would kill.
        // SAFETY: it touches nothing.
        unsafe { signal_hook::low_level::register(SIGUSR1, || ()) }.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        // SAFETY: it has no condition. With musl it is a pointer, and cannot be sent as one.
        let sleeper = unsafe { libc::pthread_self() } as usize;
        let thread = thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                // SAFETY: that thread joins this one.
                unsafe { libc::pthread_kill(sleeper as libc::pthread_t, SIGUSR1) };
                thread::yield_now();
            }
        });
        Storm { over, thread: Some(thread) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().map(thread::JoinHandle::join).unwrap().unwrap();
    }
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

fn stop_in_one_turn(way: &Way, io_loop: &IOLoop) {
    io_loop.stop();
    way.until_stopped(io_loop);
}

// B302
#[test]
fn a_sleep_that_a_signal_interrupted_told_nobody() {
    alone(module_path!(), "a_sleep_that_a_signal_interrupted_told_nobody", || {
        every_way(|way| {
            let io_loop = way.io_loop();
            let heard = Rc::new(Cell::new(0));
            let count = Rc::clone(&heard);
            let hook = io_loop.on_interrupt(move || {
                count.set(count.get() + 1);
                if count.get() == INTERRUPTS {
                    stop();
                }
            });
            // tokio and the hosts of attached loops sleep on by themselves, and tell nobody.
            if way.is_attached() || way.name == "own tokio" {
                assert_eq!(hook.unwrap_err().kind(), ErrorKind::Unsupported);
                return;
            }
            io_loop.call_later(HOUR, || unreachable!());
            // What was added has woken the loop.
            stop_in_one_turn(way, &io_loop);
            let turns = io_loop.metrics().turns;
            let storm = Storm::begin();
            way.until_stopped(&io_loop);
            drop(storm);
            assert_eq!(heard.get(), INTERRUPTS);
            assert_eq!(io_loop.metrics().turns - turns, 1, "each time the sleep has gone on");
            assert!(hook.unwrap().remove());
        });
    });
}

// B302
#[test]
fn a_turn_that_waits_ended_at_a_signal() {
    alone(module_path!(), "a_turn_that_waits_ended_at_a_signal", || {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let ran = Rc::new(Cell::new(0));
        let (count, callback) = (Cell::new(0), Rc::clone(&ran));
        io_loop
            .on_interrupt(move || {
                count.set(count.get() + 1);
                if count.get() == INTERRUPTS {
                    let ran = Rc::clone(&callback);
                    IOLoop::current().unwrap().call_soon(move || ran.set(ran.get() + 1));
                }
            })
            .unwrap();
        while io_loop.turn(Some(Duration::ZERO)).unwrap().work_left {}
        let turns = io_loop.metrics().turns;
        let storm = Storm::begin();
        assert!(io_loop.turn(Some(HOUR)).unwrap().work_left, "what the hook has queued");
        drop(storm);
        assert_eq!((io_loop.metrics().turns - turns, ran.get()), (1, 0));
        assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().work_left);
        assert_eq!(ran.get(), 1);
    });
}

/// An interpreter's lock is let go by the one hook, and has to be held in the other.
// B299, B302
#[test]
fn a_signal_was_told_inside_of_the_sleep() {
    alone(module_path!(), "a_signal_was_told_inside_of_the_sleep", || {
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let (held, prepared) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(false)));
        let (lock, before, after) = (Rc::clone(&held), Rc::clone(&prepared), Rc::clone(&prepared));
        io_loop.before_sleep(move || {
            before.set(true);
            ioloop::hooks::BeforeSleep::Sleep
        });
        io_loop.after_wake(move || after.set(false));
        io_loop
            .around_sleep(move |sleep| {
                lock.set(false);
                sleep();
                lock.set(true);
            })
            .unwrap();
        let seen = Rc::new(Cell::new(None));
        let note = Rc::clone(&seen);
        io_loop
            .on_interrupt(move || {
                note.set(Some((held.get(), prepared.get())));
                stop();
            })
            .unwrap();
        let storm = Storm::begin();
        io_loop.start().unwrap();
        drop(storm);
        assert_eq!(seen.get(), Some((true, false)));
    });
}

#[test]
fn a_hook_for_interrupts_that_panics_is_removed_and_the_sleep_goes_on() {
    alone(
        module_path!(),
        "a_hook_for_interrupts_that_panics_is_removed_and_the_sleep_goes_on",
        || {
            let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
            let reports = Rc::new(Cell::new(0));
            let count = Rc::clone(&reports);
            io_loop.set_exception_handler(move |_| count.set(count.get() + 1));
            let hook = io_loop.on_interrupt(|| panic!("at the first signal")).unwrap();
            io_loop.on_interrupt(stop).unwrap();
            let storm = Storm::begin();
            io_loop.start().unwrap();
            drop(storm);
            assert_eq!(reports.get(), 1);
            assert!(!hook.remove());
        },
    );
}
