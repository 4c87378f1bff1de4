//! What the fake promises to those who test with it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::hooks::BeforeSleep;
use ioloop::reactor::Direction;
use ioloop::{Async, Events, Interest, Reactor, interval, sleep, spawn, timeout};
use ioloop_fake::{FakeReactor, What};

const SECOND: Duration = Duration::from_secs(1);

type Log<T> = Rc<RefCell<Vec<T>>>;

/// The text of a panic.
fn panic_of(code: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(code)).expect_err("a panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn each_timer_finds_the_clock_at_its_own_deadline() {
    let fake = FakeReactor::new();
    let (start, log) = (fake.now(), Log::default());
    for (name, seconds) in [("third", 3), ("first", 1), ("second", 2), ("last", 9)] {
        let (clock, log) = (fake.clone(), Rc::clone(&log));
        fake.call_later(seconds * SECOND, move || {
            log.borrow_mut().push((name, clock.now() - start))
        });
    }
    // What a timer sets on the way fires on the way.
    let (reactor, set) = (fake.clone(), Rc::clone(&log));
    fake.call_later(SECOND / 2, move || {
        let (clock, set) = (reactor.clone(), Rc::clone(&set));
        reactor.call_later(SECOND, move || set.borrow_mut().push(("set", clock.now() - start)));
    });
    fake.advance(5 * SECOND);
    let expected =
        [("first", SECOND), ("set", SECOND * 3 / 2), ("second", 2 * SECOND), ("third", 3 * SECOND)];
    assert_eq!(*log.borrow(), expected);
    assert_eq!((fake.now() - start, fake.left().timers()), (5 * SECOND, 1));
    fake.advance(Duration::ZERO);
    assert_eq!(fake.next_deadline(), Some(start + 9 * SECOND));
}

#[test]
fn a_future_that_nobody_can_wake_is_an_error_and_no_hang() {
    let fake = FakeReactor::new();
    let dropped = Rc::new(());
    let held = Rc::clone(&dropped);
    let never = async move {
        let _held = held;
        pending::<()>().await;
    };
    let stalled = fake.block_on(never).unwrap_err();
    assert!(stalled.left().is_empty(), "{stalled}");
    assert_eq!(Rc::strong_count(&dropped), 1, "the future was dropped");
    // One beside a timer that goes on for ever.
    let mut ticks = interval(&fake, SECOND).unwrap();
    spawn(&fake, async move { while ticks.tick().await.is_ok() {} });
    let stalled = fake.block_on(pending::<()>()).unwrap_err().to_string();
    assert!(stalled.contains("after a hundred thousand turns"), "{stalled}");
    assert!(stalled.contains("a task, from fake/tests/fake.rs:"), "{stalled}");
    // A run that nobody stops.
    let stalled = FakeReactor::new().run().unwrap_err().to_string();
    assert!(stalled.contains("nothing is left to run"), "{stalled}");
}

#[test]
fn the_clock_does_not_jump_to_a_timer_that_never_fires() {
    let fake = FakeReactor::new();
    let timer = fake.call_later(Duration::MAX, || unreachable!("it never fires"));
    assert!(fake.block_on(pending::<()>()).is_err());
    assert_eq!(fake.next_deadline(), None);
    assert!(timer.cancel());
}

#[test]
fn a_reader_that_leaves_its_data_unread_is_named() {
    let fake = FakeReactor::new();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    fake.add_reader(ours, |_| ()).unwrap();
    let (line, text) = (line!() - 1, panic_of(|| fake.run_ready()));
    assert!(text.contains("keeps the reactor busy for ever"), "{text}");
    assert!(text.contains(&format!("from fake/tests/fake.rs:{line}:")), "{text}");
    // Turn by turn it can be tested.
    assert!(fake.turn() && fake.turn());
}

#[test]
fn an_assertion_in_a_callback_fails_the_test() {
    let fake = FakeReactor::new();
    let log = Log::default();
    let next = Rc::clone(&log);
    fake.call_soon(|| panic!("one"));
    fake.call_soon(move || next.borrow_mut().push("the next callback of the turn"));
    assert_eq!(panic_of(|| fake.run_ready()), "one");
    assert_eq!(log.take(), ["the next callback of the turn"]);
    // A reader that panics is removed.
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    fake.add_reader(ours, |_| panic!("two")).unwrap();
    assert_eq!(panic_of(|| _ = fake.turn()), "two");
    fake.assert_nothing_left();
    let timed = fake.call_later(SECOND, || panic!("three"));
    assert_eq!(panic_of(|| fake.advance(SECOND)), "three");
    assert!(!timed.cancel());
    // Unless they are taken.
    let taken = Rc::clone(&log);
    fake.catch_panics(move |panic| taken.borrow_mut().push(*panic.downcast::<&str>().unwrap()));
    fake.call_soon(|| panic!("four"));
    fake.run_ready();
    assert_eq!(log.take(), ["four"]);
}

#[test]
fn adding_and_resuming_fail_with_the_errors_of_the_test_and_then_work() {
    let fake = FakeReactor::new();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let ours = Rc::new(ours);
    fake.fail_next_add(ErrorKind::QuotaExceeded.into());
    fake.fail_next_add(io::Error::other("the second"));
    let add = || fake.add_reader(Rc::clone(&ours), |_| ());
    assert_eq!(add().unwrap_err().kind(), ErrorKind::QuotaExceeded);
    let refused = fake.add_handler(Rc::clone(&ours), Interest::READ, |_, _| ());
    assert_eq!(refused.unwrap_err().to_string(), "the second");
    assert_eq!(Rc::strong_count(&ours), 1, "the sources were given up");
    let watch = add().unwrap();
    assert!(watch.pause());
    fake.fail_next_resume(io::Error::other("not now"));
    assert_eq!(watch.resume().unwrap_err().to_string(), "not now");
    assert_eq!(fake.left().to_string().split(',').next(), Some(&*paused(&ours)));
    assert!(watch.resume().unwrap() && watch.remove());
    fake.assert_nothing_left();
}

fn paused(stream: &UnixStream) -> String {
    format!("a paused reader of descriptor {}", stream.as_raw_fd())
}

#[test]
fn what_no_peer_can_cause_happens_when_the_test_says_so() {
    let fake = FakeReactor::new();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (ours, log) = (Rc::new(ours), Log::default());
    let number = ours.as_raw_fd();
    assert!(!fake.ready(number, Events::READ), "nothing watches it yet");
    let (read, written) = (Rc::clone(&log), Rc::clone(&log));
    fake.add_reader(Rc::clone(&ours), move |_| read.borrow_mut().push("read")).unwrap();
    assert!(fake.turn() && !fake.turn(), "once");
    assert_eq!(log.take(), ["read"], "a wake-up for nothing");
    // A hang-up calls both, and a writer need not be left to spin for that.
    let scripted = FakeReactor::scripted();
    let read = Rc::clone(&log);
    scripted.add_writer(Rc::clone(&ours), move |_| written.borrow_mut().push("written")).unwrap();
    scripted.add_reader(ours, move |_| read.borrow_mut().push("read")).unwrap();
    scripted.run_ready();
    assert_eq!(log.take(), [""; 0], "there is room, but the test does not say so");
    assert!(scripted.ready(number, Events::HANGUP));
    scripted.run_ready();
    assert_eq!(log.take(), ["read", "written"]);
}

#[test]
fn a_handler_is_told_what_the_test_says_of_what_it_asks_for() {
    let fake = FakeReactor::scripted();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (number, log) = (ours.as_raw_fd(), Log::default());
    let came = Rc::clone(&log);
    let handler = move |_: &UnixStream, events| came.borrow_mut().push(events);
    let watch = fake.add_handler(ours, Interest::READ, handler).unwrap();
    fake.ready(number, Events::READ | Events::WRITE | Events::ERROR);
    fake.run_ready();
    assert_eq!(log.take(), [Events::READ | Events::ERROR]);
    watch.set_interest(Interest::WRITE).unwrap();
    fake.run_ready();
    assert_eq!(log.take(), [Events::WRITE], "it comes when it is waited for");
    let what = What::Handler { number, interest: Interest::WRITE };
    assert_eq!(fake.left().entries()[0].what, what);
}

#[test]
fn streams_of_bytes_and_time_outs_work_as_on_a_loop() {
    let fake = FakeReactor::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut ours, mut theirs) =
        (Async::new(&fake, ours).unwrap(), Async::new(&fake, theirs).unwrap());
    let (start, clock) = (fake.now(), fake.clone());
    let server = spawn(&fake, async move {
        let mut question = [0; 4];
        theirs.read_exact(&mut question).await?;
        sleep(&clock, 3 * SECOND).await?;
        theirs.write_all(&question).await
    });
    let mut echo = [0; 4];
    let ask = async {
        ours.write_all(b"ping").await?;
        timeout(&fake, 2 * SECOND, ours.read_exact(&mut echo)).await.unwrap_err();
        ours.read_exact(&mut echo).await
    };
    fake.block_on(ask).unwrap().unwrap();
    fake.block_on(server).unwrap().unwrap().unwrap();
    assert_eq!((&echo, fake.now() - start), (b"ping", 3 * SECOND));
    drop(ours);
    fake.assert_nothing_left();
}

#[test]
fn what_was_posted_by_a_thread_that_has_ended_runs_in_the_next_turn() {
    let fake = FakeReactor::new();
    let (poster, (sender, receiver)) = (fake.poster(), std::sync::mpsc::channel());
    let posting = thread::spawn(move || poster.post(move || sender.send(7).unwrap()));
    posting.join().unwrap().unwrap();
    assert_eq!(fake.left().callbacks(), 1);
    fake.run_ready();
    assert_eq!(receiver.try_recv(), Ok(7));
}

#[test]
fn a_future_in_real_time_waits_for_another_thread() {
    let fake = FakeReactor::real_time();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let stream = Async::new(&fake, ours).unwrap();
    let (go, told) = std::sync::mpsc::channel();
    fake.call_soon(move || go.send(()).unwrap());
    let writing = thread::spawn(move || {
        told.recv().unwrap();
        peer.write_all(b"x").unwrap();
        peer
    });
    fake.block_on(stream.readable()).unwrap().unwrap();
    assert_eq!(stream.get_ref().read(&mut [0; 8]).unwrap(), 1);
    drop(writing.join());
}

#[test]
fn what_is_left_is_listed_by_kind_and_line() {
    let fake = FakeReactor::new();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let number = ours.as_raw_fd();
    let calls = Rc::new(Cell::new(0));
    let _watch = fake.add_reader(ours, |_| ()).unwrap();
    let _timer = fake.call_later(5 * SECOND, || ());
    let _callback = fake.call_soon(|| ());
    let task = spawn(&fake, pending::<()>());
    let _hook = fake.after_wake(|| ()).unwrap();
    let left = fake.left();
    let whats: Vec<What> = left.entries().iter().map(|entry| entry.what).collect();
    let reader = What::Watch { number, direction: Direction::Read, paused: false };
    let timer = What::Timer { due_in: 5 * SECOND };
    let queued = What::Callback;
    assert_eq!(whats, [reader, timer, What::Hook, What::Task, queued, queued]);
    assert_eq!((left.watches(), left.timers(), left.tasks(), left.callbacks()), (1, 1, 1, 2));
    let lines = left.to_string();
    assert!(lines.lines().all(|line| line.contains("from fake/tests/fake.rs:")), "{lines}");
    let text = panic_of(|| fake.assert_nothing_left());
    assert!(text.contains("left behind:\na reader of descriptor"), "{text}");
    // Closed, it has nothing, and takes nothing.
    let count = Rc::clone(&calls);
    fake.call_soon(move || count.set(1));
    fake.close();
    fake.run_ready();
    fake.assert_nothing_left();
    assert_eq!(calls.get(), 0);
    assert!(task.is_finished() && fake.call_soon(|| ()).is_cancelled());
    let refused = fake.add_reader(UnixStream::pair().unwrap().0, |_| ());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

/// Hooks are called after the reactor has taken what was posted, and before it polls.
#[test]
fn a_wake_and_a_post_between_the_inbox_and_the_poll_were_lost() {
    for posts in [false, true] {
        let fake = FakeReactor::real_time();
        let _far = fake.call_later(3600 * SECOND, || ()).cancel_on_drop();
        let (resolver, resolved) = ioloop::deferred();
        let (poster, mut resolver) = (fake.poster(), Some(resolver));
        let hook = fake.before_sleep(move || {
            if let Some(resolver) = resolver.take() {
                let resolve = || _ = resolver.resolve(7);
                if posts { poster.post(resolve).unwrap() } else { resolve() }
            }
            BeforeSleep::Sleep
        });
        assert_eq!(fake.block_on(resolved).unwrap().unwrap(), 7);
        drop(hook);
    }
}
