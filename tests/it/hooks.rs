//! Hooks around the sleep of a loop, and idle callbacks, on every backend.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use ioloop::backends::{Backend, BackendKind, Descriptor, Drive, Registration};
use ioloop::hooks::BeforeSleep;
use ioloop::observe::{Origin, Report};
use ioloop::{IOLoop, Reactor, RunError, sleep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use testkit::ways::{Way, every_way};

const MS: Duration = Duration::from_millis(1);

fn stop() {
    IOLoop::current().unwrap().stop();
}

type Log = Rc<RefCell<Vec<&'static str>>>;

fn noting(log: &Log, what: &'static str) -> impl FnMut() + 'static {
    let log = Rc::clone(log);
    move || log.borrow_mut().push(what)
}

fn add_both(io_loop: &IOLoop, log: &Log) {
    let mut note = noting(log, "before");
    io_loop.before_sleep(move || {
        note();
        BeforeSleep::Sleep
    });
    io_loop.after_wake(noting(log, "after"));
}

#[test]
fn hooks_come_in_pairs_around_each_sleep() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let log = Log::default();
        add_both(&io_loop, &log);
        let (mut note, timer) = (noting(&log, "callback"), Rc::clone(&log));
        io_loop.call_soon(move || {
            note();
            // Set in a turn that has polled already: however late it is, another poll comes before
            // it.
            IOLoop::current().unwrap().call_later(2 * MS, move || {
                timer.borrow_mut().push("timer");
                stop();
            });
        });
        way.until_stopped(&io_loop);
        let log = log.take();
        assert_eq!(*log.last().unwrap(), "timer");
        let callback = log.iter().position(|what| *what == "callback").unwrap();
        let (busy, asleep) = (&log[..callback], &log[callback + 1..log.len() - 1]);
        assert!(asleep.len() >= 2, "{log:?}");
        for around in [busy, asleep] {
            assert!(around.chunks(2).all(|pair| pair == ["before", "after"]), "{log:?}");
        }
    });
}

#[test]
fn a_hook_keeps_the_loop_awake_as_long_as_it_wants() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let left = Rc::new(Cell::new(1000));
        let count = Rc::clone(&left);
        io_loop.before_sleep(move || {
            if count.get() == 0 {
                stop();
                return BeforeSleep::Sleep;
            }
            count.set(count.get() - 1);
            BeforeSleep::StayAwake
        });
        let balance = Rc::new(Cell::new(0));
        let (up, down) = (Rc::clone(&balance), Rc::clone(&balance));
        io_loop.before_sleep(move || {
            up.set(up.get() + 1);
            BeforeSleep::Sleep
        });
        io_loop.after_wake(move || down.set(down.get() - 1));
        // Nothing would wake it.
        way.until_stopped(&io_loop);
        assert_eq!(left.get(), 0);
        assert_eq!(balance.get(), 0, "{}: before and after do not alternate", way.name);
    });
}

#[test]
fn what_a_hook_queues_runs_before_the_sleep() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let ran = Rc::new(Cell::new(false));
        let (first, set) = (Cell::new(true), Rc::clone(&ran));
        io_loop.before_sleep(move || {
            if first.replace(false) {
                let set = Rc::clone(&set);
                IOLoop::current().unwrap().call_soon(move || set.set(true));
            }
            BeforeSleep::Sleep
        });
        let (second, seen) = (Cell::new(0), Rc::clone(&ran));
        io_loop.before_sleep(move || {
            second.set(second.get() + 1);
            if second.get() == 2 {
                assert!(seen.get(), "it slept in between");
                // A timer that is due, and one that is not yet.
                let io_loop = IOLoop::current().unwrap();
                io_loop.call_later(MS, stop);
                io_loop.call_later(Duration::ZERO, || ());
            }
            BeforeSleep::Sleep
        });
        way.until_stopped(&io_loop);
        assert!(ran.get());
    });
}

#[test]
fn a_stop_in_a_hook_ends_the_run() {
    every_way(|way| {
        let io_loop = way.io_loop();
        io_loop.before_sleep(|| {
            stop();
            BeforeSleep::Sleep
        });
        way.until_stopped(&io_loop);
    });
}

#[test]
fn hooks_come_and_go_inside_hooks() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let log = Log::default();
        let slot = Rc::new(RefCell::new(Vec::new()));
        let (add, all) = (Rc::clone(&log), Rc::clone(&slot));
        let first = io_loop.after_wake(move || {
            add.borrow_mut().push("first");
            // Itself, and the next one.
            all.borrow().iter().for_each(|hook: &ioloop::hooks::Hook| assert!(hook.remove()));
            IOLoop::current().unwrap().after_wake(noting(&add, "added")).remove_on_drop().keep();
        });
        let second = io_loop.after_wake(noting(&log, "removed in time"));
        let third = io_loop.after_wake(noting(&log, "third"));
        slot.borrow_mut().extend([first, second]);
        // On a busy machine the time may be over before the loop gets to sleep.
        while log.borrow().is_empty() {
            way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
        }
        assert_eq!(log.take()[..2], ["first", "third"]);
        log.borrow_mut().clear();
        way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
        let seen = log.take();
        assert!(seen.chunks(2).all(|pair| pair == ["third", "added"]), "{seen:?}");
        assert!(!slot.borrow()[0].remove());
        drop(third.remove_on_drop());
        way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
        assert!(log.take().iter().all(|what| *what == "added"));
        io_loop.close().unwrap();
        assert!(!io_loop.before_sleep(|| BeforeSleep::StayAwake).remove(), "it is closed");
    });
}

#[test]
fn a_hook_that_panics_is_reported_and_removed_and_the_others_stay() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let reports = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&reports);
        io_loop
            .set_exception_handler(move |exception| log.borrow_mut().push(exception.to_string()));
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        io_loop.before_sleep(|| panic!("before"));
        io_loop.after_wake(|| panic!("after"));
        io_loop.after_wake(move || count.set(count.get() + 1));
        let idle = io_loop.on_idle(|| panic!("idle"));
        // On a busy machine the time may be over before the loop gets to sleep, or has nothing else
        // to do.
        while calls.get() < 2 || reports.borrow().len() < 3 {
            way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
        }
        assert!(!idle.remove());
        let mut reports = reports.take();
        reports.sort();
        let expected = ["after", "before", "idle"]
            .map(|name| format!("a hook, which was removed, panicked: {name}"));
        assert_eq!(reports, expected);
    });
}

#[test]
fn idle_callbacks_give_way_to_everything_else() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let idle = io_loop.on_idle(move || count.set(count.get() + 1));
        // A busy turn has no room for it.
        fn chain(left: u32, calls: Rc<Cell<u32>>, during: Rc<Cell<u32>>) {
            match left {
                0 => during.set(calls.get()),
                _ => {
                    let io_loop = IOLoop::current().unwrap();
                    io_loop.call_soon(move || chain(left - 1, calls, during));
                }
            }
        }
        let during = Rc::new(Cell::new(u32::MAX));
        let (counted, noted) = (Rc::clone(&calls), Rc::clone(&during));
        io_loop.call_soon(move || chain(100, counted, noted));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let seen = Rc::new(Cell::new(0));
        let reads = Rc::clone(&seen);
        io_loop
            .add_reader(theirs, move |mut stream| {
                assert_eq!(stream.read(&mut [0]).unwrap(), 1);
                reads.set(reads.get() + 1);
            })
            .unwrap();
        io_loop.call_later(MS, move || {
            ours.write_all(b"!").unwrap();
            std::mem::forget(ours);
        });
        way.run(&io_loop, async {
            // On a busy machine the time may be over before the loop has come to rest.
            while calls.get() == 0 || seen.get() == 0 || during.get() == u32::MAX {
                sleep(&io_loop, 2 * MS).await.unwrap();
            }
        });
        assert_eq!(during.get(), 0, "{}: called in a busy turn", way.name);
        assert!(calls.get() > 0);
        assert!(idle.remove());
        // And the loop sleeps again.
        let polls = io_loop.metrics().polls;
        way.run(&io_loop, sleep(&io_loop, 3 * MS)).unwrap();
        assert!(io_loop.metrics().polls - polls < 12, "{}: it spins", way.name);
    });
}

#[test]
fn an_idle_callback_does_not_starve_the_host() {
    every_way(|way| {
        if !way.is_attached() {
            return;
        }
        let io_loop = way.io_loop();
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        io_loop.on_idle(move || count.set(count.get() + 1));
        let mut spells = Vec::new();
        way.block_on(async {
            let mut run = Box::pin(io_loop.run());
            for _ in 0..20 {
                let before = calls.get();
                assert!(futures_lite::future::poll_once(&mut run).await.is_none());
                spells.push(calls.get() - before);
            }
        });
        assert!(spells.iter().all(|calls| (1..=61).contains(calls)), "{}: {spells:?}", way.name);
    });
}

/// An embedded loop's foreign loop sleeps after a turn, and has to be told of what the hooks want.
#[test]
fn an_embedded_loop_calls_the_hooks_as_its_turn_ends() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let descriptor = io_loop.descriptor().unwrap();
    let is_readable = || {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now)).unwrap() > 0
    };
    let log = Log::default();
    add_both(&io_loop, &log);
    let wants = Rc::new(Cell::new(true));
    let wanted = Rc::clone(&wants);
    io_loop.before_sleep(move || match wanted.get() {
        true => BeforeSleep::StayAwake,
        false => BeforeSleep::Sleep,
    });
    let turn = || io_loop.turn(Some(Duration::ZERO)).unwrap().work_left;
    for _ in 0..2 {
        assert!(turn() && is_readable(), "it wants to stay awake");
    }
    wants.set(false);
    while turn() {}
    assert!(!is_readable());
    let seen = log.take();
    assert!(
        seen.chunks(2).all(|pair| pair[0] == "before" && pair.get(1).is_none_or(|x| *x == "after")),
        "{seen:?}"
    );
    let idle = io_loop.on_idle(|| ());
    assert!(is_readable(), "there is something to do");
    assert!(turn() && turn());
    idle.remove();
    while turn() {}
    assert!(!is_readable());
}

/// A client library in the manner of Wayland's: events are read into a queue by whoever reads, and
/// dispatched by whoever wants them; nobody may sleep while the queue holds some.
struct Display {
    stream: UnixStream,
    queue: RefCell<VecDeque<u8>>,
    prepared: Cell<bool>,
    dispatched: RefCell<Vec<u8>>,
}

impl Display {
    /// False while there are events to be dispatched.
    fn prepare_read(&self) -> bool {
        let empty = self.queue.borrow().is_empty();
        assert!(!self.prepared.replace(empty), "prepared twice");
        empty
    }

    /// Ends what was prepared by reading what has come, if anything.
    fn read_events(&self) {
        assert!(self.prepared.replace(false), "not prepared");
        self.read();
    }

    /// What a blocking request does as well: it reads events that are not its own.
    fn read(&self) {
        let mut chunk = [0; 7];
        match (&self.stream).read(&mut chunk) {
            Ok(n) => self.queue.borrow_mut().extend(&chunk[..n]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn dispatch_pending(&self) {
        while let Some(event) = { self.queue.borrow_mut().pop_front() } {
            self.dispatched.borrow_mut().push(event);
        }
    }
}

fn wayland(way: &Way) {
    const EVENTS: usize = 200;
    let io_loop = way.io_loop();
    let (mut server, stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let display = Rc::new(Display {
        stream,
        queue: RefCell::default(),
        prepared: Cell::new(false),
        dispatched: RefCell::default(),
    });
    // The descriptor wakes the loop; it is read where Wayland has it read.
    io_loop.add_reader(display.stream.try_clone().unwrap(), |_| ()).unwrap();
    let client = Rc::clone(&display);
    io_loop.before_sleep(move || {
        while !client.prepare_read() {
            client.dispatch_pending();
        }
        BeforeSleep::Sleep
    });
    let client = Rc::clone(&display);
    io_loop.after_wake(move || {
        client.read_events();
        client.dispatch_pending();
        if client.dispatched.borrow().len() == EVENTS {
            stop();
        }
    });
    // Others read now and then, and leave in the queue what they read: then no descriptor is
    // readable.
    fn request(client: Rc<Display>) {
        let io_loop = IOLoop::current().unwrap();
        io_loop.call_later(MS / 10, move || {
            client.read();
            request(client);
        });
    }
    let client = Rc::clone(&display);
    io_loop.call_soon(move || request(client));
    let writer = thread::spawn(move || {
        for event in 0..EVENTS {
            server.write_all(&[event as u8]).unwrap();
            if event % 3 == 0 {
                thread::yield_now();
            }
        }
        server
    });
    way.until_stopped(&io_loop);
    drop(writer.join().unwrap());
    let expected: Vec<u8> = (0..EVENTS).map(|event| event as u8).collect();
    assert_eq!(*display.dispatched.borrow(), expected, "{}", way.name);
}

#[test]
fn a_library_like_waylands_loses_no_event() {
    every_way(wayland);
}

/// A hook that lets go of a lock, and one that takes it again: whether it is held.
fn add_lock(io_loop: &IOLoop) -> Rc<Cell<bool>> {
    let held = Rc::new(Cell::new(true));
    let (before, after) = (Rc::clone(&held), Rc::clone(&held));
    io_loop.before_sleep(move || {
        before.set(false);
        BeforeSleep::Sleep
    });
    io_loop.after_wake(move || after.set(true));
    held
}

/// A host that gives up: each question after so many is answered by an error.
struct Fails(Rc<Cell<u32>>);

impl Backend for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn register(&self, _: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Fails(Rc::clone(&self.0))))
    }

    fn block_on(&self, mut drive: Drive<'_>) -> Result<(), RunError> {
        futures_lite::future::block_on(&mut drive);
        Ok(())
    }
}

impl Registration for Fails {
    fn poll_ready(&mut self, _: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
        match self.0.get().checked_sub(1) {
            None => Poll::Ready(Err(io::Error::other("the host has gone"))),
            Some(left) => {
                self.0.set(left);
                Poll::Pending
            }
        }
    }
}

/// An interpreter's lock stayed let go, and the caller went on without it.
// B299
#[test]
fn a_run_that_failed_on_its_way_to_sleep_left_the_hook_after_it_out() {
    for answers in 0..4 {
        let answered = Rc::new(Cell::new(answers));
        let host = || Fails(Rc::clone(&answered));
        let attached = IOLoop::builder().host(host()).attach().unwrap();
        let held = add_lock(&attached);
        let mut run = Box::pin(attached.run());
        let polled = futures_lite::future::block_on(futures_lite::future::poll_once(&mut run));
        // It fails, or falls asleep.
        assert_eq!(held.get(), polled.is_some(), "{answers} answers, {polled:?}");
        drop(run);
        assert!(held.get(), "{answers} answers");
        let own = IOLoop::builder().host(host()).build().unwrap();
        let held = add_lock(&own);
        answered.set(answers);
        own.call_soon(stop);
        let _ = own.start();
        assert!(held.get(), "{answers} answers");
    }
}

/// What is added to the loop by a hook around a sleep, before it sleeps, must not sleep with it.
// B299
#[test]
fn a_hook_around_a_sleep_queued_a_callback_and_the_loop_slept_on_it() {
    every_way(|way| {
        let io_loop = way.io_loop();
        for what in ["callback", "timer", "stop", "post"] {
            let handle = io_loop.handle();
            let hook = io_loop.around_sleep(move |sleep| {
                let io_loop = IOLoop::current().unwrap();
                match what {
                    "callback" => drop(io_loop.call_soon(stop)),
                    "timer" => drop(io_loop.call_later(Duration::ZERO, stop)),
                    "stop" => io_loop.stop(),
                    _ => handle.stop().unwrap(),
                }
                sleep();
            });
            let Ok(hook) = hook else { return };
            // Nothing else would wake it.
            way.until_stopped(&io_loop);
            hook.remove();
        }
    });
}

// B299
#[test]
fn a_hook_around_a_sleep_that_did_not_sleep_kept_the_loop_from_seeing_its_descriptors() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let Ok(_hook) = io_loop.around_sleep(move |_| count.set(count.get() + 1)) else { return };
        let (stream, mut peer) = UnixStream::pair().unwrap();
        io_loop.add_reader(stream, |_| stop()).unwrap();
        // The loop has begun to give up its sleeps by the time that the byte comes.
        let (begun, begins) = std::sync::mpsc::channel();
        io_loop.call_soon(move || begun.send(()).unwrap());
        let sender = thread::spawn(move || {
            begins.recv().unwrap();
            peer.write_all(b"x").unwrap();
            peer
        });
        way.until_stopped(&io_loop);
        sender.join().unwrap();
        let polls = io_loop.metrics().polls;
        assert!(calls.get() <= polls, "{} calls, {polls} polls", calls.get());
    });
}

// B299
#[test]
fn hooks_around_a_sleep_nest_in_the_order_added_and_one_that_panics_is_removed() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let reports = Rc::new(RefCell::new(Vec::new()));
        let report = Rc::clone(&reports);
        io_loop.set_exception_handler(move |exception| {
            report.borrow_mut().push(exception.to_string())
        });
        let log = Log::default();
        let named = |name: [&'static str; 2], panics: bool| {
            let log = Rc::clone(&log);
            move |sleep: &mut dyn FnMut()| {
                log.borrow_mut().push(name[0]);
                sleep();
                assert!(!panics, "{}", name[0]);
                // A second one is none.
                sleep();
                log.borrow_mut().push(name[1]);
            }
        };
        let Ok(_outer) = io_loop.around_sleep(named(["outer", "/outer"], false)) else { return };
        io_loop.around_sleep(named(["panics", ""], true)).unwrap();
        io_loop.around_sleep(named(["inner", "/inner"], false)).unwrap();
        while log.borrow().len() < 8 {
            way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
        }
        let first = ["outer", "panics", "inner", "/inner", "/outer"];
        let next = ["outer", "inner", "/inner", "/outer"];
        let log = log.take();
        assert_eq!(log[..5], first);
        assert!(log[5..].chunks(4).all(|chunk| chunk == next), "{log:?}");
        assert_eq!(reports.take(), ["a hook, which was removed, panicked: panics"]);
    });
}

// B82
#[test]
fn a_hook_around_a_sleep_was_blamed_for_the_sleep() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let Ok(_outer) = io_loop.around_sleep(|sleep| sleep()) else { return };
        io_loop.around_sleep(|sleep| sleep()).unwrap();
        let blamed = Rc::new(Cell::new(Duration::ZERO));
        let total = Rc::clone(&blamed);
        io_loop.set_report_handler(move |report| {
            if let Report::Slow { origin: Origin::Hook, duration, .. } = report {
                total.set(total.get() + *duration);
            }
        });
        io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
        let begun = Instant::now();
        way.run(&io_loop, sleep(&io_loop, 20 * MS)).unwrap();
        let took = begun.elapsed();
        // Both slept through most of the run: blamed for it, together they would have taken longer.
        assert!(!blamed.get().is_zero() && blamed.get() < took, "{blamed:?} of {took:?}");
    });
}

// B266
#[cfg(any(feature = "async-io", feature = "tokio", feature = "smol"))]
#[test]
fn a_hook_that_kept_the_loop_awake_kept_it_from_its_host() {
    every_way(|way| {
        if !way.is_attached() {
            return;
        }
        let io_loop = way.io_loop();
        io_loop.before_sleep(|| BeforeSleep::StayAwake);
        let polls = way.block_on(async {
            let mut run = std::pin::pin!(io_loop.run());
            let mut polls = 0_u64;
            std::future::poll_fn(|cx| {
                assert!(run.as_mut().poll(cx).is_pending());
                polls += 1;
                if polls == 5 { Poll::Ready(polls) } else { Poll::Pending }
            })
            .await
        });
        let turns = io_loop.metrics().turns;
        assert!(turns <= 2 * 61 * polls, "{}: {turns} turns", way.name);
    });
}

/// The clone and the drop of a waker are code of the host's, and may queue something.
// B268
#[cfg(any(feature = "async-io", feature = "tokio", feature = "smol"))]
#[test]
fn what_the_drop_of_a_waker_queued_was_slept_on() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    thread_local! {
        static ON_DROP: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    struct Queues(bool, AtomicU32);

    impl Wake for Queues {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Drop for Queues {
        fn drop(&mut self) {
            if let Some(queue) = self.0.then(|| ON_DROP.take()).flatten() {
                queue();
            }
        }
    }

    type Queue = fn(&IOLoop);
    let ways: [(&str, Queue); 5] = [
        ("call_soon", |io_loop| _ = io_loop.call_soon(stop)),
        ("a post", |io_loop| io_loop.handle().add_callback(stop).unwrap()),
        ("a timer", |io_loop| _ = io_loop.call_later(Duration::ZERO, stop)),
        ("a task", |io_loop| io_loop.spawn(async { stop() }).detach()),
        ("stop", |io_loop| io_loop.stop()),
    ];
    every_way(|way| {
        if !way.is_attached() {
            return;
        }
        for (what, queue) in ways {
            let io_loop = way.io_loop();
            let weak = io_loop.downgrade();
            way.block_on(async {
                let mut run = std::pin::pin!(io_loop.run());
                let first = Waker::from(Arc::new(Queues(true, AtomicU32::new(0))));
                assert!(run.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
                drop(first);
                ON_DROP.set(Some(Box::new(move || queue(&weak.upgrade().unwrap()))));
                let woken = Arc::new(Queues(false, AtomicU32::new(0)));
                let second = Waker::from(Arc::clone(&woken));
                let mut polled = run.as_mut().poll(&mut Context::from_waker(&second));
                // It may ask for another poll, but not sleep.
                while polled.is_pending() && woken.1.swap(0, Ordering::Relaxed) > 0 {
                    polled = run.as_mut().poll(&mut Context::from_waker(&second));
                }
                assert!(ON_DROP.take().is_none(), "{}: the first waker is kept", way.name);
                assert!(polled.is_ready(), "{}: {what} was slept on", way.name);
            });
        }
    });
}
