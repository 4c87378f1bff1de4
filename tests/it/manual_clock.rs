//! A clock that tests move: an hour's schedule in no time, on every backend.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ioloop::backends::BackendKind;
use ioloop::{
    IOLoop, ManualClock, PeriodicCallback, Reactor, interval, sleep, sleep_until, timeout,
};
use testkit::ways::{Way, every_way};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A loop on a clock of its own.
fn on_clock(way: &Way) -> (IOLoop, ManualClock) {
    let clock = ManualClock::new();
    (way.on_clock(&clock), clock)
}

/// Notes on what happened, each with the clock's time since the start.
#[derive(Clone)]
struct Diary {
    clock: ManualClock,
    start: Instant,
    notes: Rc<RefCell<Vec<(&'static str, Duration)>>>,
}

impl Diary {
    fn new(clock: &ManualClock) -> Self {
        Diary { clock: clock.clone(), start: clock.now(), notes: Rc::default() }
    }

    fn note(&self, what: &'static str) {
        self.notes.borrow_mut().push((what, self.clock.now() - self.start));
    }

    fn take(&self) -> Vec<(&'static str, Duration)> {
        self.notes.take()
    }

    fn noting(&self, what: &'static str) -> impl FnMut() + 'static {
        let diary = self.clone();
        move || diary.note(what)
    }
}

#[test]
fn a_day_of_timers_tasks_and_periodic_callbacks_keeps_its_schedule() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        let diary = Diary::new(&clock);
        io_loop.call_later(8 * HOUR, diary.noting("eight hours"));
        io_loop.call_at(clock.now() + 3 * HOUR, diary.noting("three hours"));
        let periodic = PeriodicCallback::new(&io_loop, 10 * HOUR, diary.noting("ten hours"));
        let periodic = periodic.unwrap();
        periodic.start();
        let sleeper = diary.clone();
        let slept = sleep(&io_loop, 5 * HOUR);
        io_loop.spawn(async move {
            slept.await.unwrap();
            sleeper.note("slept");
        });
        let mut ticks = interval(&io_loop, 9 * HOUR).unwrap();
        let ticker = diary.clone();
        io_loop.spawn(async move {
            while ticks.tick().await.is_ok() {
                ticker.note("tick");
            }
        });
        let day = sleep_until(&io_loop, clock.now() + 24 * HOUR);
        way.run(&io_loop, day).unwrap();
        assert_eq!(clock.now() - diary.start, 24 * HOUR, "to the moment, and no further");
        let expected = [
            ("three hours", 3 * HOUR),
            ("slept", 5 * HOUR),
            ("eight hours", 8 * HOUR),
            ("tick", 9 * HOUR),
            ("ten hours", 10 * HOUR),
            ("tick", 18 * HOUR),
            ("ten hours", 20 * HOUR),
        ];
        assert_eq!(diary.take(), expected);
        // The task of the ticks, which never ends, holds the loop.
        io_loop.close().unwrap();
    });
}

#[test]
fn time_outs_are_the_clocks() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        let start = clock.now();
        let slow = timeout(&io_loop, HOUR, sleep(&io_loop, 2 * HOUR));
        assert!(way.run(&io_loop, slow).unwrap_err().is_elapsed());
        assert_eq!(clock.now() - start, HOUR);
        let quick = timeout(&io_loop, HOUR, sleep(&io_loop, MINUTE));
        way.run(&io_loop, quick).unwrap().unwrap();
        assert_eq!(clock.now() - start, HOUR + MINUTE);
        assert_eq!(io_loop.metrics().timers, 0);
    });
    let clock = ManualClock::new();
    let own = IOLoop::builder().clock(&clock).backend(BackendKind::Bare).build().unwrap();
    let start = clock.now();
    let never = own.run_sync(timeout(&own, HOUR, std::future::pending::<()>()));
    assert!(never.unwrap().unwrap_err().is_elapsed());
    assert_eq!(clock.now() - start, HOUR);
}

#[test]
fn the_clock_stands_still_while_there_is_anything_to_do() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        let diary = Diary::new(&clock);
        io_loop.call_later(HOUR, diary.noting("timer"));
        // A chain of callbacks, and what came in on a descriptor, go before any jump.
        fn chain(io_loop: &IOLoop, left: u32, diary: Diary) {
            io_loop.call_soon(move || match left {
                0 => diary.note("chain"),
                _ => chain(&IOLoop::current().unwrap(), left - 1, diary),
            });
        }
        chain(&io_loop, 500, diary.clone());
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0; 5]).unwrap();
        let reader = diary.clone();
        let left = Cell::new(5);
        io_loop
            .add_reader(theirs, move |mut stream| {
                assert_eq!(stream.read(&mut [0]).unwrap(), 1);
                left.set(left.get() - 1);
                if left.get() == 0 {
                    reader.note("read");
                }
            })
            .unwrap();
        let end = sleep(&io_loop, 2 * HOUR);
        way.run(&io_loop, end).unwrap();
        let mut notes = diary.take();
        notes.sort();
        assert_eq!(
            notes,
            [("chain", Duration::ZERO), ("read", Duration::ZERO), ("timer", HOUR)],
            "{}",
            way.name
        );
    });
}

#[test]
fn without_its_jumps_the_clock_waits_for_whoever_moves_it() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        clock.set_auto_advance(false);
        let diary = Diary::new(&clock);
        io_loop.call_later(2 * SECOND, diary.noting("two"));
        io_loop.call_later(SECOND, diary.noting("one"));
        io_loop.call_later(HOUR, diary.noting("hour"));
        let end = sleep(&io_loop, 3 * SECOND);
        let mover = clock.clone();
        // From another thread, while the loop may sleep: each move has to wake it.
        let moved = thread::spawn(move || {
            for _ in 0..30 {
                mover.advance(100 * MS);
                thread::yield_now();
            }
        });
        way.run(&io_loop, end).unwrap();
        moved.join().unwrap();
        let notes: Vec<_> = diary.take().into_iter().map(|(what, _)| what).collect();
        assert_eq!(notes, ["one", "two"]);
        assert_eq!(clock.now() - diary.start, 3 * SECOND);
        // Moved over many deadlines at once: in the order of the deadlines, all at the new time.
        for (delay, what) in [(3 * MS, "c"), (MS, "a"), (2 * MS, "b")] {
            io_loop.call_later(delay, diary.noting(what));
        }
        let end = sleep(&io_loop, 4 * MS);
        clock.advance(SECOND);
        way.run(&io_loop, end).unwrap();
        let notes = diary.take();
        assert_eq!(notes.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(notes.iter().all(|(_, at)| *at == 4 * SECOND));
    });
}

#[test]
fn switching_the_jumps_on_again_wakes_a_loop_that_waits() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        clock.set_auto_advance(false);
        let end = sleep(&io_loop, HOUR);
        let switch = clock.clone();
        let switched = thread::spawn(move || switch.set_auto_advance(true));
        way.run(&io_loop, end).unwrap();
        switched.join().unwrap();
    });
}

#[test]
fn what_never_comes_is_not_jumped_to() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        let start = clock.now();
        io_loop.call_later(Duration::MAX, || unreachable!("it is never due"));
        let handle = io_loop.handle();
        let posted = thread::spawn(move || handle.call(|| ()));
        way.run(&io_loop, async { posted.join().unwrap().await.unwrap() });
        assert_eq!(clock.now(), start);
    });
}

#[test]
fn missed_calls_are_skipped_on_the_original_grid() {
    every_way(|way| {
        let (io_loop, clock) = on_clock(way);
        let diary = Diary::new(&clock);
        let (slow, log) = (clock.clone(), diary.clone());
        let first = Cell::new(true);
        let periodic = PeriodicCallback::new(&io_loop, 10 * MINUTE, move || {
            log.note("call");
            if first.replace(false) {
                slow.advance(25 * MINUTE);
            }
        });
        let periodic = periodic.unwrap();
        periodic.start();
        let end = sleep(&io_loop, 55 * MINUTE);
        way.run(&io_loop, end).unwrap();
        let calls: Vec<_> = diary.take().into_iter().map(|(_, at)| at / 60).collect();
        assert_eq!(calls, [10, 40, 50].map(Duration::from_secs));
    });
}

/// An embedded loop makes each jump known through its descriptor.
#[test]
fn an_embedded_loops_descriptor_is_readable_while_there_is_a_deadline_to_jump_to() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let clock = ManualClock::new();
    let builder = IOLoop::builder().clock(&clock).backend(BackendKind::Bare);
    let io_loop = builder.build().unwrap();
    let diary = Diary::new(&clock);
    let descriptor = io_loop.descriptor().unwrap();
    let is_readable = || {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now)).unwrap() > 0
    };
    for hours in 1..=3 {
        io_loop.call_later(hours * HOUR, diary.noting("hour"));
    }
    let mut turns = 0;
    while io_loop.metrics().timers > 0 {
        assert!(is_readable(), "nobody would turn it");
        io_loop.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        assert!(turns < 20, "it does not get on");
    }
    assert_eq!(diary.take(), [("hour", HOUR), ("hour", 2 * HOUR), ("hour", 3 * HOUR)]);
    while io_loop.turn(Some(Duration::ZERO)).unwrap().work_left {}
    assert!(!is_readable(), "it would spin");
}

#[test]
fn several_clocks_do_not_know_of_each_other() {
    let (one, other) = (ManualClock::new(), ManualClock::new());
    let io_loop = IOLoop::builder().clock(&one).backend(BackendKind::Bare).build().unwrap();
    let before = other.now();
    io_loop.run_sync(sleep(&io_loop, HOUR)).unwrap().unwrap();
    assert_eq!(other.now(), before);
    other.advance(HOUR);
    assert_eq!(other.now() - before, HOUR);
    other.advance(Duration::MAX);
    other.advance(Duration::MAX);
}

#[cfg(feature = "async-io")]
#[test]
fn an_executor_that_polled_inside_wake_deadlocked_with_the_clock() {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    type Run = Pin<Box<dyn Future<Output = Result<(), ioloop::RunError>>>>;

    thread_local! {
        static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
    }

    struct OnTheSpot;

    impl Wake for OnTheSpot {
        fn wake(self: Arc<Self>) {
            poll();
        }
    }

    fn poll() {
        let Some(mut run) = RUN.take() else { return };
        let waker = Waker::from(Arc::new(OnTheSpot));
        if run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            RUN.set(Some(run));
        }
    }

    let clock = ManualClock::new();
    clock.set_auto_advance(false);
    let builder = IOLoop::builder().clock(&clock).backend(BackendKind::AsyncIo);
    let io_loop = builder.attach().unwrap();
    let (time, start) = (clock.clone(), clock.now());
    io_loop.call_later(SECOND, move || {
        time.advance(MINUTE);
        IOLoop::current().unwrap().stop();
    });
    RUN.set(Some(Box::pin(io_loop.run())));
    poll();
    // Polls the run, which fires the timer, which moves the clock.
    clock.advance(SECOND);
    assert_eq!(clock.now() - start, SECOND + MINUTE);
    assert!(RUN.take().is_none(), "it has ended");
}
