//! Bugs that were found and mended, each named after what went wrong.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::observe::{Origin, Report};
use ioloop::{Async, IOLoop, Interest, Lent, ManualClock, PeriodicCallback, Reactor, sleep};
use testkit::ways::every_way;

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// A payload whose destructor panics, with another such payload for so many generations.
struct Thorny(u32);

impl Drop for Thorny {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            panic_any(Thorny(left));
        }
    }
}

#[test]
fn a_payload_whose_destructor_panics_left_start_and_the_rest_of_the_timers() {
    let io_loop = bare();
    let fired = Rc::new(Cell::new(0));
    let deadline = io_loop.now();
    for generations in [1, 3, 1000] {
        let fired = Rc::clone(&fired);
        io_loop.call_at(deadline, move || panic_any(Thorny(generations)));
        io_loop.call_at(deadline, move || fired.set(fired.get() + 1));
    }
    io_loop.call_later(Duration::from_millis(1), stop);
    io_loop.start().unwrap();
    assert_eq!(fired.get(), 3);
    io_loop.close().unwrap();
}

#[test]
fn an_exception_handler_that_panics_aborted_on_a_thorny_payload() {
    let io_loop = bare();
    io_loop.set_exception_handler(|_| panic_any(Thorny(2)));
    io_loop.call_soon(|| panic_any(Thorny(2)));
    io_loop.call_soon(stop);
    io_loop.start().unwrap();
    io_loop.close().unwrap();
    assert!(io_loop.is_closed());
}

#[test]
fn an_exception_handler_that_was_set_on_a_closed_loop_was_kept() {
    let io_loop = bare();
    io_loop.close().unwrap();
    let held = Rc::new(());
    let capture = Rc::clone(&held);
    io_loop.set_exception_handler(move |_| {
        let _ = &capture;
    });
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn a_destructor_that_panics_took_the_value_of_run_sync_along() {
    struct Ready(bool);
    impl Future for Ready {
        type Output = u32;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
            if self.0 {
                panic!("in the poll");
            }
            Poll::Ready(42)
        }
    }
    impl Drop for Ready {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    let io_loop = bare();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&reports);
    io_loop.set_exception_handler(move |exception| seen.borrow_mut().push(exception.origin));
    assert_eq!(io_loop.run_sync(Ready(false)).unwrap(), 42);
    let panic = catch_unwind(AssertUnwindSafe(|| io_loop.run_sync(Ready(true)))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"in the poll"));
    assert_eq!(*reports.borrow(), [Origin::Destructor; 2]);
}

#[test]
fn slow_callbacks_kept_timers_waiting_for_sixty_turns() {
    const SLOW: Duration = Duration::from_millis(1);
    fn again(late: Rc<Cell<u32>>, deadline: Instant) {
        let began = Instant::now();
        if began >= deadline {
            late.set(late.get() + 1);
        }
        while began.elapsed() < SLOW {
            std::hint::spin_loop();
        }
        IOLoop::current().unwrap().call_soon(move || again(late, deadline));
    }
    let io_loop = bare();
    let late = Rc::new(Cell::new(0));
    let deadline = io_loop.now() + 5 * SLOW;
    io_loop.call_at(deadline, stop);
    let count = Rc::clone(&late);
    io_loop.call_soon(move || again(count, deadline));
    io_loop.start().unwrap();
    // One in the turn that polled just before the deadline, and one in the turn that fires.
    assert!(late.get() <= 2, "{} callbacks began after the deadline", late.get());
}

#[test]
fn a_waker_that_panics_kept_the_other_waiters_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    struct Counts(AtomicUsize);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let io_loop = bare();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Async::new(&io_loop, theirs).unwrap();
    let counts = Arc::new(Counts(AtomicUsize::new(0)));
    let (panics, healthy) = (Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&counts)));
    let (mut first, mut second) = (pin!(theirs.readable()), pin!(theirs.readable()));
    assert!(first.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    assert!(second.as_mut().poll(&mut Context::from_waker(&healthy)).is_pending());
    ours.write_all(b"x").unwrap();
    io_loop.stop();
    io_loop.start().unwrap();
    assert_eq!(counts.0.load(Ordering::Relaxed), 1);
}

#[test]
fn an_embedded_loop_did_not_say_that_its_set_was_made_anew() {
    let io_loop = bare();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let _dup = ours.try_clone().unwrap();
    let mut number = OwnedFd::from(ours);
    #[allow(unsafe_code)]
    // SAFETY: that the number stays the same file is not true, on purpose; the loop does nothing
    // with it but watch.
    let lent = unsafe { Lent::new(number.as_raw_fd()) };
    let watch = io_loop.add_reader(lent, |_| ()).unwrap();
    let (other, _other_peer) = UnixStream::pair().unwrap();
    rustix::io::dup3(&other, &mut number, rustix::io::DupFlags::CLOEXEC).unwrap();
    watch.remove();
    assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
    peer.write_all(b"x").unwrap();
    assert!(io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
    assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
}

#[test]
fn a_set_was_never_made_anew_while_a_closed_number_was_a_regular_files() {
    let io_loop = bare();
    let mut numbers = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (ours, peer) = UnixStream::pair().unwrap();
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let lent = unsafe { Lent::new(ours.as_raw_fd()) };
        ends.push((io_loop.add_reader(lent, |_| ()).unwrap(), ours.try_clone().unwrap(), peer));
        numbers.push(OwnedFd::from(ours));
    }
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    for number in &mut numbers {
        rustix::io::dup3(&file, number, rustix::io::DupFlags::CLOEXEC).unwrap();
    }
    let (orphan, _duplicate, peer) = &mut ends[0];
    assert!(orphan.remove());
    peer.write_all(b"x").unwrap();
    assert!(io_loop.turn(Some(Duration::ZERO)).unwrap().renewed);
    assert!(!ends[1].0.remove(), "its number was closed");
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_of_an_own_tokio_loop_could_start_another_loop() {
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build().unwrap();
    let refused = io_loop.run_sync(async {
        // A task of the runtime, not of the loop: no callback of the loop runs then.
        tokio::task::spawn_local(async { bare().start() }).await.unwrap()
    });
    assert!(matches!(refused.unwrap(), Err(ioloop::RunError::OtherLoopRunning)));
}

#[test]
fn a_stop_from_a_handle_needed_a_thread_local() {
    let io_loop = bare();
    let (handle, log) = (io_loop.handle(), Rc::new(RefCell::new(Vec::new())));
    let before = Rc::clone(&log);
    io_loop.call_soon(move || before.borrow_mut().push("posted before"));
    handle.stop().unwrap();
    io_loop.start().unwrap();
    assert_eq!(*log.borrow(), ["posted before"]);
    // From inside, too.
    let inner = handle.clone();
    io_loop.call_soon(move || inner.stop().unwrap());
    io_loop.start().unwrap();
    io_loop.close().unwrap();
    assert!(handle.stop().is_err());
}

#[test]
fn a_post_to_a_closed_loop_panicked_with_its_closures_destructor() {
    let io_loop = bare();
    let handle = io_loop.handle();
    io_loop.close().unwrap();
    let thorny = Thorny(3);
    assert!(handle.add_callback(move || drop(thorny)).is_err());
}

#[test]
fn an_embedded_loop_called_its_hooks_before_a_sleep_with_a_timer_due() {
    let io_loop = bare();
    let rounds = Rc::new(Cell::new(0));
    let count = Rc::clone(&rounds);
    io_loop.before_sleep(move || {
        count.set(count.get() + 1);
        BeforeSleep::Sleep
    });
    let deadline = io_loop.now();
    io_loop.call_at(deadline, move || {
        IOLoop::current().unwrap().call_at(deadline, || ());
    });
    assert!(io_loop.turn(Some(Duration::ZERO)).unwrap().work_left);
    assert_eq!(rounds.get(), 1, "around the poll alone: nobody sleeps while work is left");
    assert!(!io_loop.turn(Some(Duration::ZERO)).unwrap().work_left);
    assert_eq!(rounds.get(), 3, "around the poll, and before the sleep of the foreign loop");
}

#[test]
fn a_sleep_that_was_given_up_woke_whoever_had_waited() {
    struct Counts(AtomicUsize);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let io_loop = bare();
    let counts = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&counts));
    let mut nap = Box::pin(sleep(&io_loop, Duration::from_secs(60)));
    assert!(nap.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(nap);
    assert_eq!(io_loop.metrics().timers, 0);
    assert_eq!(counts.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_handler_that_was_changed_to_nothing_was_told_of_a_hang_up_all_the_same() {
    let io_loop = bare();
    let (ours, peer) = UnixStream::pair().unwrap();
    let ours = Rc::new(ours);
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let called = move |_: &Rc<UnixStream>, _| count.set(count.get() + 1);
    io_loop.add_handler(Rc::clone(&ours), Interest::READ, called).unwrap();
    drop(peer);
    // The poll of this turn finds the hang-up; then the callback comes, then the handler would.
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        io_loop.update_handler(&ours, Interest::empty()).unwrap();
    });
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(calls.get(), 0);
}

#[test]
fn a_clock_jumped_past_a_descriptor_that_a_hook_had_added() {
    let clock = ManualClock::new();
    let io_loop = IOLoop::builder().clock(&clock).backend(BackendKind::Bare).build().unwrap();
    let (start, seen) = (clock.now(), Rc::new(Cell::new(None)));
    let (time, note) = (clock.clone(), Rc::clone(&seen));
    io_loop.before_sleep(|| BeforeSleep::StayAwake);
    let mut add = Some(move || {
        let io_loop = IOLoop::current().unwrap();
        io_loop.call_later(Duration::from_secs(1), || ());
        let (writable, peer) = UnixStream::pair().unwrap();
        let ready = move |_: &UnixStream| {
            let _open = &peer;
            note.set(Some(time.now()));
            stop();
        };
        io_loop.add_writer(writable, ready).unwrap();
    });
    io_loop.after_wake(move || {
        if let Some(add) = add.take() {
            add();
        }
    });
    io_loop.start().unwrap();
    assert_eq!(seen.get(), Some(start));
    io_loop.close().unwrap();
}

#[test]
fn a_timer_still_to_fire_in_this_turn_was_no_next_deadline() {
    let io_loop = bare();
    let deadline = io_loop.now();
    let seen = Rc::new(Cell::new(None));
    let note = Rc::clone(&seen);
    io_loop.call_at(deadline, move || {
        let io_loop = IOLoop::current().unwrap();
        note.set(Some((io_loop.metrics().timers, io_loop.next_deadline())));
    });
    io_loop.call_at(deadline, stop);
    io_loop.start().unwrap();
    assert_eq!(seen.get(), Some((1, Some(deadline))));
}

/// tokio parks a thread on one token, so what wakes the loop while a callback blocks on something
/// else is lost.
#[cfg(feature = "tokio")]
#[test]
fn a_callback_with_a_nested_block_on_put_its_loop_to_sleep_for_ever() {
    use std::io::Read;
    use std::sync::mpsc;

    use tokio::runtime::{Builder, Handle};

    const BYTES: u32 = 20;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (asks, asked) = mpsc::channel::<()>();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // Sends a byte whenever it is asked to.
    let sender = std::thread::spawn(move || {
        for () in asked {
            theirs.write_all(b"x").unwrap();
        }
    });
    runtime.block_on(async {
        let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().unwrap();
        let mut left = BYTES;
        asks.send(()).unwrap();
        let reader = move |mut ours: &UnixStream| {
            assert_eq!(ours.read(&mut [0]).unwrap(), 1);
            left -= 1;
            if left == 0 {
                return stop();
            }
            // The next byte arrives while this blocks.
            asks.send(()).unwrap();
            tokio::task::block_in_place(|| {
                Handle::current().block_on(tokio::time::sleep(Duration::from_millis(2)));
            });
        };
        io_loop.add_reader(ours, reader).unwrap();
        io_loop.run().await.unwrap();
    });
    sender.join().unwrap();
}

/// Its side of the descriptor was served for room to write alone.
#[test]
fn a_writer_that_waits_for_the_peers_end_was_not_called_and_the_loop_span() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        let writer = io_loop.add_writer(ours, |_| IOLoop::current().unwrap().stop()).unwrap();
        let told = writer.set_interest(Interest::WRITE | Interest::READ_CLOSED);
        if cfg!(any(ioloop_portable, not(target_os = "linux"))) {
            // That poller cannot tell, and says so.
            return assert_eq!(told.unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        assert!(told.unwrap());
        let other_way = writer.set_interest(Interest::READ).unwrap_err();
        assert_eq!(other_way.kind(), io::ErrorKind::InvalidInput);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        way.until_stopped(&io_loop);
        assert!(writer.remove());
    });
}

#[test]
fn a_periodic_callback_that_was_dropped_in_its_own_panic_aborted_on_a_capture_that_panics_too() {
    let io_loop = bare();
    let held = Rc::new(Cell::new(None));
    let (weak, thorny) = (Rc::downgrade(&held), Thorny(1));
    let periodic = PeriodicCallback::new(&io_loop, Duration::from_millis(1), move || {
        let _captured = &thorny;
        drop(weak.upgrade().unwrap().take());
        panic_any("the callback's own");
    })
    .unwrap();
    periodic.start();
    held.set(Some(periodic));
    let reported = Rc::new(Cell::new(0));
    let count = Rc::clone(&reported);
    io_loop.set_exception_handler(move |_| {
        count.set(count.get() + 1);
        stop();
    });
    io_loop.start().unwrap();
    assert_eq!((reported.get(), io_loop.metrics().timers), (1, 0));
    io_loop.close().unwrap();
}

#[test]
fn a_crowd_of_timers_is_sorted_a_part_at_a_time_and_fires_in_order() {
    const CROWD: u64 = 30_000;
    every_way(|way| {
        let io_loop = way.io_loop();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let begin = io_loop.now() + Duration::from_millis(50);
        for n in 0..CROWD {
            let (nanos, fired) = (n * 7919 % CROWD, Rc::clone(&fired));
            io_loop.call_at(begin + Duration::from_nanos(nanos), move || {
                fired.borrow_mut().push(nanos);
                if fired.borrow().len() as u64 == CROWD {
                    stop();
                }
            });
        }
        way.until_stopped(&io_loop);
        assert_eq!(fired.take(), (0..CROWD).collect::<Vec<_>>());
    });
}

#[test]
fn a_post_and_a_timer_waited_for_a_thousand_ready_descriptors() {
    const READY: u32 = 300;
    const TURN: u32 = 64;
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (events, served) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        for _ in 0..READY {
            let (events, served) = (Rc::clone(&events), Rc::clone(&served));
            // Each has room to write, at every poll.
            let ready = move |_: &UnixStream| {
                events.set(events.get() + 1);
                if events.get() > 1 {
                    return;
                }
                let io_loop = IOLoop::current().unwrap();
                let (before, note) = (Rc::clone(&events), Rc::clone(&served));
                io_loop.call_soon(move || note.borrow_mut().push(("post", before.get())));
                let (before, note) = (Rc::clone(&events), Rc::clone(&served));
                io_loop.call_at(io_loop.now(), move || {
                    note.borrow_mut().push(("timer", before.get()));
                    stop();
                });
            };
            io_loop.add_writer(ours.try_clone().unwrap(), ready).unwrap();
        }
        way.until_stopped(&io_loop);
        let [("post", post), ("timer", timer)] = served.borrow()[..] else {
            panic!("{:?}", served.borrow())
        };
        // The rest of the turn in which they were set, and for the timer the next turn's events.
        assert!(post <= TURN && timer <= 2 * TURN, "{post} events before the post, {timer}");
    });
}

#[test]
fn every_one_of_many_ready_descriptors_is_served_as_often_as_another() {
    const READY: usize = 300;
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let calls = Rc::new(RefCell::new(vec![0_u32; READY]));
        for number in 0..READY {
            let calls = Rc::clone(&calls);
            let ready = move |_: &UnixStream| {
                calls.borrow_mut()[number] += 1;
                if calls.borrow()[number] == 10 {
                    stop();
                }
            };
            io_loop.add_writer(ours.try_clone().unwrap(), ready).unwrap();
        }
        way.until_stopped(&io_loop);
        assert!(calls.borrow().iter().all(|calls| (9..=10).contains(calls)), "{calls:?}");
    });
}

/// Calls between two turns of a descriptor that is always ready, the most.
#[derive(Clone, Default)]
struct Between(Rc<Cell<[usize; 2]>>);

impl Between {
    fn watch(io_loop: &IOLoop) -> Between {
        let between = Between::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let noted = between.clone();
        let ready = move |_: &UnixStream| {
            let _open = &theirs;
            let [calls, most] = noted.0.get();
            noted.0.set([0, most.max(calls)]);
        };
        io_loop.add_writer(ours, ready).unwrap();
        between
    }

    fn call(&self) {
        let [calls, most] = self.0.get();
        self.0.set([calls + 1, most]);
    }

    fn most(&self) -> usize {
        self.0.get()[1]
    }
}

#[test]
fn a_flood_of_posts_kept_descriptors_waiting_until_all_had_run() {
    const FLOOD: usize = 20_000;
    thread_local!(static BETWEEN: RefCell<Between> = RefCell::default());
    every_way(|way| {
        let io_loop = way.io_loop();
        let between = Between::watch(&io_loop);
        BETWEEN.set(between.clone());
        let (handle, ran) = (io_loop.handle(), Arc::new(AtomicUsize::new(0)));
        let flood = std::thread::spawn(move || {
            for n in 0..FLOOD {
                let ran = Arc::clone(&ran);
                let post = move || {
                    assert_eq!(ran.fetch_add(1, Ordering::Relaxed), n, "in order");
                    BETWEEN.with_borrow(Between::call);
                    if n + 1 == FLOOD {
                        stop();
                    }
                };
                handle.add_callback(post).unwrap();
            }
        });
        flood.join().unwrap();
        way.until_stopped(&io_loop);
        assert!(between.most() <= 1024, "{} between two turns of a descriptor", between.most());
    });
}

#[test]
fn a_crowd_of_due_timers_kept_descriptors_waiting_until_all_had_fired() {
    const CROWD: usize = 20_000;
    every_way(|way| {
        let io_loop = way.io_loop();
        let between = Between::watch(&io_loop);
        let (now, fired) = (io_loop.now(), Rc::new(Cell::new(0)));
        for n in 0..CROWD {
            let (between, fired) = (between.clone(), Rc::clone(&fired));
            io_loop.call_at(now, move || {
                assert_eq!(fired.replace(n + 1), n, "in order");
                between.call();
                if n + 1 == CROWD {
                    stop();
                }
            });
        }
        way.until_stopped(&io_loop);
        assert!(between.most() <= 1024, "{} between two turns of a descriptor", between.most());
    });
}

const CROWD: usize = 5000;

/// Queues a crowd of callbacks, of which the hundred and first calls `stop` with the count of those
/// that ran.
fn queue_crowd(io_loop: &IOLoop, stop: fn(Rc<Cell<usize>>)) -> Rc<Cell<usize>> {
    let ran = Rc::new(Cell::new(0));
    for n in 0..CROWD {
        let ran = Rc::clone(&ran);
        io_loop.call_soon(move || {
            ran.set(ran.get() + 1);
            if n == 100 {
                stop(ran);
            }
        });
    }
    ran
}

#[test]
fn a_stop_in_the_midst_of_a_crowd_of_callbacks_leaves_none_that_was_queued_before_it() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let ran = queue_crowd(&io_loop, |ran| {
            stop();
            IOLoop::current().unwrap().call_soon(move || ran.set(2 * CROWD));
        });
        way.until_stopped(&io_loop);
        assert_eq!((ran.get(), io_loop.metrics().queued), (CROWD, 1));
    });
}

#[test]
fn a_stop_at_once_in_the_midst_of_a_crowd_of_callbacks_leaves_the_others_to_the_next_run() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let ran = queue_crowd(&io_loop, |_| IOLoop::current().unwrap().stop_now());
        way.until_stopped(&io_loop);
        assert_eq!((ran.get(), io_loop.metrics().queued), (101, CROWD - 101));
        io_loop.call_soon(stop);
        way.until_stopped(&io_loop);
        assert_eq!(ran.get(), CROWD);
    });
}

#[test]
fn a_watch_that_spins_among_many_was_not_reported() {
    const READY: usize = 200;
    every_way(|way| {
        let io_loop = way.io_loop();
        io_loop.set_spin_limit(Some(5));
        let reports = Rc::new(Cell::new(0));
        let counted = Rc::clone(&reports);
        io_loop.set_report_handler(move |report| {
            assert!(matches!(report, Report::Spinning { turns: 5, .. }), "{report:?}");
            counted.set(counted.get() + 1);
            if counted.get() == READY {
                stop();
            }
        });
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let calls = Rc::new(Cell::new(0));
        for _ in 0..READY {
            let calls = Rc::clone(&calls);
            let ready = move |_: &UnixStream| {
                calls.set(calls.get() + 1);
                if calls.get() == 100 * READY {
                    stop();
                }
            };
            io_loop.add_writer(ours.try_clone().unwrap(), ready).unwrap();
        }
        way.until_stopped(&io_loop);
        assert_eq!(reports.get(), READY);
    });
}

#[test]
fn a_thread_that_shuts_down_took_posts_until_its_backlog_had_run() {
    let looping = IOLoop::spawn_thread("loop", IOLoop::new).unwrap();
    let handle = looping.handle().clone();
    let (let_go, held) = std::sync::mpsc::channel();
    handle.add_callback(move || held.recv().unwrap()).unwrap();
    let shutting = std::thread::spawn(move || looping.shutdown(Duration::from_secs(60)));
    let limit = Instant::now() + Duration::from_secs(20);
    let is_refused = || handle.add_callback(|| ()).is_err();
    let refused = std::iter::repeat_with(is_refused)
        .inspect(|_| std::thread::yield_now())
        .find(|refused| *refused || Instant::now() > limit);
    let_go.send(()).unwrap();
    shutting.join().unwrap().unwrap();
    assert_eq!(refused, Some(true), "its loop was in a callback all the time");
}

#[test]
fn a_task_that_cancelled_itself_lived_on_until_a_later_turn() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    every_way(|way| {
        for waits in [0, 1] {
            let io_loop = way.io_loop();
            let (dropped, seen) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None)));
            let own: Rc<RefCell<Option<ioloop::Task<()>>>> = Rc::default();
            let (guard, note, cancelled) = (Dropped(dropped), Rc::clone(&seen), Rc::clone(&own));
            let dropped = Rc::clone(&guard.0);
            let future = async move {
                let _guard = guard;
                for _ in 0..waits {
                    futures_lite::future::yield_now().await;
                }
                if let Some(task) = &*cancelled.borrow() {
                    task.cancel();
                }
                IOLoop::current().unwrap().call_soon(move || {
                    note.set(Some(dropped.get()));
                    stop();
                });
                std::future::pending::<()>().await;
            };
            own.replace(Some(io_loop.spawn(future)));
            way.until_stopped(&io_loop);
            assert_eq!(seen.get(), Some(true), "{}, after {waits} waits", way.name);
        }
    });
}
