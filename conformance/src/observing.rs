//! What a loop tells: what was slow, what spins, where things come from.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Log, both, current, exceptions, one_turn, readable_stream, stop, yield_now};
use ioloop::observe::{Origin, Report, What};
use ioloop::{IOLoop, Reactor, Task};

const MS: Duration = Duration::from_millis(1);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What a loop reports from now on.
fn reports(io_loop: &IOLoop) -> Log<Report> {
    let log = Log::new();
    let reported = log.clone();
    io_loop.set_report_handler(move |report| reported.push(report.clone()));
    log
}

fn slow(report: &Report) -> (Origin, u32) {
    match report {
        Report::Slow { origin, location, duration, .. } => {
            assert!(*duration >= 2 * MS, "{report}");
            let location = location.expect("its location is known");
            assert_eq!(location.file(), file!());
            (*origin, location.line())
        }
        other => panic!("{other}"),
    }
}

pub(super) fn what_is_slow_is_reported_with_its_duration_and_location(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    let dawdle = || thread::sleep(2 * MS);
    // Off, as at first.
    io_loop.call_soon(dawdle);
    one_turn(rig, &io_loop);
    assert_eq!(reported.take(), []);

    io_loop.set_slow_callback_threshold(Some(2 * MS));
    let (stream, _peer) = readable_stream();
    let first = line!() + 1;
    io_loop.call_soon(dawdle);
    io_loop.call_later(Duration::ZERO, dawdle);
    io_loop.spawn(async move { dawdle() });
    let watch = io_loop.add_reader(stream, move |_| dawdle()).unwrap();
    io_loop.handle().add_callback(dawdle).unwrap();
    one_turn(rig, &io_loop);
    let mut seen: Vec<_> = reported.take().iter().map(slow).collect();
    seen.sort_by_key(|(_, line)| *line);
    let expected =
        [Origin::Callback, Origin::Timer, Origin::Task, Origin::Reader, Origin::Callback];
    let expected: Vec<_> = expected.into_iter().zip(first..).collect();
    assert_eq!(seen, expected);
    watch.remove();

    // What is not slow is not reported, and a report's handler may panic.
    io_loop.set_slow_callback_threshold(Some(HOUR));
    io_loop.call_soon(dawdle);
    one_turn(rig, &io_loop);
    assert_eq!(reported.take(), []);
    io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
    io_loop.set_report_handler(|_| panic!("the handler fails"));
    let log = Log::new();
    let ran = log.clone();
    io_loop.call_soon(|| ());
    io_loop.call_soon(move || ran.push(()));
    one_turn(rig, &io_loop);
    assert_eq!(log.len(), 1);
}

pub(super) fn a_slow_poll_of_the_main_future_and_a_slow_hook_are_reported(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    io_loop.set_slow_callback_threshold(Some(2 * MS));
    let first = line!() + 1;
    rig.run_until(&io_loop, async { thread::sleep(2 * MS) }).unwrap();
    assert_eq!(reported.take().iter().map(slow).collect::<Vec<_>>(), [(Origin::Main, first)]);
    let slept = ioloop::sleep(&io_loop, MS);
    let added = line!() + 1;
    let hook = io_loop.before_sleep(|| {
        thread::sleep(2 * MS);
        ioloop::hooks::BeforeSleep::Sleep
    });
    rig.run_until(&io_loop, slept).unwrap().unwrap();
    let seen: Vec<_> = reported.take().iter().map(slow).collect();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|report| *report == (Origin::Hook, added)), "{seen:?}");
    assert!(hook.remove());
    // The panic of the main future goes to its caller, and is not reported.
    let exceptions = exceptions(&io_loop);
    let resumed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.run_until(&io_loop, async { panic!("for the caller") })
    }));
    assert!(resumed.is_err());
    assert_eq!(exceptions.take(), []);
}

pub(super) fn a_watch_that_spins_is_reported_and_one_that_gets_on_is_not(rig: &Rig) {
    const LIMIT: u32 = 50;
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    io_loop.set_spin_limit(Some(LIMIT));
    // An eventfd that is never read, as libcurl 8.20 announced one and never took it back.
    #[cfg(target_os = "linux")]
    let event = rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    #[cfg(not(target_os = "linux"))]
    let (event, _peer) = readable_stream();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&event);
    let log = Log::new();
    let calls = log.clone();
    let watch = io_loop.add_reader(event, move |_| {
        calls.push(());
        if calls.len() == 2 * LIMIT as usize + 1 {
            stop();
        }
    });
    let line = line!() - 6;
    rig.run(&io_loop).unwrap();
    let reports = reported.take();
    assert_eq!(reports.len(), 2, "{reports:?}");
    for report in &reports {
        let Report::Spinning { origin, fd: number, location, turns, .. } = report else {
            panic!("{report}")
        };
        assert_eq!((*origin, *number, *turns), (Origin::Reader, fd, LIMIT));
        assert_eq!(
            location.map(|location| (location.file(), location.line())),
            Some((file!(), line))
        );
        assert!(report.to_string().contains(&format!("descriptor {fd}")));
    }
    assert!(watch.unwrap().remove());

    // One that reads a byte a turn gets on, however long it takes.
    let (stream, peer) = super::wires::pair();
    for _ in 0..3 * LIMIT {
        super::wires::send(&peer);
    }
    let left = std::cell::Cell::new(3 * LIMIT);
    let watch = io_loop.add_reader(stream, move |stream| {
        super::wires::receive(stream);
        left.set(left.get() - 1);
        if left.get() == 0 {
            stop();
        }
    });
    rig.run(&io_loop).unwrap();
    assert_eq!(reported.take(), []);
    watch.unwrap().remove();

    // Nor does an eventfd spin that is read each time, even if there is something in it in each
    // turn.
    #[cfg(target_os = "linux")]
    {
        let event = rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let left = std::cell::Cell::new(3 * LIMIT);
        let watch = io_loop.add_reader(std::rc::Rc::new(event), move |event| {
            rustix::io::read(event, &mut [0; 8]).unwrap();
            left.set(left.get() - 1);
            if left.get() == 0 {
                return stop();
            }
            let event = std::rc::Rc::clone(event);
            let write = move || assert_eq!(rustix::io::write(&event, &1_u64.to_ne_bytes()), Ok(8));
            IOLoop::current().unwrap().call_soon(write);
        });
        rig.run(&io_loop).unwrap();
        assert_eq!(reported.take(), []);
        watch.unwrap().remove();
    }
}

pub(super) fn a_panic_is_reported_with_its_place_and_the_name_of_the_loop(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let reported = log.clone();
    io_loop.set_exception_handler(move |exception| {
        let location = exception.location.map(|location| (location.file(), location.line()));
        reported.push((exception.origin, location, exception.loop_name.to_string()));
    });
    let (stream, _peer) = readable_stream();
    let first = line!() + 1;
    io_loop.call_soon(|| panic!());
    io_loop.call_later(Duration::ZERO, || panic!());
    io_loop.spawn(async { panic!() }).detach();
    io_loop.add_reader(stream, |_| panic!()).unwrap();
    io_loop.handle().add_callback(|| panic!()).unwrap();
    one_turn(rig, &io_loop);
    let mut seen = log.take();
    seen.sort_by_key(|(_, location, _)| *location);
    let origins = [Origin::Callback, Origin::Timer, Origin::Task, Origin::Reader, Origin::Callback];
    let name = io_loop.name().to_owned();
    assert!(!name.is_empty());
    let expected: Vec<_> = origins
        .into_iter()
        .zip(first..)
        .map(|(origin, line)| (origin, Some((file!(), line)), name.clone()))
        .collect();
    assert_eq!(seen, expected);
}

pub(super) fn a_loop_that_is_dropped_with_work_and_was_never_driven_says_so_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    io_loop.handle().add_callback(|| ()).unwrap();
    io_loop.call_later(HOUR, || ());
    io_loop.spawn(async {});
    drop(io_loop);
    let seen = reported.take();
    let [report] = &seen[..] else { panic!("{seen:?}") };
    let Report::NeverDriven { dropped: true, pending: 3, location: Some(location), .. } = report
    else {
        panic!("{report}");
    };
    assert_eq!(location.file(), file!());
    let text = "the loop was dropped, and nobody had ever driven it: 3 things to do, from ";
    assert!(report.to_string().starts_with(text), "{report}");

    // With nothing to do, driven before, or closed on purpose.
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    assert!(io_loop.call_later(HOUR, || ()).cancel());
    drop(io_loop);
    let io_loop = rig.io_loop();
    let driven = reports(&io_loop);
    one_turn(rig, &io_loop);
    io_loop.call_later(HOUR, || ());
    drop(io_loop);
    let io_loop = rig.io_loop();
    let closed = reports(&io_loop);
    io_loop.call_later(HOUR, || ());
    io_loop.close().unwrap();
    drop(io_loop);
    assert_eq!((reported.take(), driven.take(), closed.take()), (vec![], vec![], vec![]));
}

pub(super) fn a_task_that_is_awaited_on_a_loop_that_nobody_drives_says_so_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    let mut cx = Context::from_waker(Waker::noop());
    let mut task = io_loop.spawn(async { 7 });
    let mut polls = || _ = Pin::new(&mut task).poll(&mut cx);
    polls();
    assert_eq!(reported.take(), [], "it may be driven beside this");
    polls();
    let seen = reported.take();
    let [Report::NeverDriven { dropped: false, pending: 1, .. }] = seen[..] else {
        panic!("{seen:?}");
    };
    polls();
    // Late, but it is driven.
    assert_eq!(rig.run_until(&io_loop, task).unwrap().unwrap(), 7);
    drop(io_loop);
    assert_eq!(reported.take(), []);

    // Beside a run it is awaited first; and where it is awaited elsewhere, nobody knows.
    let io_loop = rig.io_loop();
    let reported = reports(&io_loop);
    let mut task = io_loop.spawn(async { stop() });
    if rig.is_attached() {
        let (awaited, ran) = rig.block_on(both(&mut task, io_loop.run()));
        awaited.unwrap();
        ran.unwrap();
    } else {
        let task = thread::scope(|scope| {
            let far = scope.spawn(|| {
                let mut cx = Context::from_waker(Waker::noop());
                assert!((0..4).all(|_| Pin::new(&mut task).poll(&mut cx).is_pending()));
            });
            far.join()
        });
        task.unwrap();
        rig.run(&io_loop).unwrap();
    }
    drop(io_loop);
    assert_eq!(reported.take(), []);
}

pub(super) fn the_error_of_a_logged_task_is_reported_as_its_panic_is(rig: &Rig) {
    /// As much as `anyhow` and its like.
    struct Chain;

    impl std::fmt::Display for Chain {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(if f.alternate() { "outer: inner" } else { "outer" })
        }
    }

    let io_loop = rig.io_loop();
    let log = Log::new();
    let reported = log.clone();
    io_loop.set_exception_handler(move |exception| {
        let location = exception.location.map(|location| (location.file(), location.line()));
        reported.push((exception.is_panic(), exception.to_string(), location));
    });
    let first = line!() + 1;
    io_loop.spawn_logged(async { Err(Chain) });
    io_loop.spawn_logged(async { Ok::<(), String>(()) });
    io_loop.spawn_logged(poll_fn(|_| -> Poll<Result<(), String>> { panic!("oh no") }));
    io_loop.spawn(async { Err(Chain) as Result<(), Chain> });
    // A task like any other.
    let cancelled = io_loop.spawn_logged(async { Err("never polled") });
    cancelled.cancel();
    one_turn(rig, &io_loop);
    let expected = [
        (false, String::from("a task failed: outer: inner"), Some((file!(), first))),
        (true, String::from("a task panicked: oh no"), Some((file!(), first + 2))),
    ];
    assert_eq!(log.take(), expected);
}

/// Whoever holds a task may take its panic. Once it is dropped nobody can.
pub(super) fn a_panic_that_nobody_takes_is_reported_when_its_task_is_dropped(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let reported = log.clone();
    io_loop.set_exception_handler(move |exception| {
        let line = exception.location.map(|location| location.line());
        reported.push((exception.origin, exception.to_string(), line));
    });
    let handle = io_loop.handle();
    let first = line!() + 1;
    let spawned = io_loop.spawn(async { panic!("held") });
    let called = handle.call(|| panic!("held"));
    let followed = io_loop.add_future(async { panic!("held") }, |()| ());
    let logged = io_loop.spawn_logged(poll_fn(|_| -> Poll<Result<(), String>> { panic!("held") }));
    let guarded = io_loop.spawn(async { panic!("held") }).cancel_on_drop();
    let job = io_loop.run_in_executor(|| panic!("held"));
    // Its panic arrives whenever the job's thread gets to it.
    let mut tasks: Vec<Task<()>> = vec![spawned, called, followed, logged, job];
    let seen: Vec<_> = tasks.iter().map(Task::is_finished).collect();
    assert_eq!(seen[..4], [false; 4]);
    let job = tasks.pop().expect("five tasks");
    let is_left = || !job.is_finished();
    while is_left() {
        one_turn(rig, &io_loop);
        thread::yield_now();
    }
    one_turn(rig, &io_loop);
    assert!(tasks.iter().all(Task::is_finished) && guarded.is_finished());
    assert_eq!(log.take(), [], "somebody may take them");
    let text = || String::from("a task panicked: held");
    let lost = |lines: &[u32]| -> Vec<_> {
        lines.iter().map(|n| (Origin::Task, text(), Some(first + n))).collect()
    };
    // At once in a callback of the loop, and elsewhere on its thread.
    let in_callback = tasks.remove(0);
    io_loop.call_soon(move || drop(in_callback));
    one_turn(rig, &io_loop);
    drop((tasks.remove(0), guarded, job));
    assert_eq!(log.take(), lost(&[0, 1, 4, 5]));
    // From another thread in the next turn.
    thread::spawn(move || drop(tasks)).join().expect("dropping tasks");
    assert_eq!(log.take(), []);
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), lost(&[2, 3]));

    // One that was taken is its taker's; a loop that is closed has dropped its handler.
    let taken = io_loop.spawn(async { panic!("taken") });
    let error = Result::<(), _>::unwrap_err(rig.run_until(&io_loop, taken).expect("running"));
    drop(error);
    let late = io_loop.spawn(async { panic!("held") });
    one_turn(rig, &io_loop);
    io_loop.close().expect("closing");
    drop::<Task<()>>(late);
    assert_eq!(log.take(), []);
}

pub(super) fn the_exception_handler_finds_the_loop_current_wherever_the_panic_was(rig: &Rig) {
    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor");
        }
    }

    let io_loop = rig.io_loop();
    let log = Log::new();
    let (called, weak) = (log.clone(), io_loop.downgrade());
    io_loop.set_exception_handler(move |exception| {
        let found = IOLoop::current();
        called.push((exception.origin, found.is_some() && found == weak.upgrade()));
    });
    let holding = || {
        let bomb = Bomb;
        move || _ = &bomb
    };
    let destroyed = |n: usize| assert_eq!(log.take(), vec![(Origin::Destructor, true); n]);
    // In a run, and outside of one.
    io_loop.call_soon(holding());
    one_turn(rig, &io_loop);
    assert_eq!(log.take(), [(Origin::Callback, true)]);
    assert!(io_loop.call_soon(holding()).cancel());
    assert!(io_loop.call_later(HOUR, holding()).cancel());
    destroyed(2);
    let held = holding();
    let hook = io_loop.before_sleep(move || {
        held();
        ioloop::hooks::BeforeSleep::Sleep
    });
    assert!(hook.remove());
    destroyed(1);
    let (held, (stream, _peer)) = (holding(), readable_stream());
    assert!(io_loop.add_reader(stream, move |_| held()).unwrap().remove());
    destroyed(1);
    // Of a call that was cancelled on its way.
    let call = io_loop.handle().call(holding());
    call.cancel();
    one_turn(rig, &io_loop);
    destroyed(1);
    // Inside another loop's callback it is this one that is current.
    let other = rig.io_loop();
    let timer = io_loop.call_later(HOUR, holding());
    let weak = other.downgrade();
    other.call_soon(move || {
        assert!(timer.cancel());
        assert!(IOLoop::current() == weak.upgrade(), "and then the other one again");
    });
    let failed = exceptions(&other);
    one_turn(rig, &other);
    assert_eq!(failed.take(), []);
    destroyed(1);
    // Closed, and in the one that the last clone closes.
    let held = holding();
    io_loop.call_later(HOUR, holding());
    io_loop.spawn(async move { held() });
    io_loop.close().unwrap();
    destroyed(2);
    let io_loop = rig.io_loop();
    let (called, name) = (log.clone(), io_loop.name().to_owned());
    io_loop.set_exception_handler(move |exception| {
        let found = IOLoop::current();
        let is_it = found.is_some_and(|found| found.is_closed() && found.name() == name);
        called.push((exception.origin, is_it));
    });
    io_loop.call_later(HOUR, holding());
    drop(io_loop);
    destroyed(1);
}

pub(super) fn the_debug_form_of_a_handle_says_where_it_was_made_and_whether_it_is_cancelled(
    rig: &Rig,
) {
    let io_loop = rig.io_loop();
    let (stream, _peer) = readable_stream();
    let callback = io_loop.call_soon(|| ());
    let timer = io_loop.call_later(HOUR, || ());
    let watch = io_loop.add_reader(stream, |_| ()).unwrap();
    let line = line!();
    for (text, made) in [
        (format!("{callback:?}"), line - 3),
        (format!("{timer:?}"), line - 2),
        (format!("{watch:?}"), line - 1),
    ] {
        assert!(text.contains(&format!("{}:{made}:", file!())), "{text}");
    }
    assert!(format!("{timer:?}").contains("cancelled: false"));
    assert!(timer.cancel() && callback.cancel());
    assert!(format!("{timer:?}").contains("cancelled: true"));
    assert!(format!("{callback:?}").contains("cancelled: true"));
}

pub(super) fn the_listing_names_everything_the_loop_waits_for(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = exceptions(&io_loop);
    assert_eq!(io_loop.listing().entries, []);
    assert_eq!(io_loop.listing().to_string(), "nothing");
    let (stream, _peer) = readable_stream();
    let stream = Rc::new(stream);
    let reader = io_loop.add_reader(Rc::clone(&stream), |_| ()).unwrap();
    io_loop.add_writer(Rc::clone(&stream), |_| ()).unwrap();
    reader.pause();
    io_loop.call_later(HOUR, || ());
    io_loop.before_sleep(|| ioloop::hooks::BeforeSleep::Sleep);
    let task = io_loop.spawn(async {
        loop {
            yield_now().await;
        }
    });
    io_loop.call_soon(|| {
        // From inside a callback, of which nothing is left in the queue.
        let listing = current().listing();
        assert!(listing.entries.iter().all(|entry| entry.what != What::Callback), "{listing}");
    });
    let kinds = |io_loop: &IOLoop| {
        let entries = io_loop.listing().entries;
        assert!(entries.iter().all(|entry| entry.location.unwrap().file() == file!()));
        let mut kinds: Vec<_> = entries
            .iter()
            .map(|entry| match entry.what {
                What::Reader { paused, .. } => ("reader", paused),
                What::Writer { paused, .. } => ("writer", paused),
                What::Timer { deadline, .. } => ("timer", deadline > io_loop.now() + HOUR / 2),
                What::Callback => ("callback", true),
                What::Task => ("task", true),
                What::Hook => ("hook", true),
                What::Handler { .. } => ("handler", true),
                _ => ("unknown", false),
            })
            .collect();
        kinds.sort_unstable();
        kinds
    };
    let mut expected = vec![
        ("callback", true),
        ("hook", true),
        ("reader", true),
        ("task", true),
        ("timer", true),
        ("writer", false),
    ];
    assert_eq!(kinds(&io_loop), expected);
    one_turn(rig, &io_loop);
    expected.remove(0);
    assert_eq!(kinds(&io_loop), expected);
    assert_eq!(reported.take(), []);
    drop(task);
    let text = io_loop.listing().to_string();
    assert_eq!(text.lines().count(), 5, "{text}");
}
