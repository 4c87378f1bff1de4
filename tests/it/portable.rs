//! What belongs to a loop's thread is held and dropped on others, and its end is on the loop's
//! thread.
// B300

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::embed::Portable;
use ioloop::hooks::BeforeSleep;
use ioloop::observe::Origin;
use ioloop::{Closed, IOLoop, Reactor};
use testkit::ways::{Way, every_way};

const HOUR: Duration = Duration::from_secs(60 * 60);

const _: fn() = || {
    fn assert<T: Send + Sync>() {}
    assert::<Portable<Rc<()>>>();
};

fn stop() {
    IOLoop::current().unwrap().stop();
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

fn elsewhere<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(call).join().unwrap()
}

/// Where a value of each kind was dropped, by the name of the kind.
#[derive(Clone, Debug, Default)]
struct Ends(Rc<RefCell<Vec<(&'static str, ThreadId)>>>);

/// Bound to its thread.
#[derive(Debug)]
struct End(&'static str, Ends);

impl Drop for End {
    fn drop(&mut self) {
        self.1.0.borrow_mut().push((self.0, thread::current().id()));
    }
}

impl Ends {
    fn item(&self, kind: &'static str) -> End {
        End(kind, self.clone())
    }

    /// What has ended so far; all of it on this thread.
    #[track_caller]
    fn take(&self) -> Vec<&'static str> {
        let ended = self.0.take();
        assert!(ended.iter().all(|(_, thread)| *thread == thread::current().id()), "{ended:?}");
        ended.into_iter().map(|(kind, _)| kind).collect()
    }
}

/// One guard of each kind that a loop hands out, portable. What it guards holds an item of `ends`.
fn one_of_each(io_loop: &IOLoop, ends: &Ends) -> Vec<Box<dyn Send>> {
    let callback = ends.item("callback");
    let callback = io_loop.call_later(HOUR, move || drop(callback)).cancel_on_drop();
    let (stream, peer) = UnixStream::pair().unwrap();
    let (reader, source) = (ends.item("reader"), (stream, peer));
    let watch = io_loop.add_reader(Source(source), move |_| _ = &reader).unwrap();
    let hook = ends.item("hook");
    let hook = io_loop.before_sleep(move || {
        let _ = &hook;
        BeforeSleep::Sleep
    });
    let task = ends.item("task");
    let task = io_loop.spawn(async move {
        let _task = task;
        pending::<()>().await
    });
    vec![
        Box::new(io_loop.portable(callback)),
        Box::new(io_loop.portable(watch.remove_on_drop())),
        Box::new(io_loop.portable(hook.remove_on_drop())),
        Box::new(io_loop.portable(task.cancel_on_drop())),
        Box::new(io_loop.portable(ends.item("value"))),
    ]
}

/// Keeps its peer open.
struct Source((UnixStream, UnixStream));

impl std::os::fd::AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

const EACH: [&str; 5] = ["callback", "reader", "hook", "task", "value"];

fn sorted(mut kinds: Vec<&'static str>) -> Vec<&'static str> {
    kinds.sort_by_key(|kind| EACH.iter().position(|each| each == kind));
    kinds
}

fn one_turn(way: &Way, io_loop: &IOLoop) {
    io_loop.stop();
    way.until_stopped(io_loop);
}

// B300
#[test]
fn a_handle_could_not_be_dropped_on_another_thread() {
    every_way(|way| {
        let (io_loop, ends) = (way.io_loop(), Ends::default());
        let portables = one_of_each(&io_loop, &ends);
        one_turn(way, &io_loop);
        assert!(ends.take().is_empty());
        elsewhere(move || drop(portables));
        assert!(ends.take().is_empty(), "they end on the loop's thread");
        one_turn(way, &io_loop);
        // A cancelled task is dropped in the turn after.
        one_turn(way, &io_loop);
        assert_eq!(sorted(ends.take()), EACH);
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0));
        assert!(io_loop.listing().entries.is_empty(), "{}", io_loop.listing());
    });
}

// B300
#[test]
fn a_drop_elsewhere_left_a_loop_asleep() {
    every_way(|way| {
        let io_loop = way.io_loop();
        struct Stops;
        impl Drop for Stops {
            fn drop(&mut self) {
                stop();
            }
        }
        let portable = io_loop.portable(Stops);
        let (asleep, sleeps) = mpsc::channel();
        let hook = io_loop.before_sleep(move || {
            // The thread may be gone already.
            let _ = asleep.send(());
            BeforeSleep::Sleep
        });
        let dropper = thread::spawn(move || {
            sleeps.recv().unwrap();
            drop(portable);
        });
        way.until_stopped(&io_loop);
        hook.remove();
        dropper.join().unwrap();
    });
}

// B300
#[test]
fn what_a_plain_handle_names_goes_on() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let fired = Rc::new(Cell::new(false));
        let set = Rc::clone(&fired);
        let timer = io_loop.portable(io_loop.call_later(Duration::ZERO, move || {
            set.set(true);
            stop();
        }));
        elsewhere(move || drop(timer));
        way.until_stopped(&io_loop);
        assert!(fired.get());
    });
}

// B300
#[test]
fn a_handle_that_came_back_was_not_itself() {
    every_way(|way| {
        let (io_loop, other) = (way.io_loop(), bare());
        let (timer, ends) = (io_loop.call_later(HOUR, || ()), Ends::default());
        let item = ends.item("value");
        let portable = io_loop.portable((timer, item));
        // There and back.
        let portable = elsewhere(move || portable);
        let deadline = io_loop.now() + 2 * HOUR;
        assert_eq!(portable.with(&io_loop, |(timer, _)| timer.reset(deadline)), Some(true));
        assert_eq!(portable.with(&other, |_| ()), None);
        let portable = portable.into_inner(&other).unwrap_err();
        let (timer, item) = portable.into_inner(&io_loop).unwrap().unwrap();
        assert!(timer.deadline() == deadline && timer.cancel());
        one_turn(way, &io_loop);
        assert!(ends.take().is_empty(), "the loop keeps it no more");
        drop(item);
        assert_eq!(ends.take(), ["value"]);
    });
}

// B300
#[test]
fn a_handle_dropped_in_a_callback_of_its_loop_ends_at_once() {
    every_way(|way| {
        let (io_loop, ends) = (way.io_loop(), Ends::default());
        let kept = one_of_each(&io_loop, &ends);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (note, in_callback) = (Rc::clone(&seen), ends.clone());
        io_loop.call_soon(move || {
            drop(kept);
            note.replace(in_callback.take());
            stop();
        });
        way.until_stopped(&io_loop);
        let at_once = seen.take();
        assert!(at_once.iter().all(|kind| EACH.contains(kind)));
        // The task is dropped when it would be polled.
        for kind in ["callback", "reader", "hook", "value"] {
            assert!(at_once.contains(&kind), "{at_once:?}");
        }
    });
    // One that nobody has driven.
    let (io_loop, ends) = (bare(), Ends::default());
    drop(io_loop.portable(ends.item("value")));
    assert_eq!(ends.take(), ["value"]);
}

// B300
#[test]
fn a_loop_that_has_gone_left_a_handle_to_be_dropped_elsewhere() {
    every_way(|way| {
        for close in [true, false] {
            let (io_loop, ends) = (way.io_loop(), Ends::default());
            let portables = one_of_each(&io_loop, &ends);
            let empty = io_loop.portable(());
            let handle = empty.handle();
            one_turn(way, &io_loop);
            if close {
                io_loop.close().unwrap();
                assert_eq!(sorted(ends.take()), EACH);
                assert_eq!(empty.with(&io_loop, |()| ()), None);
                assert_eq!(empty.into_inner(&io_loop).unwrap(), None);
                // What comes too late ends at once.
                let late = io_loop.portable(ends.item("value"));
                assert_eq!(ends.take(), ["value"]);
                elsewhere(move || drop(late));
            }
            drop(io_loop);
            let left = ends.take();
            assert!(close == left.is_empty() && (close || sorted(left) == EACH));
            assert_eq!(handle.stop(), Err(Closed));
            elsewhere(move || drop(portables));
            assert!(ends.take().is_empty());
        }
    });
}

// B300
#[test]
fn drops_that_race_with_a_close_end_each_value_once() {
    const EVERY: usize = 200;
    every_way(|way| {
        let (io_loop, ends) = (way.io_loop(), Ends::default());
        let portables: Vec<_> = (0..EVERY).map(|_| io_loop.portable(ends.item("value"))).collect();
        let (here, there) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (start, begun) = (Arc::clone(&here), Arc::clone(&there));
        let dropper = thread::spawn(move || {
            start.wait();
            for (number, portable) in portables.into_iter().enumerate() {
                drop(portable);
                if number == EVERY / 4 {
                    begun.wait();
                }
            }
        });
        here.wait();
        there.wait();
        one_turn(way, &io_loop);
        io_loop.close().unwrap();
        dropper.join().unwrap();
        assert_eq!(ends.take().len(), EVERY);
    });
}

// B300
#[test]
fn a_shutdown_under_way_loses_no_value() {
    every_way(|way| {
        let (io_loop, ends) = (way.io_loop(), Ends::default());
        let portable = io_loop.portable(ends.item("value"));
        way.run(&io_loop, io_loop.shutdown(Duration::ZERO));
        elsewhere(move || drop(portable));
        io_loop.close().unwrap();
        assert_eq!(ends.take(), ["value"]);
    });
}

// B300
#[test]
fn a_destructor_that_panics_far_from_its_portable_is_reported() {
    every_way(|way| {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                // Without the panic hook.
                resume_unwind(Box::new("a destructor"));
            }
        }
        let (io_loop, seen) = (way.io_loop(), Rc::new(RefCell::new(Vec::new())));
        let note = Rc::clone(&seen);
        io_loop.set_exception_handler(move |exception| {
            note.borrow_mut().push((exception.origin, exception.message().map(str::to_owned)));
        });
        let (there, closed) = (io_loop.portable(Panics), io_loop.portable(Panics));
        elsewhere(move || drop(there));
        one_turn(way, &io_loop);
        let report = || (Origin::Destructor, Some("a destructor".to_owned()));
        assert_eq!(seen.take(), [report()]);
        io_loop.close().unwrap();
        assert_eq!(seen.take(), [report()]);
        drop(closed);
    });
}

// B300
#[test]
fn a_loop_that_keeps_something_is_not_sent() {
    let io_loop = bare();
    let portable = io_loop.portable(());
    let error = io_loop.into_sendable().unwrap_err();
    assert!(error.to_string().contains("`Portable`"), "{error}");
    let io_loop = error.into_loop();
    elsewhere(move || drop(portable));
    io_loop.stop();
    io_loop.start().unwrap();
    drop(io_loop.into_sendable().unwrap());
}
