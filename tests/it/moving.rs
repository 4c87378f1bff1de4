//! An idle loop goes to another thread, and what is not idle is refused.
// B300

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::embed::{NotSendable, SendableLoop};
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, ManualClock, Reactor};
use testkit::ways::{Way, every_way};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// Other backends are bound to their thread.
fn moves(way: &Way) -> bool {
    !way.is_attached() && way.name != "own tokio"
}

fn there<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(call).join().unwrap()
}

fn sent(io_loop: IOLoop) -> SendableLoop {
    io_loop.into_sendable().unwrap()
}

/// Uses a loop for a while, and leaves nothing in it.
fn uses(io_loop: &IOLoop) {
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (ours, fired) = (Rc::new(ours), Rc::new(Cell::new(false)));
    let set = Rc::clone(&fired);
    let mut fire = Some(move || {
        set.set(true);
        stop();
    });
    let watched = Rc::clone(&ours);
    io_loop
        .add_writer(ours, move |_| {
            let io_loop = IOLoop::current().unwrap();
            io_loop.call_later(Duration::from_millis(1), fire.take().unwrap());
            io_loop.remove_writer(&watched);
        })
        .unwrap();
    io_loop.start().unwrap();
    assert!(fired.get());
}

// B300
#[test]
fn a_loop_that_was_made_here_could_not_run_there() {
    every_way(|way| {
        if !moves(way) {
            return;
        }
        let io_loop = way.make(IOLoop::builder().name("traveller"));
        let (handle, backend) = (io_loop.handle(), io_loop.backend_name().to_owned());
        uses(&io_loop);
        let ran = mpsc::channel();
        let (before, between) = (ran.0.clone(), ran.0.clone());
        // Posts that the loop has not seen go along with it.
        handle.add_callback(move || before.send(thread::current().id()).unwrap()).unwrap();
        let sendable = sent(io_loop);
        handle.add_callback(move || between.send(thread::current().id()).unwrap()).unwrap();
        let (sendable, id) = there(move || {
            let io_loop = sendable.into_loop();
            assert_eq!((io_loop.name(), io_loop.backend_name()), ("traveller", &*backend));
            let poster = io_loop.handle();
            // It sleeps, and is woken from a third thread.
            let third = thread::spawn(move || poster.add_callback(stop).unwrap());
            io_loop.start().unwrap();
            third.join().unwrap();
            uses(&io_loop);
            (sent(io_loop), thread::current().id())
        });
        let posts: Vec<_> = ran.1.try_iter().collect();
        assert_eq!(posts, [id, id]);
        // And back, and to its end.
        let io_loop = sendable.into_loop();
        uses(&io_loop);
        let sendable = sent(io_loop);
        assert!(!handle.is_closed());
        there(move || sendable.into_loop().close().unwrap());
        assert!(handle.is_closed());
    });
}

// B300
#[test]
fn a_loop_that_holds_something_is_refused_and_given_back() {
    every_way(|way| {
        let refused = |what: &str, hold: &dyn Fn(&IOLoop)| {
            let io_loop = way.io_loop();
            hold(&io_loop);
            let error: NotSendable = io_loop.into_sendable().unwrap_err();
            let text = error.to_string();
            let expected = if moves(way) { what } else { "bound to this thread" };
            assert!(text.contains(expected), "{text}");
            let io_loop = error.into_loop();
            io_loop.call_soon(stop);
            way.until_stopped(&io_loop);
        };
        refused("holds something", &|io_loop| drop(io_loop.call_soon(|| ())));
        refused("holds something", &|io_loop| drop(io_loop.call_later(HOUR, || ())));
        refused("holds something", &|io_loop| drop(io_loop.spawn(std::future::pending::<()>())));
        refused("holds something", &|io_loop| drop(io_loop.before_sleep(|| BeforeSleep::Sleep)));
        refused("holds something", &|io_loop| {
            let (stream, _peer) = UnixStream::pair().unwrap();
            assert!(io_loop.add_reader(stream, |_| ()).unwrap().pause());
        });
        refused("a handler", &|io_loop| io_loop.set_exception_handler(|_| ()));
        refused("jobs", &|io_loop| io_loop.set_default_executor(|job| job()));
        if moves(way) {
            let (io_loop, kept) = (way.io_loop(), Cell::new(None));
            kept.set(Some(io_loop.clone()));
            let error = io_loop.into_sendable().unwrap_err();
            assert!(error.to_string().contains("another clone"), "{error}");
            drop(kept);
            let io_loop = error.into_loop();
            let seen = Rc::new(Cell::new(None));
            let note = Rc::clone(&seen);
            io_loop.call_soon(move || {
                let current = IOLoop::current().unwrap();
                note.set(Some(current.into_sendable().unwrap_err().to_string()));
                stop();
            });
            io_loop.start().unwrap();
            assert!(seen.take().unwrap().contains("running"));
            io_loop.close().unwrap();
            assert!(io_loop.into_sendable().unwrap_err().to_string().contains("closed"));
        }
    });
}

/// They are of the loop that was, and not of what has their numbers in the loop that is.
// B300
#[test]
fn what_stayed_behind_names_nothing_of_the_loop_that_went() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (timer, callback) = (io_loop.call_later(HOUR, || ()), io_loop.call_soon(|| ()));
    let (stream, _peer) = UnixStream::pair().unwrap();
    let watch = io_loop.add_reader(stream, |_| ()).unwrap();
    let hook = io_loop.after_wake(|| ());
    assert!(timer.cancel() && watch.remove() && hook.remove());
    let fired = io_loop.call_later(Duration::ZERO, || ());
    while io_loop.turn(Some(Duration::ZERO)).unwrap().work_left {}
    let weak = io_loop.downgrade();
    let io_loop = sent(io_loop).into_loop();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let (new_timer, new_callback) = (io_loop.call_later(HOUR, || ()), io_loop.call_soon(|| ()));
    let new_watch = io_loop.add_reader(stream, |_| ()).unwrap();
    assert!(!fired.cancel() && !fired.reset(io_loop.now()) && !callback.cancel());
    assert!(!watch.remove() && !watch.pause() && !hook.remove());
    assert!(weak.upgrade().is_none());
    assert!(new_timer.cancel() && new_callback.cancel() && new_watch.remove());
}

// B300
#[test]
fn a_loop_that_never_arrives_is_closed() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (handle, captured) = (io_loop.handle(), std::sync::Arc::new(()));
    let held = std::sync::Arc::clone(&captured);
    let sendable = sent(io_loop);
    handle.add_callback(move || drop(held)).unwrap();
    there(move || drop(sendable));
    assert!(handle.is_closed());
    assert_eq!(std::sync::Arc::strong_count(&captured), 1);
}

// B300
#[test]
fn a_loop_on_a_clock_of_a_test_goes_with_its_clock() {
    let clock = ManualClock::new();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).clock(&clock).build().unwrap();
    let sendable = sent(io_loop);
    let start = clock.now();
    there(move || {
        let io_loop = sendable.into_loop();
        io_loop.call_later(HOUR, stop);
        io_loop.start().unwrap();
    });
    assert_eq!(clock.now() - start, HOUR);
}
