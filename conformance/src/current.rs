//! Which loop is current, the process-wide handle, and the default backend.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Log, is_current, one_turn, stop, yield_now};
use ioloop::backends::BackendKind;
use ioloop::{Handle, IOLoop, Reactor, WeakIOLoop};

/// Notes whether its loop is current when it is dropped.
struct NotesDrop(&'static str, WeakIOLoop, Log<(&'static str, bool)>);

impl Drop for NotesDrop {
    fn drop(&mut self) {
        let NotesDrop(name, io_loop, log) = self;
        log.push((name, is_current(&io_loop.upgrade().unwrap())));
    }
}

pub(super) fn current_is_the_loop_whose_code_runs(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    // When it is called, and when it is dropped afterwards.
    let note = |called: &'static str, dropped: &'static str| {
        let (weak, log) = (io_loop.downgrade(), log.clone());
        let captured = NotesDrop(dropped, weak.clone(), log.clone());
        let mut first = true;
        move || {
            let _captured = &captured;
            if std::mem::take(&mut first) {
                log.push((called, is_current(&weak.upgrade().unwrap())));
            }
        }
    };
    io_loop.call_soon(note("callback", "its captures"));
    io_loop.call_later(Duration::ZERO, note("timer", "its captures"));
    io_loop.handle().add_callback(|| ()).unwrap();
    let mut task = note("task", "its captures");
    io_loop.spawn(async move {
        yield_now().await;
        task();
    });
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    let mut reader = note("reader", "its captures");
    let watch = io_loop.add_reader(ours, move |_| reader()).unwrap();
    let waiting = log.clone();
    let mut main = note("main", "its captures");
    rig.run_until(&io_loop, async move {
        main();
        // All but this one and the reader were called and dropped by then.
        while waiting.len() < 8 {
            yield_now().await;
        }
        watch.remove();
        yield_now().await;
    })
    .unwrap();
    let mut seen = log.take();
    seen.sort_unstable();
    let expected = ["callback", "its captures", "its captures", "its captures"];
    let expected = expected.into_iter().chain(["its captures", "its captures"]);
    let expected = expected.chain(["main", "reader", "task", "timer"]);
    assert!(seen.into_iter().eq(expected.map(|name| (name, true))));
    assert!(IOLoop::current().is_none());
}

pub(super) fn making_a_loop_does_not_make_it_current(rig: &Rig) {
    let first = rig.io_loop();
    assert!(IOLoop::current().is_none());
    first.enter(|| {
        let second = rig.io_loop();
        assert!(is_current(&first) && !is_current(&second));
    });
    assert!(IOLoop::current().is_none());
}

pub(super) fn a_run_restores_what_was_current(rig: &Rig) {
    let (outer, inner) = (rig.io_loop(), rig.io_loop());
    let inside = Rc::new(Cell::new(false));
    outer.enter(|| {
        let (weak, seen) = (inner.downgrade(), Rc::clone(&inside));
        inner.call_soon(move || {
            seen.set(is_current(&weak.upgrade().unwrap()));
            stop();
        });
        rig.run(&inner).unwrap();
        assert!(inside.get());
        assert!(is_current(&outer));
        // A refused run changes nothing either.
        inner.close().unwrap();
        assert!(inner.start().is_err());
        assert!(is_current(&outer));
    });
    one_turn(rig, &outer);
    assert!(IOLoop::current().is_none());
}

pub(super) fn a_panic_of_the_future_restores_what_was_current(rig: &Rig) {
    let (outer, inner) = (rig.io_loop(), rig.io_loop());
    let panics = || {
        let run = || rig.run_until(&inner, async { panic!("out of the run") });
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"out of the run"));
    };
    outer.enter(|| {
        panics();
        assert!(is_current(&outer));
    });
    panics();
    assert!(IOLoop::current().is_none());
}

pub(super) fn enter_in_a_callback_does_not_lose_the_outer_loop(rig: &Rig) {
    let (outer, inner) = (rig.io_loop(), rig.io_loop());
    let log = Log::new();
    let (noted, weak) = (log.clone(), outer.downgrade());
    outer.call_soon(move || {
        stop();
        let outer = weak.upgrade().unwrap();
        noted.push(is_current(&outer));
        inner.enter(|| {
            noted.push(is_current(&inner));
            outer.enter(|| noted.push(is_current(&outer)));
            noted.push(is_current(&inner));
        });
        noted.push(is_current(&outer));
        // A bare loop's turn is somebody else's callback as well.
        let turned = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let (noted_there, weak) = (noted.clone(), turned.downgrade());
        turned.call_soon(move || noted_there.push(is_current(&weak.upgrade().unwrap())));
        turned.turn(Some(Duration::ZERO)).unwrap();
        noted.push(is_current(&outer));
    });
    rig.run(&outer).unwrap();
    assert_eq!(log.take(), [true; 7]);
    assert!(IOLoop::current().is_none());
}

pub(super) fn enter_gives_the_innermost_and_restores_the_one_before(rig: &Rig) {
    let (one, two) = (rig.io_loop(), rig.io_loop());
    let value = one.enter(|| {
        assert!(is_current(&one));
        let value = two.enter(|| {
            assert!(is_current(&two));
            7
        });
        assert!(is_current(&one));
        let panic = catch_unwind(AssertUnwindSafe(|| two.enter(|| panic!("out of enter"))));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"out of enter"));
        assert!(is_current(&one), "what was current was lost in the panic");
        value
    });
    assert_eq!(value, 7);
    let panic = catch_unwind(AssertUnwindSafe(|| one.enter(|| panic!())));
    assert!(panic.is_err());
    assert!(IOLoop::current().is_none());
}

pub(super) fn there_is_no_current_loop_but_here(rig: &Rig) {
    assert!(IOLoop::current().is_none());
    let io_loop = rig.io_loop();
    let elsewhere = || {
        let current = thread::spawn(|| IOLoop::current().is_none());
        assert!(current.join().unwrap(), "another thread's loop is current");
    };
    io_loop.enter(elsewhere);
    io_loop.call_soon(move || {
        stop();
        elsewhere();
    });
    rig.run(&io_loop).unwrap();
    assert!(IOLoop::current().is_none());
}

pub(super) fn an_installed_handle_is_not_a_current_loop(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.handle().install().unwrap();
    assert!(IOLoop::current().is_none());
    assert!(thread::spawn(|| IOLoop::current().is_none()).join().unwrap());
}

pub(super) fn current_is_found_under_the_hosts_own_run_call(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let (noted, weak) = (log.clone(), io_loop.downgrade());
    io_loop.call_soon(move || {
        noted.push(is_current(&weak.upgrade().unwrap()));
        stop();
    });
    rig.block_on(async {
        // The host's own code has none, while the loop is driven by it and between its polls.
        assert!(IOLoop::current().is_none());
        let mut run = Box::pin(io_loop.run());
        io_loop.call_soon(|| ());
        assert!(IOLoop::current().is_none());
        run.as_mut().await.unwrap();
        assert!(IOLoop::current().is_none());
    });
    assert_eq!(log.take(), [true]);
}

pub(super) fn one_handle_is_installed_for_every_thread(rig: &Rig) {
    assert!(Handle::installed().is_none());
    assert!(Handle::uninstall().is_none());
    let (first, second) = (rig.io_loop(), rig.io_loop());
    first.handle().install().unwrap();
    assert!(second.handle().install().is_err());
    assert!(first.handle().install().is_err());

    // Every thread reaches the first loop, and none the second.
    let reaching: Vec<_> = (0..8)
        .map(|_| thread::spawn(|| Handle::installed().unwrap().add_callback(|| ())))
        .collect();
    for reached in reaching {
        reached.join().unwrap().unwrap();
    }
    let called = |io_loop: &IOLoop| {
        one_turn(rig, io_loop);
        io_loop.metrics().callbacks
    };
    assert_eq!((called(&first), called(&second)), (8, 0));

    // It is a handle like any other: the loop may go, and says so.
    first.close().unwrap();
    assert!(Handle::installed().unwrap().is_closed());
    assert!(Handle::uninstall().unwrap().is_closed());
    assert!(Handle::uninstall().is_none() && Handle::installed().is_none());
    second.handle().install().unwrap();
    assert!(!Handle::uninstall().unwrap().is_closed());
}

pub(super) fn of_many_that_install_at_once_one_wins(rig: &Rig) {
    const THREADS: usize = 8;
    let loops: Vec<IOLoop> = (0..THREADS).map(|_| rig.io_loop()).collect();
    let begun = Arc::new(Barrier::new(THREADS));
    let installing: Vec<_> = loops
        .iter()
        .map(|io_loop| {
            let (handle, begun) = (io_loop.handle(), Arc::clone(&begun));
            thread::spawn(move || {
                begun.wait();
                let installed = handle.install().is_ok();
                // From here on there is one, the same for all.
                Handle::installed().unwrap().add_callback(|| ()).unwrap();
                installed
            })
        })
        .collect();
    let installed: Vec<bool> =
        installing.into_iter().map(|installing| installing.join().unwrap()).collect();
    assert_eq!(installed.iter().filter(|installed| **installed).count(), 1);
    for (io_loop, installed) in loops.iter().zip(installed) {
        one_turn(rig, io_loop);
        let expected = if installed { THREADS as u64 } else { 0 };
        assert_eq!(io_loop.metrics().callbacks, expected);
    }
}

pub(super) fn the_default_backend_can_be_configured(_: &Rig) {
    let made = || IOLoop::new().unwrap().backend_name().to_owned();
    let detected = BackendKind::detect();
    assert!(detected.is_compiled());
    assert_eq!(made(), detected.to_string());
    for kind in BackendKind::ALL {
        if !kind.is_compiled() {
            continue;
        }
        IOLoop::configure(kind).unwrap();
        assert_eq!(made(), kind.to_string());
        assert_eq!(
            thread::spawn(|| IOLoop::new().unwrap().backend_name().to_owned()).join().unwrap(),
            kind.to_string(),
            "it holds for the process"
        );
        // One that is named wins.
        let bare = IOLoop::builder().backend(BackendKind::Bare).build();
        assert_eq!(bare.unwrap().backend_name(), "bare");
    }
    IOLoop::configure(None).unwrap();
    assert_eq!(made(), detected.to_string());
}

pub(super) fn a_backend_that_is_given_wins_over_the_configured_one(rig: &Rig) {
    let name = rig.io_loop().backend_name().to_owned();
    for kind in BackendKind::ALL {
        if kind.is_compiled() {
            IOLoop::configure(kind).unwrap();
            assert_eq!(rig.io_loop().backend_name(), name);
        }
    }
}
