//! Code that hangs is named by the watchdog, while it hangs. Here it waits for nothing else: each
//! callback returns once the watchdog has named it.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::pipe::pipe;

use super::rig::Rig;
use super::tools::{Log, current, exceptions, one_turn, yield_now};
use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::observe::{Hang, Origin};
use ioloop::{IOLoop, Interest, Reactor};

/// The watchdog looks more often than that, so it is as soon as it can be.
const LIMIT: Duration = Duration::from_millis(1);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What the watchdog of a loop has told.
#[derive(Clone)]
struct Hangs(Arc<Mutex<Receiver<Hang>>>);

impl Hangs {
    fn of(io_loop: &IOLoop) -> Hangs {
        let (told, hangs) = channel();
        io_loop.set_watchdog_handler(move |hang| {
            // Once the test has ended, nobody is there to be told.
            let _ = told.send(hang.clone());
        });
        io_loop.set_watchdog(Some(LIMIT)).expect("a watchdog");
        Hangs(Arc::new(Mutex::new(hangs)))
    }

    /// Hangs until the watchdog has told so, of code of this kind. On a busy machine it may have
    /// told of other code that had to wait for the processor.
    fn hang(&self, origin: Origin, line: Option<u32>) -> Hang {
        loop {
            let hangs = self.0.lock().expect("nobody panics with it");
            let hang = hangs.recv_timeout(Duration::from_secs(60)).expect("to be named");
            let location = hang.location.filter(|location| location.file() == file!());
            if hang.origin == origin && location.map(|location| location.line()) == line {
                return hang;
            }
        }
    }
}

pub(super) fn code_that_hangs_is_named_while_it_does(rig: &Rig) {
    let io_loop = rig.io_loop();
    let failed = exceptions(&io_loop);
    let hangs = Hangs::of(&io_loop);
    let log = Log::new();
    let hang = |origin, line| {
        let (hangs, log) = (hangs.clone(), log.clone());
        move || log.push(hangs.hang(origin, Some(line)))
    };
    io_loop.call_soon(hang(Origin::Callback, line!()));
    io_loop.handle().add_callback(hang_far(&hangs, line!())).expect("an open loop");
    io_loop.call_later(Duration::ZERO, hang(Origin::Timer, line!()));
    let waits = hang(Origin::Task, line!() + 1);
    io_loop.spawn(async move { waits() });
    let hook = hang(Origin::Hook, line!() + 1);
    let hook = io_loop.before_sleep(move || {
        hook();
        BeforeSleep::Sleep
    });
    one_turn(rig, &io_loop);
    assert!(hook.remove());
    assert_eq!(failed.take(), []);
    let mut seen = log.take();
    // An embedded loop calls it again when it is left.
    seen.dedup_by_key(|hang| hang.origin);
    let mut kinds: Vec<_> = seen.iter().map(|hang| hang.origin).collect();
    kinds.truncate(4);
    assert_eq!(kinds, [Origin::Hook, Origin::Callback, Origin::Task, Origin::Timer]);
    for hang in &seen {
        assert_eq!(&*hang.loop_name, io_loop.name());
        assert_eq!(hang.thread_name.as_deref(), thread::current().name());
        assert!(hang.duration >= LIMIT, "{hang}");
        assert_eq!((hang.fd, hang.blocks), (None, false));
    }
    let text = seen[1].to_string();
    assert!(text.starts_with("a callback has held the loop up for "), "{text}");
    assert!(text.contains(&format!("and has not returned, from {}:", file!())), "{text}");
    // A task of the executor has no location. Tokio's are not called by the loop.
    let polled = Log::new();
    let driven = |_: &_| io_loop.backend_name() != "tokio";
    if let Some(spawn) = rig.spawn(&io_loop).filter(driven) {
        let (ran, log) = channel();
        let hangs = hangs.clone();
        spawn(Box::pin(async move {
            let _ = ran.send(hangs.hang(Origin::RuntimeTask, None).location);
        }));
        while polled.len() == 0 {
            one_turn(rig, &io_loop);
            log.try_iter().for_each(|location| polled.push(location));
        }
        assert_eq!(polled.take(), [None]);
    }
}

/// As a callback from another thread, which may not have a `Log`.
fn hang_far(hangs: &Hangs, line: u32) -> impl FnOnce() + Send + 'static {
    let hangs = hangs.clone();
    move || drop(hangs.hang(Origin::Callback, Some(line)))
}

pub(super) fn a_main_future_that_hangs_is_named(rig: &Rig) {
    let io_loop = rig.io_loop();
    let hangs = Hangs::of(&io_loop);
    let line = line!() + 1;
    let seen = rig.run_until(&io_loop, async move {
        yield_now().await;
        hangs.hang(Origin::Main, Some(line))
    });
    assert_eq!(seen.expect("running").origin, Origin::Main);
}

pub(super) fn a_watch_that_hangs_is_named_with_its_descriptor_and_whether_it_blocks(rig: &Rig) {
    let io_loop = rig.io_loop();
    let hangs = Hangs::of(&io_loop);
    for blocks in [true, false] {
        let ends = || -> (OwnedFd, OwnedFd) {
            let (reader, writer) = pipe().expect("a pipe");
            ioctl_fionbio(&reader, !blocks).expect("setting O_NONBLOCK");
            ioctl_fionbio(&writer, !blocks).expect("setting O_NONBLOCK");
            rustix::io::write(&writer, b"x").expect("room for a byte");
            (reader, writer)
        };
        let log = Log::new();
        let hang = |origin, line| {
            let (hangs, log) = (hangs.clone(), log.clone());
            move |fd: &OwnedFd| log.push((fd.as_raw_fd(), hangs.hang(origin, Some(line))))
        };
        let ((reader, _one), (_two, writer), (both, _three)) = (ends(), ends(), ends());
        let read = hang(Origin::Reader, line!() + 1);
        let reads = io_loop.add_reader(reader, read).expect("a reader");
        let write = hang(Origin::Writer, line!() + 1);
        let writes = io_loop.add_writer(writer, write).expect("a writer");
        let handle = hang(Origin::Handler, line!() + 2);
        let handled =
            io_loop.add_handler(both, Interest::READ, move |fd, _| handle(fd)).expect("a handler");
        one_turn(rig, &io_loop);
        assert!([reads, writes, handled].iter().all(|watch| watch.remove()));
        let mut seen = log.take();
        seen.sort_by_key(|(fd, _)| *fd);
        assert_eq!(seen.len(), 3);
        for (fd, hang) in seen {
            assert_eq!((hang.fd, hang.blocks), (Some(fd), blocks), "{hang}");
            let advice = format!("; its descriptor {fd} blocks: set O_NONBLOCK");
            assert_eq!(hang.to_string().ends_with(&advice), blocks, "{hang}");
        }
    }
}

/// Hangs when it is dropped.
struct Hanging(Hangs, Option<u32>, Log<Hang>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.2.push(self.0.hang(Origin::Destructor, self.1));
    }
}

pub(super) fn a_destructor_that_hangs_is_named_by_the_code_that_runs_it(rig: &Rig) {
    let io_loop = rig.io_loop();
    let hangs = Hangs::of(&io_loop);
    let log = Log::new();
    let holding = |line| {
        let hanging = Hanging(hangs.clone(), line, log.clone());
        io_loop.call_later(HOUR, move || drop(hanging))
    };
    let cancelled = |number| {
        let seen: Vec<_> = log.take().iter().map(|hang| hang.location.is_some()).collect();
        assert_eq!(seen, number);
    };
    let timer = holding(Some(line!() + 1));
    io_loop.call_soon(move || {
        assert!(timer.cancel());
        // What is dropped in the midst of a callback does not end it.
        current().stop();
    });
    one_turn(rig, &io_loop);
    cancelled(vec![true]);
    // Outside of a run, and by the end of the loop.
    assert!(holding(None).cancel());
    cancelled(vec![false]);
    drop(holding(None));
    io_loop.close().expect("closing");
    cancelled(vec![false]);
}

/// Does something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// Runs code in a destructor that the loop calls, at once.
fn run_inside(code: impl Fn() + 'static) {
    let value = OnDrop(code);
    assert!(current().call_later(HOUR, move || drop(value)).cancel());
}

pub(super) fn a_call_inside_of_a_call_took_its_time_away(rig: &Rig) {
    let io_loop = rig.io_loop();
    let failed = exceptions(&io_loop);
    let hangs = Hangs::of(&io_loop);
    let log = Log::new();
    let seen = log.clone();
    let line = line!() + 2;
    let is_outer = move |hang: &Hang| hang.location.is_some_and(|at| at.line() == line);
    io_loop.call_soon(move || {
        let is_told = |hang: &Hang| hang.origin == Origin::Callback && is_outer(hang);
        let mut told = false;
        // Whenever the watchdog looks, another destructor is run.
        while !told {
            run_inside(|| thread::sleep(2 * LIMIT));
            let hangs = hangs.0.lock().expect("nobody panics with it");
            for hang in hangs.try_iter() {
                told |= is_told(&hang);
                seen.push(hang);
            }
        }
        // It goes on for longer than the limit: each of these waits until it is told itself.
        for _ in 0..2 {
            let (hangs, seen) = (hangs.clone(), seen.clone());
            run_inside(move || {
                let hangs = hangs.0.lock().expect("nobody panics with it");
                let told = hangs.iter().inspect(|hang| seen.push(hang.clone()));
                assert!(told.map(|hang| hang.origin).any(|origin| origin == Origin::Destructor));
            });
        }
    });
    one_turn(rig, &io_loop);
    assert_eq!(failed.take(), []);
    let told =
        log.take().into_iter().filter(is_outer).filter(|hang| hang.origin == Origin::Callback);
    assert_eq!(told.count(), 1, "once");
}

pub(super) fn a_limit_that_was_set_again_kept_a_call_from_being_told(rig: &Rig) {
    let io_loop = rig.io_loop();
    let failed = exceptions(&io_loop);
    let hangs = Hangs::of(&io_loop);
    // The same limit, as often as the watchdog looks; then another one, once.
    for limit in [LIMIT, 2 * LIMIT] {
        let hangs = hangs.clone();
        let line = line!() + 1;
        io_loop.call_soon(move || {
            let mut is_set = false;
            let is_it = |hang: Hang| hang.location.is_some_and(|at| at.line() == line);
            loop {
                if limit == LIMIT || !is_set {
                    current().set_watchdog(Some(limit)).expect("a watchdog");
                    is_set = true;
                }
                thread::sleep(LIMIT);
                if hangs.0.lock().expect("nobody panics with it").try_iter().any(is_it) {
                    break;
                }
            }
        });
        one_turn(rig, &io_loop);
    }
    assert_eq!(failed.take(), []);
}

pub(super) fn a_callback_that_drives_another_loop_is_named_for_both(rig: &Rig) {
    let (outer, inner) = (rig.io_loop(), bare());
    let (outers, inners) = (Hangs::of(&outer), Hangs::of(&inner));
    let (log, failed) = (Log::new(), exceptions(&outer));
    let seen = log.clone();
    let (one, other) = (line!() + 1, line!() + 3);
    outer.call_soon(move || {
        let (outside, seen_inside) = (outers.clone(), seen.clone());
        inner.call_soon(move || {
            seen_inside.push(inners.hang(Origin::Callback, Some(other)).origin);
            seen_inside.push(outside.hang(Origin::Callback, Some(one)).origin);
        });
        inner.turn(Some(Duration::ZERO)).expect("a turn that does not wait");
    });
    one_turn(rig, &outer);
    assert_eq!(failed.take(), []);
    assert_eq!(log.take(), [Origin::Callback; 2]);
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().expect("a loop")
}

pub(super) fn a_watchdog_begins_with_the_next_call_and_its_handler_may_panic_and_change(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (told, hangs) = channel();
    io_loop.set_watchdog_handler(move |hang| {
        let _ = told.send(hang.clone());
        panic!("a handler");
    });
    let hangs = Hangs(Arc::new(Mutex::new(hangs)));
    let ran = Rc::new(Cell::new(0));
    let hang = |line| {
        let (hangs, ran) = (hangs.clone(), Rc::clone(&ran));
        move || {
            drop(hangs.hang(Origin::Callback, Some(line)));
            ran.set(ran.get() + 1);
        }
    };
    io_loop.call_soon(|| current().set_watchdog(Some(LIMIT)).expect("a watchdog"));
    io_loop.call_soon(hang(line!()));
    io_loop.call_soon(hang(line!()));
    // Another limit, with the same handler; then another handler.
    io_loop.call_soon(|| current().set_watchdog(Some(2 * LIMIT)).expect("a watchdog"));
    io_loop.call_soon(hang(line!()));
    one_turn(rig, &io_loop);
    assert_eq!(ran.get(), 3);
    let others = Hangs::of(&io_loop);
    let (dropped, seen) = (hangs, Rc::clone(&ran));
    io_loop.call_soon(move || {
        drop(others.hang(Origin::Callback, Some(line!() - 1)));
        seen.set(seen.get() + 1);
    });
    one_turn(rig, &io_loop);
    assert_eq!(ran.get(), 4);
    // The first one is gone: its end of the channel too.
    let first = dropped.0.lock().expect("nobody panics with it");
    while first.recv().is_ok() {}
}

pub(super) fn a_closed_loop_has_no_watchdog_and_drops_its_handler(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (told, hangs) = channel::<()>();
    io_loop.set_watchdog_handler(move |_| drop(told.clone()));
    io_loop.set_watchdog(Some(HOUR)).expect("a watchdog");
    io_loop.close().expect("closing");
    // Its end of the channel has gone with it.
    assert!(hangs.recv().is_err());
    assert!(io_loop.set_watchdog(Some(HOUR)).is_err());
    io_loop.set_watchdog(None).expect("ending what has ended");
    let (told, hangs) = channel::<()>();
    io_loop.set_watchdog_handler(move |_| drop(told.clone()));
    assert!(hangs.recv().is_err());
}
