//! Runs that end when nothing is left.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Log, assert_blocks, current, refusable, stop, yield_now};
use ioloop::hooks::BeforeSleep;
use ioloop::observe::Listing;
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Async, IOLoop, Interest, PeriodicCallback, Reactor, RunError, Trigger};

/// Long enough that a timer which must not fire does not.
const NEVER: Duration = Duration::from_secs(3600);

/// Adds one thing to a loop, which notes that it was done to its end.
type Add = fn(&IOLoop, Log<&'static str>) -> Option<JoinHandle<()>>;

/// Does something on another thread, once the loop has nothing else to do.
fn later(io_loop: &IOLoop, act: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let (go, told) = channel();
    io_loop.call_soon(move || go.send(()).unwrap());
    Some(thread::spawn(move || {
        told.recv().unwrap();
        act();
    }))
}

/// Reads a byte that another thread writes.
fn read_and_leave(mut stream: &UnixStream, log: &Log<&'static str>) {
    stream.read_exact(&mut [0]).unwrap();
    log.push("done");
    current().remove_reader(stream);
}

const COUNTED: [(&str, Add); 9] = [
    ("a callback", |io_loop, log| {
        io_loop.call_soon(move || {
            current().call_soon(move || log.push("done"));
        });
        None
    }),
    ("a timer", |io_loop, log| {
        io_loop.call_later(Duration::from_millis(2), move || log.push("done"));
        None
    }),
    ("a periodic callback", |io_loop, log| {
        let (ticking, left) = (Rc::new(Cell::new(None::<PeriodicCallback>)), Cell::new(3));
        let own = Rc::clone(&ticking);
        let tick = move || {
            left.set(left.get() - 1);
            if left.get() == 0 {
                drop(own.take());
                log.push("done");
            }
        };
        let periodic = PeriodicCallback::new(io_loop, Duration::from_millis(1), tick).unwrap();
        periodic.start();
        ticking.set(Some(periodic));
        None
    }),
    ("a reader", |io_loop, log| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        io_loop.add_reader(ours, move |stream| read_and_leave(stream, &log)).unwrap();
        later(io_loop, move || theirs.write_all(b"x").unwrap())
    }),
    ("a writer", |io_loop, log| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let writer = move |stream: &UnixStream| {
            log.push("done");
            current().remove_writer(stream);
        };
        io_loop.add_writer(ours, writer).unwrap();
        None
    }),
    ("a handler", |io_loop, log| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let handler = move |mut stream: &UnixStream, _| {
            stream.read_exact(&mut [0]).unwrap();
            log.push("done");
            assert!(current().remove_handler(stream));
        };
        io_loop.add_handler(ours, Interest::READ, handler).unwrap();
        later(io_loop, move || theirs.write_all(b"x").unwrap())
    }),
    ("a task", |io_loop, log| {
        let (sender, wakers) = channel::<Waker>();
        io_loop.spawn(async move {
            yield_now().await;
            let mut polled = false;
            let wait = poll_fn(|cx| {
                if std::mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                sender.send(cx.waker().clone()).unwrap();
                Poll::Pending
            });
            wait.await;
            log.push("done");
        });
        Some(thread::spawn(move || wakers.recv().unwrap().wake()))
    }),
    ("a job", |io_loop, log| {
        let (go, told) = channel();
        let job = io_loop.run_in_executor(move || told.recv().unwrap());
        io_loop.add_future(job, move |done| {
            done.unwrap();
            log.push("done");
        });
        later(io_loop, move || go.send(()).unwrap())
    }),
    ("what a callback adds last", |io_loop, log| {
        io_loop.call_soon(move || {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            current()
                .add_reader(ours, move |stream| {
                    log.push("done");
                    current().remove_reader(stream);
                })
                .unwrap();
        });
        None
    }),
];

pub(super) fn a_run_goes_on_until_nothing_is_left(rig: &Rig) {
    let io_loop = rig.io_loop();
    assert!(io_loop.is_empty());
    rig.run_until_empty(&io_loop).unwrap();
    for (name, add) in COUNTED {
        let log = Log::new();
        let thread = add(&io_loop, log.clone());
        assert!(!io_loop.is_empty(), "{name}");
        rig.run_until_empty(&io_loop).unwrap();
        assert_eq!(log.take(), ["done"], "{name}");
        assert!(io_loop.is_empty() && !io_loop.is_running(), "{name}");
        thread.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A job that nobody awaits.
pub(super) fn a_detached_job_keeps_a_run_that_ends_when_nothing_is_left(rig: &Rig) {
    let io_loop = rig.io_loop();
    let ((go, told), (done, finished)) = (channel(), channel());
    drop(io_loop.run_in_executor(move || {
        told.recv().unwrap();
        done.send(()).unwrap();
    }));
    let thread = later(&io_loop, move || go.send(()).unwrap()).unwrap();
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!(finished.try_recv(), Ok(()), "the job had not ended");
    thread.join().unwrap();
}

pub(super) fn what_comes_from_outside_alone_keeps_no_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let (paused, _peer) = UnixStream::pair().unwrap();
    assert!(io_loop.add_reader(paused, |_| ()).unwrap().pause());
    let (handled, _peer) = UnixStream::pair().unwrap();
    io_loop.add_handler(handled, Interest::empty(), |_, _| ()).unwrap();
    let (unread, _peer) = UnixStream::pair().unwrap();
    let unread = Async::new(&io_loop, unread).unwrap();
    let (outside, mut peer) = UnixStream::pair().unwrap();
    let called = log.clone();
    let watcher = Watcher::uncounted(outside, move |stream: &UnixStream| {
        // What is left is the timer below; without it, nothing would be in here either.
        let left = |listing: Listing| listing.entries.iter().filter(|entry| entry.keeps).count();
        assert_eq!(left(current().listing()), 1);
        read_and_leave(stream, &called);
    });
    assert!(!watcher.is_counted());
    io_loop.watch(Direction::Read, watcher).unwrap();
    let fired = log.clone();
    let trigger = Trigger::new(&io_loop, move || fired.push("fired")).unwrap();
    io_loop.before_sleep(|| BeforeSleep::Sleep);
    io_loop.after_wake(|| ());
    let handle = io_loop.handle();
    let poster = io_loop.poster();
    assert!(io_loop.is_empty());
    let listing = io_loop.listing();
    assert!(listing.entries.len() > 5 && listing.entries.iter().all(|entry| !entry.keeps));
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!(log.len(), 0);
    // They are served in a run all the same, and what is posted is waited for.
    peer.write_all(b"x").unwrap();
    trigger.fire().unwrap();
    handle.add_callback(|| ()).unwrap();
    poster.post(|| ()).unwrap();
    assert!(!io_loop.is_empty());
    io_loop.call_later(Duration::from_millis(5), || ());
    rig.run_until_empty(&io_loop).unwrap();
    let mut seen = log.take();
    seen.sort_unstable();
    assert_eq!(seen, ["done", "fired"]);
    drop(unread);
}

pub(super) fn what_may_be_called_again_is_left_and_nothing_else(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let ask = |what| {
        let log = log.clone();
        move || log.push((what, current().is_empty()))
    };
    let asked = |expected| {
        rig.run_until_empty(&io_loop).unwrap();
        assert_eq!(log.take(), [expected]);
        assert!(io_loop.is_empty());
    };
    io_loop.call_soon(ask("a callback"));
    asked(("a callback", true));
    io_loop.call_later(Duration::ZERO, ask("a timer"));
    asked(("a timer", true));
    let polled = ask("a task");
    io_loop.spawn(async move { polled() });
    asked(("a task", false));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let called = ask("a writer");
    let writer = move |stream: &UnixStream| {
        called();
        current().remove_writer(stream);
        assert!(current().is_empty());
    };
    io_loop.add_writer(ours, writer).unwrap();
    asked(("a writer", false));
}

pub(super) fn what_is_called_from_outside_found_itself_left(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let (outside, mut peer) = UnixStream::pair().unwrap();
    let (called, fired) = (log.clone(), log.clone());
    let watcher = Watcher::uncounted(outside, move |stream: &UnixStream| {
        called.push(("done", current().is_empty()));
        current().remove_reader(stream);
        stop();
    });
    io_loop.watch(Direction::Read, watcher).unwrap();
    let trigger = Trigger::new(&io_loop, move || {
        fired.push(("fired", current().is_empty()));
        stop();
    });
    peer.write_all(b"x").unwrap();
    rig.run(&io_loop).unwrap();
    trigger.unwrap().fire().unwrap();
    rig.run(&io_loop).unwrap();
    assert_eq!(log.take(), [("done", true), ("fired", true)]);
}

pub(super) fn a_callback_that_was_cancelled_was_left_until_its_turn(rig: &Rig) {
    let io_loop = rig.io_loop();
    let cancelled = |io_loop: &IOLoop| {
        let callback = io_loop.call_soon(|| unreachable!("it was cancelled"));
        assert!(!io_loop.is_empty());
        assert!(callback.cancel());
        assert!(io_loop.is_empty());
        assert_eq!(io_loop.metrics().queued, 0);
    };
    cancelled(&io_loop);
    rig.run_until_empty(&io_loop).unwrap();
    cancelled(&io_loop);
    io_loop.call_soon(move || cancelled(&current()));
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!(io_loop.metrics().callbacks, 1, "what was cancelled has not run");
}

pub(super) fn a_stop_ends_a_run_that_has_something_left(rig: &Rig) {
    let io_loop = rig.io_loop();
    let timer = io_loop.call_later(NEVER, || unreachable!("it was not due"));
    for before in [true, false] {
        match before {
            true => io_loop.stop(),
            false => drop(io_loop.call_soon(stop)),
        }
        let stopped = rig.run_until_empty(&io_loop);
        assert!(matches!(stopped, Err(RunError::Stopped)), "{stopped:?}");
        assert!(!io_loop.is_running() && !io_loop.is_empty());
    }
    // One that comes as the last thing goes is used up by the run, which was done.
    io_loop.call_soon(move || {
        assert!(timer.cancel());
        stop();
    });
    rig.run_until_empty(&io_loop).unwrap();
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_stop_at_once_left_an_entry_of_the_run_behind(rig: &Rig) {
    let io_loop = rig.io_loop();
    let failed = super::tools::exceptions(&io_loop);
    let log = Log::new();
    let counts = || (io_loop.metrics().queued, io_loop.metrics().callbacks);
    let stopped = |run: Result<(), RunError>| assert!(matches!(run, Err(RunError::Stopped)));
    // Where nothing is left there is nothing to stop.
    io_loop.stop_now();
    rig.run_until_empty(&io_loop).unwrap();
    assert!(io_loop.is_empty());
    assert_eq!(counts(), (0, 0));
    let last = log.clone();
    io_loop.call_soon(move || {
        last.push("the last");
        current().stop_now();
    });
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!((log.take(), counts()), (vec!["the last"], (0, 1)));
    // A future that is not polled leaves nothing of its run either.
    io_loop.stop_now();
    stopped(rig.run_until(&io_loop, async { unreachable!("it was stopped") }));
    assert!(io_loop.is_empty());
    assert_eq!(counts(), (0, 1));
    // What was given to the loop is left, and is counted when it is called.
    for name in ["first", "second"] {
        let log = log.clone();
        io_loop.call_soon(move || {
            log.push(name);
            current().stop_now();
        });
    }
    io_loop.stop_now();
    stopped(rig.run_until_empty(&io_loop));
    assert_eq!((log.len(), counts()), (0, (2, 1)));
    stopped(rig.run_until_empty(&io_loop));
    assert_eq!((log.take(), counts()), (vec!["first"], (1, 2)));
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!((log.take(), counts()), (vec!["second"], (0, 3)));
    assert_eq!(failed.take(), []);
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_run_that_ends_by_itself_can_be_neither_nested_nor_kept(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let (refused, nested) = (log.clone(), refusable(rig));
    io_loop.call_soon(move || {
        let io_loop = current();
        let is_refused = |run| matches!(run, Err(RunError::AlreadyRunning));
        refused.push(is_refused(nested(&io_loop)));
        let until_empty = match io_loop.is_attached() {
            true => super::tools::block_on(io_loop.run_until_empty()),
            false => io_loop.start_until_empty(),
        };
        refused.push(is_refused(until_empty));
    });
    rig.run_until_empty(&io_loop).unwrap();
    assert_eq!(log.take(), [true; 2]);
    // The next run has no such end.
    assert_blocks(rig, &io_loop);
    io_loop.close().unwrap();
    assert!(io_loop.is_empty());
    assert!(matches!(rig.run_until_empty(&io_loop), Err(RunError::Closed)));
}

/// Adds one thing to a loop; returns what takes it away.
type Taken = fn(&IOLoop) -> Box<dyn FnOnce()>;

const TAKEN: [(&str, Taken); 6] = [
    ("a watch that is removed", |io_loop| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watch = io_loop.add_reader(ours, move |_| _ = &theirs).unwrap();
        Box::new(move || assert!(watch.remove()))
    }),
    ("a watch that is removed by number", |io_loop| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, io_loop) = (Rc::new(ours), io_loop.clone());
        io_loop.add_reader(Rc::clone(&ours), move |_| _ = &theirs).unwrap();
        Box::new(move || assert!(io_loop.remove_reader(ours)))
    }),
    ("a watch that is paused", |io_loop| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watch = io_loop.add_reader(ours, move |_| _ = &theirs).unwrap();
        Box::new(move || assert!(watch.pause()))
    }),
    ("a handler whose interest ends", |io_loop| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watch = io_loop.add_handler(ours, Interest::READ, move |_, _| _ = &theirs).unwrap();
        Box::new(move || assert!(watch.set_interest(Interest::empty()).unwrap()))
    }),
    ("a timer that is cancelled", |io_loop| {
        let timer = io_loop.call_later(NEVER, || unreachable!("it was cancelled"));
        Box::new(move || assert!(timer.cancel()))
    }),
    ("a task that is cancelled", |io_loop| {
        let task = io_loop.spawn(pending::<()>());
        Box::new(move || task.cancel())
    }),
];

pub(super) fn what_is_taken_away_beside_a_sleeping_run_ends_it(rig: &Rig) {
    /// Enough for the loop to have gone to sleep.
    const POLLS: u32 = 100;
    let io_loop = rig.io_loop();
    for (name, add) in TAKEN {
        let mut take_away = Some(add(&io_loop));
        let mut polls = 0;
        let mut run = pin!(io_loop.run_until_empty());
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = run.as_mut().poll(cx) {
                assert!(take_away.is_none(), "{name}: there was something left");
                return Poll::Ready(done);
            }
            polls += 1;
            match polls {
                // From here on the loop alone has this polled.
                POLLS => take_away.take().unwrap()(),
                _ if polls < POLLS => cx.waker().wake_by_ref(),
                _ => {}
            }
            Poll::Pending
        });
        rig.block_on(done).unwrap();
        assert!(io_loop.is_empty(), "{name}");
    }
}
