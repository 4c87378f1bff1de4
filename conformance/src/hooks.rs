//! Hooks around a sleep: when they are called, and that they come in pairs.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Log, poll_once, readable_stream, stop, yield_now};
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, Reactor};

const MS: Duration = Duration::from_millis(1);

/// Keeps a loop busy, for ever.
type Busy = fn(&IOLoop);

const BUSY: [(&str, Busy); 5] = [
    ("a chain of callbacks", |io_loop| {
        fn chain() {
            IOLoop::current().expect("a callback has a loop").call_soon(chain);
        }
        io_loop.call_soon(chain);
    }),
    ("a chain of timers", |io_loop| {
        fn chain() {
            IOLoop::current().expect("a timer has a loop").call_later(Duration::ZERO, chain);
        }
        io_loop.call_later(Duration::ZERO, chain);
    }),
    ("a task that yields", |io_loop| {
        io_loop.spawn(async {
            loop {
                yield_now().await;
            }
        });
    }),
    ("an idle callback", |io_loop| drop(io_loop.on_idle(|| ()))),
    ("a reader that reads nothing", |io_loop| {
        let (stream, peer) = readable_stream();
        let open = move |_: &UnixStream| _ = &peer;
        io_loop.add_reader(stream, open).expect("watching a stream");
    }),
];

/// A client flushes its output in such a hook, and a busy program is not to keep it from doing so.
pub(super) fn hooks_are_called_at_each_poll_of_a_busy_loop(rig: &Rig) {
    for (busy, keep_busy) in BUSY {
        let io_loop = rig.io_loop();
        keep_busy(&io_loop);
        let counts: Rc<[Cell<u64>; 2]> = Rc::default();
        let (before, after) = (Rc::clone(&counts), Rc::clone(&counts));
        io_loop.before_sleep(move || {
            before[0].set(before[0].get() + 1);
            // In a busy turn this changes nothing.
            BeforeSleep::StayAwake
        });
        let io_loop_of_hook = io_loop.downgrade();
        io_loop.after_wake(move || {
            after[1].set(after[1].get() + 1);
            if let Some(io_loop) = io_loop_of_hook.upgrade().filter(|_| after[1].get() == 40) {
                io_loop.stop();
            }
        });
        rig.run(&io_loop).expect("running until the hooks stop it");
        let [before, after] = [counts[0].get(), counts[1].get()];
        // Of an embedded loop the last round is still to be ended.
        assert!(before == after || rig.is_embedded() && before == after + 1, "{busy}");
        let polls = io_loop.metrics().polls;
        assert!(before >= polls, "{busy}: {before} calls in {polls} polls");
        io_loop.close().expect("closing");
        assert_eq!(counts[0].get(), counts[1].get(), "{busy}");
    }
}

/// A lock that is let go before a sleep, and must be held again whenever anything else runs.
struct Lock(Cell<i32>);

impl Lock {
    fn add(io_loop: &IOLoop) -> Rc<Lock> {
        let lock = Rc::new(Lock(Cell::new(1)));
        let (before, after) = (Rc::clone(&lock), Rc::clone(&lock));
        io_loop.before_sleep(move || {
            before.0.set(before.0.get() - 1);
            BeforeSleep::Sleep
        });
        io_loop.after_wake(move || after.0.set(after.0.get() + 1));
        lock
    }

    fn is_held(&self) -> bool {
        let holds = self.0.get();
        assert!((0..=1).contains(&holds), "let go or taken twice: {holds}");
        holds == 1
    }
}

pub(super) fn each_round_of_hooks_is_ended_before_anything_else_runs(rig: &Rig) {
    let io_loop = rig.io_loop();
    let held = Lock::add(&io_loop);
    let log = Log::new();
    let note = |what: &'static str| {
        let (log, held) = (log.clone(), Rc::clone(&held));
        move || log.push((what, held.is_held()))
    };
    let reads = note("reader");
    let (stream, mut peer) = UnixStream::pair().expect("a pair of sockets");
    io_loop
        .add_reader(stream, move |mut stream| {
            io::Read::read_exact(&mut stream, &mut [0]).expect("reading a byte");
            reads();
            stop();
        })
        .expect("watching a stream");
    io_loop.call_soon(note("callback"));
    let polls = note("task");
    io_loop.spawn(async move { polls() });
    let fired = note("timer");
    io_loop.call_later(MS, move || {
        fired();
        peer.write_all(b"x").expect("writing a byte");
        std::mem::forget(peer);
    });
    rig.run(&io_loop).expect("running until the byte has come");
    let seen = ["callback", "task", "timer", "reader"].map(|what| (what, true));
    assert_eq!(log.take(), seen);
    // The next run begins with a callback, in whatever state the last one has left the loop.
    io_loop.call_soon(note("next run"));
    io_loop.call_soon(stop);
    rig.run(&io_loop).expect("running again");
    assert_eq!(log.take(), [("next run", true)]);
    assert!(held.is_held() || rig.is_embedded());
    io_loop.close().expect("closing");
    assert!(held.is_held());
}

/// As a time-out around a run does it.
pub(super) fn a_run_that_is_dropped_asleep_ends_its_round_of_hooks(rig: &Rig) {
    let io_loop = rig.io_loop();
    let held = Lock::add(&io_loop);
    rig.block_on(async {
        for _ in 0..3 {
            {
                let mut run = pin!(io_loop.run());
                while held.is_held() {
                    assert!(poll_once(run.as_mut()).is_pending(), "nothing stops it");
                }
            }
            assert!(held.is_held(), "dropped asleep");
        }
    });
    io_loop.call_soon(stop);
    rig.run(&io_loop).expect("running once more");
    assert!(held.is_held());
}

/// The foreign loop sleeps, and then has no use for the loop any more.
pub(super) fn a_loop_that_is_given_up_between_two_turns_ends_its_round_of_hooks(rig: &Rig) {
    let io_loop = rig.io_loop();
    let held = Lock::add(&io_loop);
    let turn = || io_loop.turn(Some(Duration::ZERO)).expect("a turn").work_left;
    while turn() {}
    assert!(!held.is_held(), "the foreign loop sleeps from here on");
    while turn() {}
    assert!(!held.is_held());
    io_loop.close().expect("closing");
    assert!(held.is_held(), "closed");

    let io_loop = rig.io_loop();
    let held = Lock::add(&io_loop);
    while io_loop.turn(Some(Duration::ZERO)).expect("a turn").work_left {}
    assert!(!held.is_held());
    drop(io_loop);
    assert!(held.is_held(), "dropped");
}

/// A pair that is added in the middle of a round has nothing to end in it.
pub(super) fn a_pair_of_hooks_is_called_from_its_first_whole_round_on(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    // On a slow machine the timer may be due before the loop sleeps again.
    fn stop_after_a_round(io_loop: &IOLoop, log: Log<&'static str>) {
        let weak = io_loop.downgrade();
        io_loop.call_later(MS, move || match (log.len(), weak.upgrade()) {
            (0, Some(io_loop)) => stop_after_a_round(&io_loop, log),
            _ => stop(),
        });
    }
    let (added, seen, weak) = (log.clone(), log.clone(), io_loop.downgrade());
    let mut adds = Some(move |io_loop: &IOLoop| {
        let (before, after) = (added.clone(), added);
        io_loop.before_sleep(move || {
            before.push("before");
            BeforeSleep::Sleep
        });
        io_loop.after_wake(move || after.push("after"));
    });
    io_loop.before_sleep(move || {
        if let (Some(adds), Some(io_loop)) = (adds.take(), weak.upgrade()) {
            adds(&io_loop);
            stop_after_a_round(&io_loop, seen.clone());
        }
        BeforeSleep::Sleep
    });
    rig.run(&io_loop).expect("running until the timer fires");
    io_loop.close().expect("closing");
    let calls = log.take();
    assert!(!calls.is_empty() && calls.len() % 2 == 0, "{calls:?}");
    assert!(calls.chunks(2).all(|round| round == ["before", "after"]), "{calls:?}");
}

/// What else runs on the thread never finds the lock let go.
pub(super) fn a_hook_around_a_sleep_brackets_it_or_is_refused(rig: &Rig) {
    let io_loop = rig.io_loop();
    let held = Rc::new(Cell::new(true));
    let sleeps = Rc::new(Cell::new(0));
    let (lock, count) = (Rc::clone(&held), Rc::clone(&sleeps));
    let hook = io_loop.around_sleep(move |sleep| {
        lock.set(false);
        sleep();
        count.set(count.get() + 1);
        lock.set(true);
    });
    let hook = match hook {
        // Its host sleeps for it.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("before_sleep"), "{error}");
            assert_eq!(Rc::strong_count(&held), 1, "it was dropped");
            return assert!(rig.is_attached() || io_loop.turn(Some(Duration::ZERO)).is_err());
        }
        Ok(hook) => hook,
    };
    assert!(!rig.is_attached());
    // On a slow machine the timer may be due by the time that the loop would sleep.
    while sleeps.get() < 3 {
        let seen = Log::new();
        let (lock, log) = (Rc::clone(&held), seen.clone());
        io_loop.call_later(MS, move || {
            log.push(lock.get());
            stop();
        });
        if rig.is_embedded() {
            while !io_loop.turn(None).expect("a turn that waits").stopped {}
        } else {
            rig.run(&io_loop).expect("running until the timer fires");
        }
        assert_eq!(seen.take(), [true], "whether a callback finds the lock held");
        assert!(held.get());
    }
    assert!(hook.remove());
    assert_eq!(Rc::strong_count(&held), 1);
}
